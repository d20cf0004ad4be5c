"""Inputs that may bring the time along."""

from typing import Any

from keras import ops


class TimedInputs:
    """Mixin for cells with an argument `timed`: whether the last feature of the inputs is the time.

    `kernel` is to have `data_features` rows. The time takes no part in its product, and is not dropped: it stands
    behind the columns that `project` gives.
    """

    timed: Any = False

    @property
    def data_features(self):
        """How many features there are beside the time."""
        return self.features - self.timed

    @property
    def projected_width(self):
        return self.width + self.timed

    def derive(self, weights):
        return {**weights, "kernel": ops.pad(weights["kernel"], [[0, 1], [0, 0]])} if self.timed else weights

    def project(self, inputs, weights, noise):
        projected = super().project(inputs, weights, noise)
        return ops.concatenate([projected, inputs[..., -1:]], axis=-1) if self.timed else projected
