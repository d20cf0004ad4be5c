"""The GRU with layer normalization of Ba, Kiros and Hinton (2016), arXiv 1607.06450, equations 26 to 28.

Columns: z, r, h. The gates share one normalization, the candidate has its own. Here z = 1 takes the candidate.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    (h,) = states
    phi = oracle.function(options.get("activation", "tanh"))
    sigma = oracle.function(options.get("recurrent_activation", "sigmoid"))
    gates = 2 * h.shape[-1]

    def normalized(values, gain):
        parts = zip(np.split(values, [gates], axis=-1), np.split(gain, [gates]), strict=True)
        return np.concatenate([oracle.layer_norm(*part, epsilon=options["epsilon"]) for part in parts], axis=-1)

    from_x = normalized(x @ weights["kernel"], weights["kernel_gain"]) + weights.get("bias", 0.0)
    from_h = normalized(h @ weights["recurrent_kernel"], weights["recurrent_gain"])
    x_z, x_r, x_h = np.split(from_x, 3, axis=-1)
    h_z, h_r, h_h = np.split(from_h, 3, axis=-1)
    z, r = sigma(x_z + h_z), sigma(x_r + h_r)
    h = (1.0 - z) * h + z * phi(x_h + r * h_h)
    return h, [h]
