"""The antisymmetric network of Chang, Chen, Haber and Chi (2019), arXiv 1902.09689, with diffusion gamma."""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    (h,) = states
    phi = oracle.function(options.get("activation", "tanh"))
    w = weights["recurrent_kernel"]
    from_h = h @ (w - w.T - options["gamma"] * np.eye(len(w)))
    h = h + options["epsilon"] * phi(x @ weights["kernel"] + from_h + weights.get("bias", 0.0))
    return h, [h]
