"""Documentation of convolutional cells and layers: as of the others, but over images."""

import inspect

from keras_rnn_ext.core.arguments import parameters
from keras_rnn_ext.core.convolutional import AXES
from keras_rnn_ext.core.describe import described_arguments, section
from keras_rnn_ext.core.layer_words import LAYER_ARGUMENTS, LAYER_SECTIONS
from keras_rnn_ext.core.recurrent_layer import EXTRA_ARGUMENTS

_KERAS = "name, dtype, trainable: as for every Keras layer."
_RAISES = (
    "ValueError: naming the argument, if a size is no int above zero or not one for each axis, a word is none of the "
    "possible ones, or the images are smaller than the window."
)


def _shape(cell, *before):
    return f"`({', '.join((*before, *AXES[cell.rank], 'channels'))})`"


def _example(lines):
    return "\n".join(["", "", ">>> import numpy as np", *lines])


def describe_cell(cell):
    """The docstring of a cell: its own words, arguments and states."""
    states = ", ".join(f"${state.name}$" for state in cell.declared_states())
    size = (6,) * cell.rank
    parts = [
        cell.own_words,
        section("Args", [*described_arguments(cell).values(), _KERAS]),
        section(
            "Call arguments",
            [
                f'inputs: {_shape(cell, "batch")}; with `data_format="channels_first"` the channels stand behind '
                "the batch.",
                f"states: list of the states {states}, as `get_initial_state(batch_size)` gives it once the cell is "
                "built. Each is an image of `filters` channels.",
                "training: whether dropout is on. Default False.",
            ],
        ),
        section("Returns", "`(output, states)`: an image, and the new states in the form of `states`."),
        section("Raises", [_RAISES]),
        section("Source", cell.source),
    ]
    example = [
        f">>> cell = {cell.__name__}(4, kernel_size=3)",
        f'>>> images = np.zeros({(2, *size, 3)}, "float32")',
        ">>> cell.build(images.shape)",
        ">>> output, states = cell(images, cell.get_initial_state(2))",
        ">>> tuple(output.shape)",
        str((2, *(each - 2 for each in size), 4)),
    ]
    return "\n\n".join(parts) + _example(example)


def describe_layer(layer, cell, words):
    """The docstring of a layer: `words`, the equations of its cell, the arguments of both."""
    described = {name: argument.describe(name) for name, argument in (LAYER_ARGUMENTS | EXTRA_ARGUMENTS).items()}
    described |= described_arguments(cell)
    sections = LAYER_SECTIONS.replace("`(batch, steps, features)`", _shape(cell, "batch", "steps"), 1)
    sections = sections.replace(
        "`(batch, steps, units)` with `return_sequences`, else the last valid one `(batch, units)`",
        "images of `filters` channels, those of all steps with `return_sequences`, else the last valid ones",
    )
    size = (6,) * cell.rank
    parts = [
        inspect.cleandoc(words or layer.__name__),
        cell.own_words.partition("\n")[2].strip(),
        section("Args", [*(described[name] for name in parameters(layer) if name in described), _KERAS]),
        sections,
        section("Source", cell.source),
    ]
    example = [
        f'>>> layer = {layer.__name__}(4, kernel_size=3, padding="same", return_sequences=True)',
        f'>>> tuple(layer(np.zeros({(2, 5, *size, 3)}, "float32")).shape)',
        str((2, 5, *size, 4)),
    ]
    return "\n\n".join(parts) + _example(example)
