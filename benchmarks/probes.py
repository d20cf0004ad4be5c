"""Which cell learns what: every cell of the catalogue on five small tasks, with the same number of weights.

    python -m benchmarks probes                                # what is missing of all runs; can be stopped at any time
    python -m benchmarks probes --budget-seconds 3600          # what fits in an hour
    python -m benchmarks probes --cells lstm janet --tasks copy --seeds 1
    python -m benchmarks probes --page                         # the table and the figure, from what there is

A run is a cell on a task with a seed and a learning rate. Each result is written at once, so that the command goes on
where it was stopped. There is a process for each core. Run it on a machine that does nothing else: steps do not depend
on that, seconds do. It needs JAX, whatever `KERAS_BACKEND` says.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import datetime
import importlib.util
import json
import math
import os
import pathlib
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]
# Not beside the times: what lies there goes into docs/benchmarks.md.
RESULTS = ROOT / "benchmarks" / "results" / "probes" / "probes.json"
PARAMETERS = 5_000
RATES = (0.003,)
SEEDS = 3
RUN_SECONDS = 120.0


@dataclasses.dataclass(frozen=True)
class Run:
    """One training."""

    task: str
    cell: str
    seed: int
    rate: float

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> "Run":
        """The run that a result is of."""
        return cls(result["task"], result["cell"], result["seed"], result["rate"])


@dataclasses.dataclass(frozen=True)
class Settings:
    """What all runs of a file have in common.

    Args:
        parameters: weights that a cell may have.
        limits: training steps, at most, by task.
        seconds: of training, at most.
    """

    parameters: int
    limits: dict[str, int]
    seconds: float


class Results:
    """The runs of a file, which is whole at any time."""

    def __init__(self, path: pathlib.Path, settings: Settings):
        self.path, self.settings = path, settings
        self.machines: list[dict[str, Any]] = []
        self.runs: dict[Run, dict[str, Any]] = {}
        if path.exists():
            kept = load(path)
            theirs, ours = kept["settings"], dataclasses.asdict(settings)
            if theirs != ours:
                raise ValueError(
                    f"--json: expected results of the same settings, {ours}, got {str(path)!r} with {theirs}. Give "
                    "another file, or the same --parameters, --steps and --run-seconds."
                )
            self.machines = kept["machines"]
            self.runs = {Run.of(each): each for each in kept["runs"]}

    def begin(self, about: dict[str, Any]) -> None:
        """Notes where the next runs are made."""
        if about not in self.machines:
            self.machines.append(about)

    def add(self, run: Run, found: Mapping[str, Any]) -> None:
        """Keeps a result and writes the file."""
        self.runs[run] = dataclasses.asdict(run) | dict(found)
        self.write()

    def write(self) -> None:
        """Writes the file, a line for each run."""
        head = {"settings": dataclasses.asdict(self.settings), "machines": self.machines}
        lines = [json.dumps(self.runs[run]) for run in sorted(self.runs, key=dataclasses.astuple)]
        text = json.dumps(head, indent=1)[:-2] + ',\n "runs": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n"
        partial = self.path.with_name(f"partial-{self.path.name}")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, self.path)


def load(path: pathlib.Path) -> dict[str, Any]:
    """The results in a file.

    Raises:
        ValueError: if it is missing, or none of ours.
    """
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        for each in kept["runs"]:
            Run.of(each)
        if not {"settings", "machines"} <= kept.keys():
            raise KeyError("settings")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"expected a file written by `python -m benchmarks probes`, got {str(path)!r}: {error!r}"
        ) from error
    return kept


# What is to be done, and how long it takes


def wanted(tasks: Sequence[str], cells: Sequence[str], seeds: int, rates: Sequence[float]) -> list[Run]:
    """All runs, those of one cell on one task together: they share a compiled program."""
    return [Run(task, cell, seed, rate) for task in tasks for cell in cells for rate in rates for seed in range(seeds)]


def needless(run: Run, runs: Sequence[Run], done: Mapping[Run, Mapping[str, Any]]) -> bool:
    """Whether an earlier learning rate solved the task with every seed."""
    solved: dict[float, list[bool]] = {}
    for each in runs:
        if (each.task, each.cell) == (run.task, run.cell):
            solved.setdefault(each.rate, []).append(bool(done.get(each, {}).get("solved")))
    earlier = list(solved)[: list(solved).index(run.rate)]
    return any(all(solved[rate]) for rate in earlier)


def missing(runs: Sequence[Run], done: Mapping[Run, Mapping[str, Any]]) -> list[list[Run]]:
    """The runs without a result, in groups of one cell on one task. What failed is tried again."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if "error" in done.get(run, {"error": ""}) and not needless(run, runs, done):
            groups.setdefault((run.task, run.cell), []).append(run)
    return list(groups.values())


def seconds_left(left: Sequence[Run], done: Mapping[Run, Mapping[str, Any]], processes: int) -> float | None:
    """The time for `left`, from the runs that are done; None where there are none.

    A run takes as long as others of its cell on its task; without any, as long as the others on its task, times how
    much longer its cell takes than others on the tasks that are done.
    """
    taken: dict[tuple[str, str], list[float]] = collections.defaultdict(list)
    for run, result in done.items():
        if "wall_seconds" in result and "error" not in result:
            taken[run.task, run.cell].append(result["wall_seconds"])
    if not taken:
        return None
    mean = {key: statistics.fmean(values) for key, values in taken.items()}
    overall = statistics.fmean(mean.values())
    of_task = {task: statistics.fmean([value for (own, _), value in mean.items() if own == task]) for task, _ in mean}
    slower = {
        cell: statistics.geometric_mean(
            [max(value, 1e-3) / max(of_task[task], 1e-3) for (task, own), value in mean.items() if own == cell]
        )
        for _, cell in mean
    }
    each = [mean.get((run.task, run.cell), of_task.get(run.task, overall) * slower.get(run.cell, 1.0)) for run in left]
    return sum(each) / processes


def in_words(seconds: float | None) -> str:
    """A time left."""
    if seconds is None:
        return ""
    return f"about {seconds / 60:.0f} min left" if seconds < 5_400 else f"about {seconds / 3600:.1f} h left"


# Processes


class Worker:
    """A process on a core of its own, which does one run after the other. Started anew where it died."""

    def __init__(self, core: int | None):
        self.core = core
        self.process: subprocess.Popen | None = None
        self.errors: Any = None

    def __call__(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Does a run; gives its result, or `error`."""
        process = self._alive()
        answer = ""
        # An `OSError` where the process died, a `ValueError` where it was closed meanwhile.
        with contextlib.suppress(OSError, ValueError):
            process.stdin.write(json.dumps(dict(order)) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        if answer:
            return json.loads(answer)
        status, words = process.wait(), ""
        with contextlib.suppress(OSError, ValueError):
            self.errors.seek(0)
            words = " ".join(self.errors.read()[-250:].split())
        return {"error": f"the process ended with status {status}: {words}"}

    def _alive(self) -> Any:
        if self.process is None or self.process.poll() is not None:
            self.close()
            command = [sys.executable, "-m", "benchmarks.probe_training"]
            self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - open as long as the process
            self.process = subprocess.Popen(
                command if self.core is None else [*command, str(self.core)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                text=True,
                cwd=ROOT,
                env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"},
                start_new_session=True,  # an interrupt is for this process, which then ends that one
            )
        return self.process

    def close(self) -> None:
        """Ends the process, whatever it does."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        files: tuple[Any, ...] = (self.process.stdin, self.process.stdout, self.errors)
        for file in files:
            with contextlib.suppress(OSError):
                file.close()


def cores() -> Sequence[int | None]:
    """The cores that this process may use, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return [None] * (os.cpu_count() or 1)


def do(
    runs: Sequence[Run],
    results: Results,
    workers: Sequence[Any],
    budget: float,
    show: Callable[[str], None],
) -> int:
    """Does those of `runs` that are missing, a group on each worker, and gives how many there was no time for.

    No run begins after `budget` seconds. The workers are closed at the end.
    """
    groups = missing(runs, results.runs)
    waiting: queue.SimpleQueue[Sequence[Run]] = queue.SimpleQueue()
    for group in groups:
        waiting.put(group)
    left = [run for group in groups for run in group]
    total, begin, lock, stop = len(left), time.monotonic(), threading.Lock(), threading.Event()

    def work(worker: Any) -> None:
        while not waiting.empty():
            try:
                group = waiting.get_nowait()
            except queue.Empty:
                return
            for run in group:
                if stop.is_set() or time.monotonic() - begin > budget:
                    return
                if needless(run, runs, results.runs):
                    with lock:
                        left.remove(run)
                    continue
                order = dataclasses.asdict(run)
                order |= {"parameters": results.settings.parameters, "limit": results.settings.limits[run.task]}
                order["seconds"] = results.settings.seconds
                found = worker(order) | {"date": datetime.datetime.now(datetime.UTC).date().isoformat()}
                with lock:
                    if stop.is_set():
                        return
                    results.add(run, found)
                    left.remove(run)
                    time_left = in_words(seconds_left(left, results.runs, len(workers)) if left else None)
                    show(f"[{total - len(left)}/{total}] {line(run, found)}  {time_left}".rstrip())

    with concurrent.futures.ThreadPoolExecutor(len(workers)) as pool:
        working = [pool.submit(work, worker) for worker in workers]
        try:
            for each in working:
                each.result()
        finally:
            # Also when interrupted: a worker that is ended gives its run up at once.
            stop.set()
            for worker in workers:
                worker.close()
    return len(left)


def line(run: Run, found: Mapping[str, Any]) -> str:
    """What the terminal says of a run."""
    head = f"{run.task}, {run.cell}, seed {run.seed}, rate {run.rate:g}"
    if "error" in found:
        return f"{head}: failed: {found['error']}"
    size = f"{found['units']} units"
    if found["solved"]:
        return f"{head}, {size}: solved at step {found['steps']:,} after {found['seconds']:.0f} s"
    last = "no number any more" if found["last"] is None else f"{found['last']:.4g}"
    return f"{head}, {size}: {last} after {found['trained_steps']:,} steps, {found['trained_seconds']:.0f} s"


# The command


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks probes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", nargs="+", default=[], metavar="CELL", help="such as lstm; default: all")
    parser.add_argument("--tasks", nargs="+", default=[], metavar="TASK", help="such as copy; default: all")
    parser.add_argument("--seeds", type=_at_least_one, default=SEEDS, help=f"runs of each (default: {SEEDS})")
    parser.add_argument(
        "--rates",
        nargs="+",
        type=_positive,
        default=list(RATES),
        metavar="RATE",
        help="learning rates; one is tried where those before it do not solve a task with all seeds (default: 0.003)",
    )
    parser.add_argument("--steps", type=_at_least_one, help="training steps of a run, at most (default: by task)")
    parser.add_argument(
        "--parameters", type=_at_least_one, default=PARAMETERS, help=f"weights of a cell (default: {PARAMETERS})"
    )
    parser.add_argument(
        "--run-seconds",
        type=_positive,
        default=RUN_SECONDS,
        help=f"of training on one core, after which a run ends too (default: {RUN_SECONDS:g})",
    )
    parser.add_argument(
        "--budget-seconds", type=_positive, default=math.inf, help="no run begins later (default: no limit)"
    )
    parser.add_argument("--processes", type=_at_least_one, help="at once (default: one for each core)")
    parser.add_argument("--json", type=pathlib.Path, default=RESULTS, help="file for the results, also of old runs")
    parser.add_argument("--list", action="store_true", help="list the tasks and cells with their units, and stop")
    parser.add_argument("--page", action="store_true", help="make table and figure of the results, train nothing")
    parser.add_argument("--page-to", type=pathlib.Path, help="the page (default: docs/which_cell.md)")
    return parser


def _at_least_one(given: str) -> int:
    value = int(given)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {given!r}")
    return value


def _positive(given: str) -> float:
    value = float(given)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above zero, got {given!r}")
    return value


def chosen(option: str, given: Sequence[str], known: Sequence[str]) -> list[str]:
    """What was chosen of what there is; nothing given: all.

    Raises:
        ValueError: for a name that is none.
    """
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ValueError(f"{option}: expected some of {', '.join(known)}, got {', '.join(unknown)}")
    return [name for name in known if not given or name in given]


def run(options: argparse.Namespace) -> int:
    """Does what is missing, and gives the exit status: 1 if a run failed."""
    from benchmarks import backend, probe_tasks
    from keras_rnn_ext.registry import list_cells

    every = probe_tasks.tasks()
    tasks, cells = chosen("--tasks", options.tasks, list(every)), chosen("--cells", options.cells, list_cells())
    if options.list:
        show_list([every[name] for name in tasks], cells, options.parameters)
        return 0
    if importlib.util.find_spec("jax") is None:
        raise ValueError("probes run on JAX, and it is not installed: python -m pip install jax")
    RESULTS.parent.mkdir(exist_ok=True)
    if not options.json.absolute().parent.is_dir():
        raise ValueError(f"--json: expected a file in a folder that exists, got {str(options.json)!r}")
    limits = {name: options.steps or task.limit for name, task in every.items()}
    settings = Settings(options.parameters, limits, options.run_seconds)
    results = Results(options.json, settings)
    about = backend.about() | {"backend": "jax"}
    machine = {name: about[name] for name in ("processor", "cpus", "system", "python", "versions")}
    # The text is that of this version of Python.
    results.begin(machine | {"pair_entropy": round(probe_tasks.pair_entropy(), 2)})
    runs = wanted(tasks, cells, options.seeds, options.rates)
    groups = missing(runs, results.runs)
    to_do = [each for group in groups for each in group]
    places = cores()
    count = min(options.processes or len(places), max(len(groups), 1))
    workers = [Worker(places[place] if count <= len(places) else None) for place in range(count)]
    left = in_words(seconds_left(to_do, results.runs, count)) if to_do else ""
    print(f"{len(to_do)} runs to do, {count} at a time  {left}".rstrip(), flush=True)
    try:
        open_runs = do(runs, results, workers, options.budget_seconds, lambda text: print(text, flush=True))
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.")
        return 1
    if open_runs:
        print(f"{open_runs} runs are left for the next time.")
    return int(any("error" in results.runs.get(each, {}) for each in to_do))


def show_list(tasks: Sequence[Any], cells: Sequence[str], parameters: int) -> None:
    """Prints the tasks, and the units and weights of each cell."""
    from benchmarks import probe_training

    for task in tasks:
        print(f"{task.name:12} {task.length:4} steps a sequence, {task.limit:,} training steps at most: {task.metric}")
    for name in cells:
        try:
            units, count = probe_training.units_for(name, parameters, tasks[0])
            print(f"{name:24} {units:4} units, {count:,} weights")
        except ValueError as error:
            print(f"{name:24} {error}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and gives the exit status."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    try:
        if options.page:
            from benchmarks import probe_page

            probe_page.write(load(options.json), options.page_to or probe_page.PAGE)
            return 0
        return run(options)
    except ValueError as error:
        parser.error(str(error))
