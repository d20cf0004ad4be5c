"""What the engine runs: any cell, seen through the same few members.

`kind`, `pure`, `noisy`, `compute_dtype`, `output_size`, `gather_weights()`, `draw_noise(inputs, states, training)`,
`release_noise()` and `step(inputs, states, weights, noise)`. Our cells have them themselves; a stack and
a cell of somebody else's get them from an object made for the call.
"""

import inspect

import keras
from keras import ops

from keras_rnn_ext.core.state import listed


def cell_output_size(cell):
    """Keras's rule: `output_size`, or else the first state's size."""
    size = getattr(cell, "output_size", None)
    if size is not None:
        return size
    state_size = cell.state_size
    return state_size[0] if isinstance(state_size, (list, tuple)) else state_size


def accepts(cell, argument):
    """Whether the `call` of a cell has an argument of that name."""
    return argument in inspect.signature(cell.call).parameters


def as_recurrence(cell, training=False, constants=None, dtype=None):
    """`cell` as the engine sees it in one call of a layer whose compute dtype is `dtype`."""
    if isinstance(cell, keras.layers.StackedRNNCells):
        return Stack([as_recurrence(member, training, constants, dtype) for member in cell.cells])
    if hasattr(cell, "kind") and hasattr(cell, "gather_weights"):
        if constants is not None:
            raise ValueError(
                f"{type(cell).__name__} has no use for `constants`: only a cell whose `call` has an argument "
                f"`constants` takes them. Received: constants={constants!r}"
            )
        return cell
    return Foreign(cell, training, constants, dtype)


class Stack:
    """Cells on top of each other. The states are a list with one entry, a tensor or a list, per cell."""

    kind = "stack"

    def __init__(self, members):
        self.members = members
        self.pure = all(member.pure for member in members)
        self.noisy = any(member.noisy for member in members)
        self.compute_dtype = members[-1].compute_dtype
        self.output_size = members[-1].output_size

    def gather_weights(self):
        return [member.gather_weights() for member in self.members]

    def draw_noise(self, inputs, states, training):
        noise = []
        for member, state in zip(self.members, states, strict=True):
            noise.append(member.draw_noise(inputs, listed(state), training))
            inputs = blank_output(member, ops.shape(inputs)[0])
        return noise

    def release_noise(self):
        for member in self.members:
            member.release_noise()

    def step(self, inputs, states, weights, noise):
        new_states = []
        for member, state, own_weights, own_noise in zip(self.members, states, weights, noise, strict=True):
            inputs, new_state = member.step(inputs, listed(state), own_weights, own_noise)
            new_states.append(new_state if isinstance(state, (list, tuple)) else new_state[0])
        return inputs, new_states


class Foreign:
    """Any cell that keeps Keras's contract, a Layer or not."""

    kind = "foreign"
    pure = False
    library_name = None

    def __init__(self, cell, training, constants, dtype):
        self.cell = cell
        self.output_size = cell_output_size(cell)
        self.compute_dtype = getattr(cell, "compute_dtype", None) or dtype or keras.config.floatx()
        self._is_dropout_cell = hasattr(cell, "get_dropout_mask") and hasattr(cell, "reset_dropout_mask")
        self.noisy = self._is_dropout_cell and bool(cell.dropout or cell.recurrent_dropout)
        self._call = cell if callable(cell) else cell.call
        self._arguments = {}
        if accepts(cell, "training"):
            self._arguments["training"] = training
        if constants is not None:
            if not accepts(cell, "constants"):
                raise ValueError(
                    f"{type(cell).__name__} has no use for `constants`: its `call` has no argument `constants`. "
                    f"Received: constants={constants!r}"
                )
            self._arguments["constants"] = constants

    def gather_weights(self):
        return {}

    def draw_noise(self, inputs, states, training):
        # At inference too: Keras's own SimpleRNNCell draws there, and inside the loop it would be too late.
        if self._is_dropout_cell:
            self.cell.get_dropout_mask(inputs)
            self.cell.get_recurrent_dropout_mask(states[0])
        return {}

    def release_noise(self):
        if self._is_dropout_cell:
            self.cell.reset_dropout_mask()
            self.cell.reset_recurrent_dropout_mask()

    def step(self, inputs, states, weights, noise):
        output, new_states = self._call(inputs, states, **self._arguments)
        return output, listed(new_states)


def blank_output(recurrence, batch):
    """Zeros in the shape `(batch, output_size)` and the dtype of a step's output."""
    size = recurrence.output_size
    dimensions = tuple(size) if isinstance(size, (list, tuple)) else (size,)
    return ops.zeros((batch, *dimensions), dtype=recurrence.compute_dtype)
