"""State each argument once: in the signature of `__init__`.

The attribute has the argument's name, its check and its conversion follow from the end of that name
(`kernel_initializer`, `bias_constraint`, `recurrent_activation`, `recurrent_dropout`), and `get_config`
reads the signature back.
"""

import functools
import inspect
import math
import numbers
import warnings

import keras

_KERAS_OBJECTS = {
    "initializer": keras.initializers,
    "regularizer": keras.regularizers,
    "constraint": keras.constraints,
    "activation": keras.activations,
}


@functools.cache
def parameters(cls):
    """The parameters of `cls.__init__`, by name, without `self` and `**kwargs`."""
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    signature = inspect.signature(cls.__init__)
    return {
        name: parameter
        for name, parameter in signature.parameters.items()
        if name != "self" and parameter.kind not in variable
    }


def positive_integer(name, value):
    """`value` as an int above zero, or a ValueError that names the argument."""
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and value > 0:
        return int(value)
    raise ValueError(
        f"`{name}` must be a positive integer. Received: {name}={value!r} (of type {type(value).__name__})."
    )


def rate(name, value):
    """`value` as a probability. As in Keras it is clipped to [0, 1]; unlike Keras, that is said."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or math.isnan(value):
        raise ValueError(
            f"Received an invalid value for argument `{name}`, expected a number from 0 to 1, got "
            f"{value!r} (of type {type(value).__name__})."
        )
    clipped = min(1.0, max(0.0, float(value)))
    if clipped != value:
        warnings.warn(
            f"Argument `{name}` is a rate and must lie in [0, 1]. Received: {name}={value}. "
            f"It is clipped to {clipped}, as Keras does.",
            stacklevel=2,
        )
    return clipped


def keras_object(name, value):
    """What Keras makes of the name, config or callable of an object; the kind is the end of the argument's name."""
    module = _KERAS_OBJECTS[_ending(name)]
    if isinstance(value, (bool, numbers.Number)):
        hint = " If you meant `return_sequences`, write `return_sequences=True`." if isinstance(value, bool) else ""
        raise TypeError(
            f"Argument `{name}` must be the name of a Keras {_ending(name)}, a callable, a config or "
            f"None. Received: {name}={value!r} (of type {type(value).__name__}).{hint}"
        )
    return module.get(value)


def _ending(name):
    return next((ending for ending in _KERAS_OBJECTS if name.endswith(ending)), None)


def resolve(name, value):
    """The value that the attribute `name` gets for the argument `name`."""
    if _ending(name):
        return keras_object(name, value)
    if name in ("units", "input_dim", "output_dim"):
        return positive_integer(name, value)
    if name.endswith("dropout"):
        return rate(name, value)
    return value


def serialize(name, value):
    """The entry of a config for the attribute `name`."""
    return _KERAS_OBJECTS[_ending(name)].serialize(value) if _ending(name) else value


def bind(signature, cls, *args, **kwargs):
    """`signature.bind(*args, **kwargs)`, with an error that names the class and its arguments."""
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{cls.__name__}: {error}. Its arguments: {signature}") from None


def is_made(init):
    """Whether an `__init__` was made from declarations."""
    return getattr(init, "is_made", False)


class Configured:
    """Mixin for Keras layers: `__init__` calls `self.take(locals())`, `get_config` follows.

    Keyword-only arguments are ours, over and above the Keras built-in of that name: they stand in a
    config only where they differ from their default, so that such a config serves Keras too.
    """

    # Arguments that `__init__` uses up: no attribute, no entry in a config.
    transient: tuple[str, ...] = ()

    def take(self, arguments):
        """Checks, converts and stores the arguments of `__init__` under their own names."""
        # The class whose `__init__` calls, not `type(self)`: a subclass may have other arguments.
        owner = arguments["__class__"]
        self._owners = (*getattr(self, "_owners", ()), owner)
        for name in parameters(owner):
            if name not in self.transient:
                setattr(self, name, self.check_argument(owner, name, arguments[name]))

    def check_argument(self, owner, name, value):
        """The value of the attribute for an argument of the class `owner`, or an error that names it."""
        return resolve(name, value)

    def serialize_argument(self, owner, name, value):
        """The entry of a config for an argument of the class `owner`."""
        return serialize(name, value)

    def is_sparse(self, owner, parameter):
        """Whether an argument stands in a config only where it is not its default."""
        return parameter.kind is inspect.Parameter.KEYWORD_ONLY

    def get_config(self):
        config = super().get_config()
        for owner in self._owners:
            for name, parameter in parameters(owner).items():
                if name in self.transient:
                    continue
                value = self.serialize_argument(owner, name, getattr(self, name))
                if self.is_sparse(owner, parameter) and value == parameter.default:
                    continue
                config[name] = value
        return config
