"""The carried states of a whole model."""

import collections

import keras

from keras_rnn_ext.core.compat import all_layers


def _layers_with_state(model):
    if not isinstance(model, keras.layers.Layer):
        raise TypeError(
            f"Argument `model` must be a Keras model or layer. Received: {model!r} (of type {type(model).__name__})"
        )
    # While it trains on JAX, Keras keeps the values of variables elsewhere.
    fetch = getattr(model, "jax_state_sync", None)
    if fetch is not None:
        fetch()
    return [layer for layer in all_layers(model) if isinstance(layer, keras.layers.RNN) and layer.stateful]


def _by_path(model):
    """The layers that can tell their state, by path; `#2` and so on where several have the same."""
    layers, seen = {}, collections.Counter()
    for layer in _layers_with_state(model):
        if hasattr(layer, "get_state"):
            seen[layer.path] += 1
            layers[layer.path if seen[layer.path] == 1 else f"{layer.path}#{seen[layer.path]}"] = layer
    return layers


def reset_states(model, rows=None):
    """Puts the carried states of every stateful recurrent layer in a model back to their initial values.

    Args:
        model: a model or layer, of any depth.
        rows: row numbers, or a mask of booleans `(batch,)`; the other rows stay. Default: all rows. Keras's own
            layers can only be reset wholly.

    Raises:
        TypeError: if `model` is no layer.
        ValueError: if `rows` is given and a layer in the model is one of Keras's own.

    >>> import keras
    >>> import numpy as np
    >>> from keras_rnn_ext import MyGRU, reset_states
    >>> model = keras.Sequential([keras.Input(batch_shape=(1, None, 2)), MyGRU(3, stateful=True)])
    >>> _ = model(np.ones((1, 4, 2), "float32"))
    >>> reset_states(model)
    >>> float(abs(model.layers[0].get_state()[0]).sum())
    0.0
    """
    layers = _layers_with_state(model)
    if rows is not None:
        stiff = [layer.name for layer in layers if not hasattr(layer, "get_state")]
        if stiff:
            raise ValueError(
                f"Argument `rows` serves the layers of keras_rnn_ext only; these can be reset wholly or not at all: "
                f"{stiff}. Received: rows={rows!r}"
            )
    for layer in layers:
        if rows is None:
            layer.reset_state()
        else:
            layer.reset_state(rows=rows)


def get_states(model):
    """The carried states of a model's stateful layers of this package: a dict from layer path to arrays.

    Args:
        model: a model or layer, of any depth.

    Returns:
        A dict: the layer's `path` to what its `get_state()` gives.

    Raises:
        TypeError: if `model` is no layer.

    >>> import keras
    >>> from keras_rnn_ext import MyLSTM, get_states
    >>> model = keras.Sequential([keras.Input(batch_shape=(1, None, 2)), MyLSTM(3, stateful=True)])
    >>> [state.shape for states in get_states(model).values() for state in states]
    [(1, 3), (1, 3)]
    """
    return {path: layer.get_state() for path, layer in _by_path(model).items()}


def set_states(model, states):
    """Sets the carried states of a model's layers to what `get_states` gave.

    Args:
        model: a model or layer, of any depth.
        states: a dict as `get_states` gives.

    Raises:
        TypeError: if `model` is no layer.
        ValueError: if a name in `states` is none of the model's stateful layers, or a state does not fit.

    >>> import keras
    >>> import numpy as np
    >>> from keras_rnn_ext import MyGRU, get_states, set_states
    >>> model = keras.Sequential([keras.Input(batch_shape=(1, None, 2)), MyGRU(3, stateful=True)])
    >>> start = get_states(model)
    >>> _ = model(np.ones((1, 4, 2), "float32"))
    >>> set_states(model, start)
    >>> float(abs(model.layers[0].get_state()[0]).sum())
    0.0
    """
    layers = _by_path(model)
    unknown = sorted(states.keys() - layers.keys())
    if unknown:
        raise ValueError(
            f"Argument `states` names {unknown}, but the stateful layers of the model are {sorted(layers)}."
        )
    for path, value in states.items():
        layers[path].set_state(value)
