"""The memory cell of Hochreiter and Schmidhuber (1997) with the forget gate of Gers, Schmidhuber and Cummins (2000).

Columns: i, f, c, o.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    h, c = states
    phi = oracle.function(options.get("activation", "tanh"))
    sigma = oracle.function(options.get("recurrent_activation", "sigmoid"))
    gates = x @ weights["kernel"] + h @ weights["recurrent_kernel"] + weights.get("bias", 0.0)
    i, f, g, o = np.split(gates, 4, axis=-1)
    c = sigma(f) * c + sigma(i) * phi(g)
    h = sigma(o) * phi(c)
    return h, [h, c]
