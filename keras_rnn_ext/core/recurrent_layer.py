"""Layers that make their cell themselves: signature, documentation and attributes are the cell's plus the layer's."""

import inspect
import re
import types

import keras

from keras_rnn_ext.core.argument_kinds import Argument, KerasObject
from keras_rnn_ext.core.arguments import bind, parameters, serialize
from keras_rnn_ext.core.define import CATALOGUE
from keras_rnn_ext.core.describe import describe_layer
from keras_rnn_ext.core.kernel_cell import ProjectedCell
from keras_rnn_ext.core.layer import MyRNN
from keras_rnn_ext.core.layer_words import LAYER_ARGUMENTS, LAYER_SECTIONS

# The arguments that a cell shares with every Keras layer are passed on to it.
_SHARED = ("dtype", "trainable")

# What a layer with a cell of its own takes beside the arguments of the cell and of `MyRNN`.
EXTRA_ARGUMENTS = {
    "activity_regularizer": KerasObject(None, "of the output"),
    "use_cudnn": Argument(
        "auto",
        '`"auto"`: the framework\'s own kernel where it serves; False: not on a GPU; True: an error where it does not '
        "serve",
        annotation='bool | Literal["auto"]',
    ),
}


class RecurrentLayer(MyRNN):
    """Abstract: a layer that makes its cell itself. Signature and documentation are the cell's plus the layer's.

    class MyLSTM(RecurrentLayer, cell=MyLSTMCell, tail=("use_cudnn",))

    `tail` names the arguments that stand behind `unroll`, where Keras has them there.
    """

    takes_use_cudnn = False

    def __init_subclass__(cls, cell=None, tail=(), **kwargs):
        super().__init_subclass__(**kwargs)
        if cell is not None:
            cls.cell_class = cell
            cls.takes_use_cudnn = "use_cudnn" in tail
            cls.__init__ = _layer_init(cls, cell, tail)
            cls.__doc__ = describe_layer(cls, cell, LAYER_ARGUMENTS | EXTRA_ARGUMENTS, LAYER_SECTIONS)
            _forward_arguments(cls, cell)
            if cell in CATALOGUE and CATALOGUE[cell].layer is None:
                CATALOGUE[cell].layer = cls

    def _make(self, own_cell, **options):
        if self.takes_use_cudnn:
            # Only where it is an argument: Keras asks for the attribute.
            self.use_cudnn = use_cudnn = options.pop("use_cudnn", "auto")
            if use_cudnn not in ("auto", True, False):
                raise ValueError(
                    "Invalid value received for argument `use_cudnn`. Expected one of 'auto', True, False. "
                    f"Received: use_cudnn={use_cudnn!r}"
                )
        MyRNN.__init__(self, own_cell, **options)
        if isinstance(own_cell, ProjectedCell):
            self.input_spec = keras.InputSpec(ndim=3)

    def build(self, sequences_shape, initial_state_shape=None):
        super().build(sequences_shape, initial_state_shape)
        # A cell without a kernel for vectors may read steps of any shape.
        if isinstance(self.cell, ProjectedCell):
            self.input_spec = keras.InputSpec(ndim=3, axes={-1: sequences_shape[-1]})

    def get_config(self):
        config = super().get_config()
        del config["cell"]
        config = {**self.cell.get_config(), **config}
        config["activity_regularizer"] = serialize("activity_regularizer", self.activity_regularizer)
        if getattr(self, "use_cudnn", "auto") != "auto":
            config["use_cudnn"] = self.use_cudnn
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def layer_of(cell):
    """The layer that runs a cell over a sequence, registered for saving under the cell's package.

    Args:
        cell: a class with a name that ends with `Cell`, made known by `define_cell`.

    >>> from keras_rnn_ext import PeepholeLSTMCell
    >>> from keras_rnn_ext.custom import define_cell
    >>> @define_cell("own", "None.", package="my_lab")
    ... class OwnCell(PeepholeLSTMCell):
    ...     "One step of a cell with a name of its own."
    >>> layer_of(OwnCell).__name__
    'Own'
    """
    if not cell.__name__.endswith("Cell"):
        raise ValueError(f"Argument `cell` must be a class whose name ends with `Cell`. Received: {cell.__name__}")
    name = cell.__name__.removesuffix("Cell")
    words = {"__doc__": f"`{cell.__name__}` over a sequence.", "__module__": cell.__module__, "__qualname__": name}
    layer = types.new_class(name, (RecurrentLayer,), {"cell": cell}, lambda body: body.update(words))
    package = keras.saving.get_registered_name(cell).rpartition(">")[0]
    return keras.saving.register_keras_serializable(package=package or "Custom")(layer)


def _layer_init(layer, cell, tail):
    """`__init__` for `layer`: the arguments of `cell`, then those of `MyRNN`, in Keras's order."""
    cell_parameters = parameters(cell)
    signature = inspect.Signature(_ordered(cell_parameters, parameters(MyRNN), tail))
    cell_name = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", layer.__name__.removeprefix("My"))

    def __init__(self, *args, **kwargs):
        arguments = dict(bind(signature, layer, self, *args, **kwargs).arguments)
        del arguments["self"]
        options = {**arguments.pop("kwargs", {}), **arguments}
        cell_options = {name: options.pop(name) for name in cell_parameters if name in options}
        cell_options |= {name: options[name] for name in _SHARED if name in options}
        self._make(cell(**cell_options, name=f"{cell_name.lower()}_cell"), **options)

    __init__.__signature__ = signature
    __init__.__qualname__ = f"{layer.__name__}.__init__"
    return __init__


def _ordered(cell_parameters, layer_parameters, tail):
    positional, named = [], []
    own = {name: parameter for name, parameter in layer_parameters.items() if name != "cell"}
    extra = {
        name: inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=argument.default)
        for name, argument in EXTRA_ARGUMENTS.items()
    }
    for name, parameter in cell_parameters.items():
        if name not in tail:
            (named if parameter.kind is inspect.Parameter.KEYWORD_ONLY else positional).append(parameter)
    after = next((place for place, parameter in enumerate(positional) if parameter.name == "bias_regularizer"), None)
    positional.insert(len(positional) if after is None else after + 1, extra["activity_regularizer"])
    for name, parameter in own.items():
        # Keras's layers with a cell of their own take `zero_output_for_mask` by name.
        is_named = name == "zero_output_for_mask" or parameter.kind is inspect.Parameter.KEYWORD_ONLY
        (named if is_named else positional).append(parameter)
    positional += [cell_parameters.get(name) or extra[name] for name in tail]
    return [
        inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD),
        *(parameter.replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD) for parameter in positional),
        *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in named),
        inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
    ]


def _forward_arguments(layer, cell):
    """Gives `layer` a read-only attribute for each argument of its cell."""
    for name in parameters(cell):
        if not hasattr(layer, name):
            setattr(layer, name, property(lambda self, name=name: getattr(self.cell, name), doc=f"`cell.{name}`"))
