"""TensorFlow: a `while_loop` over tensor arrays; called eagerly, the whole layer as one graph."""

import functools

import keras
import tensorflow as tf

from keras_rnn_ext.core.compat import being_exported
from keras_rnn_ext.core.strategy import Engine, enrol
from keras_rnn_ext.engine.chunks import Chunks
from keras_rnn_ext.engine.loops import CellByCell, CellInside, Loop, ParallelScan, ProjectedLoop, python_scan
from keras_rnn_ext.engine.tensorflow.blocks import BlockLoop
from keras_rnn_ext.engine.tensorflow.compat import could_possibly_record
from keras_rnn_ext.engine.tensorflow.cudnn import CudnnRow
from keras_rnn_ext.engine.tensorflow.fused import FusedLoop
from keras_rnn_ext.engine.tensorflow.gates import twice_is_too_much
from keras_rnn_ext.engine.tensorflow.linear import linear_scan
from keras_rnn_ext.engine.tensorflow.steps import make_list, number_of_steps, stack


def scan(body, carry, values, blank, turns):
    """See `loops`. Takes any number of steps, known or not, 0 included."""
    if tf.executing_eagerly():
        return python_scan(body, carry, values, blank)
    flat = keras.tree.flatten(values)
    steps = number_of_steps(flat[0])
    arrays = [tf.TensorArray(value.dtype, size=steps, element_shape=value.shape[1:]).unstack(value) for value in flat]
    outputs = ()
    if blank is not None:
        outputs = (make_list(steps, blank),)

    def turn(time, carry, outputs, count):
        for _ in range(count):
            entry = keras.tree.pack_sequence_as(values, [array.read(time) for array in arrays])
            new_carry, output = body(carry, entry)
            carry = keras.tree.map_structure(_with_shape_of, new_carry, carry)
            outputs = tuple(array.write(time, output) for array in outputs)
            time = time + 1
        return time, carry, outputs

    def loop(start, carry, outputs, stop, count):
        return tf.while_loop(
            lambda time, *_: time < stop,
            lambda time, carry, outputs: turn(time, carry, outputs, count),
            (tf.convert_to_tensor(start), carry, outputs),
            # Also where there is nothing to do: XLA makes no room for the gradient of no turns, and then trips over it.
            maximum_iterations=tf.maximum((stop - start) // count, 1),
        )

    # XLA has to know each loop's start and number of turns: the rest starts at `whole`, not where the first loop ended.
    whole = steps // turns * turns
    if turns > 1:
        _, carry, outputs = loop(0, carry, outputs, whole, turns)
    _, carry, outputs = loop(whole if turns > 1 else 0, carry, outputs, steps, 1)
    if blank is None:
        return carry, None
    return carry, stack(outputs[0], steps, blank)


def _with_shape_of(new, old):
    new.set_shape(old.shape)
    return new


# Without AutoGraph, as in Keras's `fit`: loops and conditions here are TensorFlow's own, and to look for Python's takes
# a third of the time of tracing.


def compiled(program):
    return tf.function(program, reduce_retracing=True, autograph=False)


def compiled_fused(program):
    return tf.function(program, jit_compile=True, reduce_retracing=True, autograph=False)


def gradients(loss, tensors):
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = loss(tensors)
    return tape.gradient(value, tensors, unconnected_gradients="zero")


def unpack_ragged(sequences, mask, time_major):
    """A ragged tensor as a dense one and its mask, and how to make the outputs ragged again."""
    if not isinstance(sequences, tf.RaggedTensor):
        return sequences, mask, lambda outputs, go_backwards: outputs
    if time_major:
        raise ValueError(
            "Argument `sequences` cannot be ragged with `time_major=True`: a ragged tensor leads with the batch. "
            f"Received: a RaggedTensor of shape {sequences.shape}."
        )
    valid = tf.sequence_mask(sequences.row_lengths(), maxlen=sequences.bounding_shape()[1])
    if isinstance(mask, tf.RaggedTensor):
        mask = mask.to_tensor(default_value=False)
    if mask is not None:
        valid = tf.logical_and(valid, tf.cast(mask, tf.bool))
    pack = functools.partial(_pack_ragged, lengths=sequences.row_lengths())
    return sequences.to_tensor(), valid, pack


def _pack_ragged(outputs, go_backwards, lengths):
    present = tf.sequence_mask(lengths, maxlen=tf.shape(outputs)[1])
    # Going backwards, the padding has come to the front.
    return tf.ragged.boolean_mask(outputs, tf.reverse(present, [1]) if go_backwards else present)


def fix_size(tensor, axis, size, message):
    check = tf.debugging.assert_equal(tf.shape(tensor)[axis], size, message=message)
    with tf.control_dependencies([] if check is None else [check]):
        tensor = tf.identity(tensor)
    # XLA and LiteRT drop the assertion, but not this. LiteRT has no `ensure_shape` of its own.
    known, now = tensor.shape.as_list(), tf.unstack(tf.shape(tensor))
    known[axis] = size
    return tf.reshape(tensor, [there if length is None else length for length, there in zip(known, now, strict=True)])


# With fewer units, TensorFlow's gradient of a loop is faster where each step makes its own input product. Measured on
# two cores with 64, 128 and 650 units, for cells with two products a step; with 8 to 32 filters, for convolutions.
FEWEST_HOISTED = 256


class HoistedLoop(ProjectedLoop):
    """The projected loop, but where it is faster if each step makes its own input product."""

    def reluctance(self, plan):
        cell = plan.recurrence
        few = plan.differentiable and not plan.recompute and cell.units < FEWEST_HOISTED
        # A loop makes the next step's input product beside this step's gates.
        small = cell.is_pure and (twice_is_too_much(plan) if cell.is_gated else few)
        return "each step makes its own input product as fast" if small else None


enrol(
    "tensorflow",
    Engine(
        strategies=(
            CellByCell(),
            CellInside(),
            CudnnRow(),
            ParallelScan(linear_scan, tf.complex, when_exported=BlockLoop.when_exported),
            Chunks(scan),
            FusedLoop(scan),
            BlockLoop(),
            HoistedLoop(scan),
            Loop(scan),
        ),
        runs_eagerly=lambda sequences: tf.executing_eagerly(),
        gradients=gradients,
        # Many loops over tapes do not say `training=`, and many models say False where nobody asked.
        may_differentiate=lambda training: could_possibly_record(),
        # Exporters trace graphs; the callers of an eager call are not looked at, which would take time.
        being_exported=lambda: not tf.executing_eagerly() and being_exported(),
        compile=compiled,
        compiled_note="compiled once as a tf.function, then one call of a graph",
        compile_fused=compiled_fused,
        # A tf.function looks at the types of all its arguments at each call, which takes longer than a small step.
        settle=lambda program, tensors: program.get_concrete_function(*tensors),
        unpack_ragged=unpack_ragged,
        fix_size=fix_size,
    ),
)
