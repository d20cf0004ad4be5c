"""Runs what `python -m benchmarks.exports` wrote, without this package and without Keras."""

import pathlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np


def use(keras_name: str, folder: pathlib.Path) -> dict[str, Any]:
    """Runs what was exported, without this package or Keras; gives the error, relative to the largest output."""
    for module in ("keras_rnn_ext", "keras"):
        sys.modules[module] = None  # type: ignore[assignment]
    run = _RUNNERS[keras_name](folder)
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
            return {"error": max(errors), "other_shapes": "batch" if place == 2 else short(error)}
        errors.append(max(_apart(one, other) for one, other in zip(found, expected, strict=True)))
    return {"error": max(errors), "other_shapes": None if len(errors) == 1 else True}


def _apart(found: Any, expected: np.ndarray) -> float:
    found = np.asarray(found)
    if found.shape != expected.shape:
        raise ValueError(f"shape {found.shape} instead of {expected.shape}")
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30))


def short(error: Exception) -> str:
    """An error in a line of text."""
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
