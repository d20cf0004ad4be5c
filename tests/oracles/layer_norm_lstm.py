"""The LSTM with layer normalization of Ba, Kiros and Hinton (2016), arXiv 1607.06450, equations 20 to 22.

Columns: i, f, c, o. The paper carries the cell state before its normalization, TensorFlow Addons the one after it.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    h, c = states
    phi = oracle.function(options.get("activation", "tanh"))
    sigma = oracle.function(options.get("recurrent_activation", "sigmoid"))
    epsilon = options["epsilon"]
    from_x = oracle.layer_norm(x @ weights["kernel"], weights["kernel_gain"], epsilon=epsilon)
    from_h = oracle.layer_norm(h @ weights["recurrent_kernel"], weights["recurrent_gain"], epsilon=epsilon)
    i, f, g, o = np.split(from_x + from_h + weights.get("bias", 0.0), 4, axis=-1)
    c = sigma(f) * c + sigma(i) * phi(g)
    normalized = oracle.layer_norm(c, weights["carry_gain"], weights["carry_offset"], epsilon)
    h = sigma(o) * phi(normalized)
    return h, [h, normalized if options["carry_normalized"] else c]
