"""From weights to layers and back: one layer, or several on top of each other."""

import keras

from keras_rnn_ext.convert.layouts import set_weights_by_name
from keras_rnn_ext.layers.bidirectional import MyBidirectional


def assemble(levels, argument, *, dropout, return_sequences, return_state, batch_size, name, options):
    """The layer of one level, or a model of several.

    Args:
        levels: for each a list of pairs of a layout and what its `read` gave: one, or one for each direction.
        argument: what the caller's argument is called, for errors.
        dropout: rate between the levels.
        return_sequences: of the last level.
        return_state: whether the states of all levels are returned too.
        batch_size: that of the inputs.
        name: that of the result.
        options: arguments of each recurrent layer, before those that were read.
    """
    layers = []
    for place, level in enumerate(levels):
        is_last = place == len(levels) - 1
        own = {"return_sequences": return_sequences or not is_last, "return_state": return_state, **options}
        layers.append(_layer(level, argument, own, batch_size, name if len(levels) == 1 else None))
    if len(layers) == 1:
        return layers[0]
    inputs = keras.Input(batch_shape=_input_shape(levels[0], batch_size, options))
    drops = [
        None,
        *(keras.layers.Dropout(dropout, dtype=options.get("dtype")) if dropout else None for _ in layers[1:]),
    ]
    if not return_state:
        flat = [each for pair in zip(drops, layers, strict=True) for each in pair if each is not None]
        return keras.Sequential([inputs, *flat], name=name)
    values, states = inputs, []
    for drop, layer in zip(drops, layers, strict=True):
        values, *own_states = layer(values if drop is None else drop(values))
        states += own_states
    return keras.Model(inputs, [values, *states], name=name)


def _input_shape(level, batch_size, options):
    _, (weights, _) = level[0]
    shape = (None, batch_size) if options.get("time_major") else (batch_size, None)
    return (*shape, weights["kernel"].shape[0])


def _layer(level, argument, options, batch_size, name):
    named = {"name": name} if name else {}
    layout, (_, own) = level[0]
    layer = layout.row.layer(**{**own, **options}, **(named if len(level) == 1 else {}))
    if len(level) == 2:
        layer = MyBidirectional(layer, **named)
    layer.build(_input_shape(level, batch_size, options))
    parts = [layer] if len(level) == 1 else [layer.forward_layer, layer.backward_layer]
    for part, (_, (weights, _)) in zip(parts, level, strict=True):
        set_weights_by_name(part.cell, weights, argument)
    return layer


def taken_apart(layer):
    """The levels of a layer, or of a model of such: pairs of the dropout rate before it and its cells, one or two."""
    if isinstance(layer, keras.Sequential):
        levels, rate = [], 0.0
        for each in layer.layers:
            if isinstance(each, keras.layers.Dropout) and levels and not rate:
                rate = each.rate
                continue
            (_, cells), *rest = taken_apart(each)
            levels += [(rate, cells), *rest]
            rate = 0.0
        if rate or not levels:
            raise _unfit(layer)
        return levels
    if isinstance(layer, keras.layers.Bidirectional):
        parts = (layer.forward_layer, layer.backward_layer)
        _check(layer, layer, "merge_mode", "concat")
        _check(layer, parts[0], "go_backwards", False)
        if not all(isinstance(part, keras.layers.RNN) for part in parts):
            raise _unfit(layer)
        return [(0.0, [part.cell for part in parts])]
    if isinstance(layer, keras.layers.RNN):
        _check(layer, layer, "go_backwards", False)
        cells = layer.cell.cells if isinstance(layer.cell, keras.layers.StackedRNNCells) else [layer.cell]
        return [(0.0, [cell]) for cell in cells]
    raise _unfit(layer)


def _check(layer, part, name, expected):
    value = getattr(part, name)
    if value != expected:
        raise ValueError(
            f"Argument `layer` must have {name}={expected!r}: there is no counterpart for another. Received: "
            f"{layer.name!r} with {name}={value!r}"
        )


def _unfit(layer):
    return ValueError(
        "Argument `layer` must be a recurrent layer, a bidirectional one, or a `keras.Sequential` of such, with one "
        f"`Dropout` at most between two of them. Received: {layer!r}"
    )
