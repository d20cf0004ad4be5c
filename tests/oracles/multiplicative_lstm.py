"""The multiplicative LSTM of Krause, Lu, Murray and Renals (2016), arXiv 1609.07959, with the squashing of an LSTM.

Columns of the kernel: i, f, c, o, m. Columns of the intermediate kernel and of the bias: i, f, c, o.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    h, c = states
    phi = oracle.function(options.get("activation", "tanh"))
    sigma = oracle.function(options.get("recurrent_activation", "sigmoid"))
    from_x, x_m = np.split(x @ weights["kernel"], [4 * h.shape[-1]], axis=-1)
    m = x_m * (h @ weights["recurrent_kernel"])
    i, f, g, o = np.split(from_x + m @ weights["intermediate_kernel"] + weights.get("bias", 0.0), 4, axis=-1)
    c = sigma(f) * c + sigma(i) * phi(g)
    h = sigma(o) * phi(c)
    return h, [h, c]
