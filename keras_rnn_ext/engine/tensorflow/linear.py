r"""The linear recurrence $s_t = a_t \odot s_{t-1} + x_t$ over all steps, with a gradient of its own.

A turn of a loop costs some ten microseconds however little it computes. So the steps are cut into chunks, and all
chunks take their k-th step in one turn, two times: from a state of zeros, which tells how a chunk passes a state on,
and then from the right one. That makes about $3\sqrt{T}$ turns of $T$. The gradient is the same recurrence run from the
last step. Nothing is divided and no logarithm is taken, so decays may be zero or negative. Only the product of a
chunk's decays must not overflow.
"""

import math

import tensorflow as tf

from keras_rnn_ext.core.compat import being_exported

# Loops of so few turns are written out. Measured on two cores: a graph then takes two thirds of the time. XLA takes a
# fifth more, and with 32 turns it would take four to six times as long.
MOST_UNROLLED = 10
# With more values in a state, the steps are taken one by one. Measured in graphs: chunks gain with 8,192 values, not
# with 32,768.
MOST_VALUES = 2**14


def linear_scan(decay, inputs, start):
    r"""All states of $s_t = a_t \odot s_{t-1} + x_t$.

    Args:
        decay: $a$, `(steps, batch, ...)`, real or complex. Steps and batch may be unknown.
        inputs: $x$, in the shape and type of `decay`.
        start: $s_0$, `(batch, ...)`.

    Returns:
        The states $s_1, s_2, \dots$, in the shape and type of `inputs`.
    """
    if inputs.shape[0] == 0:
        return tf.identity(inputs)
    states, _ = _run(_forward, decay, inputs, start, upward=True)
    if being_exported():
        # A SavedModel would hold the gradient too. TensorFlow can make one of what is here, should anybody ask.
        return states
    return _with_gradient_of_states(decay, inputs, start, tf.stop_gradient(states))


@tf.custom_gradient
def _with_gradient_of_states(decay, inputs, start, states):
    """`states`, with the gradient of the recurrence that made them."""

    def gradient(upstream):
        conjugate = tf.math.conj(decay)
        adjoints, first = _run(_backward, conjugate, upstream, tf.zeros_like(start), upward=False)
        adjoints, first = _with_gradient_of_adjoints(
            conjugate, upstream, tf.stop_gradient(adjoints), tf.stop_gradient(first)
        )
        # For second derivatives, the states depend on everything here too.
        known = _with_gradient_of_states(decay, inputs, start, states)
        return adjoints * tf.math.conj(_before(start, known)), adjoints, first, None

    return tf.identity(states), gradient


@tf.custom_gradient
def _with_gradient_of_adjoints(decay, upstream, adjoints, first):
    """`(adjoints, first)`, with the gradient of the recurrence, backward in time, that made them."""

    def gradient(of_adjoints, of_first):
        states = linear_scan(tf.math.conj(decay), of_adjoints, of_first)
        known, _ = _with_gradient_of_adjoints(decay, upstream, adjoints, first)
        return _before(of_first, states) * tf.math.conj(known), states, None, None

    return (tf.identity(adjoints), tf.identity(first)), gradient


def _forward(decay, value, state):
    """A step: the state that goes on, and what is kept of the step."""
    state = value + decay * state
    return state, state


def _backward(decay, value, later):
    """A step of the gradient, which passes the decay after the value."""
    adjoint = value + later
    return decay * adjoint, adjoint


def _entering(decay, value, state):
    """A step that keeps the state it began with."""
    return value + decay * state, state


def _run(step, decay, inputs, start, upward):
    """What all steps keep, and the last state. Backward in time, `start` has to be zeros."""
    shape = inputs.shape
    steps = shape[0] if shape[0] is not None else tf.shape(inputs)[0]
    chunks, size = _cut(steps, start.shape.num_elements() or 0)
    decay, inputs = (_in_chunks(tensor, steps, chunks, size) for tensor in (decay, inputs))
    if isinstance(chunks, int) and chunks == 1:
        last, kept = _take(step, decay, inputs, start[None], upward)
        kept = kept[0, :steps]
        kept.set_shape(shape)
        return kept, last[0]
    ends, _ = _take(step, decay, inputs, tf.zeros_like(inputs[:, 0]), upward, keep=False)
    factors = tf.reduce_prod(decay, axis=1)
    last, starts = _take(_entering, factors[None], ends[None], start[None], upward)
    _, kept = _take(step, decay, inputs, starts[0], upward)
    kept = tf.reshape(kept, tf.concat([[chunks * size], tf.shape(start)], 0))[:steps]
    kept.set_shape(shape)
    return kept, last[0]


def _cut(steps, values):
    """How many chunks of how many steps, at least one of one. If the number of steps is known, they may fit exactly.

    Args:
        steps: an int or a tensor.
        values: of a state, 0 where that is unknown.
    """
    if not isinstance(steps, int):
        if values > MOST_VALUES:
            return 1, tf.maximum(1, steps)
        size = tf.maximum(1, tf.cast(tf.sqrt(tf.cast(steps, tf.float32)), tf.int32))
        # Rounded up without negative numbers, which ONNX would round the other way.
        return tf.maximum(1, (steps + size - 1) // size), size
    if values > MOST_VALUES or steps <= MOST_UNROLLED:
        return 1, steps
    root = math.isqrt(steps)
    exact = [size for size in range(root, 2 * root) if steps % size == 0]
    size = exact[0] if exact else root
    return -(-steps // size), size


def _in_chunks(tensor, steps, chunks, size):
    """`(chunks, size, batch, ...)`, with zeros behind the last step."""
    rest = tf.shape(tensor)[1:]
    missing = chunks * size - steps
    if not isinstance(missing, int) or missing:
        tensor = tf.pad(tensor, [[0, missing], *([0, 0] for _ in tensor.shape[1:])])
    return tf.reshape(tensor, tf.concat([[chunks, size], rest], 0))


def _take(step, decay, inputs, state, upward, keep=True):
    """Takes the steps along axis 1: the last state, and what the steps keep, along the same axis."""
    size = inputs.shape[1] if inputs.shape[1] is not None else tf.shape(inputs)[1]
    if isinstance(size, int) and size <= MOST_UNROLLED:
        entries = list(zip(tf.unstack(decay, size, 1), tf.unstack(inputs, size, 1), strict=True))
        outputs = []
        for factor, value in entries if upward else reversed(entries):
            state, output = step(factor, value, state)
            outputs.append(output)
        return state, tf.stack(outputs if upward else outputs[::-1], 1) if keep else None
    # A list in which nothing is written may not go along: ONNX would number the others wrongly.
    lists = ()
    if keep:
        lists = (tf.TensorArray(inputs.dtype, size=size, element_shape=state.shape),)

    def turn(count, state, lists):
        place = count if upward else size - 1 - count
        state, output = step(decay[:, place], inputs[:, place], state)
        return count + 1, state, tuple(each.write(place, output) for each in lists)

    _, state, lists = tf.while_loop(lambda count, *_: count < size, turn, (0, state, lists), maximum_iterations=size)
    if not keep:
        return state, None
    kept = lists[0].stack()
    return state, tf.transpose(kept, [1, 0, *range(2, kept.shape.rank)])


def _before(start, states):
    """The state before each step."""
    return tf.concat([start[None], states], 0)[:-1]
