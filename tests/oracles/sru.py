"""The simple recurrent unit of Lei, Zhang, Wang, Dai and Artzi (2018), arXiv 1709.02755.

Columns of the kernel: c, f, r, and the input of the highway where the features are not as many as the units. Rows of
the recurrent kernel and columns of the bias: f, r. Both gates see the old c. The scale of the highway is sqrt(3) for a
bias that starts at zero. It belongs to the input itself; a projection of it has the scale in its weights.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    _, c = states
    phi = oracle.function(options.get("activation", "linear"))
    sigma = oracle.function(options.get("recurrent_activation", "sigmoid"))
    v_f, v_r = weights["recurrent_kernel"]
    b_f, b_r = np.split(weights["bias"], 2) if "bias" in weights else (0.0, 0.0)
    g, x_f, x_r, *projected = np.split(x @ weights["kernel"], weights["kernel"].shape[-1] // c.shape[-1], axis=-1)
    scale = options.get("highway_scale")
    skipped = projected[0] if projected else (np.sqrt(3.0) if scale is None else scale) * x
    f, r = sigma(x_f + v_f * c + b_f), sigma(x_r + v_r * c + b_r)
    c = f * c + (1.0 - f) * g
    h = r * phi(c) + (1.0 - r) * skipped
    return h, [h, c]
