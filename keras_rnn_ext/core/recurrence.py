"""What the engine runs: any cell, seen through the same few members.

Our cells have them themselves; a stack and a cell of somebody else's, or one whose `call` was overridden, get them from
an object made for the call.
"""

import inspect
from typing import Any, Protocol

import keras
from keras import ops

from keras_rnn_ext.core.compat import all_layers
from keras_rnn_ext.core.noise import STEPS, mix_of, mixed_step
from keras_rnn_ext.core.state import listed


def cell_output_size(cell):
    """Keras's rule: `output_size`, or else the first state's size."""
    size = getattr(cell, "output_size", None)
    if size is not None:
        return size
    state_size = cell.state_size
    return state_size[0] if isinstance(state_size, (list, tuple)) else state_size


def state_shapes(cell, batch):
    """The shapes of a cell's states, a list with an entry for each; a nested one for a stack.

    An entry of `state_size` is a number, or a shape without the batch.
    """
    cell = unwrapped(cell)[1]
    if isinstance(cell, keras.layers.StackedRNNCells):
        return [state_shapes(member, batch) for member in cell.cells]
    return [(batch, *listed(size)) for size in listed(cell.state_size)]


def accepts(cell, argument):
    """Whether the `call` of a cell has an argument of that name."""
    return argument in inspect.signature(cell.call).parameters


def as_recurrence(cell, training=False, constants=None, dtype=None):
    """`cell` as the engine sees it in one call of a layer whose compute dtype is `dtype`."""
    if constants is not None and not _takes_constants(cell):
        raise ValueError(
            f"{type(cell).__name__} has no use for `constants`: only a cell whose `call` has an argument "
            f"`constants` takes them. Received: constants={constants!r}"
        )
    if getattr(type(cell), "call", None) is keras.layers.StackedRNNCells.call or getattr(cell, "stacks", False):
        return Stack(
            [
                as_recurrence(member, training, constants if _takes_constants(member) else None, dtype)
                for member in cell.cells
            ]
        )
    wrappers, inner = unwrapped(cell)
    if wrappers:
        return Wrapped(as_recurrence(inner, training, constants, dtype), wrappers)
    return cell if getattr(cell, "splits", False) else Foreign(cell, training, constants, dtype)


def unwrapped(cell):
    """The wrappers around a cell, the outermost first, and the cell inside."""
    wrappers = []
    while getattr(cell, "wraps", False):
        wrappers.append(cell)
        cell = cell.cell
    return wrappers, cell


def _takes_constants(cell):
    cell = unwrapped(cell)[1]
    if isinstance(cell, keras.layers.StackedRNNCells):
        return any(_takes_constants(member) for member in cell.cells)
    return accepts(cell, "constants")


class Recurrence(Protocol):
    """What the engine knows of a cell. What stands here is the least that it may claim."""

    kind: str  # "cell", "gated", "linear", "stack", "wrapped" or "foreign"
    compute_dtype: str
    input_dtype: str
    output_size: Any
    features: int | None = None  # how many it was built for, if that is known
    noisy: bool = False  # whether training draws random numbers
    is_pure: bool = False
    is_gated: bool = False
    is_linear: bool = False
    library: str | None = None

    def program_key(self) -> Any:
        """What a compiled step is compiled for, beside shapes and types."""

    def gather_weights(self, noise: Any = None) -> Any:
        """The weights, as tensors in the compute dtype, with the masks that `noise` has for them."""

    def draw_noise(self, inputs: Any, states: list, training: bool | None, steps: Any = None) -> Any:
        """The random masks for a batch of sequences of so many steps; `inputs` are those of one step.

        What is under the key `"steps"` leads with time.
        """

    def release_noise(self) -> None:
        """Called when the sequences have been run."""

    def ready(self, weights: Any, noise: Any) -> tuple[Any, Any]:
        """Both as a loop wants them: what each step would do to them alone is done here, once."""

    def step(self, inputs: Any, states: list, weights: Any, noise: Any) -> tuple[Any, list]:
        """One step: `(output, new states)`."""


class Stack(Recurrence):
    """Cells on top of each other. The states are a list with one entry, a tensor or a list, per cell."""

    kind = "stack"

    def __init__(self, members):
        self.members = members
        self.is_pure = all(member.is_pure for member in members)
        self.noisy = any(member.noisy for member in members)
        self.input_dtype = members[0].input_dtype
        self.compute_dtype = members[-1].compute_dtype
        self.features = members[0].features
        self.output_size = members[-1].output_size

    def program_key(self):
        return tuple(member.program_key() for member in self.members)

    def gather_weights(self, noise=None):
        noise = noise or [None] * len(self.members)
        return [member.gather_weights(own) for member, own in zip(self.members, noise, strict=True)]

    def draw_noise(self, inputs, states, training, steps=None):
        noise = []
        for member, state in zip(self.members, states, strict=True):
            noise.append(member.draw_noise(inputs, listed(state), training, steps))
            inputs = blank_output(member, ops.shape(inputs)[0])
        return noise

    def release_noise(self):
        for member in self.members:
            member.release_noise()

    def ready(self, weights, noise):
        ready = [member.ready(*own) for member, *own in zip(self.members, weights, noise, strict=True)]
        return [own for own, _ in ready], [own for _, own in ready]

    def step(self, inputs, states, weights, noise):
        new_states = []
        for member, state, own_weights, own_noise in zip(self.members, states, weights, noise, strict=True):
            inputs, new_state = member.step(inputs, listed(state), own_weights, own_noise)
            new_states.append(new_state if isinstance(state, (list, tuple)) else new_state[0])
        return inputs, new_states


class Wrapped(Recurrence):
    """A recurrence in wrappers, the outermost first: `CellWrapper`s in one call of a layer.

    On the way in, each wrapper changes the inputs; on the way out, from the innermost on, the output. The states are
    those of the recurrence inside, and what all wrappers do to them is done there, in one: see `core.noise`. So the
    order of wrappers matters for inputs and outputs alone.
    """

    kind = "wrapped"

    def __init__(self, inner, wrappers):
        self.inner = inner
        self.wrappers = wrappers
        self.is_pure = inner.is_pure
        self.noisy = inner.noisy or any(wrapper.noisy for wrapper in wrappers)
        self.input_dtype = inner.input_dtype
        self.compute_dtype = inner.compute_dtype
        self.features = inner.features
        self.output_size = inner.output_size

    def mixes_states(self, noisy):
        """Whether a wrapper does something to the states, where random numbers are drawn (`noisy`) or not."""
        return any(wrapper.mixes_states(noisy) for wrapper in self.wrappers)

    def program_key(self):
        return (self.inner.program_key(), *(wrapper.program_key() for wrapper in self.wrappers))

    def gather_weights(self, noise=None):
        return self.inner.gather_weights(noise and noise["cell"])

    def draw_noise(self, inputs, states, training, steps=None):
        own = self.inner.draw_noise(inputs, states, training, steps)
        return self.with_noise_around(own, inputs, states, training, steps)

    def with_noise_around(self, own, inputs, states, training, steps=None):
        """The noise, of that of the recurrence inside. Without `steps` it is that of one step."""
        outputs, around, mix = blank_output(self, ops.shape(inputs)[0]), [], {}
        for wrapper in self.wrappers:
            around.append(wrapper.draw_around(inputs, outputs, training, steps))
            for kind, factors in wrapper.draw_mix(states, training, steps).items():
                known = mix.setdefault(kind, {})
                for place, factor in factors.items():
                    known[place] = known[place] * factor if place in known else factor
        return {"cell": {**own, STEPS: mix} if mix else own, "around": around}

    def release_noise(self):
        self.inner.release_noise()

    def ready(self, weights, noise):
        weights, own = self.inner.ready(weights, noise["cell"])
        return weights, {**noise, "cell": own}

    def enter(self, inputs, noise):
        """The inputs of each wrapper, of one step or of all, and last those of the recurrence inside."""
        entered = [inputs]
        for wrapper, own in zip(self.wrappers, noise["around"], strict=True):
            entered.append(wrapper.enter(entered[-1], own))
        return entered

    def leave(self, outputs, entered, noise, pick=lambda values: values):
        """The outputs, of those of the recurrence inside.

        `pick` takes from what belongs to all steps what belongs to the outputs.
        """
        for wrapper, inputs, own in zip(self.wrappers[::-1], entered[-2::-1], noise["around"][::-1], strict=True):
            outputs = wrapper.leave(outputs, inputs, own, pick)
        return outputs

    def step(self, inputs, states, weights, noise):
        entered, own = self.enter(inputs, noise), noise["cell"]

        def step(states):
            return self.inner.step(entered[-1], states, weights, own)

        output, new_states = mixed_step(mix_of(own), step, states)
        return self.leave(output, entered, noise), new_states


class Foreign(Recurrence):
    """Any cell that keeps Keras's contract, a Layer or not."""

    kind = "foreign"

    def __init__(self, cell, training, constants, dtype):
        self.cell = cell
        self.output_size = cell_output_size(cell)
        self.compute_dtype = getattr(cell, "compute_dtype", None) or dtype or keras.config.floatx()
        self.input_dtype = getattr(cell, "input_dtype", None) or self.compute_dtype
        self._is_dropout_cell = _keeps_masks(cell)
        inner = all_layers(cell) if isinstance(cell, keras.layers.Layer) else []
        self._inner_dropout_cells = [layer for layer in inner if layer is not cell and _keeps_masks(layer)]
        self.noisy = self._is_dropout_cell and bool(cell.dropout or cell.recurrent_dropout)
        self._call = cell if callable(cell) else cell.call
        self._arguments = {}
        if accepts(cell, "training"):
            self._arguments["training"] = bool(training)
        if constants is not None:
            self._arguments["constants"] = constants

    def gather_weights(self, noise=None):
        return {}

    def draw_noise(self, inputs, states, training, steps=None):
        # At inference too: Keras's own SimpleRNNCell draws there, and inside the loop it would be too late.
        if self._is_dropout_cell:
            self.cell.get_dropout_mask(inputs)
            self.cell.get_recurrent_dropout_mask(states[0])
        return {}

    def release_noise(self):
        if self._is_dropout_cell:
            _forget_masks(self.cell)

    def ready(self, weights, noise):
        return weights, noise

    def step(self, inputs, states, weights, noise):
        output, new_states = self._call(inputs, states, **self._arguments)
        # A cell inside the cell keeps the mask that it drew in this step. It must not meet the next trace.
        for inner in self._inner_dropout_cells:
            _forget_masks(inner)
        return output, listed(new_states)


def _keeps_masks(cell):
    return hasattr(cell, "get_dropout_mask") and hasattr(cell, "reset_dropout_mask")


def _forget_masks(cell):
    cell.reset_dropout_mask()
    cell.reset_recurrent_dropout_mask()


def blank_output(recurrence, batch):
    """Zeros in the shape `(batch, output_size)` and the dtype of a step's output."""
    size = recurrence.output_size
    dimensions = tuple(size) if isinstance(size, (list, tuple)) else (size,)
    return ops.zeros((batch, *dimensions), dtype=recurrence.compute_dtype)
