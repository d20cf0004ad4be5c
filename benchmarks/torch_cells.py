"""Every cell that torchrecurrent has too: its layer on PyTorch beside ours, values, gradients and times.

    python -m benchmarks torchrecurrent                        # every cell, some five minutes
    python -m benchmarks torchrecurrent mgu ran --seconds 2    # some
    python -m benchmarks torchrecurrent --json results.json    # keeps the results, and goes on where it was stopped
    python -m benchmarks torchrecurrent --page results.json    # writes docs/benchmarks_torchrecurrent.md

Both get the same weights. A cell whose values or gradients are not the same is refused, and the exit status is then 1.
The backend of ours is that of `KERAS_BACKEND`.
"""

import argparse
import dataclasses
import functools
import importlib
import json
import os
import pathlib
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from benchmarks import backend, measure, page
from benchmarks.measure import OURS, Peer
from benchmarks.targets import Target
from benchmarks.workloads import Problem, Workload
from keras_rnn_ext import convert
from keras_rnn_ext.registry import get

PACKAGE = "torchrecurrent"
SIZE = (128, 80, 100, 64)  # batch, steps, features, units
PAGE = page.ROOT / "docs" / "benchmarks_torchrecurrent.md"
RESULTS = page.RESULTS / PACKAGE / "tensorflow.json"

Arrays = dict[str, np.ndarray]


def _unchanged(weights: Arrays) -> Arrays:
    return weights


@dataclasses.dataclass(frozen=True)
class Shared:
    """A cell that both have.

    Args:
        kind: what torchrecurrent calls its layer.
        options: arguments of that layer, with which it computes what ours does.
        own: arguments of ours, where they are not read from theirs.
        note: what else it takes for the same numbers.
        prepare: sets those of our weights that it takes.
        tame: what keeps random weights from overflow and chaos.
        write: their arrays from our weights. None: `convert.to_torchrecurrent` knows.
    """

    kind: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    own: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    note: str = ""
    prepare: Callable[[Arrays], Arrays] = _unchanged
    tame: Callable[[Arrays], Arrays] = _unchanged
    write: Callable[[Arrays], Arrays] | None = None


def _blocks(array: np.ndarray, count: int) -> list[np.ndarray]:
    return np.split(array, count, axis=-1)


def _bounded(weights: Arrays) -> Arrays:
    """Theirs start so large that a state overflows within 80 steps."""
    return weights | {"recurrent_kernel": np.clip(weights["recurrent_kernel"], -1.0, 1.0)}


def _halved(weights: Arrays) -> Arrays:
    """Products of two states' products: with larger ones, gradients over 80 steps are chaotic."""
    return {name: 0.5 * weight if "kernel" in name else weight for name, weight in weights.items()}


def _no_content_bias(weights: Arrays) -> Arrays:
    units = weights["recurrent_kernel"].shape[0]
    return weights | {"bias": np.concatenate([0 * weights["bias"][:units], weights["bias"][units:]])}


def _without_output_kernel(weights: Arrays) -> Arrays:
    return weights | {"output_recurrent_kernel": 0 * weights["output_recurrent_kernel"]}


def _lem_arrays(weights: Arrays) -> Arrays:
    # Their two steps of time stand the other way round.
    kernel, bias, recurrent_kernel = (
        np.concatenate([second, first, *rest], axis=-1)
        for first, second, *rest in (
            _blocks(weights["kernel"], 4),
            _blocks(weights["bias"], 4),
            _blocks(weights["recurrent_kernel"], 3),
        )
    )
    nothing = 0 * weights["output_recurrent_kernel"]
    arrays = {"weight_ih": kernel.T, "weight_hh": recurrent_kernel.T, "weight_ch": nothing, "bias_ih": bias}
    return arrays | {"bias_hh": 0 * recurrent_kernel[0], "bias_ch": nothing[0]}


def _with_fourth_leaf_of_inputs(weights: Arrays) -> Arrays:
    recurrent_kernel, bias = (_blocks(weights[name], 8) for name in ("recurrent_kernel", "bias"))
    recurrent_kernel[3], bias[3] = 0 * recurrent_kernel[3], 0 * bias[3] + 1
    return weights | {"recurrent_kernel": np.concatenate(recurrent_kernel, -1), "bias": np.concatenate(bias)}


def _nas_arrays(weights: Arrays) -> Arrays:
    recurrent_kernel, bias = (_blocks(weights[name], 8) for name in ("recurrent_kernel", "bias"))
    recurrent_kernel[3], bias[3] = 0 * recurrent_kernel[3], 0 * bias[3]
    whole = np.concatenate(bias)
    arrays = {"weight_ih": weights["kernel"].T, "weight_hh": np.concatenate(recurrent_kernel, -1).T}
    return arrays | {"bias_ih": whole, "bias_hh": 0 * whole}


# By our name. What is not here is missing in torchrecurrent 0.2.5; its RHN cannot be imported.
SHARED = {
    "antisymmetric_rnn": Shared("AntisymmetricRNN", {"epsilon": 0.01, "gamma": 0.01}),
    "co_rnn": Shared("coRNN", {"dt": 0.042, "gamma": 2.7, "epsilon": 4.7}),
    "fast_grnn": Shared("FastGRNN", {"nonlinearity": "sigmoid"}, note="its gate is a tanh unless told otherwise"),
    "fast_rnn": Shared("FastRNN"),
    "gated_antisymmetric_rnn": Shared("GatedAntisymmetricRNN", {"epsilon": 0.01, "gamma": 0.01}),
    "ind_rnn": Shared("IndRNN", {"nonlinearity": "relu"}, tame=_bounded),
    "janet": Shared("JANET"),
    "lem": Shared(
        "LEM",
        own={"dt": 1.0},
        note="it differs: its y reads the z of the step before. The same with the kernel from z to y at zero",
        prepare=_without_output_kernel,
        write=_lem_arrays,
    ),
    "li_gru": Shared("LiGRU"),
    "mgu": Shared("MGU"),
    "minimal_rnn": Shared("MinimalRNN"),
    "multiplicative_lstm": Shared("MultiplicativeLSTM", note="without its two biases of m", tame=_halved),
    "nas": Shared(
        "NAS",
        note="it differs: its fourth leaf adds the two products. The same where the one of the state is 1, and 0 there",
        prepare=_with_fourth_leaf_of_inputs,
        write=_nas_arrays,
    ),
    "peephole_lstm": Shared("PeepholeLSTM"),
    "ran": Shared("RAN", note="it has no bias of the content", prepare=_no_content_bias),
    "star": Shared("STAR"),
    "ugrnn": Shared("UGRNN"),
    "unicornn": Shared("UnICORNN", {"dt": 0.19, "alpha": 30.65}),
}


class Pair(NamedTuple):
    """Our layer and theirs with the same weights, and where the entries of theirs stand in ours."""

    layer: keras.Layer
    module: Any
    places: Arrays  # of each of their arrays: the number of the entry of ours that it is, counted from 1; 0: none

    def weights(self) -> Arrays:
        """Ours, by name."""
        return _weights(self.layer)

    def pulled_back(self, gradients: Arrays) -> Arrays:
        """The gradients of our weights, from those of their arrays."""
        found = np.zeros(1 + sum(weight.size for weight in self.weights().values()))
        for name, gradient in gradients.items():
            np.add.at(found, self.places[name].reshape(-1), gradient.astype("float64").reshape(-1))
        return self._by_name(found)

    def shared(self) -> Arrays:
        """Of our weights, which entries have a counterpart: 1, else 0."""
        found = np.zeros(1 + sum(weight.size for weight in self.weights().values()))
        for places in self.places.values():
            found[places.reshape(-1)] = 1
        return self._by_name(found)

    def _by_name(self, numbers: np.ndarray) -> Arrays:
        parts, start = {}, 1
        for name, weight in self.weights().items():
            parts[name] = numbers[start : start + weight.size].reshape(weight.shape)
            start += weight.size
        return parts


def pair(name: str, features: int, units: int, *, dtype: str = "float32", scale: float = 0.05, **options: Any) -> Pair:
    """Makes both, with random weights.

    Args:
        name: ours, one of `SHARED`.
        features: of the inputs.
        units: of the layers.
        dtype: of both.
        scale: how far the weights, zeros included, are moved from where torchrecurrent starts them.
        **options: arguments of their layer beside those of the table.
    """
    # Optional dependencies: only looked for here.
    torch, library = importlib.import_module("torch"), importlib.import_module(PACKAGE)
    shared = SHARED[name]
    torch.manual_seed(0)
    # Keras on PyTorch may have set another default device.
    with torch.device("cpu"):
        given = {**shared.options, **options, "dtype": getattr(torch, dtype)}
        module = getattr(library, shared.kind)(features, units, batch_first=True, **given)
    if shared.write is None:
        layer = convert.from_torchrecurrent(module, dtype=dtype)
    else:
        layer = get(name).layer(units, return_sequences=True, dtype=dtype, **shared.own)
        layer.build((None, None, features))
    random = np.random.default_rng(0)
    weights = {key: weight + scale * random.normal(size=weight.shape) for key, weight in _weights(layer).items()}
    weights, numbers = shared.prepare(shared.tame(weights)), shared.prepare(_numbered(weights))
    places = {key: np.rint(array).astype(int) for key, array in _written(layer, numbers, shared).items()}
    arrays = _written(layer, weights, shared)
    module.load_state_dict({key: torch.tensor(array, dtype=given["dtype"]) for key, array in arrays.items()})
    trained = dict(module.named_parameters())
    # A constant of ours is an array there, and an array of zeros may be none.
    constants = {"cells.0.beta"} if name == "janet" else set()
    return Pair(layer, module, {key: places[key] for key in trained if key not in constants})


def _weights(layer: Any) -> Arrays:
    # Copies: on PyTorch an array would share the memory of the weight.
    return {each.name: np.array(ops.convert_to_numpy(each)) for each in layer.trainable_variables}


def _numbered(weights: Arrays) -> Arrays:
    numbers, start = {}, 1
    for name, weight in weights.items():
        numbers[name] = np.arange(start, start + weight.size, dtype="float64").reshape(weight.shape)
        start += weight.size
    return numbers


def _written(layer: Any, weights: Arrays, shared: Shared) -> Arrays:
    """Their arrays, with `weights` in our layer."""
    for variable in layer.trainable_variables:
        variable.assign(weights[variable.name].astype(variable.dtype))
    if shared.write is None:
        return convert.to_torchrecurrent(layer)
    return {f"cells.0.{name}": np.ascontiguousarray(array) for name, array in shared.write(weights).items()}


# Measuring


def run(name: str, seconds: float, least_rounds: int = measure.LEAST_ROUNDS) -> dict[str, Any]:
    """Values and gradients are compared, then times; what the JSON holds of it."""
    shared, (batch, steps, features, units) = SHARED[name], SIZE
    title = f"{get(name).layer.__name__} {' x '.join(map(str, SIZE))}"
    head = {"workload": f"{PACKAGE}-{name}", "mode": PACKAGE, "title": title, "note": shared.note}
    try:
        both = pair(name, features, units)
        inputs = np.random.default_rng(0).normal(size=(batch, steps, features)).astype("float32")
        problem = Problem(
            Workload(head["workload"], name, batch, steps, features, units),
            inputs,
            None,
            list(both.weights().values()),
            list(both.weights()),
        )
        makers = {PACKAGE: functools.partial(_their_peer, both, problem), OURS: functools.partial(_peer, both, problem)}
        peers, first_calls, refused, apart = measure.agreeing(makers, 1e-4 * get(name).condition)
        # Without theirs or ours there is nothing to compare.
        timings = {}
        if len(peers) == len(makers):
            timings = measure.summarize(measure.take_turns(peers, seconds, least_rounds), first_calls)
    except Exception as error:  # the other cells can be measured all the same
        return head | {"peers": {}, "refused": {OURS: f"{type(error).__name__}: {error}".strip()[:500]}}
    found = {each: dataclasses.asdict(timing) for each, timing in timings.items()}
    return head | {"apart": apart, "refused": refused, "peers": found}


def _peer(both: Pair, problem: Problem) -> Peer:
    peer = backend.peers_module().layer_peer(problem, "gradient", lambda: both.layer)
    shared = both.shared()

    def read(results: Any) -> Arrays:
        assert peer.read is not None
        found = peer.read(results)
        return found | {f"gradient of {name}": found[f"gradient of {name}"] * shared[name] for name in shared}

    return Peer(peer.run, read)


def _their_peer(both: Pair, problem: Problem) -> Peer:
    torch = importlib.import_module("torch")
    inputs = torch.tensor(problem.inputs, requires_grad=True)
    weights = dict(both.module.named_parameters())

    def gradient() -> list:
        loss = both.module(inputs)[0].square().sum()
        return [loss, *torch.autograd.grad(loss, [inputs, *weights.values()])]

    def read(results: list) -> Arrays:
        loss, of_inputs, *of_weights = (each.detach().numpy() for each in results)
        theirs = {name: each for name, each in zip(weights, of_weights, strict=True) if name in both.places}
        ours = {f"gradient of {name}": each for name, each in both.pulled_back(theirs).items()}
        return {"loss": loss, "gradient of inputs": of_inputs, **ours}

    return Peer(gradient, read)


# The command


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    from benchmarks.__main__ import _positive

    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {PACKAGE}",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cells", nargs="*", help=f"some of {', '.join(SHARED)}; none: all")
    parser.add_argument("--seconds", type=_positive, default=10.0, help="for a cell (default: 10)")
    parser.add_argument("--json", type=pathlib.Path, help="file for the results; cells that it holds are not repeated")
    parser.add_argument("--again", action="store_true", help="measure the cells that the file holds, too")
    parser.add_argument("--page", type=pathlib.Path, metavar="FILE", help="make the page of this file, measure nothing")
    parser.add_argument("--page-to", type=pathlib.Path, default=PAGE, help=f"the page (default: {PAGE.name} in docs)")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and gives the exit status."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    unknown = [name for name in options.cells if name not in SHARED]
    if unknown:
        parser.error(f"expected cells among {', '.join(SHARED)}, got {', '.join(unknown)}")
    try:
        if options.page:
            _put(options.page_to, text(page.load(options.page)))
            return 0
        if options.json and not options.json.absolute().parent.is_dir():
            raise ValueError(f"--json: expected a file in a folder that exists, got {str(options.json)!r}")
        found = measure_all(options)
    except ValueError as error:
        parser.error(str(error))
    return int(any(result["refused"] for result in found["results"]))


def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    """Measures the cells one after the other, prints each, and keeps the file up to date."""
    from benchmarks.__main__ import show

    found = _begun(options)
    done = {each["workload"] for each in found["results"] if each["peers"] and not options.again}
    names = [name for name in options.cells or SHARED if f"{PACKAGE}-{name}" not in done]
    for place, name in enumerate(names):
        print(f"[{place + 1}/{len(names)}] {name}", flush=True)
        result = run(name, options.seconds)
        kept = [each for each in found["results"] if each["workload"] != result["workload"]]
        found["results"] = sorted([*kept, result], key=lambda each: each["workload"])
        show(result)
        if options.json:
            _put(options.json, json.dumps(found, indent=1) + "\n")
    print(summary(found["results"]))
    return found


def _begun(options: argparse.Namespace) -> dict[str, Any]:
    import importlib.metadata

    about = backend.about()
    try:
        about["versions"][PACKAGE] = importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise ValueError(f"{PACKAGE} is not installed: python -m pip install torch {PACKAGE}==0.2.5") from None
    if options.json and options.json.exists():
        before = page.load(options.json)
        changing = ("date", "load")
        if any(before["about"][key] != about[key] for key in about if key not in changing):
            raise ValueError(f"--json: {str(options.json)!r} is of another machine or of other versions: remove it")
        return before
    return {"about": about, "results": []}


def _put(path: pathlib.Path, text: str) -> None:
    partial = path.with_name(f"partial-{path.name}")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def ratios(results: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Their time over ours, by our name."""
    return {
        each["workload"].removeprefix(f"{PACKAGE}-"): each["peers"][PACKAGE]["ratio"]
        for each in results
        if PACKAGE in each["peers"]
    }


def summary(results: Sequence[dict[str, Any]]) -> str:
    """Mean and least ratio, in one line."""
    found = ratios(results)
    if not found:
        return "nothing was measured"
    least = min(found, key=lambda name: found[name])
    mean = statistics.geometric_mean(found.values())
    return (
        f"{len(found)} cells: {PACKAGE} takes {mean:.2f} times as long as ours, geometric mean; "
        f"least: {found[least]:.2f} ({least})"
    )


HEAD = f"""# Benchmarks against {PACKAGE}

<!-- Written by `python -m benchmarks {PACKAGE} --page`: change benchmarks/torch_cells.py instead. -->

Every cell that [{PACKAGE}](https://pypi.org/project/{PACKAGE}/) has too: its layer, called eagerly on PyTorch, beside
ours%s. A call is forward and gradient, of inputs and weights, in float32,
{" x ".join(map(str, SIZE))} (batch x steps x features x units). Both have the same weights. They took turns in one
process, after a check that they compute the same values and gradients: **apart** is the largest difference, relative to
the largest number of each tensor. A time is the median of at least {measure.LEAST_ROUNDS} rounds. The **ratio** is
their time over ours: above 1, ours is faster; in brackets, the quartiles of the rounds' ratios.

```bash
python -m pip install torch {PACKAGE}==0.2.5
python -m benchmarks {PACKAGE} --json {PACKAGE}.json    # five minutes; goes on where it was stopped
python -m benchmarks {PACKAGE} --page {PACKAGE}.json    # this page
```
"""
WHERE = {
    "tensorflow": " on TensorFlow, in a graph that takes any batch size",
    "jax": " on JAX, compiled",
    "torch": " on PyTorch",
}
TARGETS = (("geometric mean", 2.0, True), ("each cell", 1.0, False))


def text(found: dict[str, Any]) -> str:
    """The page."""
    results = {(each["workload"], each["mode"]): each for each in found["results"]}
    name, workloads = found["about"]["backend"], tuple(f"{PACKAGE}-{cell}" for cell in SHARED)
    targets = [
        Target(name, title, PACKAGE, workloads, bound, over=PACKAGE, mean=mean) for title, bound, mean in TARGETS
    ]
    outcomes = [(each.title, f"≥ {each.bound:g}", *each.outcome(results)) for each in targets]
    met = {None: "", True: "met", False: "**missed**"}
    measured = [[title, aim, value.replace(f"{PACKAGE}-", ""), met[is_met]] for title, aim, value, is_met in outcomes]
    rows = [
        [
            f"`{each['title'].split(' ')[0]}`",
            f"`{SHARED[_name(each)].kind}`",
            page._number(each["peers"][OURS]["median"]),
            page._number(each["peers"][PACKAGE]["median"]),
            page._ratio(each["peers"][PACKAGE]),
            f"{each['apart']:.0e}",
            each["note"],
        ]
        for each in found["results"]
        if PACKAGE in each["peers"]
    ]
    means = list(ratios(found["results"]).values())
    if means:
        rows.append(["geometric mean", "", "", "", f"**{statistics.geometric_mean(means):.2f}**", "", ""])
    parts = [
        HEAD % WHERE[name],
        page._about(found["about"]),
        page._table(["target", "aim", "measured", ""], measured),
        page._table(["ours", "theirs", "ours, ms", "theirs, ms", "ratio", "apart", ""], rows),
        page._refused(results),
    ]
    return "\n".join(filter(None, parts))


def _name(result: dict[str, Any]) -> str:
    return result["workload"].removeprefix(f"{PACKAGE}-")
