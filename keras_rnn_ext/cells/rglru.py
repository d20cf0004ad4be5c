"""The real-gated linear recurrent unit of De et al. (2024)."""

import keras
from keras import ops

from keras_rnn_ext.custom import LinearCell, Real, State, Weight, define_cell, layer_of, product


@define_cell(
    "rglru",
    "De, Smith, Fernando, Botev, Cristian-Muraru and others 2024, Griffin: mixing gated linear recurrences with local "
    "attention for efficient language models, arXiv 2402.19427, equations 1 to 4. Inputs of another size than `units` "
    "have a product in their place. In the authors' code the matrices are block-diagonal, $\\Lambda$ has the other "
    "sign, $a^2$ is drawn and not $a^c$, and the first step of a document does not scale its input.",
    variants=({}, {"power": 2.0, "min_radius": 0.5}, {"use_bias": False}),
)
class RGLRUCell(LinearCell):
    r"""One step of a linear recurrence with gates that see the inputs alone.

    $$\begin{aligned}
    r_t &= \sigma(x_t W_r + b_r), \quad i_t = \sigma(x_t W_i + b_i) \\
    a_t &= a^{c\,r_t}, \quad a = \sigma(\Lambda) \\
    h_t &= a_t \odot h_{t-1} + \sqrt{1 - a_t^2} \odot (i_t \odot x_t)
    \end{aligned}$$

    The columns of `kernel` and `bias` stand in the order r, i. `decay_log` is $\Lambda$, `power` $c$. Where there are
    more or fewer features than units, $x_t V$ stands in place of the last $x_t$, with $V$ the `input_kernel`.
    """

    gates = 2
    states = (State("h", wide=True),)
    pure = True

    min_radius = Real(0.9, "smallest $a^c$ to start with", above=0, below=1)
    max_radius = Real(0.999, "largest $a^c$ to start with", above=0, below=1)
    power = Real(8.0, "$c$, how much faster than $a$ a unit may forget", above=0)
    kernel = Weight(("features", "width"), initializer="lecun_normal")
    decay_log = Weight(("units",), "$\\Lambda$", initializer=None)
    input_kernel = Weight(("features", "units"), "$V$", initializer="lecun_normal", when="resizes")

    @property
    def resizes(self):
        """Whether the inputs have another size than the state."""
        return self.features != self.units

    def check(self):
        if self.min_radius >= self.max_radius:
            raise ValueError(
                "Argument `min_radius` must be less than `max_radius`. Received: "
                f"min_radius={self.min_radius}, max_radius={self.max_radius}"
            )

    def initializer_of(self, name):
        return self._decay_log if name == "decay_log" else super().initializer_of(name)

    def _decay_log(self, shape, dtype=None):
        drawn = keras.random.uniform(shape, self.min_radius, self.max_radius, dtype=dtype, seed=self.seed_generator)
        log = ops.log(drawn) / self.power
        return log - ops.log(-ops.expm1(log))

    def project(self, inputs, weights, noise):
        inputs = inputs * noise["inputs"] if "inputs" in noise else inputs
        value = product(inputs, weights["input_kernel"]) if "input_kernel" in weights else inputs
        return ops.concatenate([super().project(inputs, weights, {}), value], axis=-1)

    def coefficients(self, projected, weights):
        # Near one, a decay has no digits left in 16 bits.
        wide = "float64" if self.compute_dtype == "float64" else "float32"
        recurrence_gate, input_gate, value = ops.split(ops.cast(projected, wide), 3, axis=-1)
        slowest = self.power * ops.log_sigmoid(ops.cast(weights["decay_log"], wide))
        log_decay = ops.sigmoid(recurrence_gate) * slowest
        # The gradient of a root is infinite at zero.
        scale = ops.sqrt(ops.maximum(-ops.expm1(2.0 * log_decay), 1e-12))
        return ops.exp(log_decay), scale * ops.sigmoid(input_gate) * value


RGLRU = layer_of(RGLRUCell)
