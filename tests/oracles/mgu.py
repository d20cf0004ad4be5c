"""The minimal gated unit of Zhou, Wu, Zhang and Zhou (2016), arXiv 1603.09420. Columns: f, h."""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    (h,) = states
    phi = oracle.function(options.get("activation", "tanh"))
    sigma = oracle.function(options.get("recurrent_activation", "sigmoid"))
    x_f, x_h = np.split(x @ weights["kernel"] + weights.get("bias", 0.0), 2, axis=-1)
    u_f, u_h = np.split(weights["recurrent_kernel"], 2, axis=-1)
    f = sigma(x_f + h @ u_f)
    g = phi(x_h + (f * h) @ u_h)
    h = (1.0 - f) * h + f * g
    return h, [h]
