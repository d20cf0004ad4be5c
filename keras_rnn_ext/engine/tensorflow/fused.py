"""A loop for few rows, as in live use: compiled by XLA, inside a graph that is not.

A step of one row has next to nothing to compute, and an operation of a graph costs a microsecond. XLA makes one
program of the loop.
"""

import dataclasses
import functools
import math

import keras
import tensorflow as tf

from keras_rnn_ext.core.state import listed
from keras_rnn_ext.core.strategy import choose
from keras_rnn_ext.engine.loops import NOT_PURE, ProjectedLoop

# Measured on two cores: with more to do in a step, or with fewer steps, the block loop is as fast.
MOST_ROWS = 8
MOST_VALUES = 2048  # of an output: rows times units
LEAST_STEPS = 8


class FusedLoop(ProjectedLoop):
    """The projected loop as a program of XLA."""

    def __init__(self, scan):
        super().__init__(scan, "fused loop", "the loop of few rows compiled by XLA, for inference in a graph")

    def obstacle(self, plan):
        reason = super().obstacle(plan)
        if reason is None and not plan.recurrence.is_pure:
            return NOT_PURE
        if reason is None and None in (plan.batch, plan.steps):
            return "XLA would compile it anew for each batch size and number of steps, and these are unknown"
        return "there are no steps" if reason is None and not plan.steps else reason

    def reluctance(self, plan):
        if plan.differentiable:
            return "it gains at inference"
        if plan.eager:
            return "called eagerly, one program serves any number of steps"
        if plan.unroll is True:
            return "`unroll=True`"
        values = plan.batch * math.prod(listed(plan.recurrence.output_size))
        if plan.batch > MOST_ROWS or values > MOST_VALUES or plan.steps < LEAST_STEPS:
            return f"it gains from {LEAST_STEPS} steps on, up to {MOST_ROWS} rows and {MOST_VALUES} values of an output"
        if plan.exported:
            return "the model is being exported"
        return None if compiles() else "XLA does not compile for this device"

    def run(self, plan, feed):
        program = tf.function(functools.partial(super().run, plan), jit_compile=True, autograph=False)
        parts, form = (feed.inputs, feed.states, feed.weights, feed.noise), []

        def with_tensors(tensors):
            inputs, states, weights, noise = keras.tree.pack_sequence_as(parts, list(tensors))
            return feed._replace(inputs=inputs, states=states, weights=weights, noise=noise)

        # XLA's own loop has no gradient outside of XLA. A graph that was made without a tape may be called under one.
        @tf.custom_gradient
        def run(*tensors):
            def gradient(*upstream):
                again = dataclasses.replace(plan, differentiable=True)
                with tf.GradientTape() as tape:
                    tape.watch(tensors)
                    results = keras.tree.flatten(choose(again).run(again, with_tensors(tensors)))
                return tape.gradient(results, tensors, list(upstream), unconnected_gradients="zero")

            form.append(program(with_tensors(tensors)))
            return keras.tree.flatten(form[0]), gradient

        results = run(*keras.tree.flatten(parts))
        return keras.tree.pack_sequence_as(form[0], results)


@functools.cache
def compiles():
    """Whether XLA is there and the computation stays on the CPU; tried once."""
    if tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"):
        return False
    with tf.init_scope():
        try:
            return int(tf.function(lambda value: value + 1, jit_compile=True)(tf.constant(1))) == 2
        except (tf.errors.OpError, ValueError):
            return False
