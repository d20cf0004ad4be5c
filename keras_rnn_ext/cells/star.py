"""The stackable recurrent cell of Turkoglu et al. (2019)."""

import keras
from keras import ops

from keras_rnn_ext.custom import Activation, GatedCell, Integer, define_cell, layer_of


@define_cell(
    "star",
    "Turkoglu, D'Aronco, Wegner, Schindler 2019, Gating revisited: deep multi-layer RNNs that can be trained, arXiv "
    "1911.11033. The authors' code keeps $\\sigma(-k)$ of the state and lets $\\sigma(k + 1)$ of the code in; here "
    "they are one gate, as in the paper. It starts $b_k$ as `max_steps=785` would, and all kernels orthogonal; the "
    "defaults here are those of other cells.",
    variants=({}, {"activation": "softsign"}, {"use_bias": False}),
)
class STARCell(GatedCell):
    r"""One step of a stackable recurrent cell: one gate, and a squashed state.

    $$\begin{aligned}
    z_t &= \phi(x_t W_z + b_z) \\
    k_t &= \sigma(x_t W_k + h_{t-1} U + b_k) \\
    h_t &= \phi((1 - k_t) \odot h_{t-1} + k_t \odot z_t)
    \end{aligned}$$

    The columns of `kernel` and `bias` stand in the order z, k; `recurrent_kernel` $U$ is `(units, units)`.
    """

    gates = 2
    recurrent_gates = 1
    states = ("h",)
    pure = True

    recurrent_activation = Activation("sigmoid", "$\\sigma$")
    max_steps = Integer(
        None, "the longest dependency, $T$: $b_k$ starts at $-\\log$ of numbers from 1 to $T - 1$", optional=True
    )

    def check(self):
        if self.max_steps is not None and self.max_steps < 3:
            raise ValueError(f"Argument `max_steps` must be None, or at least 3. Received: max_steps={self.max_steps}")

    def initializer_of(self, name):
        return self._slow if name == "bias" and self.max_steps else super().initializer_of(name)

    def _slow(self, shape, dtype=None):
        steps = keras.random.uniform((self.units,), 1.0, self.max_steps - 1.0, dtype=dtype, seed=self.seed_generator)
        return ops.concatenate([self.bias_initializer((self.units,), dtype=dtype), -ops.log(steps)])

    def project(self, inputs, weights, noise):
        code, gate = ops.split(super().project(inputs, weights, noise), 2, axis=-1)
        return ops.concatenate([self.activation(code), gate], axis=-1)

    def gate(self, projected, recurrent, states, weights):
        code, gate = ops.split(projected, 2, axis=-1)
        share = self.recurrent_activation(gate + recurrent)
        hidden = self.activation(states[0] + share * (code - states[0]))
        return hidden, [hidden]


STAR = layer_of(STARCell)
