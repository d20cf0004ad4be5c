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
from typing import ClassVar

from keras_rnn_ext.core.argument_kinds import REQUIRED, Argument, KerasObject
from keras_rnn_ext.core.arguments import Configured, bind, is_made

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
        when: name of an attribute of the cell without which there is no such state, or None: there always is.
    """

    name: str
    shape: object = "units"
    initial: float = 0.0
    positive: bool = False
    wide: bool = False
    mixes: bool = True
    when: str | None = None


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
        given = bind(signature, cls, self, *args, **kwargs)
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
