"""The measured part of `docs/which_cell.md`, and its figure, made from the results of `python -m benchmarks probes`."""

import dataclasses
import math
import os
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.probe_tasks import ROWS, Task, tasks
from benchmarks.probes import Run

ROOT = pathlib.Path(__file__).parents[1]
PAGE = ROOT / "docs" / "which_cell.md"
FIGURE = "which_cell.png"  # beside the page
BEGIN = "<!-- Written by `python -m benchmarks probes --page` from here: change benchmarks/probe_page.py instead. -->"
END = "<!-- Written by `python -m benchmarks probes --page` to here. -->"
MEMORY = ("adding", "copy")
KEEPERS = ("ind_rnn", "co_rnn", "lem", "antisymmetric_rnn", "lru")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a cell did on a task, over all seeds, at its best learning rate."""

    rate: float
    units: int
    seeds: int
    solved: int
    steps: float | None  # the median of the runs that solved it
    seconds: float | None
    value: float | None  # of the metric: the median of the best of each run
    step_milliseconds: float | None
    stopped: int | None  # steps until time was up, the median, where it was for most runs

    @property
    def share(self) -> float:
        """Of the runs that solved the task."""
        return self.solved / self.seeds if self.seeds else 0.0


def outcomes(kept: Mapping[str, Any]) -> dict[tuple[str, str], Outcome]:
    """By cell and task; of several learning rates the one that solved most, or soonest, or came nearest."""
    known = tasks()
    grouped: dict[tuple[str, str], dict[float, list[dict[str, Any]]]] = {}
    for each in kept["runs"]:
        run = Run.of(each)
        if "error" not in each and run.task in known:
            grouped.setdefault((run.cell, run.task), {}).setdefault(run.rate, []).append(each)
    found = {}
    for (cell, task), by_rate in grouped.items():
        sign = 1 if known[task].metric == "accuracy" else -1
        every = [_outcome(rate, runs) for rate, runs in by_rate.items()]
        found[cell, task] = max(
            every, key=lambda one: (one.solved, -(one.steps or 0), -math.inf if one.value is None else sign * one.value)
        )
    return found


def _outcome(rate: float, runs: Sequence[Mapping[str, Any]]) -> Outcome:
    solved = [each for each in runs if each["solved"]]
    values = [each["best"] for each in runs if each["best"] is not None]
    stopped = [each["trained_steps"] for each in runs if each["stopped"]]
    steps = sum(each["trained_steps"] for each in runs)
    return Outcome(
        rate,
        runs[0]["units"],
        len(runs),
        len(solved),
        statistics.median(each["steps"] for each in solved) if solved else None,
        statistics.median(each["seconds"] for each in solved) if solved else None,
        statistics.median(values) if values else None,
        1e3 * sum(each["trained_seconds"] for each in runs) / steps if steps else None,
        round(statistics.median(stopped)) if 2 * len(stopped) > len(runs) else None,
    )


# Facts from the papers


def keeps_memory(cell: str, found: Mapping[tuple[str, str], Outcome]) -> tuple[str, bool | None]:
    """What was measured of a cell and a SimpleRNN on the memory tasks, and whether the cell is the one that solves any:
    most of its runs do, and no run of SimpleRNN does."""
    parts, holds = [], []
    for name in MEMORY:
        own, plain = found.get((cell, name)), found.get(("simple_rnn", name))
        if own is None or plain is None:
            continue
        parts.append(f"{tasks()[name].title}: {_entry(own, tasks()[name])}, SimpleRNN {_entry(plain, tasks()[name])}")
        holds.append(own.share > 0.5 and plain.solved == 0)
    return "; ".join(parts) or "not measured", any(holds) if len(holds) == len(MEMORY) or any(holds) else None


def beats_on_copy(cell: str, other: str, found: Mapping[tuple[str, str], Outcome]) -> tuple[str, bool | None]:
    """Whether a cell solves copy memory in more runs than another, or sooner, or where neither does recalls more."""
    task, one, two = tasks()["copy"], found.get((cell, "copy")), found.get((other, "copy"))
    if one is None or two is None or one.value is None or two.value is None:
        return "not measured", None
    text = f"{_entry(one, task)}, against {_entry(two, task)}"
    if one.solved != two.solved:
        return text, one.solved > two.solved
    if one.steps is not None and two.steps is not None:
        return text, one.steps < two.steps
    # A difference that guessing alone can make is none.
    return text, one.value > two.value + 0.02


def facts(found: Mapping[tuple[str, str], Outcome]) -> list[tuple[str, str, bool | None]]:
    """What the papers say, what was measured, and whether it holds; None: not measured."""
    lines = [(f"{_layer(cell)} keeps a memory where a SimpleRNN fails", *keeps_memory(cell, found)) for cell in KEEPERS]
    return [*lines, ("JANET with chrono initialisation beats the default LSTM on copy memory", *beats_on_copy(
        "janet", "lstm", found
    ))]  # fmt: skip


# The page


def write(kept: Mapping[str, Any], path: pathlib.Path = PAGE) -> None:
    """Puts the measured part into the page, and the figure beside it.

    Raises:
        ValueError: if the page has no place for it.
    """
    page = path.read_text(encoding="utf-8")
    whole = filled(page, kept)
    draw(kept, path.with_name(FIGURE))
    partial = path.with_name(f"partial-{path.name}")
    partial.write_text(whole, encoding="utf-8")
    os.replace(partial, path)


def filled(page: str, kept: Mapping[str, Any]) -> str:
    """The page with its measured part made anew.

    Raises:
        ValueError: if it has no place for it.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"--page-to: expected a page with the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{text(kept)}\n{END}{after}"


def text(kept: Mapping[str, Any]) -> str:
    """The measured part."""
    found = outcomes(kept)
    parts = [
        _how(kept),
        f"![Cells and tasks: steps to a solution]({FIGURE})\n" if found else "",
        _table_of(found),
        _failures(kept),
        "### Facts from the papers\n",
        _facts(found),
    ]
    return "\n".join(filter(None, parts))


HOW = """{when}; {machines}.

Each cell has as many units as fit in {parameters:,} weights. The network around it is the same for all: a dense layer
of {width} units with ReLU (an embedding of {width} where the inputs are symbols), the cell, a dense layer of {head}
units with ReLU, and the output. Adam with {rate}, gradients clipped to a global norm of {clip:g}, batches of {rows},
{seeds}. Every {check} steps the model is scored on sequences that it is never trained on. A task is **solved**
where the score reaches the threshold twice in a row. Training stops then, or after the steps below, or after
{seconds:g} s on one core.

**Not solved means: not within so many steps, with so few weights and no tuning for the cell.** It does not mean that
the cell cannot learn it. Where the paper of a cell says how to start it for sequences of a known length, it starts so:
JANET and STAR with chrono initialisation, IndRNN with its bound on the recurrent weights, LMU with its window. The rest
start with the defaults of the layer and what `every_option` in `benchmarks/probe_training.py` lists.
`CoRNN` has its layer's defaults, which are its authors' for sequential MNIST: with theirs for adding (`dt=0.06`,
`gamma=66`, `epsilon=15`) it did not solve that task in a trial at 0.003, 0.01 or 0.02. No other setting was chosen
after a result.

"""


def _seeds(kept: Mapping[str, Any]) -> str:
    """How many seeds there are, by task where these differ."""
    runs: dict[str, dict[str, set[int]]] = {}
    for each in kept["runs"]:
        runs.setdefault(each["task"], {}).setdefault(each["cell"], set()).add(each["seed"])
    counts = {task: sorted({len(seeds) for seeds in cells.values()}) for task, cells in runs.items()}
    if len({tuple(each) for each in counts.values()}) == 1 and all(len(each) == 1 for each in counts.values()):
        (number,) = next(iter(counts.values()))
        return "one seed" if number == 1 else f"{number} seeds"
    known = [(task.title, counts[name]) for name, task in tasks().items() if name in counts]
    return "seeds: " + ", ".join(f"{title} {' to '.join(map(str, (each[0], *each[1:][-1:])))}" for title, each in known)


SEVERAL_RATES = "the best of the learning rates {}, of which a later one was tried where not all seeds solved a task"

PAIRS = " One who knows the character before and nothing else needs {} bits.\n"


def _how(kept: Mapping[str, Any]) -> str:
    from benchmarks.probe_training import CHECK, CLIP, HEAD_WIDTH, WIDTH

    dates = sorted({each["date"] for each in kept["runs"] if "date" in each})
    limits = kept["settings"]["limits"]
    definitions = "".join(
        f"- **{task.title}** (at most {limits[task.name]:,} training steps): {task.definition}\n"
        for task in tasks().values()
    )
    bits = sorted({f"{each['pair_entropy']:.2f}" for each in kept["machines"]})
    if bits:
        definitions = definitions.rstrip() + PAIRS.format(" or ".join(bits))
    if not dates:
        return "Not measured yet.\n\n" + definitions
    rates = [f"{rate:g}" for rate in sorted({each["rate"] for each in kept["runs"]})]
    machines = [
        f"{each['processor']}, {each['cpus']} CPUs, {each['system']}, Python {each['python']}; "
        + ", ".join(f"{name} {version}" for name, version in each["versions"].items())
        for each in kept["machines"]
    ]
    head = HOW.format(
        when=dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}",
        machines="; ".join(dict.fromkeys(machines)),
        parameters=kept["settings"]["parameters"],
        rate=f"the learning rate {rates[0]} for all" if len(rates) == 1 else SEVERAL_RATES.format(", ".join(rates)),
        width=WIDTH,
        head=HEAD_WIDTH,
        clip=CLIP,
        rows=ROWS,
        seeds=_seeds(kept),
        check=CHECK,
        seconds=kept["settings"]["seconds"],
    )
    return head + definitions


def _layer(cell: str) -> str:
    from keras_rnn_ext.registry import get, list_cells

    return f"`{get(cell).layer.__name__}`" if cell in list_cells() else f"`{cell}`"


def _kind(cell: str) -> str:
    from keras_rnn_ext.registry import get, list_cells

    if cell not in list_cells():
        return ""
    row = get(cell)
    return row.cell(row.multiple).kind


def ranked(found: Mapping[tuple[str, str], Outcome]) -> list[str]:
    """The cells: first those that solved most, then those with the fewest bits a character."""
    cells = sorted({cell for cell, _ in found})

    def rank(cell: str) -> tuple[float, float]:
        bits = found.get((cell, "characters"))
        solved = sum(each.share for (own, _), each in found.items() if own == cell)
        return -solved, math.inf if bits is None or bits.value is None else bits.value

    return sorted(cells, key=rank)


def _entry(one: Outcome | None, task: Task) -> str:
    if one is None:
        return ""
    if one.value is None:
        return "no number"
    if task.threshold is None or one.steps is None or one.seconds is None:
        return _value(one.value, task) + (f" at {one.stopped:,}" if one.stopped else "")
    runs = "" if one.solved == one.seeds else f", {one.solved} of {one.seeds}"
    return f"**{one.steps:,.0f}** ({one.seconds:.0f} s{runs})"


def _value(value: float, task: Task) -> str:
    return f"{value:.1%}" if task.metric == "accuracy" else f"{value:.3f}" if task.last else f"{value:.2f}"


TABLE = """Steps to the solution, in bold, and seconds of training on one core: medians over the runs that solved it;
where not all did, how many. Else the best score that was reached, median over the runs: squared error, or the share of
right answers; "at 500" where time was up after 500 steps. The last columns are the units, the milliseconds of a
training step of the adding problem, and how the engine runs the cell: see [The cells](cells.md).

"""


def _table_of(found: Mapping[tuple[str, str], Outcome]) -> str:
    if not found:
        return ""
    known = list(tasks().values())
    head = ["", *(f"{task.title}, bits" if task.threshold is None else task.title for task in known)]
    lines = [[*head, "units", "ms a step", "kind"], ["---"] * (len(head) + 3)]
    for cell in ranked(found):
        speed = found.get((cell, "adding"))
        milliseconds = "" if speed is None or speed.step_milliseconds is None else f"{speed.step_milliseconds:.1f}"
        units = next(each.units for (own, _), each in found.items() if own == cell)
        entries = [_entry(found.get((cell, task.name)), task) for task in known]
        lines.append([_layer(cell), *entries, str(units), milliseconds, _kind(cell)])
    return TABLE + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _facts(found: Mapping[tuple[str, str], Outcome]) -> str:
    verdicts = {True: "holds", False: "**does not hold here**", None: "not measured"}
    lines = [["", "measured", ""], ["---"] * 3, *([title, what, verdicts[how]] for title, what, how in facts(found))]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _failures(kept: Mapping[str, Any]) -> str:
    lines = sorted({
        f"- {each['cell']}, {each['task']}: {each['error']}\n" for each in kept["runs"] if "error" in each
    })  # fmt: skip
    return "### Runs that failed\n\n" + "".join(lines) if lines else ""


# The figure


def shades(found: Mapping[tuple[str, str], Outcome], limits: Mapping[str, int]) -> dict[tuple[str, str], float]:
    """How dark a field is, from 0 to 1: the share of runs that solved it, and how soon; bits from most to least."""
    dark = {}
    bits = [each.value for (_, task), each in found.items() if task == "characters" and each.value is not None]
    for (cell, name), each in found.items():
        if tasks()[name].threshold is not None:
            soon = 0.0 if each.steps is None else 1 - each.steps / max(limits[name], 1)
            dark[cell, name] = each.share * (0.4 + 0.6 * max(soon, 0.0))
        elif each.value is not None:
            most, least = min(max(bits), tasks()[name].chance), min(bits)
            dark[cell, name] = min(1.0, max(0.0, (most - each.value) / max(most - least, 1e-9)))
    return dark


def draw(kept: Mapping[str, Any], path: pathlib.Path) -> None:
    """Writes the figure: cells by tasks."""
    import matplotlib
    from matplotlib.figure import Figure

    found, known = outcomes(kept), list(tasks().values())
    cells = ranked(found)
    if not cells:
        return
    dark = shades(found, kept["settings"]["limits"])
    figure = Figure(figsize=(8.2, 1.3 + 0.27 * len(cells)), layout="constrained")
    axes = figure.subplots()
    field = [[dark.get((cell, task.name), math.nan) for task in known] for cell in cells]
    # One hue, from light to dark: it reads the same without colour vision, and in grey.
    colours = matplotlib.colormaps["Blues"].with_extremes(bad="white")
    axes.imshow(field, cmap=colours, vmin=0, vmax=1.1, aspect="auto")
    for row, cell in enumerate(cells):
        for column, task in enumerate(known):
            one = found.get((cell, task.name))
            shade = dark.get((cell, task.name), 0.0)
            weight = "bold" if one and one.steps is not None else "normal"
            axes.text(
                column, row, _label(one, task), ha="center", va="center", fontsize=8, fontweight=weight,
                color="white" if shade > 0.72 else "0.15",
            )  # fmt: skip
    axes.set_xticks(range(len(known)), [_column(task, kept["settings"]["limits"]) for task in known], fontsize=8.5)
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(cells)), [_layer(cell).strip("`") for cell in cells], fontsize=8.5)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_xticks([place - 0.5 for place in range(1, len(known))], minor=True)
    axes.set_yticks([place - 0.5 for place in range(1, len(cells))], minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    axes.set_xlabel(
        "Bold: steps to the solution, and the share of runs that solved it if not all did. Else the best score.\n"
        "Darker: solved sooner, and by more runs; of characters: fewer bits.",
        fontsize=8,
    )
    partial = path.with_name(f"partial-{path.name}")
    figure.savefig(partial, dpi=100, format="png")
    os.replace(partial, path)


def _column(task: Task, limits: Mapping[str, int]) -> str:
    what = {"squared error": "error ≤", "accuracy": "right ≥", "bits": "bits a character"}[task.metric]
    bound = "" if task.threshold is None else f" {task.threshold:g}" if task.last else f" {task.threshold:.0%}"
    return f"{task.title}\n{what}{bound}\nin {limits[task.name]:,} steps"


def _label(one: Outcome | None, task: Task) -> str:
    if one is None:
        return ""
    if one.value is None:
        return "no number"
    if one.steps is None:
        return _value(one.value, task) + (f" at {one.stopped:,}" if one.stopped else "")
    runs = "" if one.solved == one.seeds else f"  {one.solved}/{one.seeds}"
    return f"{one.steps:,.0f}{runs}"
