"""The recurrent additive network of Lee, Levy and Zettlemoyer (2017)."""

from keras import ops

from keras_rnn_ext.custom import Activation, GatedCell, State, define_cell, layer_of


@define_cell(
    "ran",
    "Lee, Levy, Zettlemoyer 2017, Recurrent additive networks, arXiv 1705.07393. $b_c$ is in neither the "
    "paper nor the authors' code. The memory stays in float32 where a layer computes in 16 bits.",
    variants=({}, {"activation": "linear"}, {"use_bias": False}),
)
class RANCell(GatedCell):
    r"""One step of a recurrent additive network: the memory is a weighted sum of what the inputs brought.

    $$\begin{aligned}
    g_t &= x_t W_c + b_c \\
    i_t &= \sigma(x_t W_i + h_{t-1} U_i + b_i) \\
    f_t &= \sigma(x_t W_f + h_{t-1} U_f + b_f) \\
    c_t &= i_t \odot g_t + f_t \odot c_{t-1} \\
    h_t &= \phi(c_t)
    \end{aligned}$$

    The columns of `kernel` and `bias` stand in the order c, i, f, those of `recurrent_kernel` in the order i, f. The
    paper has $\phi$ as tanh, and as the identity: `activation="linear"`.
    """

    gates = 3
    recurrent_gates = 2
    states = ("h", State("c", wide=True))
    pure = True

    recurrent_activation = Activation("sigmoid", "$\\sigma$")

    def gate(self, projected, recurrent, states, weights):
        content, gates = ops.split(projected, [self.units], axis=-1)
        input_gate, forget_gate = ops.split(self.recurrent_activation(gates + recurrent), 2, axis=-1)
        memory = ops.cast(input_gate * content, states[1].dtype) + ops.cast(forget_gate, states[1].dtype) * states[1]
        hidden = ops.cast(self.activation(memory), projected.dtype)
        return hidden, [hidden, memory]


RAN = layer_of(RANCell)
