"""Keras's weights in PyTorch's layouts, and back."""

import numpy as np

from benchmarks.workloads import GATES

# Where PyTorch's gates stand among Keras's: its GRU is r, z, n, and Keras's z, r, h.
_ORDER = {"SimpleRNN": [0], "LSTM": [0, 1, 2, 3], "GRU": [1, 0, 2]}


def to_torch(layer: str, weights: list[np.ndarray]) -> list[np.ndarray]:
    """Keras's kernel, recurrent kernel and bias of each direction as PyTorch's two kernels and two biases."""
    found = []
    for place in range(0, len(weights), 3):
        kernel, recurrent_kernel, bias = (_columns(weight, layer, _ORDER[layer]) for weight in weights[place:][:3])
        biases = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
        found += [np.ascontiguousarray(kernel.T), np.ascontiguousarray(recurrent_kernel.T), *biases]
    return found


def to_keras(layer: str, weights: list[np.ndarray]) -> list[np.ndarray]:
    """The way back. Where Keras has one bias, it is PyTorch's first."""
    found, back = [], list(np.argsort(_ORDER[layer]))
    for place in range(0, len(weights), 4):
        kernel, recurrent_kernel, *biases = weights[place:][:4]
        bias = np.stack(biases) if layer == "GRU" else biases[0]
        found += [_columns(each, layer, back) for each in (kernel.T, recurrent_kernel.T, bias)]
    return found


def _columns(weight: np.ndarray, layer: str, order: list[int]) -> np.ndarray:
    parts = np.split(weight, GATES[layer], axis=-1)
    return np.concatenate([parts[place] for place in order], axis=-1)
