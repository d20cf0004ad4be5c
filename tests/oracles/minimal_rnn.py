"""The MinimalRNN of Chen (2017), arXiv 1711.06788, with one dense layer as the encoder Phi of the input.

The bias has first the numbers of Phi, then those of the gate u.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    (h,) = states
    phi = oracle.function(options.get("activation", "tanh"))
    sigma = oracle.function(options.get("recurrent_activation", "sigmoid"))
    b_z, b_u = np.split(weights["bias"], 2) if "bias" in weights else (0.0, 0.0)
    z = phi(x @ weights["kernel"] + b_z)
    u = sigma(h @ weights["recurrent_kernel"] + z @ weights["latent_kernel"] + b_u)
    h = u * h + (1.0 - u) * z
    return h, [h]
