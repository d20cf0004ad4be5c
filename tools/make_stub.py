"""Writes `keras_rnn_ext/__init__.pyi`: what an editor shows for layers whose signature is computed from their cell.

Run it after a change of a signature: python tools/make_stub.py. A test compares.
"""

import inspect
import pathlib

import keras_rnn_ext
from keras_rnn_ext.core.made import RecurrentLayer

PATH = pathlib.Path(keras_rnn_ext.__file__).with_suffix(".pyi")

HEADER = '''"""Made by tools/make_stub.py."""

from collections.abc import Callable
from typing import Any, Literal

'''

_TYPES = {
    "units": "int",
    "seed": "int | None",
    "unroll": "bool | int",
    "implementation": "int",
    "use_cudnn": 'bool | Literal["auto"]',
    "dropout": "float",
    "recurrent_dropout": "float",
}
_OBJECTS = ("activation", "initializer", "regularizer", "constraint")


def _annotation(parameter):
    if parameter.name in _TYPES:
        return _TYPES[parameter.name]
    if parameter.name.endswith(_OBJECTS):
        return "str | dict[str, Any] | Callable[..., Any] | None"
    return "bool"


def _parameter(parameter):
    if parameter.kind is inspect.Parameter.VAR_KEYWORD:
        return f"**{parameter.name}: Any"
    default = "" if parameter.default is inspect.Parameter.empty else f" = {parameter.default!r}".replace("'", '"')
    return f"{parameter.name}: {_annotation(parameter)}{default}"


def _class(cls):
    lines = [f"class {cls.__name__}(_RecurrentLayer):", "    def __init__(", "        self,"]
    named = False
    for parameter in list(inspect.signature(cls.__init__).parameters.values())[1:]:
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not named:
            named = True
            lines.append("        *,")
        lines.append(f"        {_parameter(parameter)},")
    return "\n".join([*lines, "    ) -> None: ..."])


def stub():
    """The text of the stub."""
    public = {name: getattr(keras_rnn_ext, name) for name in keras_rnn_ext.__all__}
    computed = {
        name: value for name, value in public.items() if inspect.isclass(value) and issubclass(value, RecurrentLayer)
    }
    lines = ["from keras_rnn_ext.core.made import RecurrentLayer as _RecurrentLayer"]
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
