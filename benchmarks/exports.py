"""Exports models with our layers and with Keras's, in every format, and runs what was written.

    python -m benchmarks.exports                                   # all that is missing; half an hour on two cores
    python -m benchmarks.exports --backends torch --kinds lstm     # some of it
    python -m benchmarks.exports --page                            # docs/export.md, from what there is

Each export has a process of its own, and so has the use of what it wrote, which can import neither this package nor
Keras. Outputs are compared with the model's, at the shapes of the export and at others. What is not installed is left
out and said so.
"""

import argparse
import dataclasses
import functools
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import export_page
from benchmarks.export_models import KINDS, ROWS, STEPS, USUAL, Kind, Ours, example
from benchmarks.export_use import short, use

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "exports" / "exports.json"
TOLERANCE = 1e-5
SECONDS = 600  # of computing, for an export: those of a clock depend on what else the machine does
SAMPLES = 20  # from which the converter learns the ranges of what is computed in int8
BACKENDS = ("tensorflow", "jax", "torch")
# Modules that take seconds to import: one process imports them, and the others are its copies. TensorFlow imports
# Keras, whose backend is chosen then, so that exports from other backends have processes of their own.
HEAVY = ("tensorflow", "tensorflow.lite.python.lite", "torch")


@dataclasses.dataclass(frozen=True)
class Format:
    """A format.

    Args:
        keras_name: what `model.export` calls it.
        backends: those that can write it.
        package: what runs it.
        file: what is written.
        exact: whether outputs have to be equal.
    """

    keras_name: str
    backends: tuple[str, ...]
    package: str
    file: str
    exact: bool = True


SELECT = "LiteRT, Select operators"
_LITERT = Format("litert", ("tensorflow",), "ai_edge_litert", "model.tflite")
FORMATS = {
    "SavedModel": Format("tf_saved_model", ("tensorflow", "jax"), "tensorflow", "model"),
    "ONNX": Format("onnx", ("tensorflow", "jax", "torch"), "onnxruntime", "model.onnx"),
    "LiteRT": _LITERT,
    SELECT: _LITERT,
    "torch.export": Format("torch", ("torch",), "torch", "model.pt2"),
    "LiteRT, float16 weights": dataclasses.replace(_LITERT, exact=False),
    "LiteRT, int8 weights": dataclasses.replace(_LITERT, exact=False),
    "LiteRT, int8": dataclasses.replace(_LITERT, exact=False),
}


# One export, in a process of its own


def export(kind: str, ours: bool, name: str, folder: pathlib.Path) -> dict[str, Any]:
    """Exports a model, with inputs and outputs beside it; gives seconds of computing, and the bytes that it wrote."""
    import keras

    if keras.backend.backend() != os.environ["KERAS_BACKEND"]:
        raise RuntimeError(f"the backend is {keras.backend.backend()}, not {os.environ['KERAS_BACKEND']}")
    keras.utils.set_random_seed(1)
    made = KINDS[kind]
    model = made.build(Ours() if ours else keras.layers)
    format_name, path = FORMATS[name].keras_name, folder / FORMATS[name].file
    litert = format_name == "litert"
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
    if litert:
        options |= _litert_options(name, model, made)
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
        begin = time.process_time()
        try:
            model.export(path, format=format_name, verbose=False, **options, **more)
        except Exception as error:
            if not more:
                raise
            found["not_for_all_shapes"] = short(error)
            continue
        found["seconds"] = round(time.process_time() - begin, 1)
        break
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return {**found, "bytes": sum(each.stat().st_size for each in files)}


def _litert_options(name: str, model: Any, made: Kind) -> dict[str, Any]:
    """What the converter is told."""
    import tensorflow as tf

    if name == SELECT:
        return {}  # Keras allows them
    operators, smaller = tf.lite.OpsSet.TFLITE_BUILTINS, {"optimizations": [tf.lite.Optimize.DEFAULT]}
    if name == "LiteRT, float16 weights":
        return {"target_spec": {"supported_ops": [operators], "supported_types": [tf.float16]}, **smaller}
    if name == "LiteRT, int8 weights":
        return {"target_spec": {"supported_ops": [operators]}, **smaller}
    if name == "LiteRT, int8":

        def samples() -> Any:
            for seed in range(1, SAMPLES + 1):
                arrays = example(model, ROWS, STEPS, made.ids, seed)
                # A list would be taken in an order of the converter's own; these are the names that Keras gives.
                yield {f"args_0_{place}" if place else "args_0": array for place, array in enumerate(arrays)}

        target = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]}
        return {"target_spec": target, "representative_dataset": samples, **smaller}
    return {"target_spec": {"supported_ops": [operators]}}


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


# All of them


def tried(backend: str, kind: str, who: str, name: str) -> dict[str, Any]:
    """The result of one export and of its use: `error`, or `failed`, the reason."""
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Any] = {}
        for part in ("export", "use"):
            answer = _in_process(part, backend, kind, who, name, pathlib.Path(folder))
            if "failed" in answer:
                return {"failed": f"{part}: {answer['failed']}"}
            found |= answer
        if found["error"] > TOLERANCE and FORMATS[name].exact:
            return {"failed": f"use: outputs are {found['error']:.1e} apart", **found}
        return found


def _in_process(part: str, backend: str, kind: str, who: str, name: str, folder: pathlib.Path) -> dict[str, Any]:
    """The answer of a new process, that has imported heavy modules at most."""
    fits = backend == "tensorflow" if part == "export" else FORMATS[name].package in HEAVY
    copied = fits and sys.platform == "linux"
    context: Any = multiprocessing.get_context("forkserver" if copied else "spawn")
    if copied:
        context.set_forkserver_preload([each for each in HEAVY if importlib.util.find_spec(each.partition(".")[0])])
    process = context.Process(target=_work, args=(part, backend, kind, who, name, folder))
    process.start()
    process.join(10 * SECONDS)
    if process.is_alive():  # and computes nothing
        process.kill()
        process.join()
    answer = folder / f"{part}.json"
    if not answer.exists():
        words = " ".join((folder / "said").read_text(errors="replace").split())[-300:]
        return {"failed": f"the process ended with status {process.exitcode}: {words}"}
    return json.loads(answer.read_text())


def _work(part: str, backend: str, kind: str, who: str, name: str, folder: pathlib.Path) -> None:
    """What a process does: leaves its answer as JSON."""
    os.environ |= {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    if importlib.util.find_spec("resource"):  # not on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(said, stream)
    try:
        answer = (
            export(kind, who == "ours", name, folder) if part == "export" else use(FORMATS[name].keras_name, folder)
        )
    except Exception as error:
        answer = {"failed": short(error)}
    (folder / f"{part}.json").write_text(json.dumps(answer))


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
    parser.add_argument("--layers", nargs="+", choices=("ours", "keras"), default=("ours", "keras"))
    parser.add_argument("--json", type=pathlib.Path, default=RESULTS, help="file for the results; what it has is kept")
    parser.add_argument("--again", action="store_true", help="try also what the file has")
    parser.add_argument("--page", action="store_true", help="make the page of the results, export nothing")
    options = parser.parse_args(arguments)
    kept = json.loads(options.json.read_text()) if options.json.exists() else {"results": {}}
    if options.page:
        export_page.write(kept)
        return 0
    options.json.parent.mkdir(parents=True, exist_ok=True)
    jobs = [
        (backend, kind, who, name)
        for backend in options.backends
        for kind in options.kinds
        for name in options.formats
        for who in options.layers
        if backend in FORMATS[name].backends
        and name in (KINDS[kind].only or USUAL)
        and (who == "ours" or KINDS[kind].in_keras)
    ]
    jobs = [job for job in jobs if options.again or " | ".join(job) not in kept["results"]]
    begin = time.monotonic()
    for place, job in enumerate(jobs):
        backend, kind, who, name = job
        if name == SELECT and "failed" not in kept["results"].get(
            " | ".join((backend, kind, who, "LiteRT")), {"failed": 1}
        ):
            continue  # its own operators are enough
        needed = (backend, FORMATS[name].package)
        missing = [each for each in needed if importlib.util.find_spec(each) is None]
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


if __name__ == "__main__":
    raise SystemExit(main())
