"""What a cell declares in its class body: arguments, weights and states, each with what is to be known of it.

    class DecayCell(GatedCell):
        states = ("h",)
        rate = Real(0.1, "how much of a step is new", above=0, most=1)
        scale = Weight(("units",), "what each unit is multiplied by", initializer="ones")

From it come the signature of `__init__`, the checks, `get_config`, `build`, the initial states, the documentation and
the stub that editors read.
"""

import dataclasses
import functools
import inspect
import math
import numbers
import operator
from typing import ClassVar

import numpy as np

from keras_rnn_ext.core.arguments import Configured, is_made, keras_object, positive_integer, rate, serialize

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


_OF_A_WEIGHT = ("initializer", "regularizer", "constraint")


@dataclasses.dataclass(frozen=True)
class Weight:
    """A weight of a cell, with the arguments `..._initializer`, `..._regularizer` and `..._constraint`.

    Args:
        shape: tuple of ints and of strings, each the name of an attribute of the cell or a product of such
            (`"2 * units"`), or a function of the cell that gives such a tuple. `features` is the size of the inputs.
        sentence: what it is, for the documentation.
        initializer: default of that argument; None: there is none, the class overrides `initializer_of`.
        constraint: default of that argument.
        by_row: whether the mathematics get it as a list of its rows, taken apart once before the loop.
        when: name of the argument without which there is no such weight, or None: there always is.
        trainable: whether it is trained.
    """

    shape: object
    sentence: str = ""
    initializer: object = "glorot_uniform"
    constraint: object = None
    when: str | None = None
    trainable: bool = True
    by_row: bool = False

    def arguments(self, name):
        """The three arguments, by name."""
        defaults = {"initializer": self.initializer, "constraint": self.constraint}
        kinds = [kind for kind in _OF_A_WEIGHT if kind != "initializer" or self.initializer is not None]
        what = f"of `{name}`" + (f", {self.sentence}" if self.sentence else "")
        return {f"{stem(name)}_{kind}": KerasObject(defaults.get(kind), f"{kind} {what}") for kind in kinds}


def stem(weight_name):
    """What the arguments of a weight begin with: `recurrent` for `recurrent_kernel`."""
    return weight_name.removesuffix("_kernel")


@dataclasses.dataclass(frozen=True)
class State:
    """A state of a cell.

    Args:
        name: what the equations call it.
        shape: int, name of an attribute of the cell, or a tuple of such; without the batch.
        initial: the value that it starts with.
        positive: whether it is above zero wherever the cell has been.
        wide: whether it is kept in float32 at least, also where the cell computes in 16 bits.
        mixes: whether a mixture of two of its values means something, as `ZoneoutWrapper` makes.
    """

    name: str
    shape: object = "units"
    initial: float = 0.0
    positive: bool = False
    wide: bool = False
    mixes: bool = True


class Declared(Configured):
    """Mixin: a class whose body declares arguments and weights gets its `__init__` from them.

    A class that writes its own `__init__` keeps that; `take(locals())` then stores the arguments. A declaration is
    taken back by an attribute of the same name that is none.
    """

    _declared: ClassVar[dict] = {}
    _own: ClassVar[dict] = {}

    def __init_subclass__(cls, abstract=False, **options):
        super().__init_subclass__(**options)
        own = {name: value for name, value in vars(cls).items() if isinstance(value, (Argument, Weight))}
        for name in own:
            delattr(cls, name)
        cls._own = own
        cls._declared = _of_all(cls.__mro__)
        if "use_bias" in cls._declared and not any(
            weight.when == "use_bias" for weight in cls.declared_weights().values()
        ):
            del cls._declared["use_bias"]
            cls.use_bias = False
        if abstract or "__init__" in vars(cls):
            return
        if is_made(cls.__init__) or cls.__init__ is Declared.__init__:
            # A class of nothing but abstract parents, or a subclass of one whose `__init__` was made.
            cls.__init__ = _made_init(cls)
        elif own:
            raise TypeError(
                f"{cls.__name__} declares {sorted(own)}, but its parent has an `__init__` of its own. Write one that "
                "takes these too."
            )

    def __init__(self, **kwargs):
        super().__init__(**kwargs)

    def check(self):
        """For a class whose arguments have to fit each other: raises a ValueError where they do not."""

    @classmethod
    def declared_arguments(cls):
        """The arguments by name, in the order of the signature: those of all cells, as in Keras, then its own."""
        plain = {name: value for name, value in cls._declared.items() if isinstance(value, Argument)}
        of_weights = {kind: {} for kind in _OF_A_WEIGHT}
        for name, weight in cls.declared_weights().items():
            for argument, value in weight.arguments(name).items():
                of_weights[argument.rpartition("_")[2]].setdefault(argument, value)
        activations = [name for name in plain if name.endswith("activation")]
        shared = [name for name in ("units", *activations, "use_bias") if name in plain]
        last = [name for name in _LAST if name in plain]
        named = {name: plain[name] for name in shared}
        for kind in _OF_A_WEIGHT:
            named |= of_weights[kind]
        named |= {name: plain[name] for name in last}
        own = {name: value for name, value in plain.items() if name not in named}
        order = list(named)
        for name, value in own.items():
            if value.after and value.after not in order:
                raise ValueError(
                    f"Argument `after` of {cls.__name__}.{name} must be one of {order}. Received: after={value.after!r}"
                )
            order.insert(order.index(value.after) + 1 if value.after else len(order), name)
        return {name: (named | own)[name] for name in order}

    @classmethod
    def declared_weights(cls):
        """The weights by name, in the order of `get_weights`."""
        weights = {name: value for name, value in cls._declared.items() if isinstance(value, Weight)}
        return {name: weights[name] for name in (*_USUAL, *weights) if name in weights}

    @classmethod
    def by_name_only(cls):
        """The names of the arguments that are no positional ones: the class's own, where they do not say `after`."""
        arguments = cls.declared_arguments()
        weights = cls.declared_weights()
        extra = {name for key in weights if key not in _USUAL for name in weights[key].arguments(key)}
        own = {name for name, value in arguments.items() if name not in _FIRST + _LAST and _is_own(name, value)}
        return (extra | own) & arguments.keys()

    def take(self, arguments):
        super().take(arguments)
        # What an `__init__` of its own does not ask for.
        for name, argument in type(self).declared_arguments().items():
            if not hasattr(self, name) and argument.default is not REQUIRED:
                setattr(self, name, argument.check(name, argument.default))

    def check_argument(self, owner, name, value):
        argument = _argument_of(owner, name)
        return super().check_argument(owner, name, value) if argument is None else argument.check(name, value)

    def serialize_argument(self, owner, name, value):
        argument = _argument_of(owner, name)
        return super().serialize_argument(owner, name, value) if argument is None else argument.serialize(name, value)

    def is_sparse(self, owner, parameter):
        argument = _argument_of(owner, parameter.name)
        return super().is_sparse(owner, parameter) if argument is None else argument.sparse

    def dimensions(self, entry):
        """A shape of a declaration as a tuple of ints, or one size as an int."""
        if callable(entry):
            entry = entry(self)
        if isinstance(entry, str):
            factors = entry.replace(" ", "").split("*")
            return math.prod(int(part) if part.isdecimal() else getattr(self, part) for part in factors)
        return tuple(self.dimensions(part) for part in entry) if isinstance(entry, (tuple, list)) else entry


# As in Keras: these first, then activations and what belongs to weights, then those.
_FIRST = ("units", "use_bias")
_USUAL = ("kernel", "recurrent_kernel", "bias")
_LAST = ("dropout", "recurrent_dropout", "seed")


def _is_own(name, value):
    return value.after is None and not isinstance(value, KerasObject)


def _argument_of(owner, name):
    return _arguments(owner).get(name)


def _of_all(classes):
    """What classes in the order of their bases declare, and none of those below has taken back."""
    declared = {}
    for cls in reversed(classes):
        own = vars(cls).get("_own", {})
        kept = {name: own.get(name, value) for name, value in declared.items() if name not in vars(cls)}
        declared = kept | own
    return declared


@functools.cache
def _arguments(owner):
    return owner.declared_arguments()


def _made_init(cls):
    arguments, by_name = cls.declared_arguments(), cls.by_name_only()
    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    shown = [
        inspect.Parameter(name, kinds[name in by_name], default=value.default) for name, value in arguments.items()
    ]
    signature = inspect.Signature(
        [
            inspect.Parameter("self", kinds[0]),
            *sorted(shown, key=lambda parameter: parameter.kind),
            inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
        ]
    )

    def __init__(self, *args, **kwargs):
        try:
            given = signature.bind(self, *args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{cls.__name__}: {error}. Its arguments: {signature}") from None
        given.apply_defaults()
        rest = given.arguments.pop("kwargs")
        Declared.__init__(self, **rest)
        self.take({**given.arguments, "__class__": cls})
        if type(self).__init__ is __init__:
            self.check()

    __init__.__signature__ = signature
    __init__.__qualname__ = f"{cls.__qualname__}.__init__"
    __init__.is_made = True
    return __init__
