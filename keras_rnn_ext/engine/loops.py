"""The reference loop, and the strategies that every backend has.

A backend brings `scan(body, carry, values, blank, turns)`: it calls `carry, output = body(carry, value)` for each
entry of `values` (tensors with time first, nested) and gives the last carry and the stacked outputs. `blank` is
something in the shape and type of an output, or None where outputs are not to be kept; `turns` is the number of steps
per turn of the loop.
"""

import dataclasses
import functools
import math

import keras
from keras import ops

from keras_rnn_ext.core.masks import last_valid, previous_valid, select
from keras_rnn_ext.core.noise import at_step, masked_states, mix_of, mixed_step, of_steps
from keras_rnn_ext.core.recurrence import blank_output
from keras_rnn_ext.core.state import listed
from keras_rnn_ext.core.strategy import Feed, Strategy, choose, engine, inside


def python_scan(body, carry, values, blank, turns=1):
    """The loop written out: one copy of the body for each step of a known number."""
    flat = [ops.unstack(value, axis=0) if value.shape[0] else [] for value in keras.tree.flatten(values)]
    outputs = []
    for entries in zip(*flat, strict=True):
        carry, output = body(carry, keras.tree.pack_sequence_as(values, list(entries)))
        outputs.append(output)
    if blank is None:
        return carry, None
    if not outputs:
        return carry, ops.zeros((0, *ops.shape(blank)), dtype=blank.dtype)
    return carry, ops.stack(outputs, axis=0)


def iterate(scan, plan, feed, values, noise, step):
    """Runs `output, states = step(value, states, noise)` over time: the meaning of a mask, in one place.

    Args:
        scan: a backend's scan.
        plan: the plan.
        feed: the tensors of the call; its inputs are not looked at but for their number.
        values: what each step gets, time first.
        noise: the random masks, ready for the loop.
        step: the step.

    Returns:
        `(outputs, states)` as `Strategy.run`.
    """
    batch = ops.shape(keras.tree.flatten(feed.inputs)[0])[1]
    blank = blank_output(plan.recurrence, batch)
    collect = plan.return_sequences
    keep_last = feed.mask is not None or not collect

    def body(carry, entry):
        states, last = carry
        own_noise = at_step(noise, entry["noise"])

        def own_step(states):
            return step(entry["value"], states, own_noise)

        # Without a mix the states may be nested.
        output, new_states = mixed_step(mix_of(own_noise), own_step, states) if plan.mixed else own_step(states)
        output = _fitting(output, blank, plan, "output_size")
        flat, new_flat = keras.tree.flatten(states), keras.tree.flatten(new_states)
        if len(flat) != len(new_flat):
            raise ValueError(
                f"{_name(plan)} must return as many states as its `state_size` says, {len(flat)}. "
                f"Received: {len(new_flat)}."
            )
        new_flat = [_fitting(new, old, plan, "state_size") for new, old in zip(new_flat, flat, strict=True)]
        new_states = keras.tree.pack_sequence_as(states, new_flat)
        if "valid" in entry:
            output = select(entry["valid"], output, last["output"])
            new_states = keras.tree.map_structure(lambda new, old: select(entry["valid"], new, old), new_states, states)
        return (new_states, {"output": output} if keep_last else {}), (output if collect else ())

    if plan.recompute:
        body = engine().recomputed(body)
    entries = {"value": values, "noise": of_steps(noise)}
    if feed.mask is not None:
        entries["valid"] = feed.mask
    carry = (feed.states, {"output": blank} if keep_last else {})
    if plan.unroll is True:
        scan, turns = python_scan, 1
    else:
        turns = int(plan.unroll) or 1
    (states, last), outputs = scan(body, carry, entries, blank if collect else None, turns)
    return (outputs if collect else last["output"]), states


def _name(plan):
    return f"The cell {type(getattr(plan.recurrence, 'cell', plan.recurrence)).__name__}"


def _fitting(tensor, expected, plan, attribute):
    """`tensor` in the dtype of `expected`, if it has its shape."""
    shape, wanted = tuple(tensor.shape), tuple(expected.shape)
    if len(shape) != len(wanted) or any(
        None not in pair and pair[0] != pair[1] for pair in zip(shape, wanted, strict=True)
    ):
        raise ValueError(
            f"{_name(plan)} must return tensors of the sizes that its `{attribute}` says: expected shape {wanted}. "
            f"Received: shape {shape}."
        )
    return ops.cast(tensor, expected.dtype)


@dataclasses.dataclass(frozen=True)
class Loop(Strategy):
    """Step by step, everything inside the step. The definition of right."""

    scan: object
    name: str = "loop"
    summary: str = "the cell called step by step"

    def obstacle(self, plan):
        return None

    def run(self, plan, feed):
        weights, noise = plan.recurrence.ready(feed.weights, feed.noise)

        def step(value, states, noise):
            return plan.recurrence.step(value, states, weights, noise)

        return iterate(self.scan, plan, feed, feed.inputs, noise, step)


@dataclasses.dataclass(frozen=True)
class ProjectedLoop(Strategy):
    """The input product of all steps at once, then only what must be sequential in the loop."""

    scan: object
    name: str = "projected loop"
    summary: str = "input product of all steps at once, then the loop"

    def obstacle(self, plan):
        if not hasattr(plan.recurrence, "project"):
            return "only a cell of this package splits its step into `project` and `recur`"
        return None

    def run(self, plan, feed):
        recurrence = plan.recurrence
        weights, noise = recurrence.ready(feed.weights, feed.noise)
        projected = recurrence.project(feed.inputs, weights, noise)

        def step(value, states, noise):
            return recurrence.recur(value, states, weights, noise)

        return iterate(self.scan, plan, feed, projected, noise, step)


NOT_PURE = "the cell, or an activation, may use variables of its own: its class does not say `pure = True`"


def states_of_gate(cell, projected, recurrent, states, weights):
    """The states that `gate` gives, a list in the dtypes of the old ones; the output has to be the first of them."""
    output, new_states = cell.gate(projected, recurrent, states, weights)
    if output is not new_states[0]:
        raise ValueError(f"The output of a gated cell must be its first state, which it is not in {cell!r}.")
    return [ops.cast(new, old.dtype) for new, old in zip(new_states, states, strict=True)]


class GatedStrategy(Strategy):
    """Abstract: a way of its own to differentiate the loop of a gated cell."""

    def obstacle(self, plan):
        if not plan.recurrence.is_gated:
            return "only for a `GatedCell`, whose state enters through one product and then `gate`"
        if not plan.recurrence.is_pure:
            return NOT_PURE
        return "`unroll=True`" if plan.unroll is True else None


class CellByCell(Strategy):
    """A stack of cells, each over the whole sequence in its own fastest way."""

    name = "cell by cell"
    summary = "each cell of a stack over the whole sequence, in its own way"

    def obstacle(self, plan):
        return None if plan.recurrence.kind == "stack" else "the cell is no stack"

    def run(self, plan, feed):
        members = plan.recurrence.members
        values, new_states = feed.inputs, []
        for position, member in enumerate(members):
            is_last = position == len(members) - 1
            own_plan = dataclasses.replace(
                plan, recurrence=member, return_sequences=plan.return_sequences or not is_last
            )
            state = feed.states[position]
            values = ops.cast(values, member.compute_dtype)
            own_feed = Feed(values, listed(state), feed.mask, feed.weights[position], feed.noise[position])
            values, new_state = choose(own_plan).run(own_plan, own_feed)
            new_states.append(new_state if isinstance(state, (list, tuple)) else new_state[0])
        return values, new_states


class CellInside(Strategy):
    """A wrapped cell in its own fastest way: what is done to its states goes along as noise, the rest is done around
    all steps at once."""

    name = "cell inside"
    summary = "the cell inside the wrapper, in its own way"

    def obstacle(self, plan):
        return None if plan.recurrence.kind == "wrapped" else "the cell has no wrapper"

    def run(self, plan, feed):
        wrapped, own_plan = plan.recurrence, inside(plan)
        entered = wrapped.enter(feed.inputs, feed.noise)
        own_feed = feed._replace(inputs=entered[-1], noise=feed.noise["cell"])
        outputs, states = choose(own_plan).run(own_plan, own_feed)
        if plan.return_sequences and feed.mask is None:
            return wrapped.leave(outputs, entered, feed.noise), states
        pick = functools.partial(_repeated if plan.return_sequences else _last, mask=feed.mask)
        return wrapped.leave(outputs, entered, feed.noise, pick), states


def _repeated(values, mask):
    """Of values that lead with time, at a masked step those of the last valid one, zeros before the first."""
    shape = ops.shape(values)
    flat = ops.reshape(values, (*shape[:2], math.prod(values.shape[2:])))
    return ops.reshape(last_valid(flat, mask), shape)


def _last(values, mask):
    """Of values that lead with time, those of the last valid step, zeros where there is none."""
    values = values if mask is None else _repeated(values, mask)
    blank = ops.zeros((1, *ops.shape(values)[1:]), dtype=values.dtype)
    return ops.concatenate([blank, values[-1:]])[-1]


@dataclasses.dataclass(frozen=True)
class ParallelScan(Strategy):
    """A linear cell: all steps side by side, with a gradient of its own.

    `linear_scan(decay, added, start)` gives all states; `join(real, imaginary)` makes complex numbers. With
    `takes_constant` a decay without an axis of time is the same for all steps.
    """

    linear_scan: object
    join: object
    takes_constant: bool = False
    name: str = "parallel scan"
    summary: str = "the steps of a linear cell side by side"
    when_exported: str = ""

    def obstacle(self, plan):
        if not plan.recurrence.is_linear:
            return "only for a `LinearCell`, whose state is linear in the one before"
        if plan.recompute:
            return "`recompute=True`, and it keeps what it needs"
        return "`unroll=True`" if plan.unroll is True else None

    def reluctance(self, plan):
        complex_in_file = plan.exported and plan.recurrence.is_complex
        return "the model is being exported, and most files hold no complex numbers" if complex_in_file else None

    def run(self, plan, feed):
        cell, (start, *rest) = plan.recurrence, feed.states
        weights, noise = cell.ready(feed.weights, feed.noise)
        projected = cell.project(feed.inputs, weights, noise)
        if cell.sees_previous:
            projected, handed_on = ops.split(projected, 2, axis=-1)
            before, *rest = previous_valid(handed_on, ops.cast(rest[0], handed_on.dtype), feed.mask)
            projected = projected + before
        given = decay, added = [ops.cast(each, start.dtype) for each in cell.coefficients(projected, weights)]
        # What leaves a state as it is.
        one = ops.convert_to_tensor([[1.0], [0.0]] if cell.is_complex else 1.0, start.dtype)
        mix = mix_of(noise) if plan.mixed else {}
        (decay,) = masked_states(mix, [decay])
        for share in mix.get("shares", {}).values():
            share = ops.cast(share, start.dtype)
            decay, added = share * decay + (1 - share) * one, share * added
        if feed.mask is not None:
            decay, kept = (ops.broadcast_to(each, ops.shape(added)) for each in (decay, one))
            decay, added = select(feed.mask, decay, kept), select(feed.mask, added, ops.zeros_like(added))
        is_constant = self.takes_constant and len(decay.shape) < len(added.shape)
        decay = ops.broadcast_to(decay, ops.shape(start if is_constant else added))
        states = self._scan(cell, decay, added, start)
        # Where there may be no steps, the last state may be the first.
        last = states[-1] if plan.steps else ops.concatenate([start[None], states[-1:]])[-1]
        if mix and cell.reads_out:
            # An output that is no state reads what the cell made, before some of it was left as it was.
            before = masked_states(mix, [ops.concatenate([start[None], states])[:-1]])
            states = cell.move(*given, *before)
        elif plan.steps and feed.mask is None and not plan.return_sequences:
            return ops.cast(cell.read(last, projected[-1], weights), cell.compute_dtype), [last, *rest]
        outputs = ops.cast(cell.read(states, projected, weights), cell.compute_dtype)
        if feed.mask is not None:
            outputs = last_valid(outputs, feed.mask)
        if plan.return_sequences:
            return outputs, [last, *rest]
        first = blank_output(cell, ops.shape(start)[0])
        return ops.concatenate([first[None], outputs[-1:]])[-1], [last, *rest]

    def _scan(self, cell, decay, added, start):
        if not cell.is_complex:
            return self.linear_scan(decay, added, start)
        # There are no complex numbers of 16 bits.
        wide = "float64" if keras.backend.standardize_dtype(start.dtype) == "float64" else "float32"
        parts = (self.join(*_parts(ops.cast(each, wide))) for each in (decay, added, start))
        states = self.linear_scan(*parts)
        return ops.cast(ops.stack([ops.real(states), ops.imag(states)], axis=-2), start.dtype)


def _parts(values):
    """Real and imaginary part. The gradient of a split is one tensor, that of two slices a sum of two with zeros."""
    return [ops.squeeze(part, axis=-2) for part in ops.split(values, 2, axis=-2)]
