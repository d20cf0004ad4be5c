"""The minLSTM of Feng, Tung, Ahmed, Bengio and Hajimirsadeghi (2024), arXiv 2410.01201. Columns: f, i, h."""

import numpy as np

from keras_rnn_ext.testing import oracle
from tests.oracles.min_gru import positive


def step(x, states, weights, options):
    (h,) = states
    f, i, g = np.split(x @ weights["kernel"] + weights.get("bias", 0.0), 3, axis=-1)
    # f / (f + i) and i / (f + i), which would be 0 / 0 where both gates underflow.
    difference = oracle.log_sigmoid(f) - oracle.log_sigmoid(i)
    f, i = oracle.sigmoid(difference), oracle.sigmoid(-difference)
    h = f * h + i * (positive(g) if options["positive"] else g)
    return h, [h]
