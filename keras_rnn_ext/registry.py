"""One row per cell. Tests, documentation and the look-up by name are driven by it."""

import dataclasses

from keras_rnn_ext.cells.gru import MyGRU, MyGRUCell
from keras_rnn_ext.cells.lstm import MyLSTM, MyLSTMCell
from keras_rnn_ext.cells.simple_rnn import MySimpleRNN, MySimpleRNNCell


@dataclasses.dataclass(frozen=True)
class Row:
    """A recurrence: its cell, its layer, and where it comes from."""

    name: str
    cell: type
    layer: type
    source: str
    # Arguments besides `units` that change the mathematics: each is tested on its own.
    variants: tuple[dict, ...] = ({},)


ROWS = (
    Row("simple_rnn", MySimpleRNNCell, MySimpleRNN, "Elman 1990", ({}, {"activation": "relu"}, {"use_bias": False})),
    Row("lstm", MyLSTMCell, MyLSTM, "Hochreiter, Schmidhuber 1997", ({}, {"use_bias": False})),
    Row(
        "gru",
        MyGRUCell,
        MyGRU,
        "Cho et al. 2014",
        ({}, {"reset_after": False}, {"use_bias": False}, {"reset_after": False, "use_bias": False}),
    ),
)


def list_cells():
    """The names of all cells, in the order of the catalogue.

    >>> list_cells()
    ['simple_rnn', 'lstm', 'gru']
    """
    return [row.name for row in ROWS]


def get(name):
    """The row of a cell: `get("lstm").layer(32)` is an `MyLSTM` of 32 units.

    Args:
        name: one of `list_cells()`.

    Raises:
        ValueError: if there is no cell of that name.

    >>> get("lstm").layer.__name__
    'MyLSTM'
    """
    for row in ROWS:
        if row.name == name:
            return row
    raise ValueError(f"Argument `name` must be one of {list_cells()}. Received: name={name!r}")
