"""The update gate network of Collins, Sohl-Dickstein and Sussillo (2017)."""

from keras import ops

from keras_rnn_ext.custom import Activation, GatedCell, define_cell, layer_of


@define_cell(
    "ugrnn",
    "Collins, Sohl-Dickstein, Sussillo 2017, Capacity and trainability in recurrent neural networks, arXiv "
    "1611.09913, section 2. The one that TensorFlow's `tf.contrib.rnn.UGRNNCell` adds to the bias of the gate is "
    "where that bias starts here.",
    variants=({}, {"activation": "relu"}, {"use_bias": False}),
)
class UGRNNCell(GatedCell):
    r"""One step of an update gate network: one gate says how much of the state stays.

    $$\begin{aligned}
    g_t &= \sigma(x_t W_g + h_{t-1} U_g + b_g) \\
    c_t &= \phi(x_t W_c + h_{t-1} U_c + b_c) \\
    h_t &= g_t \odot h_{t-1} + (1 - g_t) \odot c_t
    \end{aligned}$$

    The columns of `kernel`, `recurrent_kernel` and `bias` stand in the order g, c.
    """

    gates = 2
    states = ("h",)
    summed = pure = True
    forget_gate = 0

    recurrent_activation = Activation("sigmoid", "$\\sigma$")

    def gate(self, projected, recurrent, states, weights):
        update_gate, candidate = ops.split(projected + recurrent, 2, axis=-1)
        candidate = self.activation(candidate)
        hidden = candidate + self.recurrent_activation(update_gate) * (states[0] - candidate)
        return hidden, [hidden]


UGRNN = layer_of(UGRNNCell)
