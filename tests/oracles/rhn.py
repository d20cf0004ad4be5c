"""The recurrent highway network of Zilly, Srivastava, Koutnik and Schmidhuber (2016), arXiv 1607.03474.

Equations 6 to 9 with the carry gate coupled to the transform gate, c = 1 - t. Columns: h, t. The first axis of
recurrent kernel and bias counts the layers of one step; the input enters the first of them alone.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    (s,) = states
    phi = oracle.function(options.get("activation", "tanh"))
    sigma = oracle.function(options.get("recurrent_activation", "sigmoid"))
    biases = weights.get("bias", np.zeros(options["depth"]))
    from_input = x @ weights["kernel"]
    for kernel, bias in zip(weights["recurrent_kernel"], biases, strict=True):
        h, t = np.split(from_input + s @ kernel + bias, 2, axis=-1)
        t = sigma(t)
        s = phi(h) * t + s * (1.0 - t)
        from_input = 0.0
    return s, [s]
