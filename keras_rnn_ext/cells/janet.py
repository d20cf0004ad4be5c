"""JANET, the LSTM with nothing but a forget gate, of van der Westhuizen and Lasenby (2018)."""

import keras
from keras import ops

from keras_rnn_ext.custom import Activation, GatedCell, Integer, Real, define_cell, layer_of


@define_cell(
    "janet",
    "van der Westhuizen, Lasenby 2018, The unreasonable effectiveness of the forget gate, arXiv 1804.04849, "
    "with their $\\beta = 1$; $c$ and $h$ are one. The forget bias starts as in Tallec, "
    "Ollivier, Can recurrent neural networks warp time?, 2018, arXiv 1804.11188: at most at $\\log(T - 1)$, not at "
    "the $\\log T$ of the authors' code.",
    variants=({}, {"beta": 0.3, "max_steps": None}, {"use_bias": False}),
)
class JANETCell(GatedCell):
    r"""One step of just another network: a long short-term memory with nothing but a forget gate.

    $$\begin{aligned}
    s_t &= x_t W_f + h_{t-1} U_f + b_f \\
    g_t &= \phi(x_t W_c + h_{t-1} U_c + b_c) \\
    h_t &= \sigma(s_t) \odot h_{t-1} + (1 - \sigma(s_t - \beta)) \odot g_t
    \end{aligned}$$

    The columns of `kernel`, `recurrent_kernel` and `bias` stand in the order f, c. $b_f$ starts at $\log u$ with $u$
    drawn uniformly between 1 and `max_steps` - 1: for about so many steps a unit remembers.
    """

    gates = 2
    states = ("h",)
    summed = pure = True

    recurrent_activation = Activation("sigmoid", "$\\sigma$")
    beta = Real(1.0, "how much wider than a coupled gate the candidate's gate is open: $\\beta$")
    max_steps = Integer(
        100, "the longest memory to start with, at least 3; None: `bias_initializer` alone", optional=True
    )

    def check(self):
        if self.max_steps is not None and self.max_steps < 3:
            raise ValueError(f"Argument `max_steps` must be at least 3, or None. Received: max_steps={self.max_steps}")

    def initializer_of(self, name):
        chrono = name == "bias" and self.max_steps is not None
        return self._chrono_bias if chrono else super().initializer_of(name)

    def _chrono_bias(self, shape, dtype=None):
        duration = keras.random.uniform((self.units,), 1, self.max_steps - 1, dtype=dtype, seed=self.seed_generator)
        return ops.concatenate([ops.log(duration), self.bias_initializer((self.units,), dtype=dtype)])

    def gate(self, projected, recurrent, states, weights):
        forget_gate, candidate = ops.split(projected + recurrent, 2, axis=-1)
        added = (1 - self.recurrent_activation(forget_gate - self.beta)) * self.activation(candidate)
        hidden = self.recurrent_activation(forget_gate) * states[0] + added
        return hidden, [hidden]


JANET = layer_of(JANETCell)
