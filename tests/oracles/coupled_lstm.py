"""The LSTM with coupled input and forget gate (CIFG) of Greff et al. (2017), arXiv 1503.04069: f = 1 - i.

Columns: i, c, o. Rows of the peephole kernel: i, o. The output gate sees the new cell state.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    h, c = states
    phi = oracle.function(options.get("activation", "tanh"))
    sigma = oracle.function(options.get("recurrent_activation", "sigmoid"))
    p_i, p_o = weights["peephole_kernel"] if options["use_peepholes"] else (0.0, 0.0)
    gates = x @ weights["kernel"] + h @ weights["recurrent_kernel"] + weights.get("bias", 0.0)
    i, g, o = np.split(gates, 3, axis=-1)
    i = sigma(i + p_i * c)
    c = (1.0 - i) * c + i * phi(g)
    h = sigma(o + p_o * c) * phi(c)
    return h, [h, c]
