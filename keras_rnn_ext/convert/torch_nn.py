"""`torch.nn.RNN`, `LSTM` and `GRU`."""

import importlib
import re

from keras_rnn_ext.convert.assembly import assemble, taken_apart
from keras_rnn_ext.convert.layouts import Layout, as_arrays, columns, stacked, summed

_PARTS = (
    columns("kernel", "weight_ih", transposed=True),
    columns("recurrent_kernel", "weight_hh", transposed=True),
)
_LAYOUTS = {
    "RNN": Layout("simple_rnn", (*_PARTS, summed("bias", "bias_ih", "bias_hh"))),
    "LSTM": Layout(
        "lstm",
        (*_PARTS, summed("bias", "bias_ih", "bias_hh")),
        expects={"activation": "tanh", "recurrent_activation": "sigmoid"},
    ),
    "GRU": Layout(
        "gru",
        (
            columns("kernel", "weight_ih", ours="zrh", theirs="rzh", transposed=True),
            columns("recurrent_kernel", "weight_hh", ours="zrh", theirs="rzh", transposed=True),
            stacked("bias", "bias_ih", "bias_hh", ours="zrh", theirs="rzh", optional=True),
        ),
        expects={"activation": "tanh", "recurrent_activation": "sigmoid", "reset_after": True},
    ),
    "projected LSTM": Layout(
        "projected_lstm",
        (
            *_PARTS,
            columns("projection_kernel", "weight_hr", transposed=True),
            summed("bias", "bias_ih", "bias_hh"),
        ),
        units=lambda weights: weights["projection_kernel"].shape[0],
        options=lambda weights, arrays: {"projection": weights["projection_kernel"].shape[1], "peepholes": False},
        expects={"activation": "tanh", "recurrent_activation": "sigmoid", "peepholes": False},
    ),
}
_KINDS = {
    "MySimpleRNNCell": "RNN",
    "SimpleRNNCell": "RNN",
    "MyLSTMCell": "LSTM",
    "LSTMCell": "LSTM",
    "MyGRUCell": "GRU",
    "GRUCell": "GRU",
    "ProjectedLSTMCell": "projected LSTM",
}
_NONLINEARITIES = ("tanh", "relu")
_NAME = re.compile(r"(weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)(?:_l(\d+)(_reverse)?)?")


def from_torch(
    module,
    *,
    prefix="",
    nonlinearity=None,
    dropout=None,
    return_sequences=True,
    return_state=False,
    batch_size=None,
    name=None,
    **options,
):
    """A layer with the weights of a `torch.nn.RNN`, `LSTM` or `GRU`, or a model of several such layers.

    The result reads `(batch, steps, features)`, whatever the module's `batch_first` is: with `time_major=True` it reads
    `(steps, batch, features)`.

    Args:
        module: a `torch.nn.RNN`, `LSTM`, `GRU`, `RNNCell`, `LSTMCell` or `GRUCell`; or its `state_dict()`, with
            tensors or NumPy arrays. With a dict of arrays, torch need not be installed.
        prefix: what the names in a `state_dict` of a larger model begin with, as in `"encoder.rnn."`. Default `""`.
        nonlinearity: `"tanh"` or `"relu"`, of an RNN. Default: the module's; of a dict `"tanh"`.
        dropout: rate between the layers. Default: the module's; of a dict 0.
        return_sequences: whether to return the outputs of all steps, as torch does. Default True.
        return_state: whether to return the last states as well. Default False.
        batch_size: int, that of the inputs; `stateful=True` needs it. Default None.
        name: of the result.
        **options: arguments of each recurrent layer, as `stateful` and `recurrent_dropout`.

    Returns:
        For a module of one layer a built `MySimpleRNN`, `MyLSTM`, `MyGRU` or `ProjectedLSTM`; for one with two
        directions a `MyBidirectional`. For several layers a `keras.Sequential` of these, with `Dropout` between them;
        with `return_state` a `keras.Model` that returns the output and the states, layer by layer.

    Raises:
        ValueError: if an array is missing, of another shape, or unknown.

    Source:
        The documentation of `torch.nn.LSTM` and `torch.nn.GRU`. Gates of a GRU stand in the order r, z, n there. Two
        biases become one, but for a GRU, where both are kept.

    >>> import numpy as np
    >>> from keras_rnn_ext import convert
    >>> weights = {"weight_ih_l0": np.ones((8, 3)), "weight_hh_l0": np.ones((8, 2))}
    >>> layer = convert.from_torch(weights)
    >>> layer.units, layer.use_bias, tuple(layer(np.ones((1, 5, 3))).shape)
    (2, False, (1, 5, 2))
    """
    arrays = module
    if hasattr(module, "state_dict"):
        arrays = module.state_dict()
        nonlinearity = getattr(module, "nonlinearity", None) if nonlinearity is None else nonlinearity
        dropout = getattr(module, "dropout", None) if dropout is None else dropout
    if not hasattr(arrays, "items"):
        raise TypeError(
            f"Argument `module` must be a module of torch, or a dict of its arrays. Received: {type(module).__name__}"
        )
    arrays = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
    levels = [
        [_read(one, nonlinearity, prefix) for one in directions] for directions in _levels(as_arrays(arrays), prefix)
    ]
    return assemble(
        levels,
        "module",
        dropout=dropout or 0.0,
        return_sequences=return_sequences,
        return_state=return_state,
        batch_size=batch_size,
        name=name,
        options=options,
    )


def _levels(arrays, prefix):
    """For each level the arrays of its one or two directions, without the number of the level in their names."""
    found: dict = {}
    for name, array in arrays.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(
                f"Argument `module` has an unknown array {prefix + name!r}. Expected `weight_ih_l0`, `weight_hh_l0` "
                "and so on. Where it is a part of a larger model, `prefix` says where, as in `prefix='encoder.rnn.'`."
            )
        part, level, reverse = match.groups()
        found.setdefault(int(level or 0), {}).setdefault(bool(reverse), {})[part] = array
    if not found:
        raise ValueError(f"Argument `module` has no arrays whose names begin with prefix={prefix!r}.")
    both = {frozenset(directions) for directions in found.values()}
    if sorted(found) != list(range(len(found))) or both not in ({frozenset({False})}, {frozenset({False, True})}):
        raise ValueError(f"Argument `module` must have all levels in the same directions. Received: {list(arrays)}")
    return [[found[level][direction] for direction in sorted(found[level])] for level in sorted(found)]


def _read(arrays, nonlinearity, prefix):
    shapes = {name: array.shape for name, array in arrays.items()}
    rows, state_size = shapes.get("weight_hh", (0, 1))
    # A projected state has fewer columns than units.
    units = shapes.get("weight_hr", (0, state_size))[1]
    kind = {1: "RNN", 3: "GRU", 4: "LSTM"}.get(rows / units)
    if kind is None:
        raise ValueError(
            "Argument `module` must have a `weight_hh` with 1, 3 or 4 times as many rows as units. Received arrays of "
            f"the shapes {shapes}"
        )
    layout = _LAYOUTS["projected LSTM" if "weight_hr" in arrays else kind]
    weights, options = layout.read(arrays, "module", prefix)
    if kind == "RNN":
        nonlinearity = nonlinearity or "tanh"
        if nonlinearity not in _NONLINEARITIES:
            raise ValueError(
                f"Argument `nonlinearity` must be one of {list(_NONLINEARITIES)}. Received: {nonlinearity!r}"
            )
        options["activation"] = nonlinearity
    return layout, (weights, options)


def to_torch(layer, *, arrays=False):
    """A `torch.nn.RNN`, `LSTM` or `GRU` with the weights of a layer.

    Dropout of the cells acts in training alone and has no counterpart: it is left out.

    Args:
        layer: a built `MySimpleRNN`, `MyLSTM`, `MyGRU`, `ProjectedLSTM` without peepholes, or Keras's layer of the same
            kind; `MyRNN` with such cells on top of each other; a bidirectional layer of these; or a
            `keras.Sequential` of these, with `Dropout` between them.
        arrays: whether to return the `state_dict` as a dict of NumPy arrays, for which torch is not needed. Default
            False.

    Returns:
        The module, with `batch_first=True`, or the dict.

    Raises:
        ValueError: if torch has no counterpart; it names the layer and the option.
        ImportError: if torch is not installed, and `arrays` is False.

    >>> from keras_rnn_ext import MyGRU, convert
    >>> layer = MyGRU(2)
    >>> layer.build((None, None, 3))
    >>> {name: array.shape for name, array in convert.to_torch(layer, arrays=True).items()}
    {'weight_ih_l0': (6, 3), 'weight_hh_l0': (6, 2), 'bias_ih_l0': (6,), 'bias_hh_l0': (6,)}
    """
    levels = taken_apart(layer)
    state_dict, facts = {}, []
    for number, (_, cells) in enumerate(levels):
        for direction, cell in enumerate(cells):
            kind, fact = _facts(cell)
            facts.append((len(cells), *fact))
            for name, array in _LAYOUTS[kind].write(cell).items():
                state_dict[f"{name}_l{number}{'_reverse' if direction else ''}"] = array
    rates = {rate for rate, _ in levels[1:]} or {0.0}
    if len(set(facts)) > 1 or len(rates) > 1:
        raise ValueError(
            "Argument `layer` must have levels of the same kind, units, biases and directions, and the same dropout "
            f"between all of them, for one module of torch. Received: {layer.name!r} with {sorted(set(facts))} and "
            f"dropout {sorted(rates)}"
        )
    if arrays:
        return state_dict
    # An optional dependency: only looked for here.
    torch = importlib.import_module("torch")
    directions, name, units, use_bias, extra = facts[0]
    module = getattr(torch.nn, name)(
        input_size=state_dict["weight_ih_l0"].shape[1],
        hidden_size=units,
        num_layers=len(levels),
        bias=use_bias,
        batch_first=True,
        dropout=rates.pop(),
        bidirectional=directions == 2,
        dtype=getattr(torch, str(state_dict["weight_ih_l0"].dtype)),
        **dict(extra),
    )
    module.load_state_dict({key: torch.from_numpy(array) for key, array in state_dict.items()})
    return module


def _facts(cell):
    kind = _KINDS.get(type(cell).__name__)
    if kind is None:
        raise ValueError(
            f"Argument `layer` must have cells that torch knows: {sorted(_KINDS)}. Received: {cell.name!r}, a "
            f"{type(cell).__name__}"
        )
    extra = ()
    if kind == "RNN":
        name = getattr(cell.activation, "__name__", None)
        if name not in _NONLINEARITIES:
            raise ValueError(
                f"Argument `layer` must have an activation of {list(_NONLINEARITIES)}. Received: {cell.name!r} with "
                f"activation={name!r}"
            )
        extra = (("nonlinearity", name),)
    if kind == "projected LSTM":
        extra = (("proj_size", cell.projection),)
    return kind, (kind.removeprefix("projected "), cell.units, bool(cell.use_bias), extra)
