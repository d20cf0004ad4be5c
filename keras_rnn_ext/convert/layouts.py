"""Layouts: where the weights of a cell stand in the arrays of another library, declared once for both directions."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_rnn_ext import registry
from keras_rnn_ext.core.cell import is_function


class Part(NamedTuple):
    """A rule for some weights: `read` makes ours from their arrays, `write` their arrays from ours."""

    read: Callable[[Mapping], dict]
    write: Callable[[Mapping], dict]


def _reordered(array, present, wanted):
    """The columns of `array`, which stand gate by gate in the order `present`, in the order `wanted`."""
    if present == wanted:
        return array
    blocks = dict(zip(present, np.split(array, len(present), axis=-1), strict=True))
    return np.concatenate([blocks[gate] for gate in wanted], axis=-1)


def columns(target, *sources, ours="", theirs="", transposed=False, optional=False):
    """A weight whose columns stand gate by gate, in one array or in several side by side.

    Args:
        target: name of the weight.
        sources: names of the arrays; of several each as a pair with the number of its gates.
        ours: the order of our gates, a letter for each. Default: the same as theirs.
        theirs: the order of their gates.
        transposed: whether an array has a row for each of our columns.
        optional: whether the weight may be absent.
    """
    pairs = [(source, 1) if isinstance(source, str) else source for source in sources]
    names, counts = zip(*pairs, strict=True)

    def read(arrays):
        if optional and not any(name in arrays for name in names):
            return {}
        found = [arrays[name].T if transposed else arrays[name] for name in names]
        return {target: _reordered(np.concatenate(found, axis=-1), theirs, ours)}

    def write(weights):
        if optional and target not in weights:
            return {}
        whole = _reordered(weights[target], ours, theirs)
        size = whole.shape[-1] // sum(counts)
        found = np.split(whole, [size * count for count in np.cumsum(counts)[:-1]], axis=-1)
        return {name: part.T if transposed else part for name, part in zip(names, found, strict=True)}

    return Part(read, write)


def summed(target, *sources, ours="", theirs=""):
    """A bias that is one vector here and a sum of several there. On the way back the others become zeros."""

    def read(arrays):
        found = [arrays[name] for name in sources if name in arrays]
        return {target: _reordered(sum(found[1:], start=found[0]), theirs, ours)} if found else {}

    def write(weights):
        if target not in weights:
            return {}
        whole = _reordered(weights[target], ours, theirs)
        return {name: whole if place == 0 else np.zeros_like(whole) for place, name in enumerate(sources)}

    return Part(read, write)


def stacked(target, *sources, ours="", theirs="", optional=False):
    """A weight of which each row is an array there."""

    def read(arrays):
        if optional and not any(name in arrays for name in sources):
            return {}
        return {target: np.stack([_reordered(arrays[name], theirs, ours) for name in sources])}

    def write(weights):
        if optional and target not in weights:
            return {}
        return {name: _reordered(row, ours, theirs) for name, row in zip(sources, weights[target], strict=True)}

    return Part(read, write)


def reshaped(target, source, ours, theirs):
    """A weight that differs in its shape alone: the two shapes, with -1 for one axis."""
    return Part(
        lambda arrays: {target: arrays[source].reshape(ours)}, lambda weights: {source: weights[target].reshape(theirs)}
    )


def joined(targets, *sources, rows, ours="", theirs=""):
    """Two weights on top of each other in one array there, or in several side by side.

    Args:
        targets: names of the two weights, the upper one first.
        sources: as for `columns`.
        rows: how many rows the lower weight has, a function of their arrays.
        ours: as for `columns`.
        theirs: as for `columns`.
    """
    whole = columns("whole", *sources, ours=ours, theirs=theirs)
    upper, lower = targets

    def read(arrays):
        array = whole.read(arrays)["whole"]
        cut = len(array) - rows(arrays)
        if cut < 1:
            names = [source if isinstance(source, str) else source[0] for source in sources]
            raise ValueError(f"{names} must have more rows than {rows(arrays)}. Received: shape {array.shape}.")
        return {upper: array[:cut], lower: array[cut:]}

    return Part(read, lambda weights: whole.write({"whole": np.concatenate([weights[name] for name in targets])}))


@dataclasses.dataclass(frozen=True)
class Layout:
    """A cell of ours and its weights in another library.

    Args:
        cell: its name in the registry.
        parts: a rule for each weight.
        units: the number of units, a function of our weights. Default: the rows of `recurrent_kernel`.
        options: arguments of our cell, a function of our weights and their arrays.
        expects: arguments that our cell must have for the way back, by name.
        constants: arrays that are arguments here, a function of our cell.
    """

    cell: str
    parts: tuple[Part, ...]
    units: Callable[[dict], int] = lambda weights: weights["recurrent_kernel"].shape[0]
    options: Callable[[dict, Mapping], dict] = lambda weights, arrays: {}
    expects: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    constants: Callable[[Any], dict] = lambda cell: {}

    def read(self, arrays, argument, place=""):
        """Our weights by name, and the arguments of the cell.

        Args:
            arrays: their arrays by name.
            argument: what the caller's argument is called, for errors.
            place: where in it the arrays stand, for errors.
        """
        weights: dict = {}
        arrays = _Used(arrays)
        try:
            for part in self.parts:
                weights |= part.read(arrays)
            options = {"units": int(self.units(weights)), **self.options(weights, arrays)}
        except KeyError as missing:
            raise ValueError(
                f"Argument `{argument}` must have an array {place + missing.args[0]!r} for {self.cell!r}. Received: "
                f"{[place + name for name in arrays]}"
            ) from None
        except ValueError as error:
            shapes = {place + name: np.shape(array) for name, array in arrays.items()}
            raise ValueError(
                f"Argument `{argument}` does not fit {self.cell!r}: {error} Received arrays of the shapes {shapes}"
            ) from None
        unused = [place + name for name in arrays if name not in arrays.used]
        if unused:
            raise ValueError(f"Argument `{argument}` has arrays that {self.cell!r} does not know: {unused}")
        if "use_bias" in self.row.cell.declared_arguments():
            options["use_bias"] = "bias" in weights
        return weights, options

    def write(self, cell):
        """Their arrays by name, from a cell of ours or from Keras's of the same mathematics."""
        for name, expected in self.expects.items():
            value = getattr(cell, name, expected)
            fits = is_function(value, expected) if isinstance(expected, str) else value == expected
            if not fits:
                shown = getattr(value, "__name__", value)
                raise ValueError(
                    f"Argument `layer` must have {name}={expected!r}: there is no counterpart for another. "
                    f"Received: {cell.name!r} with {name}={shown!r}"
                )
        weights = weights_of(cell)
        arrays = dict(self.constants(cell))
        for part in self.parts:
            arrays |= part.write(weights)
        return {name: np.ascontiguousarray(array) for name, array in arrays.items()}

    @property
    def row(self):
        """The row of the catalogue."""
        return registry.get(self.cell)


class _Used(dict):
    """Arrays by name, and which of them were read."""

    def __init__(self, arrays):
        super().__init__(arrays)
        self.used = set()

    def __getitem__(self, name):
        self.used.add(name)
        return super().__getitem__(name)


def weights_of(cell):
    """The weights of a built cell by name, as arrays."""
    if not cell.built:
        raise ValueError(
            f"Argument `layer` must be built. Received: {cell.name!r}, which has no weights yet: call it once, or "
            "`layer.build((None, None, features))`."
        )
    # Copies: on PyTorch an array would share the memory of the weight. NumPy has no bfloat16.
    return {
        variable.name: np.array(
            ops.convert_to_numpy(ops.cast(variable, "float32") if variable.dtype == "bfloat16" else variable)
        )
        for variable in cell.weights
    }


def set_weights_by_name(cell, weights, argument):
    """Sets the weights of a built cell, or raises a ValueError that names what does not fit."""
    variables = {variable.name: variable for variable in cell.weights}
    expected = {name: tuple(variable.shape) for name, variable in variables.items()}
    received = {name: np.shape(value) for name, value in weights.items()}
    if expected != received:
        wrong = sorted(name for name in expected | received if expected.get(name) != received.get(name))
        raise ValueError(
            f"Argument `{argument}` does not fit {type(cell).__name__}. Expected, under our names: "
            f"{_only(expected, wrong)}. Received: {_only(received, wrong)}"
        )
    for name, value in weights.items():
        variables[name].assign(value)


def _only(shapes, names):
    return {name: shapes.get(name) for name in names}


def as_arrays(values):
    """Arrays or PyTorch tensors by name, as arrays. Torch itself is not asked for."""
    return {name: _as_array(value) for name, value in values.items()}


def _as_array(value):
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        # NumPy has no bfloat16.
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
    return np.array(value)
