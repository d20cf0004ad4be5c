"""The UnICORNN of Rusch and Mishra (2021), arXiv 2103.05487: one layer of its symplectic Euler scheme.

The new velocity z moves the position y. The paper's 0.5 + 0.5 tanh(c / 2) is the logistic function of c.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    y, z = states
    phi = oracle.function(options.get("activation", "tanh"))
    dt = options["dt"] * (0.5 + 0.5 * np.tanh(weights["time_scale"] / 2.0))
    force = phi(weights["recurrent_kernel"][0] * y + x @ weights["kernel"] + weights.get("bias", 0.0))
    z = z - dt * (force + options["alpha"] * y)
    y = y + dt * z
    return y, [y, z]
