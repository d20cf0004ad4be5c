"""The multiplicative LSTM of Krause et al. (2016)."""

from keras import ops

from keras_rnn_ext.custom import Activation, KernelCell, Weight, define_cell, layer_of, product


@define_cell(
    "multiplicative_lstm",
    "Krause, Lu, Murray, Renals 2016, Multiplicative LSTM for sequence modelling, arXiv 1609.07959, with "
    "the activations of the usual LSTM, as in the authors' Chainer code. Their MATLAB code has no activation on the "
    "candidate $g_t$, and $h_t = \\phi(o_t \\odot c_t + b_c)$.",
    variants=({}, {"use_bias": False}),
)
class MultiplicativeLSTMCell(KernelCell):
    r"""One step of a long short-term memory whose gates see a product of input and state in place of the state.

    $$\begin{aligned}
    m_t &= (x_t W_m) \odot (h_{t-1} U) \\
    i_t &= \sigma(x_t W_i + m_t V_i + b_i) \\
    f_t &= \sigma(x_t W_f + m_t V_f + b_f) \\
    g_t &= \phi(x_t W_c + m_t V_c + b_c) \\
    o_t &= \sigma(x_t W_o + m_t V_o + b_o) \\
    c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
    h_t &= o_t \odot \phi(c_t)
    \end{aligned}$$

    The columns of `kernel` `(features, 5 units)` stand in the order i, f, c, o, m, those of $V$, the
    `intermediate_kernel` `(units, 4 units)`, and of `bias` in the order i, f, c, o. $U$ is the `recurrent_kernel`
    `(units, units)`. A step has two products, one after the other.
    """

    gates = 5
    recurrent_gates = 1
    states = ("h", "c")
    pure = True
    forget_gate = 1

    recurrent_activation = Activation("sigmoid", "$\\sigma$")
    intermediate_kernel = Weight(("units", "4 * units"), "$V$", initializer="orthogonal")
    bias = Weight(("4 * units",), initializer="zeros", when="use_bias")

    def derive(self, weights):
        if "bias" not in weights:
            return weights
        # There is no bias for m.
        nothing = ops.zeros((self.units,), dtype=weights["bias"].dtype)
        return {**weights, "bias": ops.concatenate([weights["bias"], nothing])}

    def recur(self, projected, states, weights, noise):
        gates, factor = ops.split(projected, [4 * self.units], axis=-1)
        intermediate = factor * product(states[0], weights["recurrent_kernel"], noise.get("recurrent"))
        gates = gates + product(intermediate, weights["intermediate_kernel"])
        input_gate, forget_gate, candidate, output_gate = ops.split(gates, 4, axis=-1)
        kept = self.recurrent_activation(forget_gate) * states[1]
        carry = kept + self.recurrent_activation(input_gate) * self.activation(candidate)
        hidden = self.recurrent_activation(output_gate) * self.activation(carry)
        return hidden, [hidden, carry]


MultiplicativeLSTM = layer_of(MultiplicativeLSTMCell)
