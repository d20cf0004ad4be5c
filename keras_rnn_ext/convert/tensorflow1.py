"""Checkpoints of TensorFlow 1: the cells of `tf.nn.rnn_cell` and `tf.contrib.rnn`."""

import os
import re
from collections.abc import Mapping

from keras_rnn_ext.convert.assembly import assemble, taken_apart
from keras_rnn_ext.convert.checkpoint import Checkpoint
from keras_rnn_ext.convert.layouts import Layout, as_arrays, columns, joined, stacked

_BOTH = ("kernel", "recurrent_kernel")


def _units_from(bias, gates):
    return lambda arrays: len(arrays[bias]) // gates


_LSTM_UNITS = _units_from("bias", 4)


# The activation of the gates is no argument there.
_GATES = {"recurrent_activation": "sigmoid"}


def _lstm(cell, *parts, rows=_LSTM_UNITS, expects=_GATES, **facts):
    # There a candidate is j and stands second.
    return Layout(
        cell,
        (
            joined(_BOTH, "kernel", rows=rows, ours="ifjo", theirs="ijfo"),
            columns("bias", "bias", ours="ifjo", theirs="ijfo"),
            *parts,
        ),
        expects=expects,
        **facts,
    )


_PROJECTION = columns("projection_kernel", "projection/kernel")
_PEEPHOLES = ("w_i_diag", "w_f_diag", "w_o_diag")


def _projected(peepholes):
    return _lstm(
        "projected_lstm",
        _PROJECTION,
        *([stacked("peephole", *_PEEPHOLES)] if peepholes else []),
        rows=lambda arrays: arrays["projection/kernel"].shape[1],
        units=lambda weights: weights["projection_kernel"].shape[0],
        options=lambda weights, arrays: {"projection": weights["projection_kernel"].shape[1], "peepholes": peepholes},
        expects={**_GATES, "peepholes": peepholes},
    )


# Of each kind: the scope that it has by default, the gate with a bias that is added in each step (its order there and
# its letter), and the layouts by what a checkpoint has beside kernel and bias.
_NO_FORGET_BIAS = ("", "")
_LSTM_FORGET_BIAS = ("ijfo", "f")
_KINDS: dict = {
    "BasicRNNCell": (
        "basic_rnn_cell",
        _NO_FORGET_BIAS,
        {(): Layout("simple_rnn", (joined(_BOTH, "kernel", rows=_units_from("bias", 1)), columns("bias", "bias")))},
    ),
    "BasicLSTMCell": ("basic_lstm_cell", _LSTM_FORGET_BIAS, {(): _lstm("lstm")}),
    "LSTMCell": (
        "lstm_cell",
        _LSTM_FORGET_BIAS,
        {
            (): _lstm("lstm"),
            _PEEPHOLES: _lstm("peephole_lstm", stacked("peephole_kernel", *_PEEPHOLES)),
            ("projection/kernel",): _projected(False),
            ("projection/kernel", *_PEEPHOLES): _projected(True),
        },
    ),
    "GRUCell": (
        "gru_cell",
        _NO_FORGET_BIAS,
        {
            (): Layout(
                "gru",
                (
                    joined(
                        _BOTH,
                        ("gates/kernel", 2),
                        ("candidate/kernel", 1),
                        rows=_units_from("candidate/bias", 1),
                        ours="zrh",
                        theirs="rzh",
                    ),
                    columns("bias", ("gates/bias", 2), ("candidate/bias", 1), ours="zrh", theirs="rzh"),
                ),
                options=lambda weights, arrays: {"reset_after": False},
                expects={**_GATES, "reset_after": False},
            )
        },
    ),
    "UGRNNCell": (
        "ugrnn_cell",
        ("gc", "g"),
        {
            (): Layout(
                "ugrnn",
                (joined(_BOTH, "kernel", rows=_units_from("bias", 2)), columns("bias", "bias")),
                expects=_GATES,
            )
        },
    ),
    "NASCell": (
        "nas_cell",
        _NO_FORGET_BIAS,
        {
            (): Layout(
                "nas",
                (
                    columns("kernel", "kernel"),
                    columns("recurrent_kernel", "recurrent_kernel"),
                    columns("bias", "bias", optional=True),
                    columns("projection_kernel", "projection_weights", optional=True),
                ),
                units=lambda weights: weights["recurrent_kernel"].shape[1] // 8,
                options=lambda weights, arrays: (
                    {"projection": weights["projection_kernel"].shape[1]} if "projection_kernel" in weights else {}
                ),
            )
        },
    ),
}
# Other cells with the same variables.
_ALIASES = {"LSTMBlockCell": "LSTMCell", "GRUBlockCellV2": "GRUCell"}
_NAMES = (
    *("kernel", "recurrent_kernel", "bias", "gates/kernel", "gates/bias", "candidate/kernel", "candidate/bias"),
    *("projection/kernel", "projection_weights", *_PEEPHOLES),
)


def from_tf1(
    arrays,
    kind,
    *,
    prefix=None,
    forget_bias=1.0,
    return_sequences=True,
    return_state=False,
    batch_size=None,
    name=None,
    **options,
):
    """A layer with the weights of a cell of TensorFlow 1, from a checkpoint.

    A `MultiRNNCell` is several cells, each with a prefix of its own: call this for each of them. States stand in the
    order c, h there, and h, c here. A `cell_clip` or `proj_clip` is not in a checkpoint and has no counterpart.

    Args:
        arrays: path of a checkpoint, as `tf.train.load_checkpoint` takes it; or a dict of arrays by the names of the
            variables.
        kind: `"BasicRNNCell"`, `"BasicLSTMCell"`, `"LSTMCell"` with or without peepholes and projection, `"GRUCell"`,
            `"UGRNNCell"` or `"NASCell"`; also `"LSTMBlockCell"` and `"GRUBlockCellV2"`, whose variables are those of
            LSTMCell and GRUCell.
        prefix: the scope of the cell, what stands before `/kernel` or `/gates/kernel`. Default: the one scope that
            ends with the cell's usual name, as `rnn/basic_lstm_cell` does.
        forget_bias: what the cell added to the bias of its forget gate in each step; part of the bias here. Default 1,
            as there. It is ignored for cells that add none.
        return_sequences: whether to return the outputs of all steps, as `tf.nn.dynamic_rnn` does. Default True.
        return_state: whether to return the last states as well. Default False.
        batch_size: int, that of the inputs; `stateful=True` needs it. Default None.
        name: of the layer.
        **options: arguments of the layer, as `activation`, where it was not tanh.

    Returns:
        A built `MySimpleRNN`, `MyLSTM`, `PeepholeLSTM`, `ProjectedLSTM`, `MyGRU` with `reset_after=False`, `UGRNN` or
        `NAS`.

    Raises:
        ValueError: for an unknown kind, a scope that is not there or not the only one, or arrays that do not fit.

    Source:
        TensorFlow 1.15, rnn_cell_impl.py and contrib/rnn/python/ops/rnn_cell.py.

    >>> import numpy as np
    >>> from keras_rnn_ext import convert
    >>> scope = "rnn/basic_lstm_cell"
    >>> layer = convert.from_tf1({f"{scope}/kernel": np.ones((5, 8)), f"{scope}/bias": np.zeros(8)}, "BasicLSTMCell")
    >>> layer.units, layer.get_weights()[2].tolist()
    (2, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    """
    kind, (scope, (order, gate), layouts) = _kind(kind)
    if isinstance(arrays, (str, os.PathLike)):
        arrays = Checkpoint(arrays)
    if not isinstance(arrays, Mapping):
        raise TypeError(
            "Argument `arrays` must be the path of a checkpoint, or a dict of arrays. Received: "
            f"{type(arrays).__name__}"
        )
    prefix = _prefix(arrays, kind, scope) if prefix is None else prefix.rstrip("/")
    place = prefix + "/" if prefix else ""
    found = as_arrays({key: arrays[place + key] for key in _NAMES if place + key in arrays})
    if not found:
        raise ValueError(
            f"Argument `prefix` must be one of {_scopes(arrays)}, the scopes of kernels. Received: prefix={prefix!r}"
        )
    # Of layouts whose extras are there, that with the most of them.
    fitting = [names for names in layouts if set(names) <= found.keys()]
    layout = layouts[max(fitting, key=len)]
    if gate and "bias" in found:
        found["bias"] = _with_forget_bias(found["bias"], order, gate, forget_bias)
    return assemble(
        [[(layout, layout.read(found, "arrays", place))]],
        "arrays",
        dropout=0.0,
        return_sequences=return_sequences,
        return_state=return_state,
        batch_size=batch_size,
        name=name,
        options=options,
    )


def to_tf1(layer, kind, *, prefix="", forget_bias=1.0):
    """The variables of a cell of TensorFlow 1 with the weights of a layer.

    Args:
        layer: a built layer, of a kind that `from_tf1` gives for `kind`.
        kind: as for `from_tf1`.
        prefix: the scope to put before the names. Default `""`.
        forget_bias: what the cell will add to the bias of its forget gate. Default 1.

    Returns:
        A dict of arrays by name.

    Raises:
        ValueError: for an unknown kind, or a layer that the kind cannot compute.

    >>> from keras_rnn_ext import MySimpleRNN, convert
    >>> layer = MySimpleRNN(2)
    >>> layer.build((None, None, 3))
    >>> {name: array.shape for name, array in convert.to_tf1(layer, "BasicRNNCell", prefix="rnn/cell").items()}
    {'rnn/cell/kernel': (5, 2), 'rnn/cell/bias': (2,)}
    """
    kind, (_, (order, gate), layouts) = _kind(kind)
    levels = taken_apart(layer)
    cell = levels[0][1][0]
    fitting = [layout for layout in layouts.values() if layout.row.cell is type(cell) and _fits(layout, cell)]
    if len(levels) > 1 or len(levels[0][1]) > 1 or not fitting:
        made = sorted({layout.row.layer.__name__ for layout in layouts.values()})
        raise ValueError(
            f"Argument `layer` must be one of {made}, for kind={kind!r}. Received: {layer.name!r} with "
            f"{type(cell).__name__}"
        )
    if "use_bias" in type(cell).declared_arguments() and not cell.use_bias and kind != "NASCell":
        raise ValueError(f"Argument `layer` must have a bias, as {kind} has. Received: {layer.name!r}")
    arrays = fitting[0].write(cell)
    if gate:
        arrays["bias"] = _with_forget_bias(arrays["bias"], order, gate, -forget_bias)
    place = prefix.rstrip("/") + "/" if prefix else ""
    return {place + key: array for key, array in arrays.items()}


def _kind(kind):
    known = _ALIASES.get(kind, kind)
    if known not in _KINDS:
        raise ValueError(f"Argument `kind` must be one of {sorted([*_KINDS, *_ALIASES])}. Received: kind={kind!r}")
    return known, _KINDS[known]


def _fits(layout, cell):
    """Whether a cell is one of a layout's form. Its activations are compared later, with an error of their own."""
    return all(getattr(cell, name) == value for name, value in layout.expects.items() if not isinstance(value, str))


def _with_forget_bias(bias, order, gate, amount):
    size = len(bias) // len(order)
    shifted = bias.copy()
    shifted[order.index(gate) * size :][:size] += amount
    return shifted


def _scopes(arrays):
    """What stands before the kernels of cells, optimizer slots left out."""
    ends = ("/gates/kernel", "/kernel")
    found = [next((name[: -len(end)] for end in ends if name.endswith(end)), None) for name in arrays]
    return sorted({scope for scope in found if scope and not scope.endswith(("/candidate", "/projection"))})


def _prefix(arrays, kind, usual):
    if "kernel" in arrays or "gates/kernel" in arrays:
        return ""
    scopes = _scopes(arrays)
    fitting = [scope for scope in scopes if re.fullmatch(usual + r"(_\d+)?", scope.rpartition("/")[2])]
    if len(fitting) != 1:
        raise ValueError(
            f"Argument `prefix` must say which {kind} is meant. The scopes with a kernel are {scopes}, of which "
            f"{len(fitting)} end with {usual!r}."
        )
    return fitting[0]
