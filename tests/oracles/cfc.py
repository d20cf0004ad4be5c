"""The closed-form continuous-time cell of Hasani et al. (2021), arXiv 2106.13898, with a backbone of one layer.

Columns of the head: ff1, ff2, time_a, time_b; in the mode pure: ff1, with amplitude for A. If timed, the last feature
is the time since the step before.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def absolute(values):
    return np.sign(np.real(values)) * values


def step(x, states, weights, options):
    (h,) = states
    x, time = (x[:, :-1], x[:, -1:]) if options["timed"] else (x, 1.0)
    backbone = x @ weights["kernel"] + h @ weights["recurrent_kernel"] + weights.get("bias", 0.0)
    name = options.get("activation", "lecun_tanh")
    if name == "lecun_tanh":
        backbone = 1.7159 * np.tanh(0.666 * backbone)
    else:
        backbone = oracle.function(name)(backbone)
    head = backbone @ weights["head_kernel"] + weights.get("head_bias", 0.0)
    if options["mode"] == "pure":
        rate = absolute(weights["w_tau"]) + absolute(head)
        h = weights["amplitude"] * (1.0 - np.exp(-time * rate) * head)
        return h, [h]
    ff1, ff2, time_a, time_b = np.split(head, 4, axis=-1)
    ff1, ff2, gate = np.tanh(ff1), np.tanh(ff2), oracle.sigmoid(-time_a * time + time_b)
    h = ff1 + gate * ff2 if options["mode"] == "no_gate" else (1.0 - gate) * ff1 + gate * ff2
    return h, [h]
