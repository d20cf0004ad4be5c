"""The STAR cell of Turkoglu, D'Aronco, Wegner and Schindler (2019), arXiv 1911.11033. Columns of the kernel: z, k."""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    (h,) = states
    phi = oracle.function(options.get("activation", "tanh"))
    sigma = oracle.function(options.get("recurrent_activation", "sigmoid"))
    z, k = np.split(x @ weights["kernel"] + weights.get("bias", 0.0), 2, axis=-1)
    k = sigma(k + h @ weights["recurrent_kernel"])
    h = phi((1.0 - k) * h + k * phi(z))
    return h, [h]
