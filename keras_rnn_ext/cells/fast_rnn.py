"""FastRNN, the recurrence with a weighted residual connection, of Kusupati et al. (2018)."""

import keras
from keras import ops

from keras_rnn_ext.custom import GatedCell, Weight, define_cell, layer_of


@define_cell(
    "fast_rnn",
    "Kusupati, Singh, Bhatia, Kumar, Jain, Varma 2018, FastGRNN: a fast, accurate, stable and tiny kilobyte sized "
    "gated recurrent neural network, arXiv 1901.02358. $\\alpha$ and $\\beta$ go through a sigmoid and "
    "start at -3 and 3 before it, as in the authors' code. That draws kernels with a standard deviation of 0.1 and "
    "starts the bias at one; here both are as in Keras.",
    variants=({}, {"activation": "relu"}, {"use_bias": False}),
)
class FastRNNCell(GatedCell):
    r"""One step of a fully connected recurrence with a weighted residual connection.

    $$h_t = \sigma(\alpha)\,\phi(x_t W + h_{t-1} U + b) + \sigma(\beta)\,h_{t-1}$$

    with $W$ the `kernel` `(features, units)`, $U$ the `recurrent_kernel` `(units, units)`, $b$ the `bias` `(units,)`,
    and two numbers $\alpha$ and $\beta$ for all units.
    """

    gates = 1
    states = ("h",)
    summed = pure = True

    alpha = Weight((), "how much is new, before its sigmoid: $\\alpha$", initializer=keras.initializers.Constant(-3.0))
    beta = Weight((), "how much stays, before its sigmoid: $\\beta$", initializer=keras.initializers.Constant(3.0))

    def derive(self, weights):
        return {**weights, "alpha": ops.sigmoid(weights["alpha"]), "beta": ops.sigmoid(weights["beta"])}

    def gate(self, projected, recurrent, states, weights):
        hidden = weights["alpha"] * self.activation(projected + recurrent) + weights["beta"] * states[0]
        return hidden, [hidden]


FastRNN = layer_of(FastRNNCell)
