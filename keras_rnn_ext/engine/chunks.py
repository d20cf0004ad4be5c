"""Many steps at once, for a cell that can take them so: a loop over chunks instead of steps."""

import dataclasses
import math

import keras
import numpy as np
from keras import ops

from keras_rnn_ext.core.claims import holds
from keras_rnn_ext.core.masks import last_valid
from keras_rnn_ext.core.recurrence import blank_output
from keras_rnn_ext.core.strategy import Strategy, engine

# The most steps of a chunk, where the cell does not say it as `chunk_length`.
LENGTH = 64
# Measured on two cores, with and without a gradient.
FEW = 8

_STEP = ("call", "step", "recur")


@dataclasses.dataclass(frozen=True)
class Chunks(Strategy):
    """A cell that has `recur_chunk(projected, valid, states, weights)`: what `recur` is for a step, for a chunk.

    `projected` is what `project` gives of the steps, with time first; `valid` `(steps, batch)` are booleans, or None: a
    step that is not valid leaves the states as they are, and its output may be anything. `recur_chunk` gives the
    outputs `(steps, batch, ...)` and the list of states after the last step. It is differentiated as it stands.

    Where a cell divides `recur_chunk` into three parts, nothing but the second waits for its turn; all chunks take the
    others side by side:

        begin_chunk(projected, valid, weights)   (effect, rest): lists of tensors, in `effect` the batch first
        move_chunk(effect, states)               the states after the chunk
        read_chunk(rest, states, weights)        the outputs, from the states before the chunk
    """

    scan: object
    name: str = "chunks"
    summary: str = "many steps at once, chunk after chunk"

    def obstacle(self, plan):
        cell = plan.recurrence
        if not hasattr(cell, "recur_chunk"):
            return "only for a cell that has `recur_chunk`, which takes many steps at once"
        if not holds(type(cell), "recur_chunk", _STEP):
            return "the class overrides `recur`, but not `recur_chunk`"
        if plan.noisy and cell.recurrent_dropout:
            return "`recurrent_dropout`, which `recur_chunk` knows nothing of"
        if plan.mixed:
            return "a wrapper does something to the states at each step"
        return "`unroll=True`" if plan.unroll is True else None

    def reluctance(self, plan):
        few = plan.steps is not None and plan.steps < FEW
        return f"fewer than {FEW} steps are taken one by one as fast" if few else None

    def run(self, plan, feed):
        cell = plan.recurrence
        steps, batch = ops.shape(keras.tree.flatten(feed.inputs)[0])[:2]
        count, size = _cut(steps, getattr(cell, "chunk_length", LENGTH))
        missing = count * size - steps
        is_whole = isinstance(missing, int) and missing == 0
        valid = feed.mask
        if valid is None and not is_whole:
            valid = ops.ones((steps, batch), dtype="bool")
        inputs = keras.tree.map_structure(lambda values: _in_chunks(values, missing, count, size), feed.inputs)
        valid = None if valid is None else _in_chunks(valid, missing, count, size)
        in_parts = not plan.recompute and hasattr(cell, "begin_chunk")
        in_parts = in_parts and holds(type(cell), "begin_chunk", (*_STEP, "recur_chunk"))
        take = self._side_by_side if in_parts else self._one_by_one
        outputs, states = take(plan, feed._replace(inputs=inputs, mask=valid))
        blank = blank_output(cell, batch)
        outputs = ops.reshape(ops.cast(outputs, blank.dtype), (count * size, *ops.shape(blank)))
        outputs = outputs if is_whole else outputs[:steps]
        if feed.mask is not None:
            outputs = last_valid(outputs, feed.mask)
        if plan.return_sequences:
            return outputs, states
        # Where there are no steps, the last output is zeros.
        return ops.concatenate([blank[None], outputs[-1:]])[-1], states

    def _one_by_one(self, plan, feed):
        """Outputs `(chunks, steps, batch, ...)` and last states of inputs `(chunks, steps, batch, ...)`."""
        cell = plan.recurrence
        weights, noise = cell.ready(feed.weights, feed.noise)
        entries = {"values": cell.project(feed.inputs, weights, noise)}
        if feed.mask is not None:
            entries["valid"] = feed.mask

        def body(states, entry):
            outputs, new_states = cell.recur_chunk(entry["values"], entry.get("valid"), states, weights)
            return _like(new_states, states), ops.cast(outputs, cell.compute_dtype)

        size, batch = ops.shape(keras.tree.flatten(feed.inputs)[0])[1:3]
        blank = blank_output(cell, batch)
        blank = ops.zeros((size, *ops.shape(blank)), dtype=blank.dtype)
        body = engine().recomputed(body) if plan.recompute else body
        states, outputs = self.scan(body, feed.states, entries, blank, 1)
        return outputs, states

    def _side_by_side(self, plan, feed):
        """The same, with all chunks in one batch but where their states pass from one to the next."""
        cell = plan.recurrence
        weights, noise = cell.ready(feed.weights, feed.noise)
        count, size, batch = ops.shape(keras.tree.flatten(feed.inputs)[0])[:3]
        projected = cell.project(keras.tree.map_structure(_swapped, feed.inputs), weights, noise)
        rows = keras.tree.map_structure(lambda values: _reshaped(values, 3, (size, count * batch)), projected)
        valid = None if feed.mask is None else _reshaped(_swapped(feed.mask), 3, (size, count * batch))
        effect, rest = cell.begin_chunk(rows, valid, weights)
        effect = keras.tree.map_structure(lambda values: _reshaped(values, 1, (count, batch)), effect)

        def body(states, entry):
            return _like(cell.move_chunk(entry, states), states), _joined(states)

        states, starts = self.scan(body, feed.states, effect, ops.zeros_like(_joined(feed.states)), 1)
        starts = _apart(_reshaped(starts, 2, (count * batch,)), feed.states)
        outputs = cell.read_chunk(rest, starts, weights)
        return _swapped(_reshaped(outputs, 2, (size, count, batch))), states


def _cut(steps, length):
    """How many chunks of how many steps, at least one of one: as even as they can be, so that little is in vain."""
    largest = max if isinstance(steps, int) else ops.maximum
    # Rounded up without negative numbers, which ONNX would round the other way.
    count = largest((steps + length - 1) // length, 1)
    return count, largest((steps + count - 1) // count, 1)


def _in_chunks(values, missing, count, size):
    """`(chunks, steps, ...)`, with zeros behind the last step."""
    if not isinstance(missing, int) or missing:
        rest = ops.zeros((missing, *ops.shape(values)[1:]), dtype=values.dtype)
        values = ops.concatenate([values, rest])
    return _reshaped(values, 1, (count, size))


def _reshaped(values, axes, shape):
    """`values` with other axes in place of the first ones."""
    return ops.reshape(values, (*shape, *ops.shape(values)[axes:]))


def _swapped(values):
    return ops.transpose(values, (1, 0, *range(2, len(values.shape))))


def _like(new, old):
    return [ops.cast(one, other.dtype) for one, other in zip(new, old, strict=True)]


def _joined(states):
    """States as one tensor `(batch, ...)`: a loop collects one."""
    dtype = keras.backend.result_type(*(state.dtype for state in states))
    rows = [ops.reshape(ops.cast(state, dtype), (ops.shape(state)[0], _width(state))) for state in states]
    return ops.concatenate(rows, axis=-1)


def _apart(joined, states):
    """What `_joined` joined, of another batch."""
    places = np.cumsum([_width(state) for state in states])[:-1]
    parts = ops.split(joined, places.tolist(), axis=-1) if len(states) > 1 else [joined]
    shaped = [ops.reshape(part, (-1, *state.shape[1:])) for part, state in zip(parts, states, strict=True)]
    return _like(shaped, states)


def _width(state):
    return math.prod(state.shape[1:])
