"""Writes `reference.md`, an entry for each public name from its signature and docstring, before the site is built."""

import importlib
import inspect
import pathlib
import re
from types import ModuleType

ROOMS = ("training", "text", "diagnostics", "testing")

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


def main() -> None:
    """Writes the page beside this file."""
    modules = ["keras_rnn_ext", *(f"keras_rnn_ext.{room}" for room in ROOMS)]
    text = "\n\n".join(["# Reference", *(chapter(importlib.import_module(name)) for name in modules)])
    pathlib.Path(__file__).with_name("reference.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
