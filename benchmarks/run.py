"""The jobs: what there is to measure on this backend, and one measurement of each kind."""

import dataclasses
import functools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks import backend, cells, echo, generation, measure, memory, models
from benchmarks.measure import LIMIT, OURS, Peer, Timing
from benchmarks.targets import group, place
from benchmarks.workloads import WORKLOADS, Problem, Workload

ALWAYS = ("keras", "keras float32", OURS, "ours, recompute")
PRODUCT = 2048  # rows and columns of the large product
# As the scripts name their ways, and as the results do.
WAYS = {
    "generate": OURS,
    "eager call a character": "ours, eager call",
    "the same, Keras's layers": "keras, eager call",
    "predict, Keras's layers": "keras, predict",
    "TruncatedBPTT": OURS,
    "TruncatedBPTT, jit_compile=True": "ours, XLA",
    "plain fit, MySimpleRNN": "ours, fit",
    "plain fit, MySimpleRNN, jit_compile=True": "ours, fit, XLA",
    "plain fit, MySimpleRNN, steps_per_execution=333": "ours, fit, 333 steps a call",
    "plain fit, Keras's SimpleRNN": "keras, fit",
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to measure."""

    seconds: float = 10.0  # for all peers of a job together, but see `measure.LEAST_ROUNDS`
    peers: tuple[str, ...] = ()  # besides Keras's layer and ours; none: all
    memory: bool = False
    least_rounds: int = measure.LEAST_ROUNDS


@dataclasses.dataclass(frozen=True)
class Job:
    """One workload in one mode."""

    workload: str
    mode: str
    title: str
    run: Callable[[Settings], dict[str, Any]]

    def result(self, settings: Settings) -> dict[str, Any]:
        """What the JSON holds of it; where nothing could be measured, why."""
        head = {"workload": self.workload, "mode": self.mode, "title": self.title}
        try:
            return head | self.run(settings)
        except Exception as error:  # the other jobs can be measured all the same
            return head | {"peers": {}, "refused": {OURS: f"{type(error).__name__}: {error}".strip()[:500]}}


def jobs(chosen: Sequence[str] = ()) -> list[Job]:
    """All jobs of this backend, or those of these workloads; `W8` stands for `W8-left` and `W8-right`.

    Raises:
        ValueError: for a name that is none.
    """
    served = backend.peers_module().MODES
    every = [
        Job(workload.id, mode, str(workload), functools.partial(_layer, workload, mode))
        for workload in WORKLOADS
        for mode in workload.modes
        if mode in served
    ]
    every += [Job(id, "fit", row.title, functools.partial(_model, row)) for id, row in models.MODELS.items()]
    every += [
        Job("W12", "generation", "500 characters, GRU of 1,024 units, batch 1", _generation),
        Job("W13", "training", "echo training, window 15, batch 5", _echo),
    ]
    every += [
        Job(each.workload.id, each.mode, each.title, functools.partial(_cell, each)) for each in cells.cell_jobs()
    ]
    every.sort(key=lambda job: place(job.workload))
    names = {name for job in every for name in (job.workload, group(job.workload))}
    unknown = [name for name in chosen if name not in names]
    if unknown:
        raise ValueError(f"expected workloads among {', '.join(sorted(names))}, got {', '.join(unknown)}")
    return [job for job in every if not chosen or {job.workload, group(job.workload)} & set(chosen)]


def _layer(workload: Workload, mode: str, settings: Settings) -> dict[str, Any]:
    module = backend.peers_module()

    def makers(workload: Workload) -> dict[str, Callable[[], Peer]]:
        found = module.peers(Problem.of(workload), mode)
        return {name: make for name, make in found.items() if not settings.peers or name in (*settings.peers, *ALWAYS)}

    peers, first_calls, refused, apart = measure.agreeing(makers(workload.quiet()), workload.tolerance)
    if workload.recurrent_dropout:
        # With random numbers there is nothing to compare: these are the peers that agreed without.
        noisy = {name: make for name, make in makers(workload).items() if name in peers}
        peers, first_calls, more, _ = measure.agreeing(noisy, math.inf)
        refused |= more
    result: dict[str, Any] = {"apart": apart, "refused": refused, "peers": {}}
    if OURS not in peers:
        return result
    names = list(peers)
    dtype = "bfloat16" if workload.policy == "mixed_bfloat16" else "float32"
    peers[LIMIT] = module.large_product(PRODUCT, dtype)
    timings = measure.summarize(measure.take_turns(peers, settings.seconds, settings.least_rounds), first_calls)
    rate = 2 * PRODUCT**3 / timings.pop(LIMIT).median  # operations a millisecond
    del peers
    if settings.memory and mode == "gradient":
        for name in (each for each in names if each in ALWAYS):
            try:
                found = [memory.measured_apart(workload.id, mode, name) for _ in range(memory.PROCESSES)]
                timings[name].memory = statistics.median(found)
            except Exception as error:  # the times are measured nonetheless
                refused[f"{name}, memory"] = str(error)[:300]
    shares = {name: workload.flops(mode) / rate / timing.median for name, timing in timings.items()}
    result["peers"] = {name: dataclasses.asdict(timings[name]) | {"share": shares[name]} for name in names}
    return result | {"gflops_of_large_product": rate / 1e6}


def _model(row: models.Model, settings: Settings) -> dict[str, Any]:
    timings, apart = models.measure(row, settings.seconds, settings.least_rounds)
    return {"apart": apart, "refused": {}, "peers": _as_dicts(timings)}


def _cell(job: cells.CellJob, settings: Settings) -> dict[str, Any]:
    return cells.run(job, settings.seconds, settings.least_rounds)


def _generation(settings: Settings) -> dict[str, Any]:
    times, _ = generation.compare(length=500, turns=settings.least_rounds)
    return {"apart": 0.0, "refused": {}, "peers": _as_dicts(measure.summarize(_renamed(times)))}


def _echo(settings: Settings) -> dict[str, Any]:
    times, apart, _ = echo.compare(turns=settings.least_rounds)
    return {"apart": apart, "refused": {}, "peers": _as_dicts(measure.summarize(_renamed(times)))}


def _renamed(times: Mapping[str, list[float]]) -> dict[str, list[float]]:
    return {WAYS[name]: taken for name, taken in times.items()}


def _as_dicts(timings: Mapping[str, Timing]) -> dict[str, dict[str, Any]]:
    return {name: dataclasses.asdict(timing) for name, timing in timings.items()}
