"""The linear recurrent unit of Orvieto et al. (2023)."""

import keras
import numpy as np
from keras import ops

from keras_rnn_ext.custom import Integer, LinearCell, Real, State, Weight, define_cell, layer_of, product


def _normal(scale):
    return keras.initializers.VarianceScaling(scale, distribution="untruncated_normal")


@define_cell(
    "lru",
    "Orvieto, Smith, Gu, Fernando, Gulcehre, Pascanu, De 2023, Resurrecting recurrent neural networks for long "
    "sequences, arXiv 2303.06349, section 3 and appendix A. $D$ is a matrix, so that inputs and outputs may differ in "
    "size.",
    variants=({}, {"state_units": 3, "r_min": 0.5, "max_phase": 0.5}),
)
class LRUCell(LinearCell):
    r"""One step of a linear recurrence with a complex, diagonal state matrix.

    $$\begin{aligned}
    s_t &= \lambda \odot s_{t-1} + \exp(\gamma) \odot (x_t B), \quad \lambda = \exp(-\exp(\nu) + i \exp(\theta)) \\
    y_t &= \mathrm{Re}(s_t\,C) + x_t D
    \end{aligned}$$

    $|\lambda|$ is drawn from the ring between `r_min` and `r_max`, its angle up to `max_phase`; $\exp(\gamma)$ starts
    at $\sqrt{1 - |\lambda|^2}$. `kernel` is $B$, `(features, 2 state_units)`, and `output_kernel` $C$, `(2 state_units,
    units)`: real parts, then imaginary ones. The state is $s_t$, `(2, state_units)`; the output $y_t$ is
    `(units,)`.
    """

    states = (State("s", (2, "size"), wide=True),)
    pure = is_complex = True
    bias = None

    state_units = Integer(None, "how many complex numbers a state has; None: `units`", optional=True)
    r_min = Real(0.0, "smallest $|\\lambda|$ to start with", least=0, below=1)
    r_max = Real(1.0, "largest $|\\lambda|$ to start with", above=0, most=1)
    max_phase = Real(6.28, "largest angle of $\\lambda$ to start with, in radians", above=0)
    kernel = Weight(("features", "2 * size"), initializer=_normal(0.5))
    nu_log = Weight(("size",), "$\\nu$", initializer=None)
    theta_log = Weight(("size",), "$\\theta$", initializer=None)
    gamma_log = Weight(("size",), "$\\gamma$", initializer=None)
    output_kernel = Weight(("2 * size", "units"), "$C$", initializer=_normal(2.0))
    skip_kernel = Weight(("features", "units"), "$D$", initializer=_normal(1.0))

    @property
    def size(self):
        """How many complex numbers a state has."""
        return self.state_units or self.units

    def check(self):
        if self.r_min >= self.r_max:
            raise ValueError(
                f"Argument `r_min` must be less than `r_max`. Received: r_min={self.r_min}, r_max={self.r_max}"
            )

    def initializer_of(self, name):
        return {"nu_log": self._nu, "theta_log": self._theta, "gamma_log": self._gamma}.get(name) or (
            super().initializer_of(name)
        )

    def _nu(self, shape, dtype=None):
        squared = self._drawn(shape, dtype) * (self.r_max**2 - self.r_min**2) + self.r_min**2
        return ops.log(-0.5 * ops.log(squared))

    def _theta(self, shape, dtype=None):
        return ops.log(self.max_phase * self._drawn(shape, dtype))

    def _gamma(self, shape, dtype=None):
        radius = ops.exp(-ops.exp(ops.cast(self.nu_log, dtype)))
        return 0.5 * ops.log(1 - ops.square(radius))

    def _drawn(self, shape, dtype):
        return keras.random.uniform(shape, 1e-4, 1 - 1e-4, dtype=dtype, seed=self.seed_generator)

    def project(self, inputs, weights, noise):
        kernels = ops.concatenate([weights["kernel"], weights["skip_kernel"]], axis=-1)
        return product(inputs, kernels, noise.get("inputs"))

    def coefficients(self, projected, weights):
        radius, angle = ops.exp(-ops.exp(weights["nu_log"])), ops.exp(weights["theta_log"])
        decay = radius * ops.stack([ops.cos(angle), ops.sin(angle)])
        added = projected[..., : 2 * self.size]
        added = ops.reshape(added, (*ops.shape(added)[:-1], 2, self.size))
        return decay, ops.exp(weights["gamma_log"]) * added

    def readout(self, states, projected, weights):
        parts = ops.reshape(states, (*ops.shape(states)[:-2], 2 * self.size))
        # The real part of a product of complex numbers.
        signs = np.repeat([[1.0], [-1.0]], self.size, axis=0)
        kernel = weights["output_kernel"] * ops.cast(signs, projected.dtype)
        return product(parts, kernel) + projected[..., 2 * self.size :]


LRU = layer_of(LRUCell)
