"""h_t = tanh(x_t W + h_{t-1} U + b)."""

import numpy as np


def run(inputs, states, weights, activation="tanh", use_bias=True):
    """Outputs `(batch, steps, units)` and the last states."""
    phi = {"tanh": np.tanh, "relu": lambda value: np.maximum(value, 0.0)}[activation]
    (h,) = states
    kernel, recurrent = weights[:2]
    bias = weights[2] if use_bias else 0.0
    outputs = []
    for x in np.swapaxes(inputs, 0, 1):
        h = phi(x @ kernel + h @ recurrent + bias)
        outputs.append(h)
    return np.stack(outputs, axis=1), [h]
