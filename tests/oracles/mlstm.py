"""The mLSTM of Beck et al. (2024), arXiv 2405.04517, equations 19 to 27.

Columns of the kernel: q, k, v, o, each with all heads side by side; of the gate kernel: i, f, each with a number for
every head. States C (rows: values, columns: keys) and n are in units of exp(m), and so is the bound 1 in the paper.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    memory, normalizer, m = states
    heads, size = memory.shape[1], memory.shape[-1]
    q, k, v, o = np.split(x @ weights["kernel"], 4, axis=-1)
    b_q, b_k, b_v, b_o = np.split(weights["bias"], 4) if "bias" in weights else np.zeros(4)
    # As in equation 23, the bias of a key is not scaled.
    q, k, v = (part.reshape(-1, heads, size) for part in (q + b_q, k / np.sqrt(size) + b_k, v + b_v))
    log_i, f = np.split(x @ weights["gate_kernel"] + weights.get("gate_bias", 0.0), 2, axis=-1)
    log_f = f if options["exponential_forget_gate"] else oracle.log_sigmoid(f)
    new_m = oracle.maximum(log_f + m, log_i)
    i, f = np.exp(log_i - new_m)[..., None], np.exp(log_f + m - new_m)[..., None]
    memory = f[..., None] * memory + i[..., None] * np.einsum("bhv,bhk->bhvk", v, k)
    normalizer = f * normalizer + i * k
    product = np.sum(normalizer * q, axis=-1)
    bound = oracle.maximum(oracle.maximum(product, -product), np.exp(-new_m))
    read = np.einsum("bhvk,bhk->bhv", memory, q) / bound[..., None]
    return oracle.sigmoid(o + b_o) * read.reshape(o.shape), [memory, normalizer, new_m]
