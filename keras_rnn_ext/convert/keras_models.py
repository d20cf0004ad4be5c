"""Whole Keras models: each recurrent layer replaced by its counterpart, everything else as it was."""

import contextlib
import inspect
import warnings

import keras
import numpy as np
from keras import ops

from keras_rnn_ext.core.compat import all_layers
from keras_rnn_ext.core.layer import EXTRAS, MyRNN
from keras_rnn_ext.core.registration import PACKAGE
from keras_rnn_ext.core.stacked import MyStackedRNNCells
from keras_rnn_ext.layers.bidirectional import MyBidirectional
from keras_rnn_ext.layers.dense import MyDense
from keras_rnn_ext.layers.embedding import MyEmbedding
from keras_rnn_ext.registry import get

_OURS = {
    "Bidirectional": MyBidirectional,
    "RNN": MyRNN,
    "StackedRNNCells": MyStackedRNNCells,
    **{name: get(kind).layer for name, kind in (("GRU", "gru"), ("LSTM", "lstm"), ("SimpleRNN", "simple_rnn"))},
    **{f"{name}Cell": get(kind).cell for name, kind in (("GRU", "gru"), ("LSTM", "lstm"), ("SimpleRNN", "simple_rnn"))},
}
_TO_OURS = {getattr(keras.layers, name): cls for name, cls in _OURS.items()}
_TO_KERAS = {
    **{cls: theirs for theirs, cls in _TO_OURS.items()},
    MyDense: keras.layers.Dense,
    MyEmbedding: keras.layers.Embedding,
}
_TABLES = {"ours": _TO_OURS, "keras": _TO_KERAS}

# Arguments that say how a layer is run, not what it gives: Keras decides that for itself.
_HOW = {"recompute"}


def model(model, to="ours"):
    """A copy of a trained model, with Keras's recurrent layers replaced by ours, or ours by Keras's.

    Weights, names, masks, carried states and which layers are trainable are those of the original, which stays as it
    is. The layers may stand anywhere: in a `Sequential` or functional model with several inputs and outputs, shared, in
    `TimeDistributed` and other wrappers, in models within the model.

    A compiled model is compiled alike, with the state of the optimizer. If Keras cannot make a loss or metric again, as
    it is neither registered nor part of a module, a warning says so, and the copy is not compiled.

    Args:
        model: a `keras.Sequential`, a functional `keras.Model`, or a layer.
        to: `"ours"`: `SimpleRNN`, `LSTM`, `GRU`, `RNN`, `StackedRNNCells`, `Bidirectional` and Keras's cells become
            ours. `"keras"`: these become Keras's, as do `MyDense` and `MyEmbedding`. Then `recompute` and a number
            for `unroll`, which say how a layer runs, are left out.

    Returns:
        The copy, of the same class. Layers of other classes are copied from their config.

    Raises:
        TypeError: if `model` is no layer.
        ValueError: for a model that is a class of its own, whose layers stand in its code; with `to="keras"` for a
            layer or an option that Keras does not have, both of which it names.

    >>> import keras
    >>> from keras_rnn_ext import convert
    >>> trained = keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(4), keras.layers.Dense(1)])
    >>> [type(layer).__name__ for layer in convert.model(trained).layers]
    ['MyLSTM', 'Dense']
    """
    if to not in _TABLES:
        raise ValueError(f"Argument `to` must be one of {list(_TABLES)}. Received: to={to!r}")
    if not isinstance(model, keras.layers.Layer):
        raise TypeError(f"Argument `model` must be a Keras model or layer. Received: {type(model).__name__}")
    pairs: list = []

    def convert(operation):
        # An operation without state, as the sum in `a + b`.
        if not isinstance(operation, keras.layers.Layer):
            return operation.__class__.from_config(operation.get_config())
        made = _converted(operation, to)
        pairs.append((operation, made))
        return made

    if not isinstance(model, keras.Model):
        copy = convert(model)
    elif _is_graph(model):
        with _uncompiled(model):
            copy = keras.models.clone_model(model, clone_function=convert, recursive=True)
        _check_graph(model, copy)
    else:
        raise _own_class(model)
    for old, new in pairs:
        _copy_values(old, new)
    _copy_flags(model, copy)
    if isinstance(model, keras.Model) and model.compiled:
        _compile_alike(model, copy)
    return copy


def _is_graph(model):
    return isinstance(model, (keras.Sequential, keras.Function))


def _own_class(model):
    return ValueError(
        f"Argument `model` must be a `keras.Sequential` or a functional model. Received: {model.name!r}, a "
        f"{type(model).__name__}, whose layers stand in its own code. Write our layers in the place of Keras's there, "
        "build the new model, and call `new.set_weights(old.get_weights())`: names, shapes and order are the same."
    )


def _check_graph(model, copy):
    before, after = all_layers(model), all_layers(copy)
    if len(before) != len(after):
        raise ValueError(
            f"Argument `model` has layers that share a part: {model.name!r} consists of {len(before)} layers and "
            f"cells, its copy of {len(after)}. A layer may be called several times, but a cell, or a layer in a "
            "wrapper, may belong to one layer only."
        )
    for old, new in zip(before, after, strict=True):
        if _is_graph(old) and type(old) is not type(new):
            raise ValueError(
                f"Argument `model` has {old.name!r}, a {type(old).__name__}, which cannot be made from its layers. "
                "Convert `keras.Model(model.inputs, model.outputs)`, and use the layers of the copy in that class."
            )


@contextlib.contextmanager
def _uncompiled(model):
    """Inside, Keras clones without compiling: what cannot be made again must not stop it."""
    compiled = [each for each in all_layers(model) if isinstance(each, keras.Model) and each.compiled]
    for each in compiled:
        each.compiled = False
    try:
        yield
    finally:
        for each in compiled:
            each.compiled = True


# One layer


def _converted(layer, to):
    """A new layer of the same config, not built."""
    holds_some = any(type(each) in _TABLES[to] or (to == "keras" and _is_ours(each)) for each in all_layers(layer))
    if holds_some and isinstance(layer, keras.Model):
        raise _own_class(layer)
    if isinstance(layer, keras.layers.Lambda):
        made = type(layer).from_config(layer.get_config(), safe_mode=False)
        # The function itself: what is made of its code has lost the names that it reads.
        made.function = layer.function
        return made
    target = _target(type(layer), to, layer.name)
    config = _rewritten(layer.get_config(), to, layer.name)
    if target is not type(layer):
        config = _fitting(config, target, to, layer.name)
    made = target.from_config(config)
    left = [each for each in all_layers(made) if type(each) in _TABLES[to] or (to == "keras" and _is_ours(each))]
    if left:
        raise ValueError(
            f"Layer {layer.name!r}, a {type(layer).__name__}, makes {left[0].name!r}, a {type(left[0]).__name__}, in "
            "its own code. Write the other class there, and hand the weights over with `set_weights`."
        )
    return made


def _is_ours(layer):
    return _package_of(type(layer)) == PACKAGE


def _package_of(cls):
    return keras.saving.get_registered_name(cls).rpartition(">")[0]


def _target(cls, to, name):
    if to == "keras" and cls not in _TO_KERAS and _package_of(cls) == PACKAGE:
        raise ValueError(
            f"Layer {name!r} has no counterpart in Keras: {cls.__name__}. Those that have one are "
            f"{sorted(each.__name__ for each in _TO_KERAS)}."
        )
    return _TABLES[to].get(cls, cls)


def _class_of(node):
    """The class that a node of a config stands for, if it is one of Keras's layers or of ours."""
    registered = node.get("registered_name")
    if registered and registered.startswith(f"{PACKAGE}>"):
        return keras.saving.get_registered_object(registered)
    if str(node.get("module", "")).partition(".")[0] == "keras":
        found = getattr(keras.layers, str(node.get("class_name")), None)
        return found if found in _TO_OURS else None
    return None


def _rewritten(node, to, name):
    """A config with the classes inside of it replaced."""
    if isinstance(node, (list, tuple)):
        return type(node)(_rewritten(each, to, name) for each in node)
    if not isinstance(node, dict):
        return node
    if "class_name" not in node or not isinstance(node.get("config"), dict):
        return {key: _rewritten(value, to, name) for key, value in node.items()}
    own_name = node["config"].get("name", name)
    new = {**node, "config": _rewritten(node["config"], to, own_name)}
    cls = _class_of(node)
    is_layer = inspect.isclass(cls) and issubclass(cls, keras.layers.Layer)
    target = _target(cls, to, own_name) if is_layer else cls
    if target is cls:
        return new
    config = _fitting(new["config"], target, to, own_name)
    registered = keras.saving.get_registered_name(target)
    is_registered = ">" in registered
    return {
        **new,
        "module": target.__module__ if is_registered else "keras.layers",
        "class_name": target.__name__,
        "registered_name": registered if is_registered else None,
        "config": config,
    }


def _fitting(config, target, to, name):
    """A config of the other class as `target` takes it."""
    if to == "ours":
        return config
    config = {key: value for key, value in config.items() if key not in _HOW}
    if "unroll" in config and not isinstance(config["unroll"], bool):
        config["unroll"] = False
    if target is keras.layers.Bidirectional:
        # Of its parts, and set there.
        config.pop("use_cudnn", None)
    # Keras's classes pass on what they do not name.
    taken = {name for cls in target.__mro__ for name in inspect.signature(cls.__init__).parameters}
    own = EXTRAS if issubclass(target, keras.layers.RNN) else ()
    unknown = [key for key in config if key not in taken or key in own]
    if unknown:
        raise ValueError(
            f"Layer {name!r} cannot become a `keras.layers.{target.__name__}`, which has no argument `{unknown[0]}`. "
            f"Received: {unknown[0]}={config[unknown[0]]!r}"
        )
    return config


# Values


def _copy_values(old, new):
    """Weights and carried states of a layer."""
    if not old.built:
        return
    if not new.built:
        new.build_from_config(old.get_build_config())
        new.built = True
    new.set_weights(old.get_weights())
    for one, other in zip(_parts(old), _parts(new), strict=True):
        carried, kept = (keras.tree.flatten(each.states or []) for each in (one, other))
        for variable, place in zip(carried, kept, strict=True):
            place.assign(np.array(ops.convert_to_numpy(variable)))


def _parts(layer):
    return [each for each in all_layers(layer) if isinstance(each, keras.layers.RNN)]


def _copy_flags(old, new):
    """What is set on layers after they were made: whether they are trainable, and the use of cuDNN."""
    for one, other in zip(all_layers(old), all_layers(new), strict=True):
        if one.trainable != other.trainable:
            other.trainable = one.trainable
        if hasattr(one, "use_cudnn") and hasattr(other, "use_cudnn"):
            other.use_cudnn = one.use_cudnn


def _compile_alike(old, new):
    # What is in no module and not registered could not be found by its name.
    metrics = [each for group in old.metrics for each in getattr(group, "metrics", [group])]
    objects = [*keras.tree.flatten(old.loss), *metrics, old.optimizer]
    objects = [each for each in objects if each is not None and not isinstance(each, str)]
    known = {getattr(each, "__name__", None) or type(each).__name__: each for each in objects}
    known = {name: each if hasattr(each, "__name__") else type(each) for name, each in known.items()}
    try:
        with keras.saving.custom_object_scope(known):
            new.compile_from_config(old.get_compile_config())
    except Exception as error:
        warnings.warn(
            f"The copy of {old.name!r} is not compiled. Call `compile`: what it was compiled with cannot be made again "
            f"({error}).",
            stacklevel=3,
        )
        return
    if not new.compiled or not getattr(old.optimizer, "built", False):
        return
    kept, made = old.optimizer.variables, new.optimizer.variables
    if [variable.shape for variable in kept] == [variable.shape for variable in made]:
        for variable, place in zip(kept, made, strict=True):
            place.assign(np.array(ops.convert_to_numpy(variable)))
