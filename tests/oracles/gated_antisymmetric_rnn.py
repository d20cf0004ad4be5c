"""The gated antisymmetric network of Chang, Chen, Haber and Chi (2019), arXiv 1902.09689.

Columns: z, h. Gate and update share the product with the state.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    (h,) = states
    phi = oracle.function(options.get("activation", "tanh"))
    sigma = oracle.function(options.get("recurrent_activation", "sigmoid"))
    w = weights["recurrent_kernel"]
    from_h = h @ (w - w.T - options["gamma"] * np.eye(len(w)))
    x_z, x_h = np.split(x @ weights["kernel"] + weights.get("bias", 0.0), 2, axis=-1)
    h = h + options["epsilon"] * sigma(x_z + from_h) * phi(x_h + from_h)
    return h, [h]
