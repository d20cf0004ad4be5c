"""Our cells against implementations by other people: outputs, last states, and gradients.

    python -m tests.other_implementations    # a table with the largest error of each; exit status 1 if one is too large

An error is the largest difference in a tensor, over the largest number in it. What is not installed is left out, with
the reason. `test_other_implementations.py` makes the same comparisons.
"""

import dataclasses
import functools
import importlib.util
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from benchmarks import torch_cells
from benchmarks.measure import distance
from keras_rnn_ext import convert
from keras_rnn_ext.convert.layouts import weights_of
from keras_rnn_ext.registry import get, list_cells
from tests.helpers import RTOL, WIDEST, precision, values_and_gradients

# Gradients are sums over all steps, taken in another order.
BOUND = {"float64": RTOL["float64"], "float32": 10 * RTOL["float32"]}[WIDEST]


class Size(NamedTuple):
    """Of a problem."""

    batch: int
    steps: int
    features: int
    units: int


SIZES = (Size(3, 7, 4, 5), Size(1, 1, 1, 1), Size(2, 33, 5, 3))


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A cell of ours and an implementation elsewhere.

    Args:
        cell: its name in the catalogue.
        other: what it is compared with.
        needs: the package that has it.
        results: gives the results of ours and theirs, arrays by name, for a problem of some size.
        settings: what it takes for both to be the same.
    """

    cell: str
    other: str
    needs: str
    results: Callable[[Size], tuple[dict, dict]]
    settings: str = ""

    @property
    def missing(self):
        """Why it cannot be made here, or None."""
        absent = [name for name in ("torch", self.needs) if not importlib.util.find_spec(name)]
        return f"{absent[0]} is not installed" if absent and self.needs != "keras" else None

    def errors(self, size):
        """The largest error, and where it is: of the values, and of the gradients."""
        with precision(WIDEST):
            ours, theirs = self.results(size)
        parts = []
        for is_gradient in (False, True):
            own, other = (
                {k: v for k, v in each.items() if ("gradient" in k) == is_gradient} for each in (ours, theirs)
            )
            parts.append(distance(own, other))
        return parts


def drawn(size, states):
    """Inputs and initial states, as arrays."""
    random = np.random.default_rng(1)
    x = random.normal(size=(size.batch, size.steps, size.features)).astype(WIDEST)
    return [x, *(random.normal(size=(size.batch, width)).astype(WIDEST) for width in states)]


def set_weights(layer, weights):
    """Of our layer, by name."""
    for variable in layer.cell.weights:
        if variable.name in weights:
            variable.assign(weights[variable.name].astype(variable.dtype))


def of_layer(layer, tensors, see=lambda x: x):
    """Outputs and gradients of a layer of Keras or of ours; with initial states the last ones too.

    Args:
        layer: a built layer.
        tensors: inputs and initial states.
        see: what the layer gets of the inputs.

    Returns:
        A list of outputs and one of gradients, those of weights last.
    """
    layer.return_sequences, layer.return_state = True, len(tensors) > 1

    def call(x, *states):
        found = layer(see(x), initial_state=list(states) or None, training=True)
        return found if states else [found]

    return values_and_gradients(call, tensors, layer.trainable_variables)


def of_torch(function, tensors, parameters):
    """The same of a function of PyTorch."""
    import torch

    tensors = [torch.tensor(each, requires_grad=True, device="cpu") for each in tensors]
    outputs = function(*tensors)
    random = np.random.default_rng(0)
    total = 0.0
    for output in outputs:
        # As in `values_and_gradients`.
        weights = np.round(8 * random.normal(size=tuple(output.shape))) / 8
        total = total + (output * torch.tensor(weights, dtype=output.dtype, device="cpu")).sum()
    found = torch.autograd.grad(total, [*tensors, *parameters], allow_unused=True, materialize_grads=True)
    return [each.detach().numpy() for each in outputs], [each.numpy() for each in found]


def named(outputs, gradients, weights):
    """Results by name: `weights` are the gradients of the weights."""
    found = {f"output {place}": each for place, each in enumerate(outputs)}
    found |= {f"gradient of tensor {place}": each for place, each in enumerate(gradients)}
    return found | {f"gradient of {name}": each for name, each in weights.items()}


# torchrecurrent

# Other settings than those of the benchmark's table, as torchrecurrent calls them. No "hard_sigmoid": in float64 the
# gradient of PyTorch's has the digits of a float32.
OTHER_SETTINGS = {
    "antisymmetric_rnn": ({"epsilon": 0.5, "gamma": 0.3, "nonlinearity": "relu"},),
    "co_rnn": ({"dt": 0.3, "gamma": 0.7, "epsilon": 0.2},),
    "fast_grnn": ({"nonlinearity": "tanh"},),
    "fast_rnn": ({"nonlinearity": "relu"},),
    "gated_antisymmetric_rnn": ({"epsilon": 0.5, "gamma": 0.3},),
    "ind_rnn": ({"nonlinearity": "tanh"},),
    "li_gru": ({"nonlinearity": "tanh"},),
    "mgu": ({"nonlinearity": "softplus"},),
    "minimal_rnn": ({"nonlinearity": "elu"},),
    "peephole_lstm": ({"nonlinearity": "elu"},),
    "unicornn": ({"dt": 0.4, "alpha": 0.6},),
}


def with_torchrecurrent(cell, options, size):
    """Results of ours and of torchrecurrent."""
    both = torch_cells.pair(cell, size.features, size.units, dtype=WIDEST, scale=0.3, **options)
    widths = [size.units] * len(both.layer.cell.state_names)
    tensors = drawn(size, widths)
    two = both.module.cells[0].uses_double_state()

    def call(x, *states):
        # JANET has the same state twice.
        given = tuple(state[None] for state in (states if len(states) == 2 or not two else states * 2))
        outputs, last = both.module(x, given if two else given[0])
        return [outputs, *(each[0] for each in (last if two else [last]))][: 1 + len(states)]

    parameters = {name: each for name, each in both.module.named_parameters() if name in both.places}
    outputs, gradients = of_torch(call, tensors, parameters.values())
    count = len(tensors)
    pulled = both.pulled_back(dict(zip(parameters, gradients[count:], strict=True)))
    theirs = named(outputs, gradients[:count], pulled)
    outputs, gradients = of_layer(both.layer, tensors)
    shared = both.shared()
    own = {name: each * shared[name] for name, each in zip(shared, gradients[count:], strict=True)}
    return named(outputs, gradients[:count], own), theirs


def torchrecurrent_comparisons():
    """A row for each cell and setting."""
    for cell, shared in torch_cells.SHARED.items():
        for options in ({}, *OTHER_SETTINGS.get(cell, ())):
            said = ", ".join(f"{name}={value}" for name, value in {**shared.options, **options}.items())
            yield Comparison(
                cell,
                f"torchrecurrent.{shared.kind}",
                "torchrecurrent",
                functools.partial(with_torchrecurrent, cell, options),
                "; ".join(filter(None, [said, "" if options else shared.note])),
            )


# torch.nn


def with_projected_lstm(use_bias, size):
    """Results of ours and of `torch.nn.LSTM` with a projection."""
    import torch

    size = size._replace(units=size.units + 1)
    projection = size.units - 1
    torch.manual_seed(0)
    module = torch.nn.LSTM(
        size.features,
        size.units,
        proj_size=projection,
        bias=use_bias,
        batch_first=True,
        dtype=getattr(torch, WIDEST),
        device="cpu",
    )
    with torch.no_grad():
        for each in module.parameters():
            each.mul_(2.0)
    layer = convert.from_torch(module, dtype=WIDEST)
    tensors = drawn(size, [projection, size.units])

    def call(x, hidden, carry):
        outputs, (hidden, carry) = module(x, (hidden[None], carry[None]))
        return [outputs, hidden[0], carry[0]]

    parameters = {name.removesuffix("_l0"): each for name, each in module.named_parameters()}
    outputs, gradients = of_torch(call, tensors, parameters.values())
    of_weights = {name: each.T for name, each in zip(parameters, gradients[3:], strict=True)}
    names = {
        "kernel": "weight_ih",
        "recurrent_kernel": "weight_hh",
        "bias": "bias_ih",
        "projection_kernel": "weight_hr",
    }
    names = {ours: theirs for ours, theirs in names.items() if theirs in of_weights}
    theirs = named(outputs, gradients[:3], {name: of_weights[other] for name, other in names.items()})
    outputs, gradients = of_layer(layer, tensors)
    own = dict(zip([each.name for each in layer.trainable_variables], gradients[3:], strict=True))
    return named(outputs, gradients[:3], own), theirs


# ncps


def ncps_timespans(size):
    """Times between the steps, one for each row of a batch."""
    return np.random.default_rng(2).uniform(0.2, 2.0, size=(size.batch, size.steps, 1)).astype(WIDEST)


def with_ncps(cell, size, timed, module_of, arrays_of, **options):
    """Results of ours and of a cell of ncps, step by step: the times of its layers do not fit batches.

    Args:
        cell: ours.
        size: of the problem.
        timed: whether steps have a length of their own.
        module_of: makes their cell.
        arrays_of: makes our weights of their parameters, or of the gradients of these.
        **options: arguments of ours.
    """
    import torch

    torch.manual_seed(0)
    with torch.device("cpu"):
        module = module_of().to(getattr(torch, WIDEST))
    parameters = {name: each for name, each in module.named_parameters() if each.requires_grad}
    random = np.random.default_rng(3)
    with torch.no_grad():
        for each in parameters.values():
            each.add_(torch.tensor(0.2 * random.normal(size=tuple(each.shape)), dtype=each.dtype, device="cpu"))
    x, state = drawn(size, [size.units])
    spans = ncps_timespans(size)

    def call(x, state):
        outputs = []
        for step in range(size.steps):
            span = torch.tensor(spans[:, step], device="cpu") if timed else 1.0
            output, state = module(x[:, step], state, span)
            outputs.append(output)
        return [torch.stack(outputs, dim=1), state]

    outputs, gradients = of_torch(call, [x, state], parameters.values())
    of_weights = arrays_of(dict(zip(parameters, gradients[2:], strict=True)))
    theirs = named(outputs, gradients[:2], of_weights)
    layer = get(cell).layer(size.units, timed=timed, dtype=WIDEST, **options)
    layer.build((None, None, size.features + timed))
    set_weights(layer, arrays_of({name: each.detach().numpy() for name, each in parameters.items()}))
    see = (lambda x: ops.concatenate([x, ops.convert_to_tensor(spans)], axis=-1)) if timed else (lambda x: x)
    outputs, gradients = of_layer(layer, [x, state], see)
    own = {each.name: gradient for each, gradient in zip(layer.trainable_variables, gradients[2:], strict=True)}
    assert own.keys() == of_weights.keys()
    return named(outputs, gradients[:2], own), theirs


def with_cfc(mode, timed, activation, size):
    """Results of ours and of `ncps.torch.CfCCell`."""
    features = size.features

    def module_of():
        from ncps.torch import CfCCell

        return CfCCell(features, size.units, mode=mode, backbone_activation=activation, backbone_units=7)

    def arrays_of(arrays):
        kernel = arrays["backbone.0.weight"].T
        # The sign of what the time is multiplied with.
        heads = {"ff1": 1} if mode == "pure" else {"ff1": 1, "ff2": 1, "time_a": -1, "time_b": 1}
        found = {
            "kernel": kernel[:features],
            "recurrent_kernel": kernel[features:],
            "bias": arrays["backbone.0.bias"],
            "head_kernel": np.concatenate([sign * arrays[f"{head}.weight"].T for head, sign in heads.items()], axis=-1),
            "head_bias": np.concatenate([sign * arrays[f"{head}.bias"] for head, sign in heads.items()]),
        }
        if mode == "pure":
            found |= {"w_tau": arrays["w_tau"][0], "amplitude": arrays["A"][0]}
        return found

    own = {"mode": mode, "activation": activation, "backbone_units": 7}
    return with_ncps("cfc", size, timed, module_of, arrays_of, **own)


def with_ltc(timed, unfolds, size):
    """Results of ours and of `ncps.torch.LTCCell`."""

    def module_of():
        from ncps.torch import LTCCell
        from ncps.wirings import FullyConnected

        wiring = FullyConnected(size.units)
        return LTCCell(wiring, size.features, ode_unfolds=unfolds, implicit_param_constraints=True)

    return with_ncps("ltc", size, timed, module_of, dict, ode_unfolds=unfolds)


# Built-in layers of Keras

OPEN = 60.0  # a sigmoid of it is 1, and one of its opposite is 0 beside any other number
FORGETFUL = "without recurrent kernels"


@dataclasses.dataclass(frozen=True)
class AsKeras:
    """A cell of ours that is a built-in layer with some settings.

    Args:
        cell: ours.
        kind: Keras's layer.
        settings: what it takes, in words.
        weights: Keras's weights, from ours; each entry is a sum of entries of ours and of constants.
        prepare: those of our weights that have to have special values.
        ours: arguments of our layer.
        theirs: arguments of Keras's.
        constant: weights of ours that are not compared.
        extra: number of features that ours sees beside the inputs.
        see: the inputs as ours sees them.
        they_see: the inputs as Keras's sees them.
    """

    cell: str
    kind: str
    settings: str
    weights: Callable[[dict], list]
    prepare: Callable[[dict], dict] = lambda own: {}
    ours: dict = dataclasses.field(default_factory=dict)
    theirs: dict = dataclasses.field(default_factory=dict)
    constant: tuple = ()
    extra: int = 0
    see: Callable = lambda x: x
    they_see: Callable = lambda x: x

    def results(self, size):
        """Those of ours and of Keras's: outputs, and gradients of inputs and weights, from states of zeros."""
        layer = get(self.cell).layer(size.units, dtype=WIDEST, **self.ours)
        layer.build((None, None, size.features + self.extra))
        random = np.random.default_rng(0)
        own = {name: 0.7 * random.normal(size=weight.shape) for name, weight in weights_of(layer.cell).items()}
        own |= self.prepare(own)
        set_weights(layer, own)
        built_in = getattr(keras.layers, self.kind)(size.units, dtype=WIDEST, **self.theirs)
        weights = self.weights(own)
        built_in.build((None, None, len(weights[0])))
        built_in.set_weights(weights)
        tensors = drawn(size, [])
        (output,), (of_inputs, *of_weights) = of_layer(built_in, tensors, self.they_see)
        pulled, compared = self.pulled_back(own, of_weights)
        trained = [each.name for each in layer.trainable_variables]
        pulled = {name: pulled[name] for name in trained if compared[name].any()}
        theirs = named([output], [of_inputs], pulled)
        (output,), (of_inputs, *of_weights) = of_layer(layer, tensors, self.see)
        found = {name: each * compared[name] for name, each in zip(trained, of_weights, strict=True) if name in pulled}
        return named([output], [of_inputs], found), theirs

    def pulled_back(self, own, gradients):
        """The gradients of our weights, from those of Keras's; and which entries Keras's weights depend on."""
        base = self.weights(own)
        pulled, compared = ({name: np.zeros(weight.shape) for name, weight in own.items()} for _ in range(2))
        for name in own.keys() - set(self.constant):
            for place in np.ndindex(own[name].shape):
                moved = own[name].copy()
                moved[place] += 1.0
                changes = [new - old for new, old in zip(self.weights({**own, name: moved}), base, strict=True)]
                pulled[name][place] = sum(np.vdot(one, other) for one, other in zip(changes, gradients, strict=True))
                compared[name][place] = any(abs(change).max() > 0.5 for change in changes)
        return pulled, compared


def columns(array, order, wanted, units):
    """Gates of `array`, which stand in some order, in another one.

    Args:
        array: our weight.
        order: a letter for each of its gates.
        wanted: the gates of Keras's weight: a letter, `-` and a letter for its opposite, 0, or 1 for an open gate.
        units: columns of a gate.
    """
    shape = (*array.shape[:-1], units)
    found = {"0": np.zeros(shape), "1": np.full(shape, OPEN)}
    for gate, block in zip(order, np.split(array, len(order), axis=-1) if order else (), strict=True):
        found |= {gate: block, f"-{gate}": -block}
    return np.concatenate([found[each] for each in wanted.split()], axis=-1)


def arranged(order, wanted, recurrent=None, bias=None):
    """Makes `AsKeras.weights`: how the gates of `kernel`, `recurrent_kernel` and `bias` stand. Default: as in `kernel`.

    Args:
        order: of the gates in our kernel, see `columns`.
        wanted: see `columns`.
        recurrent: both of the recurrent kernel; of none the first is empty.
        bias: both of the bias.
    """

    def weights(own):
        units = own["kernel"].shape[1] // len(order)
        recurrent_kernel = own["recurrent_kernel"] if (recurrent or order)[0] else np.zeros((units, 0))
        return [
            columns(own["kernel"], order, wanted, units),
            columns(recurrent_kernel, *(recurrent or (order, wanted)), units),
            columns(own["bias"], *(bias or (order, wanted)), units),
        ]

    return weights


def first_layer(own):
    return {**own, "recurrent_kernel": own["recurrent_kernel"][0], "bias": own["bias"][0]}


def janet_weights(own):
    kernel, recurrent_kernel, bias = arranged("fc", "-f f c 0", bias=("fc", "-f f c 1"))(own)
    # Beta opens the input gate a bit further.
    return [kernel, recurrent_kernel, bias + np.repeat([0.7, 0.0, 0.0, 0.0], len(bias) // 4)]


def multiplicative_weights(own):
    # The first feature is 1, so that it is a bias.
    kernel = own["kernel"][:, : own["bias"].size]
    return [kernel[1:], own["intermediate_kernel"], own["bias"] + kernel[0]]


def state_itself(own):
    """The product m is h: one row of its kernel is ones, and the first feature is 1."""
    units = own["bias"].size // 4
    kernel = own["kernel"].copy()
    kernel[:, -units:] = np.eye(len(kernel), 1)
    return {"kernel": kernel, "recurrent_kernel": np.eye(units)}


def sru_weights(own):
    units = own["recurrent_kernel"].shape[1]
    own = {**own, "kernel": own["kernel"][:, : 3 * units]}
    return arranged("cfr", "f 0 c", ("", "0 0 0"), ("fr", "f 1 0"))(own)


def open_highway(own):
    units = own["recurrent_kernel"].shape[1]
    kernel, bias = own["kernel"].copy(), own["bias"].copy()
    kernel[:, 2 * units : 3 * units], bias[units:] = 0.0, OPEN
    return {"kernel": kernel, "bias": bias, "recurrent_kernel": np.zeros((2, units))}


def rglru_weights(own):
    decay = (1.0 + np.exp(-own["decay_log"])) ** -8.0
    scale = np.sqrt(1.0 - decay**2)
    kernel = own["input_kernel"] if "input_kernel" in own else np.eye(len(scale))
    return [kernel * scale, np.diag(decay), np.zeros(len(scale))]


def open_gates(own):
    return {"kernel": 0.0 * own["kernel"], "bias": np.full(own["bias"].shape, OPEN)}


def with_one(x):
    return ops.concatenate([ops.ones_like(x[..., :1]), x], axis=-1)


def with_time(x):
    """A time half a period behind whole ones."""
    steps = ops.cast(ops.arange(x.shape[1]), x.dtype)[None, :, None] + 0.5
    return ops.concatenate([x, ops.broadcast_to(steps, (*x.shape[:2], 1))], axis=-1)


def with_previous(x):
    return ops.concatenate([x, ops.pad(x, [[0, 0], [1, 0], [0, 0]])[:, :-1]], axis=-1)


LINEAR = {"activation": "linear"}
GRU = {"reset_after": False}
AS_KERAS = (
    AsKeras(
        "coupled_lstm", "LSTM", "f = 1 - i, no peepholes", arranged("ico", "i -i c o"), ours={"use_peepholes": False}
    ),
    AsKeras(
        "esn",
        "SimpleRNN",
        "leak 1",
        lambda own: [own["kernel"], own["recurrent_kernel"], own["bias"]],
    ),
    AsKeras(
        "fast_grnn",
        "GRU",
        "zeta 60, nu -60; one kernel for both gates, reset gate open",
        arranged("w", "w 0 w", bias=("zh", "z 1 h")),
        lambda own: {"zeta": np.array(OPEN), "nu": np.array(-OPEN)},
        theirs=GRU,
    ),
    AsKeras(
        "fast_rnn",
        "SimpleRNN",
        "alpha 60, beta -60",
        lambda own: [own["kernel"], own["recurrent_kernel"], own["bias"]],
        lambda own: {"alpha": np.array(OPEN), "beta": np.array(-OPEN)},
    ),
    AsKeras(
        "ind_rnn",
        "SimpleRNN",
        "diagonal recurrent kernel",
        lambda own: [own["kernel"], np.diag(own["recurrent_kernel"][0]), own["bias"]],
        theirs={"activation": "relu"},
    ),
    AsKeras(
        "janet",
        "LSTM",
        "linear activation, output gate open, opposite input gate; beta 0.7",
        janet_weights,
        ours={**LINEAR, "beta": 0.7},
        theirs=LINEAR,
    ),
    AsKeras(
        "li_gru",
        "GRU",
        "reset gate open",
        arranged("zh", "z 0 h", bias=("zh", "z 1 h")),
        theirs={**GRU, "activation": "relu"},
    ),
    AsKeras(
        "lmu",
        "SimpleRNN",
        "memory kernel 0",
        lambda own: [own["kernel"], own["recurrent_kernel"]],
        lambda own: {"memory_kernel": 0.0 * own["memory_kernel"]},
        theirs={"use_bias": False},
    ),
    AsKeras("mgu", "GRU", "z = 1 - f, r = f", arranged("fh", "-f f h"), theirs=GRU),
    AsKeras(
        "min_gru",
        "GRU",
        f"linear activation, {FORGETFUL}",
        arranged("zh", "-z 0 h", ("", "0 0 0"), ("zh", "-z 1 h")),
        theirs={**GRU, **LINEAR},
    ),
    AsKeras(
        "minimal_rnn",
        "GRU",
        "latent kernel 0, candidate without state",
        arranged("w", "0 0 w", ("u", "u 0 0"), ("zu", "u 1 z")),
        lambda own: {"latent_kernel": 0.0 * own["latent_kernel"]},
        theirs=GRU,
    ),
    AsKeras(
        "multiplicative_lstm",
        "LSTM",
        "m = h",
        multiplicative_weights,
        state_itself,
        extra=1,
        see=with_one,
    ),
    AsKeras(
        "peephole_lstm",
        "LSTM",
        "peepholes 0",
        lambda own: [own["kernel"], own["recurrent_kernel"], own["bias"]],
        lambda own: {"peephole_kernel": 0.0 * own["peephole_kernel"]},
    ),
    AsKeras(
        "phased_lstm",
        "LSTM",
        "always open: period 1, phase 0, ratio 1, times n + 1/2; no peepholes",
        lambda own: [own["kernel"], own["recurrent_kernel"], own["bias"]],
        lambda own: {
            "period": 1.0 + 0.0 * own["period"],
            "phase": 0.0 * own["phase"],
            "ratio": 1.0 + 0.0 * own["ratio"],
        },
        ours={"timed": True, "peepholes": False},
        extra=1,
        see=with_time,
    ),
    AsKeras(
        "projected_lstm",
        "LSTM",
        "projection of ones on the diagonal, no peepholes",
        lambda own: [own["kernel"], own["recurrent_kernel"], own["bias"]],
        lambda own: {"projection_kernel": np.eye(len(own["projection_kernel"]))},
        ours={"peepholes": False},
    ),
    AsKeras(
        "qrnn",
        "LSTM",
        f"window 1, pooling ifo; linear activation, {FORGETFUL}",
        arranged("zfoi", "i f z o", ("", "0 0 0 0")),
        ours={"window": 1, "pooling": "ifo", **LINEAR},
        theirs=LINEAR,
    ),
    AsKeras(
        "qrnn",
        "GRU",
        f"window 2, pooling f; two inputs side by side, {FORGETFUL}",
        arranged("zf", "f 0 z", ("", "0 0 0"), ("zf", "f 1 z")),
        ours={"window": 2, "pooling": "f"},
        theirs=GRU,
        they_see=with_previous,
    ),
    AsKeras(
        "ran",
        "LSTM",
        "linear activation, output gate open, candidate without state",
        arranged("cif", "i f c 0", ("if", "i f 0 0"), ("cif", "i f c 1")),
        ours=LINEAR,
        theirs=LINEAR,
    ),
    AsKeras(
        "rglru",
        "SimpleRNN",
        "both gates open, so that the decay is constant; linear activation",
        rglru_weights,
        open_gates,
        theirs=LINEAR,
        constant=("decay_log",),
    ),
    AsKeras(
        "rhn",
        "GRU",
        "depth 1; reset gate open",
        lambda own: arranged("ht", "-t 0 h", bias=("ht", "-t 1 h"))(first_layer(own)),
        ours={"depth": 1},
        theirs=GRU,
    ),
    AsKeras(
        "sru",
        "GRU",
        f"reset gate open, gates without state; linear activation, {FORGETFUL}",
        sru_weights,
        open_highway,
        theirs={**GRU, **LINEAR},
    ),
    AsKeras(
        "star",
        "GRU",
        "linear activation, candidate without state",
        arranged("zk", "-k 0 z", ("k", "-k 0 0"), ("zk", "-k 1 z")),
        ours=LINEAR,
        theirs={**GRU, **LINEAR},
    ),
    AsKeras("ugrnn", "GRU", "reset gate open", arranged("gc", "g 0 c", bias=("gc", "g 1 c")), theirs=GRU),
)


def comparisons():
    """All of them, by cell."""
    rows = list(torchrecurrent_comparisons())
    for use_bias in (True, False):
        said = f"bias={use_bias}; no peepholes"
        results = functools.partial(with_projected_lstm, use_bias)
        rows.append(Comparison("projected_lstm", "torch.nn.LSTM(proj_size)", "torch", results, said))
    for mode in ("default", "no_gate", "pure"):
        for timed, activation in ((False, "lecun_tanh"), (True, "silu")):
            results = functools.partial(with_cfc, mode, timed, activation)
            said = f"{mode}, {'timed' if timed else 'steps of 1'}, {activation}"
            rows.append(Comparison("cfc", "ncps.torch.CfCCell", "ncps", results, said + "; time_a has the other sign"))
    for timed, unfolds in ((False, 6), (True, 2)):
        results = functools.partial(with_ltc, timed, unfolds)
        said = f"{'timed' if timed else 'steps of 1'}, {unfolds} unfolds, positive by softplus"
        rows.append(Comparison("ltc", "ncps.torch.LTCCell", "ncps", results, said))
    rows += [Comparison(row.cell, f"keras.layers.{row.kind}", "keras", row.results, row.settings) for row in AS_KERAS]
    return sorted(rows, key=lambda row: row.cell)


COMPARISONS = comparisons()


def alone():
    """Cells that nothing here is compared with, beside the twins of Keras's own."""
    return sorted(set(list_cells()) - {row.cell for row in COMPARISONS} - {"simple_rnn", "lstm", "gru"})


def main():
    """Prints the table and gives the exit status."""
    print("| cell | compared with | settings | values | gradients |\n| --- | --- | --- | --- | --- |")
    status = 0
    for row in COMPARISONS:
        shown = [f"not compared: {row.missing}", ""]
        if row.missing is None:
            errors = [max(found) for found in zip(*(row.errors(size) for size in SIZES), strict=True)]
            shown = [f"{error:.1e}" + (f" ({where})" if error > BOUND else "") for error, where in errors]
            status |= any(error > BOUND for error, _ in errors)
        print(f"| `{row.cell}` | `{row.other}` | {row.settings} | {' | '.join(shown)} |", flush=True)
    print(f"\nAllowed: {BOUND:.0e}. Compared with NumPy alone: {', '.join(alone())}.")
    return int(status)


if __name__ == "__main__":
    raise SystemExit(main())
