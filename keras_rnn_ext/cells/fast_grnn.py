"""FastGRNN, whose gate and candidate share their matrices, of Kusupati et al. (2018)."""

import keras
from keras import ops

from keras_rnn_ext.custom import Activation, GatedCell, Integer, Weight, define_cell, layer_of, product


@define_cell(
    "fast_grnn",
    "Kusupati, Singh, Bhatia, Kumar, Jain, Varma 2018, FastGRNN: a fast, accurate, stable and tiny kilobyte sized "
    "gated recurrent neural network, arXiv 1901.02358. $\\zeta$ and $\\nu$ start at 1 and -4 before "
    "their sigmoid, as in the authors' code. That draws kernels with a standard deviation of 0.1 and starts biases at "
    "one; here both are as in Keras. Sparse and quantised weights, which the paper has too, are left out.",
    variants=({}, {"kernel_rank": 2, "recurrent_rank": 1}, {"use_bias": False}),
)
class FastGRNNCell(GatedCell):
    r"""One step of a gated recurrence whose gate and candidate share their matrices and have each a bias of their own.

    $$\begin{aligned}
    z_t &= \sigma(x_t W + h_{t-1} U + b_z) \\
    g_t &= \phi(x_t W + h_{t-1} U + b_h) \\
    h_t &= (\sigma(\zeta)\,(1 - z_t) + \sigma(\nu)) \odot g_t + z_t \odot h_{t-1}
    \end{aligned}$$

    `bias` stands in the order z, h. $W$ is the `kernel` `(features, units)`, or with `kernel_rank` the product of a
    `kernel` `(features, kernel_rank)` and the `second_kernel` `(kernel_rank, units)`; likewise $U$ with
    `recurrent_rank`, the `recurrent_kernel` and the `second_recurrent_kernel`.
    """

    gates = 1
    states = ("h",)
    summed = pure = True

    recurrent_activation = Activation("sigmoid", "$\\sigma$")
    kernel_rank = Integer(None, "the rank of $W$; None: any", optional=True)
    recurrent_rank = Integer(None, "the rank of $U$; None: any", optional=True)
    kernel = Weight(lambda cell: (cell.features, cell.kernel_rank or cell.units))
    second_kernel = Weight(("kernel_rank", "units"), when="kernel_rank")
    recurrent_kernel = Weight(lambda cell: (cell.units, cell.recurrent_rank or cell.units), initializer="orthogonal")
    second_recurrent_kernel = Weight(("recurrent_rank", "units"), when="recurrent_rank", initializer="orthogonal")
    bias = Weight(("2 * units",), initializer="zeros", when="use_bias")
    zeta = Weight((), "before its sigmoid: $\\zeta$", initializer="ones")
    nu = Weight((), "before its sigmoid: $\\nu$", initializer=keras.initializers.Constant(-4.0))

    def derive(self, weights):
        made = {"zeta": ops.sigmoid(weights["zeta"]), "nu": ops.sigmoid(weights["nu"])}
        for name in ("kernel", "recurrent_kernel"):
            second = weights.get(f"second_{name}")
            made[name] = weights[name] if second is None else ops.matmul(weights[name], second)
        if "bias" in weights:
            made["gate_bias"], made["candidate_bias"] = ops.split(weights["bias"], 2)
        return made

    def project(self, inputs, weights, noise):
        return product(inputs, weights["kernel"], noise.get("inputs"))

    def gate(self, projected, recurrent, states, weights):
        total = projected + recurrent
        update_gate = self.recurrent_activation(total + weights.get("gate_bias", 0.0))
        candidate = self.activation(total + weights.get("candidate_bias", 0.0))
        hidden = (weights["zeta"] * (1 - update_gate) + weights["nu"]) * candidate + update_gate * states[0]
        return hidden, [hidden]


FastGRNN = layer_of(FastGRNNCell)
