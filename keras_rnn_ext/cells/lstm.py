"""The long short-term memory of Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000)."""

from keras import ops

from keras_rnn_ext.custom import (
    Activation,
    Argument,
    GatedCell,
    RecurrentLayer,
    define_cell,
    is_function,
    register,
)


@define_cell(
    "lstm",
    "Hochreiter, Schmidhuber 1997, doi 10.1162/neco.1997.9.8.1735; the forget gate: Gers, Schmidhuber, Cummins 2000, "
    "doi 10.1162/089976600300015015; its bias of one: Jozefowicz et al. 2015. The original squashes with other "
    "functions ($4\\sigma - 2$ and $2\\sigma - 1$); tanh is what the field uses.",
    variants=({}, {"use_bias": False}),
)
class MyLSTMCell(GatedCell):
    r"""One step of a long short-term memory. Drop-in for `keras.layers.LSTMCell`.

    $$\begin{aligned}
    i_t &= \sigma(x_t W_i + h_{t-1} U_i + b_i) \\
    f_t &= \sigma(x_t W_f + h_{t-1} U_f + b_f) \\
    g_t &= \phi(x_t W_c + h_{t-1} U_c + b_c) \\
    o_t &= \sigma(x_t W_o + h_{t-1} U_o + b_o) \\
    c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
    h_t &= o_t \odot \phi(c_t)
    \end{aligned}$$

    The columns of `kernel` `(features, 4 units)`, `recurrent_kernel` `(units, 4 units)` and `bias` `(4 units,)`
    stand in the order i, f, c, o. $\phi$ is the `activation`, $\sigma$ the `recurrent_activation`. The output is
    $h_t$, the states are $[h_t, c_t]$.
    """

    gates = 4
    states = ("h", "c")
    summed = True
    pure = True
    forget_gate = 1

    recurrent_activation = Activation("sigmoid", "$\\sigma$")
    implementation = Argument(
        2,
        "1: one dropout mask per gate; any other number: one for all gates. `recurrent_dropout` makes it 1",
        sparse=True,
        annotation="int",
    )

    @property
    def library_name(self):
        usual = is_function(self.activation, "tanh") and is_function(self.recurrent_activation, "sigmoid")
        return "lstm" if usual else None

    def gate(self, projected, recurrent, states, weights):
        input_gate, forget_gate, candidate, output_gate = ops.split(projected + recurrent, 4, axis=-1)
        kept = self.recurrent_activation(forget_gate) * states[1]
        carry = kept + self.recurrent_activation(input_gate) * self.activation(candidate)
        hidden = self.recurrent_activation(output_gate) * self.activation(carry)
        return hidden, [hidden, carry]


@register
class MyLSTM(RecurrentLayer, cell=MyLSTMCell, tail=("use_cudnn",)):
    """`MyLSTMCell` over a sequence. Drop-in for `keras.layers.LSTM`."""
