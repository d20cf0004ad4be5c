"""The GRU with layer normalisation, of Ba, Kiros and Hinton (2016)."""

from keras import ops

from keras_rnn_ext.custom import Activation, GatedCell, Real, Weight, define_cell, layer_norm, layer_of, product


@define_cell(
    "layer_norm_gru",
    "Ba, Kiros, Hinton 2016, Layer normalization, arXiv 1607.06450, equations 26 to 28; epsilon is that of their "
    "code. The gate z lets the candidate in, as there; in Keras's GRU, and in their code, it keeps the state. The "
    "offsets of the norms are one with the bias, but for that of $h\\,U_h$, which is left out.",
    condition=10.0,
    variants=({}, {"use_bias": False}),
)
class LayerNormGRUCell(GatedCell):
    r"""One step of a gated recurrent unit with layer normalisation.

    $$\begin{aligned}
    [z_t, r_t] &= \sigma(\mathrm{LN}(x_t W_{zr}) + \mathrm{LN}(h_{t-1} U_{zr}) + b_{zr}) \\
    g_t &= \phi(\mathrm{LN}(x_t W_h) + r_t \odot \mathrm{LN}(h_{t-1} U_h) + b_h) \\
    h_t &= (1 - z_t) \odot h_{t-1} + z_t \odot g_t
    \end{aligned}$$

    Each $\mathrm{LN}(y) = \alpha \odot (y - \mathrm{mean}\,y) / \sqrt{\mathrm{var}\,y + \epsilon}$ has its part of
    `kernel_gain` or `recurrent_gain`. All columns stand in the order z, r, h.
    """

    gates = 3
    states = ("h",)
    pure = True

    recurrent_activation = Activation("sigmoid", "$\\sigma$")
    epsilon = Real(1e-5, "added to variances", above=0)
    kernel_gain = Weight(("width",), "$\\alpha$ for the inputs", initializer="ones")
    recurrent_gain = Weight(("width",), "$\\alpha$ for the state", initializer="ones")

    def _norms(self, values, gain):
        """Two norms: over both gates, and over the candidate."""
        place = [2 * self.units]
        parts = zip(ops.split(values, place, axis=-1), ops.split(gain, place, axis=-1), strict=True)
        return [layer_norm(part, own, epsilon=self.epsilon) for part, own in parts]

    def project(self, inputs, weights, noise):
        projected = product(inputs, weights["kernel"], noise.get("inputs"))
        projected = ops.concatenate(self._norms(projected, weights["kernel_gain"]), axis=-1)
        return projected + weights["bias"] if "bias" in weights else projected

    def gate(self, projected, recurrent, states, weights):
        gates, candidate = ops.split(projected, [2 * self.units], axis=-1)
        from_state, candidate_from_state = self._norms(recurrent, weights["recurrent_gain"])
        update_gate, reset_gate = ops.split(self.recurrent_activation(gates + from_state), 2, axis=-1)
        candidate = self.activation(candidate + reset_gate * candidate_from_state)
        hidden = states[0] + update_gate * (candidate - states[0])
        return hidden, [hidden]


LayerNormGRU = layer_of(LayerNormGRUCell)
