"""One declaration at a cell makes it known: to files, to the documentation, and to the catalogue."""

import dataclasses
import inspect
from typing import Any

import keras

from keras_rnn_ext.core.describe import describe_cell
from keras_rnn_ext.core.registration import PACKAGE


@dataclasses.dataclass
class Row:
    """A recurrence of the catalogue.

    Args:
        name: what `get` and `list_cells` call it.
        cell: its class.
        source: the paper.
        variants: arguments beside `units` that change the mathematics: each is tested on its own.
        multiple: what `units` has to be a multiple of in the tests of all variants.
        condition: by how much more than others it amplifies rounding, of which tests allow so much more.
        layer: the class of its layer.
    """

    name: str
    cell: Any
    source: str
    variants: tuple[dict, ...] = ({},)
    multiple: int = 1
    condition: float = 1.0
    layer: Any = None


# The cells of this package, by class.
CATALOGUE: dict[type, Row] = {}


def define_cell(name, source, *, variants=({},), multiple=1, condition=1.0, package=None):
    """Class decorator for a cell: registers it for saving and completes its documentation.

    Args:
        name: of the cell, in small letters: `"peephole_lstm"`.
        source: the paper that it comes from, for the documentation.
        variants: arguments beside `units` that change the mathematics, a dict for each variant: tests try them.
        multiple: what `units` has to be a multiple of in these tests.
        condition: by how much more than others the cell amplifies rounding: a norm of two units that are nearly the
            same amplifies it without bounds. Tests allow so much more.
        package: the package that the class is registered for. `.keras` files hold this name and the class's. Default:
            the top-level package that it stands in; in a script `"Custom"`.

    Returns:
        The decorator, which gives back the class.

    >>> from keras_rnn_ext.custom import GatedCell, define_cell
    >>> @define_cell("decay", "A footnote.", package="my_lab")
    ... class DecayCell(GatedCell):
    ...     "One step of a decay: the mean of the state and a candidate."
    ...     states = ("h",)
    ...     summed = pure = True
    ...     def gate(self, projected, recurrent, states, weights):
    ...         hidden = 0.5 * (states[0] + self.activation(projected + recurrent))
    ...         return hidden, [hidden]
    >>> DecayCell(4, activation="relu").get_config()["activation"]
    'relu'
    """

    def decorate(cls):
        cls.own_words = inspect.cleandoc(cls.__doc__ or cls.__name__)
        cls.source = source
        cls.__doc__ = describe_cell(cls, source)
        home = cls.__module__.partition(".")[0]
        registered_for = package or ("Custom" if home == "__main__" else home)
        if registered_for == PACKAGE:
            CATALOGUE[cls] = Row(name, cls, source, tuple(variants), multiple, condition)
        return keras.saving.register_keras_serializable(package=registered_for)(cls)

    return decorate
