"""The real-gated linear recurrent unit of De et al. (2024), arXiv 2402.19427, equations 1 to 4.

Columns: r, i. decay_log is the paper's Lambda, with a = sigmoid(Lambda). An input of another size than the state is
projected for the state, not for the gates.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    (h,) = states
    r, i = np.split(x @ weights["kernel"] + weights.get("bias", 0.0), 2, axis=-1)
    log_a = options["power"] * oracle.sigmoid(r) * oracle.log_sigmoid(weights["decay_log"])
    value = x @ weights["input_kernel"] if "input_kernel" in weights else x
    h = np.exp(log_a) * h + np.sqrt(-np.expm1(2.0 * log_a)) * (oracle.sigmoid(i) * value)
    return h, [h]
