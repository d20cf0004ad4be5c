"""The sLSTM of Beck et al. (2024), arXiv 2405.04517, equations 8 to 17.

Columns: i, f, z, o. Each head has its own recurrent kernel with the same order. States c and n are in units of exp(m).
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    h, c, n, m = states
    heads = zip(np.split(h, options["heads"], axis=-1), weights["recurrent_kernel"], strict=True)
    by_head = [np.split(part @ kernel, 4, axis=-1) for part, kernel in heads]
    from_h = np.concatenate([gates[gate] for gate in range(4) for gates in by_head], axis=-1)
    log_i, f, z, o = np.split(x @ weights["kernel"] + from_h + weights.get("bias", 0.0), 4, axis=-1)
    log_f = f if options["exponential_forget_gate"] else oracle.log_sigmoid(f)
    new_m = oracle.maximum(log_f + m, log_i)
    i, f = np.exp(log_i - new_m), np.exp(log_f + m - new_m)
    c = f * c + i * oracle.tanh(z)
    n = f * n + i
    h = oracle.sigmoid(o) * c / n
    return h, [h, c, n, new_m]
