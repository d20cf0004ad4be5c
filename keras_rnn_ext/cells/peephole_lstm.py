"""The LSTM whose gates see the carry, of Gers, Schraudolph and Schmidhuber (2002)."""

from keras import ops

from keras_rnn_ext.custom import Activation, GatedCell, Weight, define_cell, layer_of


@define_cell(
    "peephole_lstm",
    "Gers, Schraudolph, Schmidhuber 2002, Learning precise timing with LSTM recurrent networks, JMLR 3. Beyond it: "
    "the output is squashed, as in Graves 2013 and TensorFlow Addons; the bias of the forget gate starts at one.",
    variants=({}, {"use_bias": False}),
)
class PeepholeLSTMCell(GatedCell):
    r"""One step of a long short-term memory whose gates see the carry.

    $$\begin{aligned}
    i_t &= \sigma(x_t W_i + h_{t-1} U_i + p_i \odot c_{t-1} + b_i) \\
    f_t &= \sigma(x_t W_f + h_{t-1} U_f + p_f \odot c_{t-1} + b_f) \\
    g_t &= \phi(x_t W_c + h_{t-1} U_c + b_c) \\
    c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
    o_t &= \sigma(x_t W_o + h_{t-1} U_o + p_o \odot c_t + b_o) \\
    h_t &= o_t \odot \phi(c_t)
    \end{aligned}$$

    The columns of `kernel`, `recurrent_kernel` and `bias` stand in the order i, f, c, o, the rows of `peephole_kernel`
    in the order i, f, o. With peepholes of zero it is `MyLSTMCell`.
    """

    gates = 4
    states = ("h", "c")
    summed = pure = True
    forget_gate = 1

    recurrent_activation = Activation("sigmoid", "$\\sigma$")
    peephole_kernel = Weight((3, "units"), "what the gates see of the carry", by_row=True)

    def gate(self, projected, recurrent, states, weights):
        input_gate, forget_gate, candidate, output_gate = ops.split(projected + recurrent, 4, axis=-1)
        to_input, to_forget, to_output = weights["peephole_kernel"]
        carry = self.recurrent_activation(forget_gate + to_forget * states[1]) * states[1]
        carry = carry + self.recurrent_activation(input_gate + to_input * states[1]) * self.activation(candidate)
        hidden = self.recurrent_activation(output_gate + to_output * carry) * self.activation(carry)
        return hidden, [hidden, carry]


PeepholeLSTM = layer_of(PeepholeLSTMCell)
