"""The simple recurrent unit of Lei et al. (2018)."""

import keras
from keras import ops

from keras_rnn_ext.custom import Activation, Diagonal, GatedCell, Real, Weight, define_cell, layer_of, product


@define_cell(
    "sru",
    "Lei, Zhang, Wang, Dai, Artzi 2018, Simple recurrent units for highly parallelizable recurrence, arXiv 1709.02755 "
    "version 5, the equations of section 3 with the scale of the highway; an `activation` is what version 1 had. "
    "Inputs of another size than `units` have a fourth product in their place and no scale, as in the authors' code, "
    "which draws the weights of the gates smaller by $\\sqrt{1/2}$, and those of the fourth product larger by the "
    "scale.",
    variants=({}, {"activation": "tanh", "highway_scale": 1.0}, {"use_bias": False}),
)
class SRUCell(GatedCell):
    r"""One step of a simple recurrent unit: each unit sees its own memory alone.

    $$\begin{aligned}
    f_t &= \sigma(x_t W_f + v_f \odot c_{t-1} + b_f) \\
    r_t &= \sigma(x_t W_r + v_r \odot c_{t-1} + b_r) \\
    c_t &= f_t \odot c_{t-1} + (1 - f_t) \odot x_t W_c \\
    h_t &= r_t \odot \phi(c_t) + (1 - r_t) \odot \alpha x_t
    \end{aligned}$$

    The columns of `kernel` `(features, 3 units)` stand in the order c, f, r, the rows of $v$, the `recurrent_kernel`
    `(2, units)`, and `bias` in the order f, r. With more or fewer features than units, `kernel` is `(features, 4
    units)`, and the product with its last columns stands in place of $\alpha x_t$.
    """

    gates = 4
    recurrent_gates = 2
    states = ("h", "c")
    pure = True
    recurrence = Diagonal("c")

    activation = Activation("linear", "$\\phi$")
    recurrent_activation = Activation("sigmoid", "$\\sigma$")
    highway_scale = Real(3**0.5, "$\\alpha$; for a bias $b_r$ that starts at b it is $\\sqrt{1 + 2 e^b}$", above=0)
    kernel = Weight(("features", "width"), initializer="lecun_uniform")
    recurrent_kernel = Weight((2, "units"), "$v$", initializer=keras.initializers.RandomUniform(-(1.5**0.5), 1.5**0.5))
    bias = Weight(("2 * units",), initializer="zeros", when="use_bias")

    @property
    def width(self):
        return (3 if self.features == self.units else 4) * self.units

    @property
    def projected_width(self):
        return 4 * self.units

    def project(self, inputs, weights, noise):
        projected = product(inputs, weights["kernel"], noise.get("inputs"))
        candidate, gates, highway = ops.split(projected, [self.units, 3 * self.units], axis=-1)
        if self.features == self.units:
            highway = self.highway_scale * inputs
        return ops.concatenate([candidate, gates + weights.get("bias", 0.0), highway], axis=-1)

    def gate(self, projected, recurrent, states, weights):
        candidate, gates, highway = ops.split(projected, [self.units, 3 * self.units], axis=-1)
        forget_gate, reset_gate = ops.split(self.recurrent_activation(gates + recurrent), 2, axis=-1)
        memory = candidate + forget_gate * (states[1] - candidate)
        hidden = highway + reset_gate * (self.activation(memory) - highway)
        return hidden, [hidden, memory]


SRU = layer_of(SRUCell)
