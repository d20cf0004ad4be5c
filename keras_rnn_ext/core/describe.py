"""Documentation of cells and layers: what a class says itself, and what is declared or the same for all of them."""

import inspect
import textwrap

from keras_rnn_ext.core.arguments import is_made, parameters

_KERAS = "name, dtype, trainable: as for every Keras layer."


def section(title, entries):
    """A section of a docstring: an entry `name: text` for each of a list, or a text."""
    indents = ("    ", "        ") if isinstance(entries, list) else ("    ", "    ")
    texts = entries if isinstance(entries, list) else [entries]
    wrapped = [
        textwrap.fill(text, 112, initial_indent=indents[0], subsequent_indent=indents[1], break_long_words=False)
        for text in texts
    ]
    return "\n".join([f"{title}:", *wrapped])


def describe_cell(cls, source):
    """The docstring of a cell: its own words, then its arguments, how it is called, its source and an example."""
    states = [state.name for state in cls.declared_states()]
    arguments = cls.declared_arguments()
    entries = [argument.describe(name) for name, argument in arguments.items()]
    made = ", ".join(f"${state}$" for state in states)
    return "\n\n".join(
        [
            inspect.cleandoc(cls.__doc__),
            section("Args", [*entries, _KERAS]),
            section(
                "Call arguments",
                [
                    "inputs: `(batch, features)`.",
                    f"states: list of the {len(states)} states {made}, as `get_initial_state(batch_size)` gives it."
                    if len(states) > 1
                    else f"states: list of the one state {made}, or the state itself.",
                    "training: whether dropout is on. Default False.",
                ],
            ),
            section("Returns", "`(output, states)`: `(batch, units)`, and the new states in the form of `states`."),
            section(
                "Raises",
                [
                    "ValueError: naming the argument, if a number is none or out of its range, or the states are too "
                    "few or many.",
                    "TypeError: if an activation, an initializer, regularizer or constraint is a number or a bool.",
                ],
            ),
            section("Source", source),
            f">>> import numpy as np\n>>> cell = {cls.__name__}(4)\n"
            '>>> output, states = cell(np.zeros((2, 3), "float32"), cell.get_initial_state(2))\n'
            ">>> tuple(output.shape)\n(2, 4)",
        ]
    )


def described_arguments(cls):
    """The entries of a class's arguments by name, as far as they are declared."""
    declared = cls.declared_arguments() if is_made(cls.__init__) else {}
    return {name: argument.describe(name) for name, argument in declared.items()}


def describe_layer(layer, cell, own_arguments, sections):
    """The docstring of a layer that makes its cell: its first words, the cell's equations, both one's arguments.

    Args:
        layer: the class.
        cell: the class of its cell.
        own_arguments: the arguments of every recurrent layer, by name.
        sections: the sections behind the arguments, the same for every recurrent layer.
    """
    described = {name: argument.describe(name) for name, argument in own_arguments.items()} | described_arguments(cell)
    entries = [described[name] for name in parameters(layer) if name in described]
    # Not those of a parent: a subclass may compute something else.
    own_words = vars(cell).get("own_words") or inspect.cleandoc(cell.__doc__ or "").partition("Args:")[0]
    equations = own_words.partition("\n")[2].strip()
    source = vars(cell).get("source")
    parts = [
        inspect.cleandoc(layer.__doc__ or layer.__name__),
        equations,
        section("Args", [*entries, _KERAS]),
        sections,
        section("Source", source) if source else "",
        f">>> import numpy as np\n>>> layer = {layer.__name__}(4, return_sequences=True)\n"
        '>>> tuple(layer(np.zeros((2, 7, 3), "float32")).shape)[:2]\n(2, 7)',
    ]
    return "\n\n".join(filter(None, parts))
