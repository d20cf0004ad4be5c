"""The gated recurrent unit of Cho et al. (2014), arXiv 1406.1078.

Columns: z, r, h. With `reset_after` (version 1 of the preprint), the reset gate acts after the matrix product.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    (h,) = states
    phi = oracle.function(options.get("activation", "tanh"))
    sigma = oracle.function(options.get("recurrent_activation", "sigmoid"))
    input_bias, recurrent_bias = weights.get("bias", 0.0), 0.0
    if options["reset_after"] and "bias" in weights:
        input_bias, recurrent_bias = weights["bias"]
    x_z, x_r, x_h = np.split(x @ weights["kernel"] + input_bias, 3, axis=-1)
    h_z, h_r, h_h = np.split(h @ weights["recurrent_kernel"] + recurrent_bias, 3, axis=-1)
    z, r = sigma(x_z + h_z), sigma(x_r + h_r)
    if options["reset_after"]:
        g = phi(x_h + r * h_h)
    else:
        g = phi(x_h + (r * h) @ np.split(weights["recurrent_kernel"], 3, axis=-1)[2])
    h = z * h + (1.0 - z) * g
    return h, [h]
