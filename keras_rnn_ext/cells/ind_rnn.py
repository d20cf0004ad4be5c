"""The independently recurrent network of Li et al. (2018)."""

import keras

from keras_rnn_ext.custom import Activation, Diagonal, GatedCell, Weight, define_cell, layer_of


@define_cell(
    "ind_rnn",
    "Li, Li, Cook, Zhu, Gao 2018, Independently recurrent neural network, arXiv 1803.04831. Its bound on the "
    "recurrent weights for sequences of T steps, $|u| \\le 2^{1/T}$, is `recurrent_constraint=MaxAbsolute(2 ** (1 / "
    "T))`.",
    variants=({}, {"activation": "tanh"}, {"use_bias": False}),
)
class IndRNNCell(GatedCell):
    r"""One step of an independently recurrent network: each unit sees itself alone.

    $$h_t = \phi(x_t W + u \odot h_{t-1} + b)$$

    `recurrent_kernel` is $u$, `(1, units)`. With a diagonal matrix in its place it is `MySimpleRNNCell`.
    """

    gates = 1
    states = ("h",)
    summed = pure = True
    recurrence = Diagonal()

    activation = Activation("relu", "$\\phi$")
    recurrent_kernel = Weight((1, "units"), initializer=keras.initializers.RandomUniform(0.0, 1.0))

    def gate(self, projected, recurrent, states, weights):
        hidden = self.activation(projected + recurrent)
        return hidden, [hidden]


IndRNN = layer_of(IndRNNCell)
