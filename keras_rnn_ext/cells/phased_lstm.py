"""The Phased LSTM of Neil, Pfeiffer and Liu (2016)."""

import math

import keras
from keras import ops

from keras_rnn_ext.custom import Activation, Flag, GatedCell, Real, State, TimedInputs, Weight, define_cell, layer_of


@define_cell(
    "phased_lstm",
    "Neil, Pfeiffer, Liu 2016, Phased LSTM: accelerating recurrent network training for long or event-based sequences, "
    "arXiv 1610.09513, equations 1 to 10. The output gate sees $\\tilde c_t$, and $\\tau$ and $r$ count without their "
    "sign, as in the authors' code, which has the shift with the other sign; the leak stays after training, as in "
    "TensorFlow's old `PhasedLSTMCell`, whose start of $\\tau$ and $s$ this is. The bias of the forget gate starts at "
    "one.",
    variants=({}, {"timed": True, "ratio_on": 0.5, "max_period": 4.0}, {"peepholes": False}, {"use_bias": False}),
)
class PhasedLSTMCell(TimedInputs, GatedCell):
    r"""One step of a long short-term memory in which each unit is open for a part of its period.

    $\tilde c_t$ and $\tilde h_t$ are what an LSTM with peepholes makes of $x_t$, $h_{t-1}$ and $c_{t-1}$. Then

    $$\begin{aligned}
    \varphi_t &= ((t - s) \bmod \tau) / \tau \\
    k_t &= 2 \varphi_t / r \text{ if } \varphi_t < r / 2, \quad 2 - 2 \varphi_t / r \text{ if } r / 2 \le \varphi_t < r,
        \quad \alpha \varphi_t \text{ otherwise} \\
    c_t &= k_t \odot \tilde c_t + (1 - k_t) \odot c_{t-1} \\
    h_t &= k_t \odot \tilde h_t + (1 - k_t) \odot h_{t-1}
    \end{aligned}$$

    The columns of `kernel`, `recurrent_kernel` and `bias` stand in the order i, f, c, o, the rows of `peephole` in the
    order i, f, o. `period` is $\tau$, `phase` $s$, `ratio` $r$. The time $t$ is the number of valid steps before this
    one, the third state; with `timed` it is the last feature of the inputs, and there are two states.
    """

    gates = 4
    states = ("h", "c", State("time", (1,), wide=True, mixes=False, when="counts"))
    pure = True
    forget_gate = 1

    recurrent_activation = Activation("sigmoid", "$\\sigma$")
    peepholes = Flag(True, "whether the gates see the carry")
    timed = Flag(False, "whether the last feature is the time, which a layer with 16 bits rounds")
    leak = Real(0.001, "$\\alpha$, how far a closed unit is open", least=0, most=1)
    ratio_on = Real(0.05, "what $r$, the open part of a period, starts at", above=0, most=1)
    max_period = Real(1000.0, "the longest period to start with; the logarithms of all are uniform", least=1)
    kernel = Weight(("data_features", "width"))
    peephole = Weight((3, "units"), "what the gates see of the carry", by_row=True, when="peepholes")
    period = Weight(("units",), "$\\tau$", initializer=None)
    phase = Weight(("units",), "$s$", initializer=None)
    ratio = Weight(("units",), "$r$", initializer=None)

    @property
    def counts(self):
        """Whether the time is the number of steps."""
        return not self.timed

    @property
    def summed(self):
        """The time is in the projected inputs alone."""
        return not self.timed

    def initializer_of(self, name):
        own = {"period": self._period, "phase": self._phase, "ratio": self._ratio}
        return own.get(name) or super().initializer_of(name)

    def _period(self, shape, dtype=None):
        return ops.exp(math.log(self.max_period) * self._drawn(shape, dtype))

    def _phase(self, shape, dtype=None):
        return ops.cast(self.period, dtype) * self._drawn(shape, dtype)

    def _ratio(self, shape, dtype=None):
        return ops.full(shape, self.ratio_on, dtype=dtype)

    def _drawn(self, shape, dtype):
        return keras.random.uniform(shape, dtype=dtype, seed=self.seed_generator)

    def derive(self, weights):
        # The time has more digits than 16 bits, and so have these, from their variables.
        wide = "float64" if self.compute_dtype == "float64" else "float32"
        clock = {name: ops.cast(getattr(self, name), wide) for name in ("period", "phase", "ratio")}
        return super().derive({**weights, **clock})

    def gate(self, projected, recurrent, states, weights):
        hidden, carry, *clock = states
        time = clock[0] if clock else projected[..., self.width :]
        gates = projected[..., : self.width] + recurrent if self.timed else projected + recurrent
        input_gate, forget_gate, candidate, output_gate = ops.split(gates, 4, axis=-1)
        to_input, to_forget, to_output = weights.get("peephole", (0.0, 0.0, 0.0))
        proposed = self.recurrent_activation(forget_gate + to_forget * carry) * carry
        proposed = proposed + self.recurrent_activation(input_gate + to_input * carry) * self.activation(candidate)
        output = self.recurrent_activation(output_gate + to_output * proposed) * self.activation(proposed)
        openness = ops.cast(self._openness(time, weights), hidden.dtype)
        hidden = hidden + openness * (output - hidden)
        return hidden, [hidden, carry + openness * (proposed - carry), *(each + 1.0 for each in clock)]

    def _openness(self, time, weights):
        """How far each unit is open at a time `(batch, 1)`."""
        period, ratio = ops.absolute(weights["period"]), ops.absolute(weights["ratio"])
        turns = (ops.cast(time, period.dtype) - weights["phase"]) / period
        turns = turns - ops.floor(turns)
        is_open = turns < ratio
        # Nothing is divided by what is not used.
        part = 2.0 * turns / ops.where(is_open, ratio, ops.ones_like(turns))
        return ops.where(is_open, ops.minimum(part, 2.0 - part), self.leak * turns)


PhasedLSTM = layer_of(PhasedLSTMCell)
