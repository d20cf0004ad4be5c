"""`docs/benchmarks.md`, made from the JSON files of some runs."""

import json
import os
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks import cells
from benchmarks.measure import OURS
from benchmarks.targets import NOTES, SIX, TARGETS, place

ROOT = pathlib.Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / "benchmarks" / "results"
BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
MODES = {
    "gradient": "With gradient",
    "forward": "Forward alone",
    "unsaid gradient": "With gradient, called without `training=`",
    "eager gradient": "Called eagerly, in a `GradientTape` loop",
    "eager forward": "Called eagerly, forward alone",
    "choices gradient": "Other choices than the engine's, with gradient",
    "choices forward": "Other choices than the engine's, forward",
    "fit": "Whole models: an epoch of `fit`",
    "generation": "Generation: a character",
    "training": "Truncated back-propagation: a window",
}
HEAD = """# Benchmarks

<!-- Written by `python -m benchmarks --page`: change benchmarks/page.py instead. -->

All peers of a row ran in one process, in turns, after a check that they compute the same values and gradients. A time
is the median of at least 7 rounds. A **ratio** is the peer's time over ours without XLA: above 1, ours is faster; in
brackets, the quartiles of the rounds' ratios. The **share** is how much of the time the layer's matrix products would
take at the rate of one large product, measured in the same rounds: a layer at 100 % could not be faster. On
TensorFlow, graphs take any batch size, as in `fit`, except for W5, W10, W15 and `small`. Sizes are batch x steps x
features x units. Peak memory is that of training in a process of its own, above what it held before the first call:
the median of three processes.

```bash
python -m benchmarks --memory --json tensorflow.json    # all workloads, half an hour or more
python -m benchmarks W3 W4 --seconds 5                  # some
python -m benchmarks cells                              # every cell of the catalogue
python -m benchmarks --page benchmarks/results/*.json    # this page
```
"""

GPU = """## GPU

Not measured. [How the engine chooses](engine.md) says what runs there. The tests hold its choices, what cuDNN is given
and what is made of its results against stand-ins for the kernels, on a CPU.
"""


def load(path: pathlib.Path) -> dict[str, Any]:
    """A run.

    Raises:
        ValueError: if the file is missing, or is none of ours.
    """
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        if run["about"]["backend"] not in BACKENDS or not isinstance(run["results"], list):
            raise KeyError("about")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"expected a file written by `python -m benchmarks --json`, got {str(path)!r}: {error!r}"
        ) from error
    return run


def write(runs: Sequence[dict[str, Any]], path: pathlib.Path = PAGE) -> None:
    """Writes the page."""
    partial = path.with_name(f"partial-{path.name}")
    partial.write_text(text(runs), encoding="utf-8")
    os.replace(partial, path)


def text(runs: Sequence[dict[str, Any]]) -> str:
    """The page."""
    parts = [HEAD]
    for name, title in BACKENDS.items():
        parts.append(f"## {title}\n")
        own = [run for run in runs if run["about"]["backend"] == name]
        # A later run's result takes the place of an earlier one's.
        results = {(each["workload"], each["mode"]): each for run in own for each in run["results"]}
        parts += [_about(run["about"]) for run in own] or ["Not measured.\n"]
        parts.append(_targets(name, results))
        if results:
            parts.append(NOTES.get(name, ""))
            parts += [_mode(mode, results) for mode in MODES if any(mode == each for _, each in results)]
            parts += [_cells(results), _long_cells(results)]
            parts.append(_costs(results))
            parts.append(_refused(results))
    parts.append(GPU)
    return "\n".join(filter(None, parts))


def _about(about: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"{about['date']}, {about['processor']}, {about['cpus']} CPUs, {about['system']}, Python {about['python']}; "
        f"{versions}; load when it began {about['load']}.\n"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _targets(backend: str, results: dict) -> str:
    rows, reasons = [], []
    for target in (each for each in TARGETS if each.backend == backend):
        measured, met = target.outcome(results)
        rows.append([target.title, target.wanted, measured, {None: "", True: "met", False: "**missed**"}[met]])
        if met is False:
            reasons.append(f"- **{target.title}, {target.wanted}**: {target.why}\n")
    why = "### Why some were missed\n\n" + "".join(reasons) if reasons else ""
    return "\n".join(filter(None, [_table(["target", "aim", "measured", ""], rows), why]))


def _mode(mode: str, results: dict) -> str:
    chosen = {workload: each for (workload, own), each in results.items() if own == mode and each["peers"]}
    if not chosen:
        return ""
    chosen = dict(sorted(chosen.items(), key=lambda item: place(item[0])))
    peers = list(dict.fromkeys(name for each in chosen.values() for name in each["peers"] if name != OURS))
    rows = [
        [
            workload,
            each["title"],
            _number(each["peers"][OURS]["median"]),
            _share(each["peers"][OURS]),
            *(_ratio(each["peers"].get(name)) for name in peers),
        ]
        for workload, each in chosen.items()
    ]
    if all(workload in chosen for workload in SIX):
        means = []
        for name in peers:
            ratios = [chosen[workload]["peers"].get(name, {}).get("ratio") for workload in SIX]
            means.append("" if None in ratios else f"**{statistics.geometric_mean(ratios):.2f}**")
        rows.append(["W1-W6", "geometric mean", "", "", *means])
    return f"### {MODES[mode]}\n\n" + _table(["", "", "ours, ms", "share", *peers], rows)


CELLS = """### Every cell

Our layer beside the same cell in `keras.layers.RNN`, forward and gradient, in a graph that takes any batch size. The
ratio is Keras's time over ours. `MGU` has two products in a step, one after the other, so that it runs as in Keras.
What the linear ones gain grows with the number of steps: see below.

"""
LONG_CELLS = """### Linear cells with 4,096 steps

The parallel scan beside our own loop over the same cell, step by step, forward and gradient, 16 x 4,096 x 64 x 64.

"""


def _cells(results: dict) -> str:
    modes = [mode for mode in cells.SIZES if mode != cells.LONG]
    found = {workload: each for (workload, mode), each in results.items() if mode == modes[0] and each["peers"]}
    if not found:
        return ""
    rows, gated = [], []
    for workload in found:
        each = [results.get((workload, mode), {}).get("peers", {}) for mode in modes]
        name, kind = found[workload]["title"].split(" ")[0], found[workload]["title"].rsplit(", ", 1)[1]
        pairs = [(_number(peers[OURS]["median"]), _ratio(peers.get("keras"))) if peers else ("", "") for peers in each]
        rows.append([f"`{name}`", kind, *(text for pair in pairs for text in pair)])
        if kind == "gated" and all("keras" in peers for peers in each):
            gated.append([peers["keras"]["ratio"] for peers in each])
    if gated:
        means = [f"**{statistics.geometric_mean(column):.2f}**" for column in zip(*gated, strict=True)]
        rows.append(["gated cells", "geometric mean", *(text for mean in means for text in ("", mean))])
    sizes = [" x ".join(map(str, cells.SIZES[mode])) for mode in modes]
    head = ["", "", *(text for size in sizes for text in (f"{size}: ours, ms", "ratio"))]
    return CELLS + _table(head, rows)


def _long_cells(results: dict) -> str:
    found = [each for (_, mode), each in results.items() if mode == cells.LONG and each["peers"]]
    rows = [
        [
            f"`{each['title'].split(' ')[0]}`",
            _number(each["peers"][OURS]["median"]),
            _number(each["peers"][cells.LOOP]["median"]),
            _ratio(each["peers"][cells.LOOP]),
        ]
        for each in found
        if cells.LOOP in each["peers"]
    ]
    return LONG_CELLS + _table(["", "side by side, ms", "step by step, ms", "ratio"], rows) if rows else ""


def _costs(results: dict) -> str:
    rows = []
    for (workload, mode), each in results.items():
        for name, peer in each["peers"].items() if mode not in cells.SIZES else ():
            if peer["first_call"] is not None or peer["memory"] is not None:
                rows.append([workload, mode, name, _seconds(peer["first_call"]), _memory(peer["memory"])])
    if not rows:
        return ""
    return "### First call and peak memory\n\n" + _table(["", "", "", "first call, s", "peak memory, MiB"], rows)


def _refused(results: dict) -> str:
    lines = [
        f"- {workload}, {mode}, {name}: {reason}\n"
        for (workload, mode), each in results.items()
        for name, reason in each["refused"].items()
    ]
    return "### Not measured, and why\n\n" + "".join(lines) if lines else ""


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _memory(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _seconds(milliseconds: float | None) -> str:
    return "not measured" if milliseconds is None else f"{milliseconds / 1e3:.2f}"


def _share(peer: dict[str, Any]) -> str:
    return f"{peer['share']:.0%}" if peer.get("share") is not None else ""


def _ratio(peer: dict[str, Any] | None) -> str:
    if not peer or peer["ratio"] is None:
        return ""
    spread = peer["ratio_quartiles"]
    return f"{peer['ratio']:.2f}" + (f" ({spread[0]:.2f}-{spread[1]:.2f})" if spread else "")
