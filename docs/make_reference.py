"""Writes two pages before the site is built.

`reference.md` has an entry for each public name, from its signature and docstring; `cells.md` is the catalogue.
"""

import importlib
import inspect
import pathlib
import re
from types import ModuleType

MODULES = ("custom", "convert", "training", "streaming", "text", "diagnostics", "testing")

# Sections whose entries are `name: text`, with the following lines further in.
LISTS = ("Args", "Call arguments", "Raises")


def chapter(module: ModuleType) -> str:
    """The entries of a module's public names."""
    things = {name: getattr(module, name) for name in module.__all__}
    entries = [entry(name, thing) for name, thing in things.items() if callable(thing)]
    return "\n\n".join([f"## {module.__name__}", *entries])


def entry(name: str, thing) -> str:
    """The text for a public name: its own, then those of the methods that its class defines."""
    parts = [describe(f"### {name}", name, thing)]
    if inspect.isclass(thing):
        for method, function in vars(thing).items():
            if inspect.isfunction(function) and function.__doc__ and not method.startswith("_"):
                parts.append(describe(f"#### {name}.{method}", method, function))
    return "\n\n".join(parts)


def describe(heading: str, name: str, thing) -> str:
    """Heading, signature and docstring."""
    signature = inspect.signature(thing)
    shown = [parameter for parameter in signature.parameters.values() if parameter.name != "self"]
    call = f"{name}{signature.replace(parameters=shown)}"
    if len(call) > 100:
        named = [str(parameter) for parameter in shown]
        places = [place for place, each in enumerate(shown) if each.kind is each.KEYWORD_ONLY]
        named[min(places, default=len(named)) : 0] = ["*"] if places else []
        call = "\n".join([f"{name}(", *(f"    {each}," for each in named), ")"])
    return f"{heading}\n\n```py\n{call}\n```\n\n{to_markdown(inspect.getdoc(thing) or '')}"


def to_markdown(docstring: str) -> str:
    """A docstring of ours as Markdown: sections with bold heads, lists of arguments, fenced doctests."""
    lines: list[str] = []
    section, doctest = None, False
    for line in docstring.splitlines():
        if doctest and not line.strip():
            lines.append("```")
            doctest = False
        head = re.fullmatch(r"([A-Z][a-z]+( [a-z]+)*):", line)
        if head:
            section = head[1]
            lines += [f"**{section}**", ""]
            continue
        if line and not line.startswith(" "):
            section = None
        line = line.removeprefix("    ") if section else line
        if line.startswith(">>>") and not doctest:
            lines += ["", "```pycon"]
            doctest = True
        if section in LISTS:
            line = re.sub(r"^([\w*][\w*, ]*): ", r"- `\1`: ", line)
        lines.append(line)
    return "\n".join([*lines, "```"] if doctest else lines)


CATALOGUE = """# The cells

Each has a layer with every option of the built-in ones: masks of any kind, carried states, dropout, `recompute`, any
number of steps. They run on TensorFlow, JAX and PyTorch, are saved in `.keras` files, and take each other's place:

```python
import keras
from keras_rnn_ext import SLSTM

model = keras.Sequential([keras.Input((None, 8)), SLSTM(32, heads=4, return_sequences=True), keras.layers.Dense(1)])
```

The cell of `SLSTM` is `SLSTMCell`, for `MyRNN`, a stack, or a wrapper such as `ZoneoutWrapper`. What is elementwise
behind one product of the states runs in a loop with a gradient of its own ("gated"); what is linear in the state runs
side by side ("linear"). [Write your own cell](custom_cells.md) shows how one is made.

| layer | what it is | kind |
| --- | --- | --- |
"""


def catalogue() -> str:
    """The page of all cells: a row for each, and the equations below."""
    from keras_rnn_ext.registry import ROWS

    rows, sections = [], []
    for row in sorted(ROWS, key=lambda row: row.layer.__name__.lower()):
        first, _, rest = row.cell.own_words.partition("\n")
        what = first.removeprefix("One step of ").rstrip(".").replace("|", "\\|")
        kind = row.cell(row.multiple).kind
        rows.append(f"| [`{row.layer.__name__}`](#{row.layer.__name__.lower()}) | {what} | {kind} |")
        own = [
            f"- `{argument}`: {value.describe(argument).partition(': ')[2]}"
            for argument, value in row.cell.declared_arguments().items()
            if argument in row.cell.by_name_only()
        ]
        parts = [
            f"## {row.layer.__name__}",
            first,
            rest.strip(),
            f"Source: {row.source}",
            *(["Its own arguments:", "\n".join(own)] if own else []),
        ]
        sections.append("\n\n".join(parts))
    return CATALOGUE + "\n".join(rows) + "\n\n" + "\n\n".join(sections) + "\n"


def main() -> None:
    """Writes the pages beside this file."""
    modules = ["keras_rnn_ext", *(f"keras_rnn_ext.{name}" for name in MODULES)]
    text = "\n\n".join(["# Reference", *(chapter(importlib.import_module(name)) for name in modules)])
    pathlib.Path(__file__).with_name("reference.md").write_text(text + "\n", encoding="utf-8")
    pathlib.Path(__file__).with_name("cells.md").write_text(catalogue(), encoding="utf-8")


if __name__ == "__main__":
    main()
