"""The LSTM with layer normalisation, of Ba, Kiros and Hinton (2016)."""

from keras import ops

from keras_rnn_ext.custom import Activation, Flag, GatedCell, Real, Weight, define_cell, layer_norm, layer_of, product


@define_cell(
    "layer_norm_lstm",
    "Ba, Kiros, Hinton 2016, Layer normalization, arXiv 1607.06450, equations 20 to 22; epsilon is that of their "
    "code. The offsets of the two inner norms are one with the bias. TensorFlow Addons carries the normalised c on: "
    "`carry_normalized=True`, with `epsilon=1e-3`.",
    condition=10.0,
    variants=({}, {"carry_normalized": True}, {"use_bias": False}),
)
class LayerNormLSTMCell(GatedCell):
    r"""One step of a long short-term memory with layer normalisation.

    $$\begin{aligned}
    [i_t, f_t, g_t, o_t] &= \mathrm{LN}(x_t W; \alpha_1) + \mathrm{LN}(h_{t-1} U; \alpha_2) + b \\
    c_t &= \sigma(f_t) \odot c_{t-1} + \sigma(i_t) \odot \phi(g_t) \\
    h_t &= \sigma(o_t) \odot \phi(\mathrm{LN}(c_t; \alpha_3, \beta_3)) \\
    \mathrm{LN}(z; \alpha, \beta) &= \alpha \odot (z - \mathrm{mean}\,z) / \sqrt{\mathrm{var}\,z + \epsilon} + \beta
    \end{aligned}$$

    The columns of `kernel`, `recurrent_kernel`, `bias` and the gains $\alpha_1$ and $\alpha_2$ stand in the order
    i, f, c, o; a norm is over all four.
    """

    gates = 4
    states = ("h", "c")
    pure = True
    forget_gate = 1

    recurrent_activation = Activation("sigmoid", "$\\sigma$")
    epsilon = Real(1e-5, "added to variances", above=0)
    carry_normalized = Flag(False, "whether the normalised c is what is carried on, as in TensorFlow Addons")
    kernel_gain = Weight(("width",), "$\\alpha_1$", initializer="ones")
    recurrent_gain = Weight(("width",), "$\\alpha_2$", initializer="ones")
    carry_gain = Weight(("units",), "$\\alpha_3$", initializer="ones")
    carry_offset = Weight(("units",), "$\\beta_3$", initializer="zeros")

    def project(self, inputs, weights, noise):
        projected = product(inputs, weights["kernel"], noise.get("inputs"))
        projected = layer_norm(projected, weights["kernel_gain"], epsilon=self.epsilon)
        return projected + weights["bias"] if "bias" in weights else projected

    def gate(self, projected, recurrent, states, weights):
        recurrent = layer_norm(recurrent, weights["recurrent_gain"], epsilon=self.epsilon)
        input_gate, forget_gate, candidate, output_gate = ops.split(projected + recurrent, 4, axis=-1)
        kept = self.recurrent_activation(forget_gate) * states[1]
        carry = kept + self.recurrent_activation(input_gate) * self.activation(candidate)
        normed = layer_norm(carry, weights["carry_gain"], weights["carry_offset"], self.epsilon)
        hidden = self.recurrent_activation(output_gate) * self.activation(normed)
        return hidden, [hidden, normed if self.carry_normalized else carry]


LayerNormLSTM = layer_of(LayerNormLSTMCell)
