"""The LSTM that forgets as much as it learns: the variant CIFG of Greff et al. (2017)."""

from keras import ops

from keras_rnn_ext.custom import Activation, Flag, GatedCell, Weight, define_cell, layer_of


@define_cell(
    "coupled_lstm",
    "Greff, Srivastava, Koutník, Steunebrink, Schmidhuber 2017, LSTM: a search space odyssey, arXiv 1503.04069: the "
    "variant CIFG of their LSTM, which has peepholes. TensorFlow's old `CoupledInputForgetGateLSTMCell` had none by "
    "default.",
    variants=({}, {"use_peepholes": False}, {"use_bias": False}),
)
class CoupledLSTMCell(GatedCell):
    r"""One step of a long short-term memory with one gate for input and forgetting.

    $$\begin{aligned}
    i_t &= \sigma(x_t W_i + h_{t-1} U_i + p_i \odot c_{t-1} + b_i) \\
    g_t &= \phi(x_t W_c + h_{t-1} U_c + b_c) \\
    c_t &= (1 - i_t) \odot c_{t-1} + i_t \odot g_t \\
    o_t &= \sigma(x_t W_o + h_{t-1} U_o + p_o \odot c_t + b_o) \\
    h_t &= o_t \odot \phi(c_t)
    \end{aligned}$$

    The columns of `kernel`, `recurrent_kernel` and `bias` stand in the order i, c, o, the rows of `peephole_kernel` in
    the order i, o.
    """

    gates = 3
    states = ("h", "c")
    summed = pure = True

    recurrent_activation = Activation("sigmoid", "$\\sigma$")
    use_peepholes = Flag(True, "whether the gates see the carry")
    peephole_kernel = Weight((2, "units"), "what the gates see of the carry", by_row=True, when="use_peepholes")

    def gate(self, projected, recurrent, states, weights):
        input_gate, candidate, output_gate = ops.split(projected + recurrent, 3, axis=-1)
        to_input, to_output = weights.get("peephole_kernel", (0.0, 0.0))
        input_gate = self.recurrent_activation(input_gate + to_input * states[1])
        carry = states[1] + input_gate * (self.activation(candidate) - states[1])
        hidden = self.recurrent_activation(output_gate + to_output * carry) * self.activation(carry)
        return hidden, [hidden, carry]


CoupledLSTM = layer_of(CoupledLSTMCell)
