"""The light GRU of Ravanelli, Brakel, Omologo and Bengio (2018), arXiv 1803.10225.

Columns: z, h. With `projected_inputs`, the inputs are the products, in this order, normalized before the cell.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    (h,) = states
    phi = oracle.function(options.get("activation", "relu"))
    sigma = oracle.function(options.get("recurrent_activation", "sigmoid"))
    from_x = x if options.get("projected_inputs", False) else x @ weights["kernel"]
    z, g = np.split(from_x + h @ weights["recurrent_kernel"] + weights.get("bias", 0.0), 2, axis=-1)
    z = sigma(z)
    h = z * h + (1.0 - z) * phi(g)
    return h, [h]
