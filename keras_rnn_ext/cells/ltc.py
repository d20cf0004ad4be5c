"""The liquid time-constant network of Hasani et al. (2021)."""

from typing import Any

import keras
from keras import ops

from keras_rnn_ext.custom import Flag, Integer, KernelCell, Real, State, Weight, define_cell, layer_of


def _uniform(least, most):
    return keras.initializers.RandomUniform(least, most)


# What is positive by a softplus, and the range in which it starts.
_POSITIVE = {"gleak": (0.001, 1.0), "cm": (0.4, 0.6), "w": (0.001, 1.0), "sensory_w": (0.001, 1.0)}


@define_cell(
    "ltc",
    "Hasani, Lechner, Amini, Rus, Grosu 2021, Liquid time-constant networks, arXiv 2006.04439, as the authors' package "
    "`ncps` has it with a fully connected wiring: a membrane with conductances, solved by its fused steps. What has to "
    "be positive is so by a softplus, which is an option there, and starts in their ranges behind it. A time of zero, "
    "which there divides by zero, leaves the state as it is; one below counts as zero. The state and all conductances "
    "are in float32 where a layer computes in 16 bits.",
    variants=({}, {"timed": True, "ode_unfolds": 2}, {"use_bias": False}),
)
class LTCCell(KernelCell):
    r"""One step of a network of neurons that leak, with synapses that open with the voltage before them.

    In each of $n$ (`ode_unfolds`) steps of length $\delta = \Delta t / n$ the voltage $v_j$ of neuron $j$ becomes

    $$v_j \leftarrow \frac{c_j v_j + \delta\,(l_j p_j + \sum_i s_{ij} e_{ij} + \sum_k s'_{kj} e'_{kj})}
        {c_j + \delta\,(l_j + \sum_i s_{ij} + \sum_k s'_{kj} + \epsilon)}, \quad
        s_{ij} = w_{ij}\,\sigma(\sigma_{ij} (v_i - \mu_{ij}))$$

    with $s'_{kj}$ the same of the inputs $x'_k = a_k x_k + b_k$. The output is $y_j = o_j v_j + q_j$, the state $v$.
    $\Delta t$ is 1; with `timed` it is the last feature of the inputs. $c$ is `cm`, $l$ `gleak`, $p$ `vleak`, $e$
    `erev`; `w`, `sigma`, `mu` and `erev` are `(units, units)`, from and to; those of the inputs are called
    `sensory_...`. $a$ is `input_w`, $b$ `input_b`, $o$ `output_w`, $q$ `output_b`. A step makes
    `ode_unfolds * units ** 2` numbers for each row of a batch.
    """

    states = (State("v", wide=True),)
    pure = True
    activation: Any = None
    kernel: Any = None
    recurrent_kernel: Any = None
    bias: Any = None
    recurrent_dropout: Any = 0.0

    ode_unfolds = Integer(6, "how many steps the solver takes in one step of the sequence")
    epsilon = Real(1e-8, "$\\epsilon$", least=0)
    timed = Flag(False, "whether the last feature is the time since the step before")
    gleak = Weight(("units",), "$l$", initializer=None)
    vleak = Weight(("units",), "$p$", initializer=_uniform(-0.2, 0.2))
    cm = Weight(("units",), "$c$", initializer=None)
    sigma = Weight(("units", "units"), initializer=_uniform(3.0, 8.0))
    mu = Weight(("units", "units"), initializer=_uniform(0.3, 0.8))
    w = Weight(("units", "units"), initializer=None)
    erev = Weight(("units", "units"), "$e$", initializer=None)
    sensory_sigma = Weight(("data_features", "units"), initializer=_uniform(3.0, 8.0))
    sensory_mu = Weight(("data_features", "units"), initializer=_uniform(0.3, 0.8))
    sensory_w = Weight(("data_features", "units"), initializer=None)
    sensory_erev = Weight(("data_features", "units"), "$e'$", initializer=None)
    input_w = Weight(("data_features",), "$a$", initializer="ones")
    input_b = Weight(("data_features",), "$b$", initializer="zeros", when="use_bias")
    output_w = Weight(("units",), "$o$", initializer="ones")
    output_b = Weight(("units",), "$q$", initializer="zeros", when="use_bias")

    @property
    def data_features(self):
        """How many features there are beside the time."""
        return self.features - self.timed

    @property
    def projected_width(self):
        return 2 * self.units + self.timed

    def initializer_of(self, name):
        if name in _POSITIVE:
            return lambda shape, dtype=None: _inverse_softplus(self._drawn(shape, dtype, *_POSITIVE[name]))
        return self._reversal if name.endswith("erev") else super().initializer_of(name)

    def _reversal(self, shape, dtype=None):
        """Two of three synapses excite."""
        excites = self._drawn(shape, dtype, 0.0, 3.0) < 2.0
        return ops.where(excites, ops.ones(shape, dtype=dtype), -ops.ones(shape, dtype=dtype))

    def _drawn(self, shape, dtype, least, most):
        return keras.random.uniform(shape, least, most, dtype=dtype, seed=self.seed_generator)

    def derive(self, weights):
        wide = "float64" if self.compute_dtype == "float64" else "float32"
        weights = {name: ops.cast(weight, wide) for name, weight in weights.items()}
        weights |= {name: ops.softplus(weights[name]) for name in _POSITIVE}
        pulls = {prefix + "pull": weights[prefix + "w"] * weights[prefix + "erev"] for prefix in ("", "sensory_")}
        return {**weights, **pulls}

    def project(self, inputs, weights, noise):
        data = inputs[..., : self.data_features]
        data = data * noise["inputs"][..., : self.data_features] if "inputs" in noise else data
        data = ops.cast(data, weights["input_w"].dtype) * weights["input_w"] + weights.get("input_b", 0.0)
        opened, pull = _conductances(data, weights, "sensory_")
        parts = [opened + weights["gleak"] + self.epsilon, pull + weights["gleak"] * weights["vleak"]]
        time = [ops.relu(ops.cast(inputs[..., -1:], data.dtype))] if self.timed else []
        return ops.concatenate(parts + time, axis=-1)

    def recur(self, projected, states, weights, noise):
        voltage = states[0]
        opened_by_inputs, pull_of_inputs, *time = ops.split(
            projected, [self.units, 2 * self.units][: 1 + self.timed], axis=-1
        )
        length = (time[0] if time else 1.0) / self.ode_unfolds
        for _ in range(self.ode_unfolds):
            opened, pull = _conductances(voltage, weights, "")
            drawn = weights["cm"] * voltage + length * (pull + pull_of_inputs)
            voltage = drawn / (weights["cm"] + length * (opened + opened_by_inputs))
        output = voltage * weights["output_w"] + weights.get("output_b", 0.0)
        return ops.cast(output, self.compute_dtype), [voltage]


def _conductances(source, weights, prefix):
    """For each neuron the sum of its open conductances, and of these times what they pull to."""
    is_open = ops.sigmoid(weights[prefix + "sigma"] * (ops.expand_dims(source, -1) - weights[prefix + "mu"]))
    return (ops.sum(is_open * weights[prefix + name], axis=-2) for name in ("w", "pull"))


def _inverse_softplus(values):
    return values + ops.log(-ops.expm1(-values))


LTC = layer_of(LTCCell)
