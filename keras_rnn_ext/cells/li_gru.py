"""The light GRU of Ravanelli et al. (2018)."""

from keras import ops

from keras_rnn_ext.custom import Activation, Flag, GatedCell, Weight, define_cell, layer_of


@define_cell(
    "li_gru",
    "Ravanelli, Brakel, Omologo, Bengio 2018, Light gated recurrent units for speech recognition, arXiv 1803.10225. "
    "The paper normalises the products of the inputs over the batch: for that put `Dense(2 * units, use_bias=False)` "
    "and `BatchNormalization()` before the layer, and give it `projected_inputs=True` and `use_bias=False`.",
    variants=({}, {"activation": "tanh"}, {"use_bias": False}),
)
class LiGRUCell(GatedCell):
    r"""One step of a light GRU: no reset gate, and a rectified candidate.

    $$\begin{aligned}
    z_t &= \sigma(x_t W_z + h_{t-1} U_z + b_z) \\
    g_t &= \phi(x_t W_h + h_{t-1} U_h + b_h) \\
    h_t &= z_t \odot h_{t-1} + (1 - z_t) \odot g_t
    \end{aligned}$$

    The columns of `kernel`, `recurrent_kernel` and `bias` stand in the order z, h. With `projected_inputs` there is no
    `kernel`: the inputs are $x_t W$ already.
    """

    gates = 2
    states = ("h",)
    summed = pure = True

    activation = Activation("relu", "$\\phi$")
    recurrent_activation = Activation("sigmoid", "$\\sigma$")
    projected_inputs = Flag(False, "whether the inputs, of `2 * units` features, are the products already")
    kernel = Weight(("features", "width"), when="has_kernel")

    @property
    def has_kernel(self):
        """Whether the inputs have to be multiplied."""
        return not self.projected_inputs

    def check(self):
        if self.projected_inputs and self.features not in (None, self.width):
            raise ValueError(
                f"With `projected_inputs=True` the inputs of {type(self).__name__} must have 2 * units = {self.width} "
                f"features. Received: {self.features} features. Put a `Dense({self.width})` before the layer."
            )

    def project(self, inputs, weights, noise):
        if self.has_kernel:
            return super().project(inputs, weights, noise)
        projected = inputs * noise["inputs"] if "inputs" in noise else inputs
        return projected + weights["bias"] if "bias" in weights else projected

    def gate(self, projected, recurrent, states, weights):
        update_gate, candidate = ops.split(projected + recurrent, 2, axis=-1)
        candidate = self.activation(candidate)
        hidden = candidate + self.recurrent_activation(update_gate) * (states[0] - candidate)
        return hidden, [hidden]


LiGRU = layer_of(LiGRUCell)
