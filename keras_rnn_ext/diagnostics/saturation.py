"""Gates that are shut or wide open: how much of the time an activation is near an end of its range."""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_rnn_ext import MyGRUCell, MyLSTMCell, MySimpleRNNCell
from keras_rnn_ext.diagnostics.watch import Watch, standing_in

# What the cells call their activations for, in the order in which they do. Cells that are not here need no entry:
# theirs are numbered.
_LSTM = ("input_gate", "forget_gate", "candidate", "output_gate", "squashed_carry")
_GRU = ("update_gate", "reset_gate", "candidate")
_NAMES = {
    MySimpleRNNCell: ("output",),
    MyLSTMCell: ("forget_gate", "input_gate", *_LSTM[2:]),
    MyGRUCell: _GRU,
    keras.layers.SimpleRNNCell: ("output",),
    keras.layers.LSTMCell: _LSTM,
    keras.layers.GRUCell: _GRU,
}

# Far out, where a function that has a limit is at it.
_FAR = 1e4


class Saturation(NamedTuple):
    """The share of steps at which each unit of a gate is near an end of its range."""

    left: Any  # (units,): near the lower end, a gate that is shut
    right: Any  # (units,): near the upper end, a gate that is open


def gate_saturation(model, x, near=0.1):
    r"""The share of a batch's steps at which gates are shut or open, and tanh at its ends, for each unit.

    For an activation function with values between $a$ and $b$, and a unit with the activations $v_{b, t}$, this is the
    share of the rows and valid steps with

    $$v_{b, t} < a + \epsilon (b - a) \;\text{(left)} \qquad v_{b, t} > b - \epsilon (b - a) \;\text{(right)}$$

    with $\epsilon$ the argument `near`: for a sigmoid gate and 0.1, below 0.1 and above 0.9; for tanh, below -0.8 and
    above 0.8. These are the same inputs but for a factor of two, as $\sigma(2 z) = (1 + \tanh z) / 2$. Dropout is off.

    Activations are found where a cell calls its `activation`, `recurrent_activation` and other attributes whose
    names end so, at each step of the batch. Those without two limits, such as ReLU, are left out.

    Args:
        model: a Keras model, as for `gradient_norms`; layers that read backward are welcome.
        x: a batch of inputs, as the model takes them.
        near: how near an end counts, as a share of the range, above 0 and below 0.5. Default 0.1.

    Returns:
        A dict: the name of each recurrent layer, `"layer/cell"` for each cell of a stack, to a dict from the names
        of its gates to a `Saturation(left, right)` of arrays `(units,)`. The names: `input_gate`, `forget_gate`,
        `candidate`, `output_gate` and `squashed_carry` of an LSTM, the last being the activation of $c_t$;
        `update_gate`, `reset_gate` and `candidate` of a GRU; `output` of a simple recurrence; of other cells the
        attribute's name, `activation`, with a number from the second call on, `activation_2`.

    Raises:
        TypeError: if `model` is no Keras model.
        ValueError: if the model has no recurrent layer, calls one twice or has one that cannot be opened; or if
            `near` is out of range.

    Source: Karpathy, Johnson, Li 2015, arXiv 1506.02078, section 4.2. Deviation: they look at gates only.

    >>> import keras
    >>> import numpy as np
    >>> from keras_rnn_ext import MyLSTM
    >>> from keras_rnn_ext.diagnostics import gate_saturation
    >>> lstm = MyLSTM(2, bias_initializer=keras.initializers.Constant(5.0), unit_forget_bias=False, name="lstm")
    >>> model = keras.Sequential([keras.Input((6, 3)), lstm])
    >>> gates = gate_saturation(model, np.zeros((4, 6, 3)))["lstm"]
    >>> gates["forget_gate"].right, gates["forget_gate"].left  # all open: its bias is 5
    (array([1., 1.]), array([0., 0.]))
    """
    return saturation_of(Watch(model), x, near)


def saturation_of(watch, x, near=0.1):
    """As `gate_saturation`, of a `Watch`."""
    if isinstance(near, bool) or not isinstance(near, (int, float)) or not 0 < near < 0.5:
        raise ValueError(f"Argument `near` must be a number above 0 and below 0.5. Received: near={near!r}")
    _, traces = watch.trace(keras.tree.map_structure(ops.convert_to_tensor, x))
    return {name: _shares(watch.parts[name], trace, near) for name, trace in traces.items()}


def _shares(part, trace, near):
    shares = {}
    for name, (lower, upper), values in _activations(part, trace):
        margin = near * (upper - lower)
        shares[name] = Saturation((values < lower + margin).mean(0), (values > upper - margin).mean(0))
    return shares


def _activations(part, trace):
    """Name, range and values `(rows and valid steps, units)` of each call of an activation with two limits."""
    calls = []

    def recording(attribute, function):
        def record(values):
            result = function(values)
            calls.append((attribute, function, ops.convert_to_numpy(result)))
            return result

        return record

    # All steps as one batch: what entered each of them is known.
    inputs, *states = (ops.convert_to_tensor(each[trace.valid]) for each in (trace.inputs, *trace.before()))
    cell = part.cell
    attributes = [name for name in dir(cell) if name.endswith("activation") and callable(getattr(cell, name))]
    recorders = [(cell, name, recording(name, getattr(cell, name))) for name in attributes]
    with standing_in(recorders):
        part.step(inputs, states)
    names = _names(cell, [attribute for attribute, _, _ in calls])
    ranges = [_range(function) for _, function, _ in calls]
    return [(name, ends, call[2]) for name, ends, call in zip(names, ranges, calls, strict=True) if ends is not None]


def _names(cell, attributes):
    for kind in type(cell).__mro__:
        if len(_NAMES.get(kind, ())) == len(attributes) > 0:
            return _NAMES[kind]
    count = [attributes[: place + 1].count(name) for place, name in enumerate(attributes)]
    return [name if number == 1 else f"{name}_{number}" for name, number in zip(attributes, count, strict=True)]


def _range(function):
    """The lower and the upper limit of an increasing function, or None if it lacks one."""
    far = ops.convert_to_tensor(np.array([[-2 * _FAR, -_FAR, _FAR, 2 * _FAR]], "float32"))
    lower, still_lower, still_upper, upper = ops.convert_to_numpy(function(far))[0].tolist()
    return (lower, upper) if abs(lower - still_lower) + abs(upper - still_upper) < 1e-3 < upper - lower else None
