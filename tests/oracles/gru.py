"""The gated recurrent unit of Cho et al., and its form with the reset gate behind the product; gates z, r, h."""

import numpy as np


def _sigmoid(value):
    return 1.0 / (1.0 + np.exp(-value))


def run(inputs, states, weights, reset_after=True, use_bias=True):
    """Outputs `(batch, steps, units)` and the last states."""
    (h,) = states
    units = h.shape[1]
    w_z, w_r, w_h = np.split(weights[0], 3, axis=1)
    u_z, u_r, u_h = np.split(weights[1], 3, axis=1)
    bias = np.zeros((2, 3 * units))
    if use_bias:
        bias[: 2 if reset_after else 1] = weights[2]
    (b_z, b_r, b_h), (c_z, c_r, c_h) = (np.split(row, 3) for row in bias)
    outputs = []
    for x in np.swapaxes(inputs, 0, 1):
        z = _sigmoid(x @ w_z + b_z + h @ u_z + c_z)
        r = _sigmoid(x @ w_r + b_r + h @ u_r + c_r)
        memory = r * (h @ u_h + c_h) if reset_after else (r * h) @ u_h
        h = z * h + (1.0 - z) * np.tanh(x @ w_h + b_h + memory)
        outputs.append(h)
    return np.stack(outputs, axis=1), [h]
