"""The LSTM with peephole connections of Gers, Schraudolph and Schmidhuber (2002), JMLR 3, 115-143.

Columns: i, f, c, o. Rows of the peephole kernel: i, f, o. The output gate sees the new cell state.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    h, c = states
    phi = oracle.function(options.get("activation", "tanh"))
    sigma = oracle.function(options.get("recurrent_activation", "sigmoid"))
    p_i, p_f, p_o = weights["peephole_kernel"]
    gates = x @ weights["kernel"] + h @ weights["recurrent_kernel"] + weights.get("bias", 0.0)
    i, f, g, o = np.split(gates, 4, axis=-1)
    c = sigma(f + p_f * c) * c + sigma(i + p_i * c) * phi(g)
    h = sigma(o + p_o * c) * phi(c)
    return h, [h, c]
