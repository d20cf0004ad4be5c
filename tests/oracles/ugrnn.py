"""The update gate network of Collins, Sohl-Dickstein and Sussillo (2017), arXiv 1611.09913. Columns: g, c."""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    (h,) = states
    phi = oracle.function(options.get("activation", "tanh"))
    sigma = oracle.function(options.get("recurrent_activation", "sigmoid"))
    gates = x @ weights["kernel"] + h @ weights["recurrent_kernel"] + weights.get("bias", 0.0)
    g, c = np.split(gates, 2, axis=-1)
    g = sigma(g)
    h = g * h + (1.0 - g) * phi(c)
    return h, [h]
