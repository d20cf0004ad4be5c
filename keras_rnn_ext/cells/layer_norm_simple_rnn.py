"""The fully connected recurrence with layer normalisation, of Ba, Kiros and Hinton (2016)."""

from keras_rnn_ext.custom import GatedCell, Real, Weight, define_cell, layer_norm, layer_of, product


@define_cell(
    "layer_norm_simple_rnn",
    "Ba, Kiros, Hinton 2016, Layer normalization, arXiv 1607.06450, equation 4, with epsilon as in TensorFlow Addons, "
    "whose `LayerNormSimpleRNNCell` computes the same.",
    condition=10.0,
    # Of two units the norm keeps nothing but their order: what is left of a gradient is rounding.
    multiple=2,
    variants=({}, {"activation": "relu"}, {"use_bias": False}),
)
class LayerNormSimpleRNNCell(GatedCell):
    r"""One step of a fully connected recurrence with layer normalisation.

    $$\begin{aligned}
    a_t &= x_t W + h_{t-1} U \\
    h_t &= \phi(g \odot (a_t - \mathrm{mean}\,a_t) / \sqrt{\mathrm{var}\,a_t + \epsilon} + b)
    \end{aligned}$$

    $W$ is the `kernel` `(features, units)`, $U$ the `recurrent_kernel` `(units, units)`, $g$ the `gain` `(units,)`, $b$
    the `bias` `(units,)`, which is added behind the norm.
    """

    gates = 1
    states = ("h",)
    summed = pure = True

    epsilon = Real(1e-5, "added to the variance", above=0)
    gain = Weight(("units",), "$g$", initializer="ones")

    def project(self, inputs, weights, noise):
        return product(inputs, weights["kernel"], noise.get("inputs"))

    def gate(self, projected, recurrent, states, weights):
        normed = layer_norm(projected + recurrent, weights["gain"], weights.get("bias"), self.epsilon)
        hidden = self.activation(normed)
        return hidden, [hidden]


LayerNormSimpleRNN = layer_of(LayerNormSimpleRNNCell)
