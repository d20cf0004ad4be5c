"""The recurrent additive network of Lee, Levy and Zettlemoyer (2017), arXiv 1705.07393, section 2, with a bias for c~.

Columns of kernel and bias: c~, i, f; of the recurrent kernel: i, f. The content c~ sees the input alone.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    h, c = states
    phi = oracle.function(options.get("activation", "tanh"))
    sigma = oracle.function(options.get("recurrent_activation", "sigmoid"))
    content, i, f = np.split(x @ weights["kernel"] + weights.get("bias", 0.0), 3, axis=-1)
    h_i, h_f = np.split(h @ weights["recurrent_kernel"], 2, axis=-1)
    c = sigma(i + h_i) * content + sigma(f + h_f) * c
    h = phi(c)
    return h, [h, c]
