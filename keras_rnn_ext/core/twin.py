"""Layers made from their cell: signature, documentation and attributes, so that each argument is stated once."""

import inspect
import re

from keras_rnn_ext.core.arguments import parameters

# The arguments that a cell shares with every Keras layer are passed on to it.
_SHARED = ("dtype", "trainable")


def layer_init(layer, cell, base, tail):
    """`__init__` for `layer`: the arguments of `cell`, then those of `base`, in Keras's order.

    Args:
        layer: the layer's class.
        cell: the cell's class.
        base: the class of the generic layer, whose own arguments are added.
        tail: names of the arguments that stand at the end.
    """
    cell_parameters = parameters(cell)
    signature = inspect.Signature(_ordered(cell_parameters, parameters(base), tail))
    cell_name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", layer.__name__.removeprefix("My"))

    def __init__(self, *args, **kwargs):
        try:
            given = signature.bind(self, *args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{layer.__name__}: {error}. Its arguments: {signature}") from None
        arguments = dict(given.arguments)
        del arguments["self"]
        options = {**arguments.pop("kwargs", {}), **arguments}
        cell_options = {name: options.pop(name) for name in cell_parameters if name in options}
        cell_options |= {name: options[name] for name in _SHARED if name in options}
        self._make(cell(**cell_options, name=f"{cell_name.lower()}_cell"), **options)

    __init__.__signature__ = signature
    __init__.__qualname__ = f"{layer.__name__}.__init__"
    return __init__


def _ordered(cell_parameters, base_parameters, tail):
    positional, named = [], []
    own = {name: parameter for name, parameter in base_parameters.items() if name != "cell"}
    extra = {name: _option(name, default) for name, default in _EXTRA_DEFAULTS.items()}
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


_EXTRA_DEFAULTS = {"activity_regularizer": None, "use_cudnn": "auto"}


def _option(name, default):
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default)


def forward_arguments(layer, cell):
    """Gives `layer` a read-only attribute for each argument of its cell."""
    for name in parameters(cell):
        if not hasattr(layer, name):
            setattr(layer, name, property(lambda self, name=name: getattr(self.cell, name), doc=f"`cell.{name}`"))


_SECTION = r"(?m)^{title}:\n(?P<body>(?:[ \t]+.*\n|\n)+)"


def _section(text, title):
    found = re.search(_SECTION.format(title=title), inspect.cleandoc(text) + "\n")
    return found.group("body").rstrip("\n") if found else ""


def _entries(body):
    """The entries of an argument section, by name."""
    entries = re.split(r"(?m)^ {4}(?=\S)", body)
    return {entry.split(":", 1)[0]: "    " + entry.rstrip() for entry in entries if entry.strip()}


_EXTRA_TEXT = {
    "activity_regularizer": "    activity_regularizer: of the output. Default None.",
    "use_cudnn": (
        '    use_cudnn: `"auto"`: the framework\'s own kernel where it serves; False: not on a GPU; True: an error\n'
        '        where it does not serve. Default `"auto"`.'
    ),
}


def describe_layer(layer, cell, base):
    """The docstring of `layer`: its own first words, the cell's equations, and both one's arguments."""
    head = inspect.cleandoc(layer.__doc__ or layer.__name__)
    cell_doc, base_doc = inspect.cleandoc(cell.__doc__ or ""), inspect.cleandoc(base.__doc__)
    equations = cell_doc.split("Args:")[0].partition("\n")[2].strip()
    equations = re.sub(r"\s*Twin of `[^`]*`\.", "", equations)
    described = {**_entries(_section(base_doc, "Args")), **_entries(_section(cell_doc, "Args")), **_EXTRA_TEXT}
    names = [name for name in parameters(layer) if name in described]
    arguments = "\n".join(described[name] for name in names)
    arguments += "\n    name, dtype, trainable: as for every Keras layer."
    parts = [head, equations, f"Args:\n{arguments}"]
    for title in ("Call arguments", "Returns", "Raises"):
        parts.append(f"{title}:\n{_section(base_doc, title)}")
    if source := _section(cell_doc, "Source"):
        parts.append(f"Source:\n{source}")
    example = f">>> import numpy as np\n>>> layer = {layer.__name__}(4, return_sequences=True)\n"
    example += '>>> tuple(layer(np.zeros((2, 7, 3), "float32")).shape)[:2]\n(2, 7)'
    return "\n\n".join(filter(None, [*parts, example]))
