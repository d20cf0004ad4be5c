"""The LSTM with a recurrent projection of Sak, Senior and Beaufays (2014), arXiv 1402.1128, equations 7 to 12.

Columns: i, f, c, o. Rows of the peepholes: i, f, o. The output gate sees the new cell state. The second projection
of the paper, p, does not recur and is left out.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    h, c = states
    phi = oracle.function(options.get("activation", "tanh"))
    sigma = oracle.function(options.get("recurrent_activation", "sigmoid"))
    p_i, p_f, p_o = weights.get("peephole", np.zeros(3))
    gates = x @ weights["kernel"] + h @ weights["recurrent_kernel"] + weights.get("bias", 0.0)
    i, f, g, o = np.split(gates, 4, axis=-1)
    c = sigma(f + p_f * c) * c + sigma(i + p_i * c) * phi(g)
    h = (sigma(o + p_o * c) * phi(c)) @ weights["projection_kernel"]
    return h, [h, c]
