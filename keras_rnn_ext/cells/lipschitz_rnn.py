"""The Lipschitz recurrent network of Erichson et al. (2021)."""

import keras
from keras import ops

from keras_rnn_ext.custom import GatedCell, Real, State, Weight, define_cell, layer_of


@define_cell(
    "lipschitz_rnn",
    "Erichson, Azencot, Queiruga, Hodgkinson, Mahoney 2021, Lipschitz recurrent neural networks, arXiv 2006.12070, "
    "with its symmetric-skew matrices, by Euler's method. Defaults are those of the authors' code for pixel-by-pixel "
    "MNIST, but for `init_std`: 32 there with 128 units, and 6 in their script by default. $\\beta$ and $\\gamma$ are "
    "the same for both matrices there. The state stays in float32 where a layer computes in 16 bits.",
    variants=(
        {},
        {"beta_a": 0.8, "gamma_a": 0.1, "beta_w": 0.5, "gamma_w": 0.2, "epsilon": 0.3, "activation": "softsign"},
        {"use_bias": False},
    ),
)
class LipschitzRNNCell(GatedCell):
    r"""One step of a linear motion with a bounded disturbance.

    $$\begin{aligned}
    h_t &= h_{t-1} + \epsilon\,(h_{t-1} A + \phi(h_{t-1} B + x_t W + b)) \\
    A &= (1 - \beta_A)(M_A + M_A^\top) + \beta_A (M_A - M_A^\top) - \gamma_A I \\
    B &= (1 - \beta_W)(M_W + M_W^\top) + \beta_W (M_W - M_W^\top) - \gamma_W I
    \end{aligned}$$

    `recurrent_kernel` is $[M_A, M_W]$, `(units, 2 units)`. It is drawn from a normal distribution with the deviation
    `init_std / units`.
    """

    gates = 1
    recurrent_gates = 2
    states = (State("h", wide=True),)
    pure = True

    beta_a = Real(0.65, "$\\beta_A$, how far $A$ is skew-symmetric", least=0, most=1)
    gamma_a = Real(0.001, "$\\gamma_A$, how fast a state decays", least=0)
    beta_w = Real(0.65, "$\\beta_W$, how far $B$ is skew-symmetric", least=0, most=1)
    gamma_w = Real(0.001, "$\\gamma_W$, the same for $B$", least=0)
    epsilon = Real(0.01, "$\\epsilon$, a step of time", above=0)
    init_std = Real(6.0, "the deviation that the recurrent weights start with, times `units`", least=0)
    kernel = Weight(("features", "width"), initializer="glorot_normal")
    recurrent_kernel = Weight(("units", "2 * units"), initializer=None)

    def initializer_of(self, name):
        return self._normal if name == "recurrent_kernel" else super().initializer_of(name)

    def _normal(self, shape, dtype=None):
        return keras.random.normal(shape, 0.0, self.init_std / self.units, dtype=dtype, seed=self.seed_generator)

    def derive(self, weights):
        parts = ops.split(weights["recurrent_kernel"], 2, axis=-1)
        settings = (self.beta_a, self.gamma_a), (self.beta_w, self.gamma_w)
        made = [_mixed(matrix, *setting) for matrix, setting in zip(parts, settings, strict=True)]
        return {**weights, "recurrent_kernel": ops.concatenate(made, axis=-1)}

    def gate(self, projected, recurrent, states, weights):
        linear, disturbance = ops.split(recurrent, 2, axis=-1)
        change = linear + self.activation(projected + disturbance)
        hidden = states[0] + self.epsilon * ops.cast(change, states[0].dtype)
        return hidden, [hidden]


def _mixed(matrix, beta, gamma):
    """The symmetric and the skew-symmetric part of a matrix, mixed, and moved to the left."""
    transposed = ops.transpose(matrix)
    mixed = (1 - beta) * (matrix + transposed) + beta * (matrix - transposed)
    return mixed - gamma * ops.eye(matrix.shape[0], dtype=matrix.dtype)


LipschitzRNN = layer_of(LipschitzRNNCell)
