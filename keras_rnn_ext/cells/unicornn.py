"""The undamped independent controlled oscillatory network of Rusch and Mishra (2021)."""

import keras
from keras import ops

from keras_rnn_ext.custom import Diagonal, GatedCell, Real, State, Weight, define_cell, layer_of


def _uniform(least, most):
    return keras.initializers.RandomUniform(least, most)


@define_cell(
    "unicornn",
    "Rusch, Mishra 2021, UnICORNN: a recurrent model for learning very long time dependencies, arXiv 2103.05487, one "
    "layer. Defaults and the start of the weights are those of the authors' code, for permuted sequential MNIST; for "
    "IMDB it has `alpha=0` and 0.0066 and 0.205 for `dt` in two layers. States stay in float32 where a layer computes "
    "in 16 bits.",
    variants=({}, {"dt": 0.5, "alpha": 1.0, "activation": "softsign"}, {"use_bias": False}),
)
class UnICORNNCell(GatedCell):
    r"""One step of a network of undamped oscillators, each of which sees itself and the inputs.

    $$\begin{aligned}
    z_t &= z_{t-1} - \Delta t\,\sigma(c) \odot (\phi(w \odot y_{t-1} + x_t W + b) + \alpha y_{t-1}) \\
    y_t &= y_{t-1} + \Delta t\,\sigma(c) \odot z_t
    \end{aligned}$$

    The output is the position $y_t$, the states are $[y_t, z_t]$. `recurrent_kernel` `(1, units)` is $w$, `time_scale`
    `(units,)` is $c$. The logistic $\sigma(c)$ is the paper's $0.5 + 0.5 \tanh(c / 2)$.
    """

    gates = 1
    states = (State("y", wide=True), State("z", wide=True))
    summed = pure = True
    recurrence = Diagonal()

    dt = Real(0.19, "$\\Delta t$, the longest step of time", above=0)
    alpha = Real(30.65, "$\\alpha$, what pulls a unit back", least=0)
    kernel = Weight(
        ("features", "width"), initializer=keras.initializers.VarianceScaling(2 / 65, distribution="uniform")
    )
    recurrent_kernel = Weight((1, "units"), initializer=_uniform(0.0, 1.0))
    time_scale = Weight(("units",), "$c$, how fast a unit is", initializer=_uniform(-0.1, 0.1))

    def derive(self, weights):
        return {**weights, "time_scale": self.dt * ops.sigmoid(weights["time_scale"])}

    def gate(self, projected, recurrent, states, weights):
        position, velocity = states
        step = ops.cast(weights["time_scale"], position.dtype)
        force = ops.cast(self.activation(projected + recurrent), position.dtype) + self.alpha * position
        velocity = velocity - step * force
        position = position + step * velocity
        return position, [position, velocity]


UnICORNN = layer_of(UnICORNNCell)
