"""The minGRU of Feng, Tung, Ahmed, Bengio and Hajimirsadeghi (2024), arXiv 2410.01201. Columns: z, h."""

import numpy as np

from keras_rnn_ext.testing import oracle


def positive(values):
    """The paper's g(x): x + 0.5 from zero on, below it the sigmoid."""
    return np.where(np.real(values) >= 0.0, values + 0.5, oracle.sigmoid(values))


def step(x, states, weights, options):
    (h,) = states
    z, g = np.split(x @ weights["kernel"] + weights.get("bias", 0.0), 2, axis=-1)
    z = oracle.sigmoid(z)
    h = (1.0 - z) * h + z * (positive(g) if options["positive"] else g)
    return h, [h]
