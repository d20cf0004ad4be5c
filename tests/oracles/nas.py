"""The cell found by Zoph and Le (2017), arXiv 1611.01578, with the projection of TensorFlow's contrib module.

Columns: the eight leaves of the tree from left to right. The bias belongs to the products with the state, so it is
inside of the one leaf that multiplies its two products.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    h, c = states
    sigma, tanh, relu = oracle.sigmoid, oracle.tanh, oracle.relu
    xs = np.split(x @ weights["kernel"], 8, axis=-1)
    hs = np.split(h @ weights["recurrent_kernel"] + weights.get("bias", 0.0), 8, axis=-1)
    first, second = sigma(xs[0] + hs[0]), relu(xs[1] + hs[1])
    third, fourth = sigma(xs[2] + hs[2]), relu(xs[3] * hs[3])
    fifth, sixth = tanh(xs[4] + hs[4]), sigma(xs[5] + hs[5])
    seventh, eighth = tanh(xs[6] + hs[6]), sigma(xs[7] + hs[7])
    c = tanh(tanh(first * second) + c) * tanh(third + fourth)
    h = tanh(c * tanh(tanh(fifth * sixth) + sigma(seventh + eighth)))
    if options.get("projection") is not None:
        h = h @ weights["projection_kernel"]
    return h, [h, c]
