"""The MinimalRNN of Chen (2017)."""

from keras import ops

from keras_rnn_ext.custom import Activation, GatedCell, Weight, define_cell, layer_of, product


@define_cell(
    "minimal_rnn",
    "Chen 2017, MinimalRNN: toward more interpretable and trainable recurrent neural networks, arXiv 1711.06788. The "
    "paper's $\\Phi$ may be any network; here it is one dense layer, as in its experiments. More layers may stand "
    "before this one.",
    variants=({}, {"activation": "softsign"}, {"use_bias": False}),
)
class MinimalRNNCell(GatedCell):
    r"""One step of a MinimalRNN: a gate mixes the state with a code of the input.

    $$\begin{aligned}
    z_t &= \phi(x_t W + b_z) \\
    u_t &= \sigma(h_{t-1} U_h + z_t U_z + b_u) \\
    h_t &= u_t \odot h_{t-1} + (1 - u_t) \odot z_t
    \end{aligned}$$

    `recurrent_kernel` is $U_h$, `latent_kernel` $U_z$, both `(units, units)`; `bias` `(2 units,)` stands in the order
    z, u. Codes and their products are made for all steps at once.
    """

    gates = 1
    states = ("h",)
    pure = True

    recurrent_activation = Activation("sigmoid", "$\\sigma$")
    latent_kernel = Weight(("units", "units"), "what the gate sees of the code")
    bias = Weight(("2 * units",), initializer="zeros", when="use_bias")

    @property
    def projected_width(self):
        return 2 * self.units

    def project(self, inputs, weights, noise):
        of_code, of_gate = ops.split(weights["bias"], 2) if "bias" in weights else (0.0, 0.0)
        code = self.activation(product(inputs, weights["kernel"], noise.get("inputs")) + of_code)
        return ops.concatenate([code, product(code, weights["latent_kernel"]) + of_gate], axis=-1)

    def gate(self, projected, recurrent, states, weights):
        code, update_gate = ops.split(projected, 2, axis=-1)
        hidden = code + self.recurrent_activation(update_gate + recurrent) * (states[0] - code)
        return hidden, [hidden]


MinimalRNN = layer_of(MinimalRNNCell)
