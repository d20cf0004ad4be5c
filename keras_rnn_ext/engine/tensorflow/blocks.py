"""A loop over blocks of steps, with a gradient of its own.

TensorFlow's gradient of a loop makes a small product per step for each weight, and adds it to a sum as large as the
weight. Here the backward loop makes the one product that the step before needs, and leaves those for the weights to one
product per block of steps, or per sequence. Blocks also pay the loop's own cost once for many steps, and keep what a
step reads in the cache.
"""

import os

import keras
import tensorflow as tf

from keras_rnn_ext.core.cell import RecurrentCell
from keras_rnn_ext.core.claims import holds
from keras_rnn_ext.core.masks import zeros_before_first
from keras_rnn_ext.engine.loops import GatedStrategy, ProjectedLoop, python_scan
from keras_rnn_ext.engine.tensorflow.block_loops import USUAL_BATCH, BlockLoops, block_of
from keras_rnn_ext.engine.tensorflow.compat import in_save_context
from keras_rnn_ext.engine.tensorflow.gates import AnyGate, gate_of, twice_is_too_much
from keras_rnn_ext.engine.tensorflow.steps import select

# Bytes of a step's gates. An operation on as many is worth a thread of its own, but not two that wait for each other:
# measured on two cores, parts of the batch side by side gain up to a third, forward and with the gradient.
LEAST_PART = 2**15
MOST_PART = 2**18


class BlockLoop(GatedStrategy):
    """A gated cell, block by block, with a gradient of its own."""

    name = "block loop"
    summary = "blocks of steps, with a gradient of its own"
    when_exported = "without the gradient of its own; a file's gradient is TensorFlow's"

    def obstacle(self, plan):
        reason = super().obstacle(plan)
        if reason is None and not holds(type(plan.recurrence), "gradient_to_hidden", ("recurrent",)):
            return "the cell overrides `recurrent`, but not `gradient_to_hidden`"
        return reason

    def reluctance(self, plan):
        return twice_is_too_much(plan)

    def run(self, plan, feed):
        if tf.executing_eagerly():
            # Somebody is debugging, with `tf.config.run_functions_eagerly`: they want to see plain steps.
            return ProjectedLoop(python_scan).run(plan, feed)
        parts = [_with_gradient(plan, each) for each in _split(feed, parts_of(plan, feed))]
        last, outputs = parts[0]
        if len(parts) > 1:
            last = [tf.concat(each, 0) for each in zip(*(states for states, _ in parts), strict=True)]
            outputs = tf.concat([each for _, each in parts], 1) if plan.return_sequences else None
        values, mask = (outputs if plan.return_sequences else last[0]), feed.mask
        if mask is None and not plan.return_sequences and not feed.inputs.shape[0]:
            # There may be no steps at all.
            mask = tf.ones(tf.shape(feed.inputs)[:2], tf.bool)
        return (values if mask is None else zeros_before_first(values, mask, select)), last


def parts_of(plan, feed):
    """In how many parts of the batch, each in a loop of its own, the sequences are run: at most one for each core.

    With a gradient each part reads the weights and adds to theirs, so that these have to be small; and gates that run
    twice make too many small operations.
    """
    most = cores()
    batch, width = feed.inputs.shape[1] or 2 * USUAL_BATCH, plan.recurrence.gates * plan.recurrence.units
    size = 4 * batch * width
    parts = min(most, batch, size // LEAST_PART)
    if parts < 2 or size > most * MOST_PART or plan.accompanied:
        return 1
    if plan.noisy and type(plan.recurrence).draw_noise is not RecurrentCell.draw_noise:
        # What a class of its own draws may not lead with the batch.
        return 1
    if plan.differentiable and (isinstance(gate_of(plan), AnyGate) or not block_of(plan, feed.inputs)[1]):
        return 1
    return parts


def cores():
    """How many threads an operation of TensorFlow may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return tf.config.threading.get_intra_op_parallelism_threads() or usable


def _split(feed, parts):
    if parts == 1:
        return [feed]
    batch = tf.shape(feed.inputs)[1] if feed.inputs.shape[1] is None else feed.inputs.shape[1]
    sizes = [batch * (part + 1) // parts - batch * part // parts for part in range(parts)]

    def cut(tensor, axis):
        return [None] * parts if tensor is None else tf.split(tensor, sizes, axis)

    # The masks of weights have no batch, and have been used.
    feed = feed._replace(noise={name: each for name, each in feed.noise.items() if name != "weights"})
    states = zip(*(cut(state, 0) for state in feed.states), strict=True)
    noise = [cut(mask, len(mask.shape) - 2) for mask in keras.tree.flatten(feed.noise)]
    each = zip(cut(feed.inputs, 1), states, cut(feed.mask, 1), strict=True)
    return [
        feed._replace(
            inputs=inputs,
            states=list(own),
            mask=mask,
            noise=keras.tree.pack_sequence_as(feed.noise, [masks[part] for masks in noise]),
        )
        for part, (inputs, own, mask) in enumerate(each)
    ]


def _with_gradient(plan, feed):
    """`(last states, outputs or None)`."""
    feed_weights, noise = plan.recurrence.ready(feed.weights, feed.noise)
    count, loop = len(feed.states), BlockLoops.of(plan, feed, noise)
    if plan.exported and not plan.differentiable:
        # A SavedModel would hold the gradient too. TensorFlow can make one of what is here, should anybody ask.
        return loop.infer(feed.inputs, feed.states, feed_weights)

    @tf.custom_gradient
    def run(inputs, *rest):
        states, weights = list(rest[:count]), keras.tree.pack_sequence_as(feed_weights, list(rest[count:]))
        trace = None
        if plan.differentiable:
            last, trace = loop.forward(inputs, states, weights)
            outputs = trace.hidden[1:] if loop.collect else None
        else:
            last, outputs = loop.infer(inputs, states, weights)

        def gradient(*upstream):
            d_outputs = upstream[count] if loop.collect else None
            # Without a tape nothing was kept. Nor can a gradient that is saved read the lists of the trace.
            again = trace is None or in_save_context()
            read = loop.forward(inputs, states, weights)[1] if again else trace
            d_inputs, d_states, d_weights = loop.backward(inputs, weights, read, upstream[:count], d_outputs)
            return [d_inputs, *d_states, *d_weights]

        return [*last, *([] if outputs is None else [outputs])], gradient

    results = run(feed.inputs, *feed.states, *keras.tree.flatten(feed_weights))
    return results[:count], (results[count] if loop.collect else None)
