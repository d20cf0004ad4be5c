"""The catalogue: one row for each cell. Tests, documentation, the public names and the look-up are driven by it.

A row is made by `define_cell` where the cell stands. Each module in `cells` is read, so that a new file is
all it takes.
"""

import importlib
import pkgutil

from keras_rnn_ext import cells
from keras_rnn_ext.core.define import CATALOGUE

for _module in pkgutil.iter_modules(cells.__path__):
    importlib.import_module(f"{cells.__name__}.{_module.name}")

ROWS = tuple(sorted(CATALOGUE.values(), key=lambda row: row.name))


def list_cells():
    """The names of all cells, in the order of the alphabet.

    >>> {"simple_rnn", "lstm", "gru"} <= set(list_cells())
    True
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
