"""Constraints for recurrent weights."""

import keras
from keras import ops

from keras_rnn_ext.core.argument_kinds import Real
from keras_rnn_ext.core.registration import register


@register
class MaxAbsolute(keras.constraints.Constraint):
    """Keeps each weight between `-limit` and `limit`.

    Args:
        limit: number above zero.

    Raises:
        ValueError: if it is no such number.

    >>> import numpy as np
    >>> [float(weight) for weight in MaxAbsolute(1.5)(np.array([-2.0, 0.5]))]
    [-1.5, 0.5]
    """

    def __init__(self, limit):
        self.limit = Real(above=0).check("limit", limit)

    def __call__(self, w):
        return ops.clip(w, -self.limit, self.limit)

    def get_config(self):
        return {"limit": self.limit}
