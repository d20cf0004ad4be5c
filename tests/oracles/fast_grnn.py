"""FastGRNN of Kusupati et al. (2018), arXiv 1901.02358: gate and candidate share one product.

Columns of the bias: z, h. A kernel of low rank is the product of two weights.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    (h,) = states
    phi = oracle.function(options.get("activation", "tanh"))
    sigma = oracle.function(options.get("recurrent_activation", "sigmoid"))
    kernel, recurrent_kernel = weights["kernel"], weights["recurrent_kernel"]
    if options.get("kernel_rank") is not None:
        kernel = kernel @ weights["second_kernel"]
    if options.get("recurrent_rank") is not None:
        recurrent_kernel = recurrent_kernel @ weights["second_recurrent_kernel"]
    summed = x @ kernel + h @ recurrent_kernel
    b_z, b_h = np.split(weights["bias"], 2) if "bias" in weights else (0.0, 0.0)
    z, g = sigma(summed + b_z), phi(summed + b_h)
    h = (oracle.sigmoid(weights["zeta"]) * (1.0 - z) + oracle.sigmoid(weights["nu"])) * g + z * h
    return h, [h]
