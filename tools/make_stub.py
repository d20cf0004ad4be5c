"""Writes `keras_rnn_ext/__init__.pyi`: what an editor shows for cells and layers whose signature is computed.

Run it after a change of a signature: python tools/make_stub.py. A test compares.
"""

import inspect
import pathlib

import keras_rnn_ext
from keras_rnn_ext.core.layer_words import LAYER_ARGUMENTS
from keras_rnn_ext.core.recurrent_layer import EXTRA_ARGUMENTS, RecurrentLayer

PATH = pathlib.Path(keras_rnn_ext.__file__).with_suffix(".pyi")

HEADER = '''"""Made by tools/make_stub.py."""

from collections.abc import Callable
from typing import Any, Literal

'''


def _annotation(cls, parameter):
    cell = getattr(cls, "cell_class", cls)
    declared = {**LAYER_ARGUMENTS, **EXTRA_ARGUMENTS, **cell.declared_arguments()}
    return declared[parameter.name].annotation


def _parameter(cls, parameter):
    if parameter.kind is inspect.Parameter.VAR_KEYWORD:
        return f"**{parameter.name}: Any"
    default = "" if parameter.default is inspect.Parameter.empty else f" = {_shown(parameter.default)}"
    return f"{parameter.name}: {_annotation(cls, parameter)}{default}"


def _shown(default):
    simple = default is None or isinstance(default, (bool, int, float, str))
    return repr(default).replace("'", '"') if simple else "..."


def _bases(cls):
    return [RecurrentLayer] if issubclass(cls, RecurrentLayer) else cls.__bases__


def _class(cls):
    base = ", ".join(f"_{each.__name__}" for each in _bases(cls))
    lines = [f"class {cls.__name__}({base}):", "    def __init__(", "        self,"]
    named = False
    for parameter in list(inspect.signature(cls.__init__).parameters.values())[1:]:
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not named:
            named = True
            lines.append("        *,")
        lines.append(f"        {_parameter(cls, parameter)},")
    return "\n".join([*lines, "    ) -> None: ..."])


def stub():
    """The text of the stub."""
    public = {name: getattr(keras_rnn_ext, name) for name in keras_rnn_ext.__all__}
    computed = {
        name: value
        for name, value in public.items()
        if inspect.isclass(value) and (issubclass(value, RecurrentLayer) or getattr(value, "source", None))
    }
    bases = {base for value in computed.values() for base in _bases(value)}
    lines = [f"from {base.__module__} import {base.__name__} as _{base.__name__}" for base in bases]
    lines += [
        f"from {value.__module__} import {name} as {name}" for name, value in public.items() if name not in computed
    ]
    imports = "\n".join(sorted(lines, key=lambda line: (line.split()[1], line)))
    classes = "\n\n".join(_class(value) for value in computed.values())
    names = "\n".join(f'    "{name}",' for name in keras_rnn_ext.__all__)
    return f"{HEADER}{imports}\n\n__version__: str\n__all__ = [\n{names}\n]\n\n{classes}\n"


if __name__ == "__main__":
    PATH.write_text(stub())
    print(f"wrote {PATH}")
