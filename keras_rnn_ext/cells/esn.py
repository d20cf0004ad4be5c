"""The echo state network of Jaeger (2001)."""

import keras
import numpy as np
from keras import ops

from keras_rnn_ext.custom import GatedCell, Real, Weight, define_cell, layer_of


@define_cell(
    "esn",
    "Jaeger 2001, The echo state approach to analysing and training recurrent neural networks, GMD report 148; the "
    "leak: Jaeger, Lukoševičius, Popovici, Siewert 2007. Defaults are those of TensorFlow Addons, where `leak` is "
    "`leaky`; its `use_norm2` is not here.",
    variants=({}, {"leak": 0.3}, {"use_bias": False}),
)
class ESNCell(GatedCell):
    r"""One step of an echo state network: a fixed, random recurrence. What is trained is what reads it.

    $$h_t = (1 - \alpha) h_{t-1} + \alpha\,\phi(x_t W + h_{t-1} U + b)$$

    On average a share `connectivity` of the entries of $U$ is not zero, and $U$ is scaled to its `spectral_radius`. No
    weight is trainable.
    """

    gates = 1
    states = ("h",)
    summed = pure = True

    connectivity = Real(0.1, "how likely an entry of $U$ is not to be zero", above=0, most=1)
    leak = Real(1.0, "$\\alpha$, how much of a state is new", above=0, most=1)
    spectral_radius = Real(0.9, "the largest absolute eigenvalue of $U$", above=0)
    kernel = Weight(("features", "width"), trainable=False)
    recurrent_kernel = Weight(("units", "units"), initializer="glorot_uniform", trainable=False)
    bias = Weight(("width",), initializer="zeros", when="use_bias", trainable=False)

    def initializer_of(self, name):
        drawn = super().initializer_of(name)
        return self._scaled(drawn) if name == "recurrent_kernel" else drawn

    def _scaled(self, initializer):
        def initialize(shape, dtype=None, **kwargs):
            kernel = initializer(shape, dtype=dtype, **kwargs)
            chosen = keras.random.uniform(shape, dtype=dtype, seed=self.seed_generator) <= self.connectivity
            kernel = ops.where(chosen, kernel, ops.zeros_like(kernel))
            radius = np.abs(np.linalg.eigvals(ops.convert_to_numpy(kernel).astype("float64"))).max()
            return kernel * (self.spectral_radius / radius) if radius > 1e-12 else kernel

        return initialize

    def gate(self, projected, recurrent, states, weights):
        hidden = (1 - self.leak) * states[0] + self.leak * self.activation(projected + recurrent)
        return hidden, [hidden]


ESN = layer_of(ESNCell)
