"""The losses of the last windows, kept where compiled code can put them."""

import keras
import numpy as np
from keras import ops


class RecentLosses:
    """A ring of losses in variables of its own, which are state and no weights.

    Args:
        capacity: how many are kept.
    """

    def __init__(self, capacity):
        self._ring = keras.Variable(np.zeros(capacity, "float32"), trainable=False, name="recent_losses")
        self._total = keras.Variable(0, dtype="int32", trainable=False, name="windows_trained")

    @property
    def variables(self):
        return [self._ring, self._total]

    def push(self, loss):
        places = ops.arange(self._ring.shape[0], dtype="int32")
        here = places == self._total % self._ring.shape[0]
        loss = ops.cast(ops.stop_gradient(loss), "float32")
        self._ring.assign(ops.where(here, loss, ops.convert_to_tensor(self._ring)))
        self._total.assign_add(1)

    def total(self):
        return int(ops.convert_to_numpy(self._total.value))

    def read(self):
        """The losses, oldest first."""
        ring, total = np.array(ops.convert_to_numpy(self._ring.value)), self.total()
        return ring[:total] if total < len(ring) else np.roll(ring, -(total % len(ring)))
