"""Long expressive memory of Rusch, Mishra, Erichson and Mahoney (2022), arXiv 2110.04744, equation 3.

Columns of the kernel: Delta t, Delta t-bar, z, y. Columns of the recurrent kernel: Delta t, Delta t-bar, z.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    y, z = states
    phi = oracle.function(options.get("activation", "tanh"))
    sigma = oracle.function(options.get("recurrent_activation", "sigmoid"))
    x_dt, x_dt_bar, x_z, x_y = np.split(x @ weights["kernel"] + weights.get("bias", 0.0), 4, axis=-1)
    y_dt, y_dt_bar, y_z = np.split(y @ weights["recurrent_kernel"], 3, axis=-1)
    dt = options["dt"] * sigma(x_dt + y_dt)
    dt_bar = options["dt"] * sigma(x_dt_bar + y_dt_bar)
    z = (1.0 - dt) * z + dt * phi(x_z + y_z)
    y = (1.0 - dt_bar) * y + dt_bar * phi(x_y + z @ weights["output_recurrent_kernel"])
    return y, [y, z]
