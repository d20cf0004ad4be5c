"""Hochreiter and Schmidhuber's memory cell with the forget gate of Gers et al.; gates in the order i, f, c, o."""

import numpy as np


def _sigmoid(value):
    return 1.0 / (1.0 + np.exp(-value))


def run(inputs, states, weights, use_bias=True):
    """Outputs `(batch, steps, units)` and the last states."""
    h, c = states
    units = h.shape[1]
    kernel, recurrent = weights[:2]
    bias = weights[2] if use_bias else np.zeros(4 * units)

    def preactivation(gate, x):
        columns = slice(gate * units, (gate + 1) * units)
        return x @ kernel[:, columns] + h @ recurrent[:, columns] + bias[columns]

    outputs = []
    for x in np.swapaxes(inputs, 0, 1):
        i, f, o = (_sigmoid(preactivation(gate, x)) for gate in (0, 1, 3))
        c = f * c + i * np.tanh(preactivation(2, x))
        h = o * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, axis=1), [h, c]
