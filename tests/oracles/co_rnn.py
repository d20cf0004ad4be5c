"""The coupled oscillatory network of Rusch and Mishra (2021), arXiv 2010.00951, with explicit damping.

Rows of the recurrent kernel: first for the positions y, then for the velocities z.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    y, z = states
    phi = oracle.function(options.get("activation", "tanh"))
    u_y, u_z = np.split(weights["recurrent_kernel"], 2)
    force = phi(y @ u_y + z @ u_z + x @ weights["kernel"] + weights.get("bias", 0.0))
    z = z + options["dt"] * (force - options["gamma"] * y - options["epsilon"] * z)
    y = y + options["dt"] * z
    return y, [y, z]
