"""The layers and cells of torchrecurrent."""

import re

from keras_rnn_ext.convert.assembly import assemble, taken_apart
from keras_rnn_ext.convert.layouts import as_arrays
from keras_rnn_ext.convert.torch_recurrent_cells import LAYOUTS, OTHERS

_ACTIVATIONS = {
    "ELU": "elu",
    "GELU": "gelu",
    "Hardsigmoid": "hard_sigmoid",
    "Identity": "linear",
    "ReLU": "relu",
    "SiLU": "silu",
    "Sigmoid": "sigmoid",
    "Softplus": "softplus",
    "Tanh": "tanh",
}
_NAME = re.compile(r"(?:cells\.(\d+)\.)?(\w+)")


def from_torchrecurrent(
    module,
    kind=None,
    *,
    prefix="",
    dropout=None,
    return_sequences=True,
    return_state=False,
    batch_size=None,
    name=None,
    **options,
):
    """A layer with the weights of a module of torchrecurrent, or a model of several such layers.

    The result reads `(batch, steps, features)`, whatever the module's `batch_first` is.

    Args:
        module: a layer or a cell of torchrecurrent, as `torchrecurrent.MGU`; or its `state_dict()`, with tensors or
            NumPy arrays.
        kind: of a dict, the name of the layer there: `"MGU"`. Default: that of the module.
        prefix: what the names in a `state_dict` of a larger model begin with. Default `""`.
        dropout: rate between the layers. Default: the module's; of a dict 0.
        return_sequences: whether to return the outputs of all steps, as torchrecurrent does. Default True.
        return_state: whether to return the last states as well. Default False.
        batch_size: int, that of the inputs; `stateful=True` needs it. Default None.
        name: of the result.
        **options: arguments of each recurrent layer. Those that the module holds beside its weights, as `epsilon` and
            `activation`, come from it; of a dict they have torchrecurrent's defaults.

    Returns:
        A built layer; for several layers a `keras.Sequential`, as `from_torch` gives it.

    Raises:
        ValueError: for a kind that is not here, or computes something else in torchrecurrent; for a missing array.

    Source:
        Martinuzzi 2025, torchrecurrent, version 0.2.5: its code.

    >>> import numpy as np
    >>> from keras_rnn_ext import convert
    >>> weights = {"weight_ih": np.ones((4, 3)), "weight_hh": np.ones((4, 2))}
    >>> convert.from_torchrecurrent(weights, "MGU").units
    2
    """
    cells: dict = {}
    if hasattr(module, "state_dict"):
        kind = kind or type(module).__name__
        cells = dict(enumerate(getattr(module, "cells", [module])))
        dropout = getattr(module, "dropout", None) if dropout is None else dropout
    values = module.state_dict() if hasattr(module, "state_dict") else module
    if not hasattr(values, "items"):
        raise TypeError(
            f"Argument `module` must be a module of torchrecurrent, or a dict of its arrays. Received: "
            f"{type(module).__name__}"
        )
    layout, arguments = _layout_of(kind)
    levels = []
    for number, arrays in sorted(_by_level(as_arrays(values), prefix).items()):
        weights, own = layout.read(arrays, "module", prefix)
        for argument, (attribute, default) in arguments.items():
            value = getattr(cells[number], attribute) if number in cells else default
            own[argument] = _activation(attribute, value) if number in cells and "act" in attribute else value
        levels.append([(layout, (weights, own))])
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


def _layout_of(kind):
    name = (kind or "").removesuffix("Cell")
    if name in OTHERS:
        raise ValueError(
            f"The {name} of torchrecurrent cannot be converted: {OTHERS[name]}. The weights would give other numbers."
        )
    if name not in LAYOUTS:
        raise ValueError(
            f"Argument `kind` must be one of {sorted(LAYOUTS)}, or `module` such a module. Received: {kind!r}"
        )
    return LAYOUTS[name]


def _activation(attribute, module):
    name = type(module).__name__
    if name not in _ACTIVATIONS:
        raise ValueError(
            f"Argument `module` must have activations of {sorted(_ACTIVATIONS)}. Received: {attribute}={name}"
        )
    return _ACTIVATIONS[name]


def _by_level(arrays, prefix):
    found: dict = {}
    for name, array in arrays.items():
        match = _NAME.fullmatch(name.removeprefix(prefix)) if name.startswith(prefix) else None
        if match:
            found.setdefault(int(match[1] or 0), {})[match[2]] = array
    if not found:
        raise ValueError(
            f"Argument `module` has no arrays of a layer of torchrecurrent behind prefix={prefix!r}. Received: "
            f"{list(arrays)}"
        )
    return found


def to_torchrecurrent(layer):
    """The `state_dict` of a layer of torchrecurrent with the weights of ours, as arrays.

    What is an argument there, as `epsilon`, has to be given to the module. Where ours has no bias, make the module with
    `bias=False, recurrent_bias=False` and load with `strict=False`: it keeps zeros.

    Args:
        layer: a built layer of a cell that both have, or a `keras.Sequential` of such.

    Returns:
        A dict of arrays, for `module.load_state_dict` once each is a tensor.

    Raises:
        ValueError: if there is no counterpart.

    >>> from keras_rnn_ext import MGU, convert
    >>> layer = MGU(2)
    >>> layer.build((None, None, 3))
    >>> sorted(convert.to_torchrecurrent(layer))
    ['cells.0.bias_hh', 'cells.0.bias_ih', 'cells.0.weight_hh', 'cells.0.weight_ih']
    """
    by_cell = {layout.row.cell: layout for layout, _ in LAYOUTS.values()}
    state_dict = {}
    for number, (_, cells) in enumerate(taken_apart(layer)):
        if len(cells) > 1 or type(cells[0]) not in by_cell:
            raise ValueError(
                f"Argument `layer` must be of one direction, with a cell of {sorted(LAYOUTS)}. Received: "
                f"{layer.name!r} with {type(cells[0]).__name__}"
            )
        state_dict |= {
            f"cells.{number}.{name}": array for name, array in by_cell[type(cells[0])].write(cells[0]).items()
        }
    return state_dict
