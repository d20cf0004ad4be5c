"""The arguments that a cell can declare: each has its check, its entry in a config and its documentation."""

import inspect
import math
import numbers
import operator

import numpy as np

from keras_rnn_ext.core.arguments import keras_object, positive_integer, rate, serialize

REQUIRED = inspect.Parameter.empty


class Argument:
    """An argument of a cell.

    Args:
        default: its default; none: it has to be given.
        sentence: what it is, for the documentation.
        after: name of the argument behind which it stands in the signature. Default None: by name only.
        sparse: whether it stands in a config only where it is not its default, so that the config serves Keras too.
        annotation: its type, for editors. Default: that of the class.
    """

    annotation = "Any"
    range = ""

    def __init__(self, default=REQUIRED, sentence="", *, after=None, sparse=False, annotation=None):
        self.annotation = annotation or self.annotation
        self.default = default
        self.sentence = sentence
        self.after = after
        self.sparse = sparse

    def check(self, name, value):
        """The value that the attribute gets, or an error that names the argument."""
        return value

    def serialize(self, name, value):
        """The value in a config."""
        return value

    def describe(self, name):
        """Its entry in the documentation."""
        default = "" if self.default is REQUIRED else f" Default {self._shown()}."
        stop = "" if self.sentence.endswith((".", "?")) else "."
        return f"{name}: {self.range}{self.sentence}{stop}{default}"

    def _shown(self):
        if isinstance(self.default, str):
            return f'`"{self.default}"`'
        simple = self.default is None or isinstance(self.default, (bool, int, float))
        if isinstance(self.default, float) and self.default.is_integer():
            return str(int(self.default))
        return str(self.default) if simple else f"`{type(self.default).__name__}()`"


def _invalid(name, expected, value):
    return ValueError(
        f"Argument `{name}` must be {expected}. Received: {name}={value!r} (of type {type(value).__name__})."
    )


class Real(Argument):
    """A number within bounds, each of them None where there is none: `above < value`, `least <= value <= most`."""

    annotation = "float"

    def __init__(self, default=REQUIRED, sentence="", *, above=None, least=None, most=None, below=None, **options):
        super().__init__(default, sentence, **options)
        signs = {">": above, ">=": least, "<=": most, "<": below}
        self._bounds = {sign: bound for sign, bound in signs.items() if bound is not None}
        self.range = f"{self._expected()}; " if self._bounds else "number; "

    def _expected(self):
        return "number " + " and ".join(f"{sign} {bound:g}" for sign, bound in self._bounds.items())

    def check(self, name, value):
        compare = {">": operator.gt, ">=": operator.ge, "<=": operator.le, "<": operator.lt}
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or not all(compare[sign](value, bound) for sign, bound in self._bounds.items()):
            raise _invalid(name, f"a {self._expected()}" if self._bounds else "a finite number", value)
        return float(value)


class Integer(Argument):
    """An int above zero, or None where `optional`."""

    range = "int above zero; "

    def __init__(self, default=REQUIRED, sentence="", *, optional=False, **options):
        super().__init__(default, sentence, **options)
        self._optional = optional
        self.annotation = "int | None" if optional else "int"
        if optional:
            self.range = "int above zero, or None; "

    def check(self, name, value):
        return None if self._optional and value is None else positive_integer(name, value)


class Flag(Argument):
    """True or False."""

    annotation = "bool"

    def check(self, name, value):
        if not isinstance(value, (bool, numbers.Integral, np.bool_)) or value not in (0, 1):
            raise _invalid(name, "True or False", value)
        return bool(value)


class Choice(Argument):
    """One of a few strings."""

    def __init__(self, default, options, sentence="", **rest):
        super().__init__(default, sentence, **rest)
        self._options = options
        self.annotation = "Literal[" + ", ".join(f'"{option}"' for option in options) + "]"
        self.range = " or ".join(f'`"{option}"`' for option in options) + "; "

    def check(self, name, value):
        if value not in self._options:
            raise _invalid(name, f"one of {list(self._options)}", value)
        return value


class Rate(Argument):
    """A probability, clipped to [0, 1] with a warning, as Keras does."""

    annotation = "float"
    range = "rate in [0, 1] "

    def check(self, name, value):
        return rate(name, value)


class Seed(Argument):
    """An int, or None."""

    annotation = "int | None"
    range = "int or None, "

    def check(self, name, value):
        if value is not None and (isinstance(value, bool) or not isinstance(value, numbers.Integral)):
            raise _invalid(name, "an int, or None", value)
        return None if value is None else int(value)


class KerasObject(Argument):
    """An activation, initializer, regularizer or constraint: what it is says the end of its name."""

    annotation = "str | dict[str, Any] | Callable[..., Any] | None"

    def check(self, name, value):
        if value is self.default and hasattr(value, "from_config"):
            # A new one for each cell: an initializer has a seed of its own.
            value = type(value).from_config(value.get_config())
        return keras_object(name, value)

    def serialize(self, name, value):
        return serialize(name, value)

    def _shown(self):
        if not hasattr(self.default, "get_config"):
            return super()._shown()
        given = [f"{key}={value!r}" for key, value in self.default.get_config().items() if key != "seed"]
        return f"`{type(self.default).__name__}({', '.join(given)})`"


class Activation(KerasObject):
    """An activation function. The sentence is its sign in the equations."""

    def describe(self, name):
        return f"{name}: {self.sentence}, name of an activation or a callable; None: linear. Default {self._shown()}."
