"""The two loops of the block loop: forward, and backward through what the first one kept."""

import dataclasses
import functools
from itertools import zip_longest
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_rnn_ext.core.noise import blend, masked_states, mix_of
from keras_rnn_ext.engine.tensorflow.gates import gate_of
from keras_rnn_ext.engine.tensorflow.steps import (
    Form,
    collect_run,
    make_list,
    number_of_steps,
    one_by_one,
    over_run,
    part,
    pop_each,
    runs,
    select,
    stack,
    with_shapes_of,
    write_each,
)

MOST_STEPS = 10
MOST_PORTIONS = 8
BLOCK_BYTES = 2**19  # of a block's projected inputs: they should stay in the cache of a core
USUAL_BATCH = 64  # where it is unknown


def block_of(plan, inputs):
    """How many steps a block has, whether it makes the products of inputs and weights by itself, and for how many
    portions of the sequence the backward loop makes them if not.

    It does where it has more rows than the weights: else these would be read too often. So it is with portions, which
    save memory.
    """
    cell, steps, batch = plan.recurrence, inputs.shape[0], inputs.shape[1] or USUAL_BATCH
    rows = cell.features + cell.units
    most = max(1, min(MOST_STEPS, BLOCK_BYTES // (4 * batch * cell.gates * cell.units)))
    count = int(plan.unroll) or most
    if steps and not plan.unroll:
        # The fewest turns of the loop, blocks and single steps, and then the fewest single steps.
        count = min(range(1, most + 1), key=lambda size: (steps // size + steps % size, steps % size))
    if plan.recompute or count * batch >= rows:
        return count, True, 1
    return count, False, min(MOST_PORTIONS, max(1, (steps or 0) * batch // rows))


class Step(NamedTuple):
    """Of a step: the states after it, what it keeps, and the states as it got them."""

    states: list
    kept: Any
    got: list


@dataclasses.dataclass(frozen=True)
class Trace:
    """What the backward loop reads: the hidden states `(steps + 1, batch, units)`, and lists with an entry per step.

    `entering` is what entered the product of each step, `(steps, batch, size)`. `states` are those before each step,
    but for the hidden one. If all this is to be computed again, there is nothing but `starts`, the states where blocks
    start.
    """

    hidden: Any
    entering: Any
    states: list
    kept: list
    starts: list


@dataclasses.dataclass(frozen=True)
class BlockLoops:
    """What is the same for all steps and has no gradient, and the two loops."""

    cell: Any
    gate: Any
    block: int
    products: bool  # made block by block
    portions: int  # of the backward loop, where they are not
    mask: Any
    noise: dict
    collect: bool
    recompute: bool

    @classmethod
    def of(cls, plan, feed, noise):
        gate, block = gate_of(plan), block_of(plan, feed.inputs)
        return cls(plan.recurrence, gate, *block, feed.mask, noise, plan.return_sequences, plan.recompute)

    def project(self, inputs, weights):
        return self.cell.project(inputs, weights, self.noise)

    def recurrent(self, entering, weights):
        return self.cell.recurrent(entering, weights, self.noise)

    @property
    def places(self):
        """Which of the states enter the product."""
        return self.cell.recurrence.places(self.cell)

    @property
    def hidden_enters(self):
        """Whether the hidden state enters the product alone, and as it is."""
        return self.places == [0] and "masks" not in mix_of(self.noise)

    def portions_of(self, steps):
        """`(first, stop)` of each portion."""
        number = self.portions
        if number == 1:
            return [(0, steps)]
        return [(steps * place // number, steps * (place + 1) // number) for place in range(number)]

    def portion(self, tensor, first, stop):
        return tensor if self.portions == 1 else tensor[first:stop]

    def valid(self, start, count):
        return [None] * count if self.mask is None else one_by_one(self.mask, start, count)

    def mixes(self, start, count):
        """For each of so many steps, how a wrapper mixes the states: dicts as in `core.noise`."""
        mix = mix_of(self.noise)
        each = [one_by_one(factor, start, count) for factor in keras.tree.flatten(mix)]
        return [keras.tree.pack_sequence_as(mix, [steps[at] for steps in each]) for at in range(count)]

    # Forward

    def infer(self, inputs, states, weights):
        """The last states, and the hidden ones after each step if these are to be collected. Nothing else is kept."""
        outputs = []

        def body(rows, first, run, turn, states):
            start = run.start(turn)
            block = self.run_block(rows(start - first, run.size), start, states, weights)
            return block[-1].states, (tf.stack([step.states[0] for step in block]) if self.collect else None)

        for first, stop in self.portions_of(number_of_steps(inputs)):
            rows = self.projected(self.portion(inputs, first, stop), weights)
            for run in runs(first, stop, self.block):
                turn = functools.partial(body, rows, first, run)
                if self.collect:
                    states, output = collect_run(run, turn, states)
                    outputs.append(output)
                else:
                    (states,) = over_run(run, lambda at, states, turn=turn: (turn(at, states)[0],), (states,))
        if not self.collect:
            return states, None
        nothing = tf.zeros(tf.concat([[0], tf.shape(states[0])], 0), states[0].dtype)
        return states, (tf.concat(outputs, 0) if len(outputs) > 1 else (outputs or [nothing])[0])

    def forward(self, inputs, states, weights):
        """The last states, and the `Trace`."""
        steps, again = number_of_steps(inputs), self.recompute
        # Hidden states are listed after each step, and what else there is before it.
        hidden = write_each([make_list(steps + 1, states[0])] if self.collect or not again else [], 0, states)
        befores = [] if again else [make_list(steps, state, popped=True) for state in states[1:]]
        like = self.cell.entering(states)
        kept_lists = [] if again else [make_list(steps, like, width, popped=True) for width in self.gate.kept]
        starts = [make_list(steps, state) for state in states] if again else []
        # Where that is the hidden state alone, it is listed already.
        entering = [] if again or self.hidden_enters else [make_list(steps, like)]

        def body(rows, first, run, turn, states, hidden, entering, befores, kept_lists, starts):
            start = run.start(turn)
            starts = write_each(starts, start, states)
            block = self.run_block(rows(start - first, run.size), start, states, weights)
            for place, step in enumerate(block):
                befores = write_each(befores, start + place, states[1:])
                entering = write_each(entering, start + place, [self.cell.entering(step.got)] if entering else [])
                hidden = write_each(hidden, start + place + 1, step.states)
                kept_lists = write_each(kept_lists, start + place, step.kept)
                states = step.states
            return states, hidden, entering, befores, kept_lists, starts

        carry = (states, hidden, entering, befores, kept_lists, starts)
        for first, stop in self.portions_of(steps):
            rows = self.projected(self.portion(inputs, first, stop), weights)
            for run in runs(first, stop, self.block):
                carry = over_run(run, functools.partial(body, rows, first, run), carry)
        states, hidden, entering, *lists = carry
        hidden = stack(hidden[0], steps + 1, states[0]) if hidden else None
        if self.hidden_enters:
            entered = None if hidden is None else tf.cast(hidden[:-1], like.dtype)
        else:
            entered = stack(entering[0], steps, like) if entering else None
        return states, Trace(hidden, entered, *lists)

    def projected(self, inputs, weights):
        """A function `(start, count)` that gives the projected inputs of steps one by one."""
        if self.products:
            return lambda start, count: tf.unstack(self.project(part(inputs, start, count), weights), count)
        return functools.partial(one_by_one, self.project(inputs, weights))

    def run_block(self, rows, start, states, weights):
        """A `Step` for each step of a block, from projected inputs."""
        run = []
        count = len(rows)
        for row, valid, mix in zip(rows, self.valid(start, count), self.mixes(start, count), strict=True):
            got = masked_states(mix, states)
            new_states, kept = self.gate.forward(row, self.recurrent(self.cell.entering(got), weights), got, weights)
            new_states = blend(mix, new_states, states)
            if valid is not None:
                new_states = [select(valid, *pair) for pair in zip(new_states, states, strict=True)]
            states = with_shapes_of(states, new_states)
            run.append(Step(states, kept, got))
        return run

    # Backward

    def backward(self, inputs, weights, trace, d_last, d_outputs):
        """The gradients of inputs, states and weights, the last as a flat list."""
        transposed = self.cell.transposed(weights)
        # By step: the gradient of the inputs, or what it is made of later.
        widths = [self.cell.projected_width, self.cell.recurrent_width][: 1 if self.gate.summed else 2]
        widths = [inputs.shape[-1]] if self.products else widths

        def body(first, run, turn, d_states, d_weights, results, handles):
            start, count = run.start(turn), run.size
            around, entering, states, kept, handles = self.read(trace, handles, start, count, inputs, weights, forms)
            hidden = tf.unstack(around, count + 1)
            d_hidden = None if d_outputs is None else one_by_one(d_outputs, start, count)
            valid, mixes = self.valid(start, count), self.mixes(start, count)
            rows = [None] * count
            for place in reversed(range(count)):
                if d_hidden is not None:
                    d_states = [d_states[0] + d_hidden[place], *d_states[1:]]
                old, new = [hidden[place], *states[place]], hidden[place + 1]
                rows[place], d_states, found = self.step_back(
                    valid[place], mixes[place], kept[place], old, new, d_states, weights, transposed
                )
                d_weights = _sum(d_weights, found)
            rows = list(zip(*rows, strict=True))
            if self.products:
                block = [tf.stack(each) for each in rows]
                d_inputs, found = self.products_back(part(inputs, start, count), entering, weights, block)
                rows, d_weights = [tf.unstack(d_inputs, count)], _sum(d_weights, found)
            for place in range(count):
                results = write_each(results, start - first + place, [row[place] for row in rows])
            return d_states, d_weights, results, handles

        flat, like = keras.tree.flatten(weights), tf.cast(d_last[0], self.cell.compute_dtype)
        d_weights = [tf.zeros_like(weight) for weight in flat] if self.products or self.gate.has_weights else []
        forms = [Form.of(each) for each in d_last[1:]], [Form.of(like, width) for width in self.gate.kept]
        handles = [[each.flow for each in lists] for lists in (trace.states, trace.kept)]
        d_states, d_inputs = list(d_last), []
        for first, stop in reversed(self.portions_of(number_of_steps(inputs))):
            results = [make_list(stop - first, like, width) for width in widths]
            carry = (d_states, d_weights, results, handles)
            for run in reversed(runs(first, stop, self.block)):
                carry = over_run(run, functools.partial(body, first, run), carry, upward=False)
            d_states, d_weights, results, handles = carry
            pairs = zip(results, widths, strict=True)
            results = [stack(each, stop - first, like, width) for each, width in pairs]
            if not self.products:
                own = [self.portion(each, first, stop) for each in (inputs, trace.entering)]
                d_own, found = self.products_back(*own, weights, results)
                results, d_weights = [d_own], _sum(d_weights, found)
            d_inputs = [results[0], *d_inputs]
        return (d_inputs[0] if self.portions == 1 else tf.concat(d_inputs, 0)), d_states, d_weights

    def read(self, trace, handles, start, count, inputs, weights, forms):
        """Of a block: hidden states around its steps, what entered each, other states before each, what each kept; the
        handles after."""
        if self.recompute:
            first = [each.read(start) for each in trace.starts]
            run = self.run_block(self.projected(inputs, weights)(start, count), start, first, weights)
            states = [first, *(step.states for step in run)]
            hidden = tf.stack([each[0] for each in states])
            entering = tf.stack([self.cell.entering(step.got) for step in run])
            return hidden, entering, [each[1:] for each in states[:-1]], [step.kept for step in run], handles
        states, kept = [None] * count, [None] * count
        befores, keeps = handles
        for place in reversed(range(count)):
            befores, states[place] = pop_each(befores, forms[0])
            keeps, kept[place] = pop_each(keeps, forms[1])
        entering = part(trace.entering, start, count) if self.products else None
        return part(trace.hidden, start, count + 1), entering, states, kept, [befores, keeps]

    def step_back(self, valid, mix, kept, old, new, d_new, weights, transposed):
        """From the gradient of the states after a step: `(rows, that of the states before it, that of weights)`."""
        passed = None
        if mix.get("shares"):
            # What of a state stays, its gradient passes by; behind it is the gate.
            blank = [tf.zeros_like(each) for each in d_new]
            given = d_new if valid is None else [select(valid, *pair) for pair in zip(d_new, blank, strict=True)]
            gated = blend(mix, given, blank)
            passed = [whole - part_of for whole, part_of in zip(d_new, gated, strict=True)]
            d_new = gated
        elif valid is not None:
            # What a masked step leaves as it is, its gradient passes by.
            blank = [tf.zeros_like(each) for each in d_new]
            passed = [select(valid, *pair) for pair in zip(blank, d_new, strict=True)]
            d_new = [select(valid, *pair) for pair in zip(d_new, blank, strict=True)]
        old = masked_states(mix, old)
        rows, d_old, d_weights = self.gate.backward(kept, old, new, d_new, weights)
        through = self.cell.gradient_to_hidden(rows[-1], transposed, self.noise)
        d_old = list(d_old)
        parts = (
            tf.split(through, [old[place].shape[-1] for place in self.places], -1)
            if len(self.places) > 1
            else [through]
        )
        for place, own in zip(self.places, parts, strict=True):
            own = tf.cast(own, old[place].dtype)
            d_old[place] = own if d_old[place] is None else d_old[place] + own
        d_old = masked_states(mix, d_old)
        if passed is not None:
            d_old = [one + other for one, other in zip(d_old, passed, strict=True)]
        return rows, with_shapes_of(old, d_old), d_weights

    def products_back(self, inputs, entering, weights, rows):
        """The gradients of inputs and weights, from those of the products made of them and of the states before."""
        sources = [inputs, *keras.tree.flatten(weights)]
        with tf.GradientTape() as tape:
            tape.watch(sources)
            products = [self.project(inputs, weights), self.recurrent(entering, weights)]
        found = tape.gradient(products, sources, output_gradients=[rows[0], rows[-1]])
        return found[0], found[1:]


def _sum(sums, found):
    pairs = zip_longest(sums, found)
    return [total if one is None else one if total is None else total + one for total, one in pairs]
