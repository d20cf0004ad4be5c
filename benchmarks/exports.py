"""What can be exported, with our layers and with Keras's: formats, backends and kinds of models, in a table.

    python -m benchmarks.exports                                   # everything that is missing; an hour on two cores
    python -m benchmarks.exports --backends torch --kinds lstm     # some of it
    python -m benchmarks.exports --page                            # docs/export.md, from what there is

Each export is a process of its own, and so is the use of what it wrote, which cannot import this package. Outputs are
compared with the model's, at the shapes of the export and at others. What is not installed is left out and said so.
"""

import argparse
import dataclasses
import functools
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "exports" / "exports.json"
PAGE = ROOT / "docs" / "export.md"
BEGIN, END = (f"<!-- Written by `python -m benchmarks.exports --page` {word} here. -->" for word in ("from", "to"))
STEPS, ROWS, FEATURES = 8, 2, 3
TOLERANCE = 1e-5
SECONDS = 300  # for an export

# Formats: what Keras calls them, the backends that can, and the packages that run them.
FORMATS = {
    "SavedModel": ("tf_saved_model", ("tensorflow", "jax"), ("tensorflow",)),
    "ONNX": ("onnx", ("tensorflow", "jax", "torch"), ("onnxruntime",)),
    "LiteRT": ("litert", ("tensorflow",), ("ai_edge_litert",)),
    "LiteRT, Select operators": ("litert", ("tensorflow",), ("ai_edge_litert",)),
    "torch.export": ("torch", ("torch",), ("torch",)),
}
BACKENDS = ("tensorflow", "jax", "torch")


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of model.

    Args:
        title: as the page calls it.
        build: the layers of one package, by their names in Keras -> the model.
        in_keras: whether Keras has it too.
        fixed: whether its shapes are known when it is made.
        ids: whether its inputs are ids.
    """

    title: str
    build: Callable[[Any], Any]
    in_keras: bool = True
    fixed: bool = False
    ids: bool = False


def _sequential(*make: Callable[[Any], Any], shape: tuple = (None, FEATURES), **options: Any) -> Callable[[Any], Any]:
    def build(layers: Any) -> Any:
        import keras

        given = {"shape": shape} if "batch_shape" not in options else {}
        return keras.Sequential([keras.Input(**given, **options), *(each(layers) for each in make)])

    return build


def _layer(name: str, *arguments: Any, **options: Any) -> Callable[[Any], Any]:
    return lambda layers: getattr(layers, name)(*arguments, **options)


def _own(name: str, units: int = 4, **options: Any) -> Kind:
    """A layer that Keras has not."""
    head = (_layer(name, units, return_sequences=True, **options), _layer("Dense", 2))
    return Kind(f"`{name}`", _sequential(*head), in_keras=False)


def _step(build: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def stepped(layers: Any) -> Any:
        from keras_rnn_ext.streaming import step_model

        return step_model(build(layers))

    return stepped


def _bidirectional(layers: Any) -> Any:
    return layers.Bidirectional(layers.GRU(4, return_sequences=True))


def _stack(layers: Any) -> Any:
    return layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)], return_sequences=True)


def _zoneout(layers: Any) -> Any:
    return layers.RNN(layers.ZoneoutWrapper(layers.LSTMCell(4), 0.1), return_sequences=True)


_TWO = (_layer("LSTM", 4, return_sequences=True), _layer("GRU", 3, return_sequences=True), _layer("Dense", 2))
_IDS: dict[str, Any] = {"shape": (None,), "dtype": "int32"}
_MASKED = (_layer("Embedding", 9, 4, mask_zero=True), _layer("LSTM", 4, return_sequences=True), _layer("Dense", 2))
KINDS = {
    "simple_rnn": Kind("`SimpleRNN`", _sequential(_layer("SimpleRNN", 4, return_sequences=True), _layer("Dense", 2))),
    "lstm": Kind("`LSTM`", _sequential(_layer("LSTM", 4, return_sequences=True), _layer("Dense", 2))),
    "gru": Kind("`GRU`", _sequential(_layer("GRU", 4, return_sequences=True), _layer("Dense", 2))),
    "last": Kind("`LSTM`, last output", _sequential(_layer("LSTM", 4), _layer("Dense", 2))),
    "two": Kind("two layers", _sequential(*_TWO)),
    "known": Kind("two layers, known steps", _sequential(*_TWO, batch_shape=(ROWS, STEPS, FEATURES)), fixed=True),
    "masked": Kind("ids with padding", _sequential(*_MASKED, **_IDS), ids=True),
    "bidirectional": Kind("two directions", _sequential(_bidirectional, _layer("Dense", 2))),
    "stateful": Kind(
        "stateful",
        _sequential(_layer("LSTM", 4, stateful=True, return_sequences=True), batch_shape=(ROWS, STEPS, FEATURES)),
        fixed=True,
    ),
    "stack": Kind("cells on top of each other", _sequential(_stack)),
    "step": Kind("step model of two layers", _step(_sequential(*_TWO)), in_keras=False),
    "step_masked": Kind("step model with padding", _step(_sequential(*_MASKED, **_IDS)), in_keras=False, ids=True),
    "zoneout": Kind("`ZoneoutWrapper`", _sequential(_zoneout), in_keras=False),
    "peephole_lstm": _own("PeepholeLSTM"),
    "layer_norm_lstm": _own("LayerNormLSTM"),
    "slstm": _own("SLSTM", heads=2),
    "mlstm": _own("MLSTM", heads=2),
    "min_gru": _own("MinGRU"),
    "lru": _own("LRU"),
    "qrnn": _own("QRNN"),
    "lmu": _own("LMU", order=3, theta=4.0),
    "cfc": _own("CfC"),
    "conv_lstm": Kind(
        "`ConvLSTM2D`",
        _sequential(_layer("ConvLSTM2D", 2, 3, return_sequences=True), shape=(None, 5, 5, 1)),
    ),
}


class _Ours:
    """Our layers, by the names that they have in Keras."""

    def __getattr__(self, name: str) -> Any:
        import keras

        import keras_rnn_ext

        own = getattr(keras_rnn_ext, f"My{name}", None) or getattr(keras_rnn_ext, name, None)
        return own or getattr(keras.layers, name)


# One export, in a process of its own


def example(model: Any, rows: int, steps: int, ids: bool) -> list[np.ndarray]:
    """Inputs of a model, as a flat list."""
    import keras

    random = np.random.default_rng(rows + steps)
    arrays = []
    for place, tensor in enumerate(keras.tree.flatten(model.inputs)):
        shape = [rows, *tensor.shape[1:]]
        shape = [steps if size is None else size for size in shape]
        if ids and place == 0:
            arrays.append(random.integers(0, 9, shape).astype(tensor.dtype))
        else:
            arrays.append(random.normal(size=shape).astype(tensor.dtype))
    return arrays


def export(kind: str, ours: bool, name: str, folder: pathlib.Path) -> dict[str, Any]:
    """Exports a model, and keeps inputs and outputs beside it; gives the seconds, and the bytes of what it wrote."""
    import keras

    keras.utils.set_random_seed(1)
    made = KINDS[kind]
    model = made.build(_Ours() if ours else keras.layers)
    format_name, litert = FORMATS[name][0], name.startswith("LiteRT")
    path = folder / {"litert": "model.tflite", "onnx": "model.onnx", "torch": "model.pt2"}.get(format_name, "model")
    shapes = [(ROWS, STEPS)]
    if not (made.fixed or litert):
        shapes += [(ROWS + 1, STEPS), (ROWS + 1, STEPS + 3)]
    options: dict[str, Any] = {}
    if litert or format_name == "torch":
        # Phones know their shapes; the converter has no loop for a length that is not known. Of others, PyTorch would
        # take sizes of 1.
        arrays = example(model, ROWS, STEPS, made.ids)
        specs = [keras.InputSpec(shape=each.shape, dtype=each.dtype) for each in arrays]
        options["input_signature"] = specs if len(specs) == 1 else [specs]
    if name == "LiteRT":
        import tensorflow as tf

        options["target_spec"] = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    for place, (rows, steps) in enumerate(shapes):
        arrays = example(model, rows, steps, made.ids)
        outputs = keras.tree.flatten(model(arrays if len(arrays) > 1 else arrays[0], training=False))
        np.savez(folder / f"inputs{place}.npz", *arrays)
        np.savez(folder / f"outputs{place}.npz", *[np.asarray(keras.ops.convert_to_numpy(each)) for each in outputs])
    for layer in model.layers:
        if getattr(layer, "stateful", False):
            layer.reset_state()
    found: dict[str, Any] = {}
    for more in _sizes(model, format_name, made):
        begin = time.monotonic()
        try:
            model.export(path, format=format_name, verbose=False, **options, **more)
        except Exception as error:
            if not more:
                raise
            found["not_for_all_shapes"] = _short(error)
            continue
        found["seconds"] = round(time.monotonic() - begin, 1)
        break
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return {**found, "bytes": sum(each.stat().st_size for each in files)}


def _sizes(model: Any, format_name: str, made: Kind) -> list[dict[str, Any]]:
    """What PyTorch has to be told of sizes that may differ: of all axes, of the batch, of none."""
    if format_name != "torch" or made.fixed:
        return [{}]
    import torch

    def free(axes: int) -> dict[str, Any]:
        sizes = [
            {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate(each.shape[:axes]) if size is None}
            for each in model.inputs
        ]
        return {"dynamic_shapes": (sizes[0] if len(sizes) == 1 else sizes,)}

    return [free(99), free(1), {}]


def use(name: str, folder: pathlib.Path) -> dict[str, Any]:
    """Runs what was exported, without this package; gives the largest error, relative to the largest output."""
    sys.modules["keras_rnn_ext"] = None  # type: ignore[assignment]
    run = _RUNNERS[FORMATS[name][0]](folder)
    errors: list[Any] = []
    for place in range(len(list(folder.glob("inputs*.npz")))):
        with np.load(folder / f"inputs{place}.npz") as archive:
            arrays = [archive[key] for key in archive.files]
        with np.load(folder / f"outputs{place}.npz") as archive:
            expected = [archive[key] for key in archive.files]
        try:
            found = run(arrays)
        except Exception as error:
            if place == 0:
                raise
            return {"error": max(errors), "other_shapes": "batch" if place == 2 else _short(error)}
        errors.append(max(_apart(one, other) for one, other in zip(found, expected, strict=True)))
    return {"error": max(errors), "other_shapes": None if len(errors) == 1 else True}


def _apart(found: Any, expected: np.ndarray) -> float:
    found = np.asarray(found)
    if found.shape != expected.shape:
        raise ValueError(f"shape {found.shape} instead of {expected.shape}")
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30))


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def _run_saved_model(folder: pathlib.Path) -> Callable[[list], list]:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder / "model"))
    return lambda arrays: tf.nest.flatten(loaded.serve(*([arrays] if len(arrays) > 1 else arrays)))


def _run_onnx(folder: pathlib.Path) -> Callable[[list], list]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    known = [each.name for each in session.get_inputs()]
    return lambda arrays: session.run(None, dict(zip(known, arrays, strict=True)))


def _run_litert(folder: pathlib.Path) -> Callable[[list], list]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(folder / "model.tflite"))

    runner = interpreter.get_signature_runner()
    known = sorted(runner.get_input_details(), key=_by_number)

    def run(arrays: list) -> list:
        found = runner(**dict(zip(known, arrays, strict=True)))
        return [found[name] for name in sorted(found, key=_by_number)]

    return run


def _by_number(name: str) -> int:
    """The place of `inputs`, `inputs_1`, `inputs_2`."""
    number = name.rpartition("_")[2]
    return int(number) if number.isdecimal() else 0


def _run_torch(folder: pathlib.Path) -> Callable[[list], list]:
    import torch

    module = torch.export.load(str(folder / "model.pt2")).module()

    def run(arrays: list) -> list:
        tensors = [torch.from_numpy(each) for each in arrays]
        found = module(tensors) if len(tensors) > 1 else module(*tensors)
        return [each.detach().numpy() for each in (found if isinstance(found, (list, tuple)) else [found])]

    return run


_RUNNERS = {
    "tf_saved_model": _run_saved_model,
    "onnx": _run_onnx,
    "litert": _run_litert,
    "torch": _run_torch,
}


# All of them


def tried(backend: str, kind: str, who: str, name: str) -> dict[str, Any]:
    """The result of one export and of its use: `error`, or `failed`, the reason."""
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Any] = {}
        for part in ("export", "use"):
            command = [sys.executable, "-m", "benchmarks.exports", "--one", part, kind, who, name, folder]
            environment = {
                **os.environ,
                "KERAS_BACKEND": backend,
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "CUDA_VISIBLE_DEVICES": "",
            }
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=SECONDS, check=False
                )
            except subprocess.TimeoutExpired:
                return {"failed": f"{part}: not done after {SECONDS} s"}
            lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
            if not lines:
                words = " ".join(done.stderr.split())[-300:]
                return {"failed": f"{part}: the process ended with status {done.returncode}: {words}"}
            answer = json.loads(lines[-1].removeprefix("RESULT "))
            if "failed" in answer:
                return {"failed": f"{part}: {answer['failed']}"}
            found |= answer
        if found["error"] > TOLERANCE:
            return {"failed": f"use: outputs are {found['error']:.1e} apart", **found}
        return found


def one(part: str, kind: str, who: str, name: str, folder: str) -> None:
    """What a process does: prints its result as JSON."""
    try:
        answer = (
            export(kind, who == "ours", name, pathlib.Path(folder))
            if part == "export"
            else use(name, pathlib.Path(folder))
        )
    except Exception as error:
        answer = {"failed": _short(error)}
    print("RESULT " + json.dumps(answer))


@functools.cache
def versions() -> dict[str, str]:
    """Those of what took part."""
    names = ("keras", "tensorflow", "jax", "torch", "onnxruntime", "tf2onnx", "onnxscript", "ai-edge-litert")
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and gives the exit status: 1 if Keras's layer can be exported and ours cannot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), metavar="KIND")
    parser.add_argument("--formats", nargs="+", choices=list(FORMATS), default=list(FORMATS), metavar="FORMAT")
    parser.add_argument("--json", type=pathlib.Path, default=RESULTS, help="file for the results; what it has is kept")
    parser.add_argument("--again", action="store_true", help="try also what the file has")
    parser.add_argument("--page", action="store_true", help="make the page of the results, export nothing")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        one(*options.one)
        return 0
    kept = json.loads(options.json.read_text()) if options.json.exists() else {"results": {}}
    if options.page:
        write_page(kept, PAGE)
        return 0
    options.json.parent.mkdir(parents=True, exist_ok=True)
    jobs = [
        (backend, kind, who, name)
        for backend in options.backends
        for kind in options.kinds
        for name in options.formats
        for who in (("ours", "keras") if KINDS[kind].in_keras else ("ours",))
        if backend in FORMATS[name][1]
    ]
    jobs = [job for job in jobs if options.again or " | ".join(job) not in kept["results"]]
    begin = time.monotonic()
    for place, job in enumerate(jobs):
        backend, _, _, name = job
        missing = [each for each in (backend, *FORMATS[name][2]) if importlib.util.find_spec(each) is None]
        found = {"failed": f"not tried: {', '.join(missing)} is not installed"} if missing else tried(*job)
        kept["results"][" | ".join(job)] = found
        kept["versions"] = versions()
        partial = options.json.with_suffix(".partial")
        partial.write_text(json.dumps(kept, indent=1) + "\n")
        os.replace(partial, options.json)
        gone = time.monotonic() - begin
        left = f"about {gone / (place + 1) * (len(jobs) - place - 1) / 60:.0f} min left"
        said = found.get("failed") or f"{found['error']:.1e} apart, {found['seconds']} s, {found['bytes']:,} bytes"
        print(f"[{place + 1}/{len(jobs)}] {' | '.join(job)}: {said}  {left}", flush=True)
    return int(bool(worse(kept["results"])))


def worse(results: dict[str, dict]) -> list[str]:
    """What Keras's layers can and ours cannot."""
    return [
        key
        for key, found in results.items()
        if " | ours | " in key
        and "failed" in found
        and "failed" not in results.get(key.replace("ours", "keras"), {"failed": 1})
    ]


def write_page(kept: dict[str, Any], path: pathlib.Path) -> None:
    """Puts the table between its marks on the page."""
    page = path.read_text(encoding="utf-8")
    before, after = page.index(BEGIN) + len(BEGIN), page.index(END)
    path.write_text(f"{page[:before]}\n\n{table(kept)}\n{page[after:]}", encoding="utf-8")


def table(kept: dict[str, Any]) -> str:
    """For each backend: kinds of models by formats."""
    results, lines = kept["results"], []
    for backend in BACKENDS:
        names = [name for name, (_, backends, _) in FORMATS.items() if backend in backends]
        lines += [f"### {backend}", "", f"| model | {' | '.join(names)} |", f"| --- |{' --- |' * len(names)}"]
        for kind, made in KINDS.items():
            cells = []
            for name in names:
                both = [results.get(" | ".join((backend, kind, who, name))) for who in ("ours", "keras")]
                cells.append(" / ".join(_mark(each) for each in both[: 2 if made.in_keras else 1]))
            lines.append(f"| {made.title} | {' | '.join(cells)} |")
        lines.append("")
    lines.append(
        "Versions: " + ", ".join(f"{name} {version}" for name, version in kept.get("versions", {}).items()) + "."
    )
    return "\n".join(lines) + "\n"


def _mark(found: dict[str, Any] | None) -> str:
    if found is None:
        return "not tried"
    if "failed" in found:
        return "not tried" if found["failed"].startswith("not tried") else "no"
    return {None: "yes", True: "yes", "batch": "any batch"}.get(found["other_shapes"], "fixed shapes")


if __name__ == "__main__":
    raise SystemExit(main())
