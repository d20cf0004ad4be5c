"""JANET, the LSTM with a forget gate alone, of van der Westhuizen and Lasenby (2018), arXiv 1804.04849.

Columns: f, c. The offset beta lowers the forget gate only where it weighs the candidate.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    (h,) = states
    phi = oracle.function(options.get("activation", "tanh"))
    sigma = oracle.function(options.get("recurrent_activation", "sigmoid"))
    gates = x @ weights["kernel"] + h @ weights["recurrent_kernel"] + weights.get("bias", 0.0)
    s, g = np.split(gates, 2, axis=-1)
    h = sigma(s) * h + (1.0 - sigma(s - options["beta"])) * phi(g)
    return h, [h]
