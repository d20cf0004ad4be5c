"""TensorFlow: a `while_loop` over tensor arrays; called eagerly, the whole layer as one graph."""

import keras
import tensorflow as tf

from keras_rnn_ext.core.strategy import Engine, enrol
from keras_rnn_ext.engine.loops import CellByCell, Loop, ProjectedLoop, python_scan


def scan(body, carry, values, blank, turns):
    """See `loops`. Takes any number of steps, known or not, 0 included."""
    if tf.executing_eagerly():
        return python_scan(body, carry, values, blank)
    flat = keras.tree.flatten(values)
    steps = flat[0].shape[0] if flat[0].shape[0] is not None else tf.shape(flat[0])[0]
    arrays = [tf.TensorArray(value.dtype, size=steps, element_shape=value.shape[1:]).unstack(value) for value in flat]
    outputs = ()
    if blank is not None:
        outputs = (tf.TensorArray(blank.dtype, size=steps, element_shape=blank.shape),)

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
            (start, carry, outputs),
            maximum_iterations=(stop - start) // count,
        )

    start, whole = tf.constant(0), steps // turns * turns
    if turns > 1:
        start, carry, outputs = loop(start, carry, outputs, whole, turns)
    start, carry, outputs = loop(start, carry, outputs, steps, 1)
    if blank is None:
        return carry, None
    return carry, _stack(outputs[0], blank, steps)


def _with_shape_of(new, old):
    new.set_shape(old.shape)
    return new


def _stack(array, blank, steps):
    # `TensorArray.stack` cannot give an empty stack of tensors whose batch size is unknown.
    stacked = tf.raw_ops.TensorListStack(
        input_handle=array.flow, element_shape=tf.shape(blank), element_dtype=blank.dtype, num_elements=-1
    )
    stacked.set_shape([steps if isinstance(steps, int) else None, *blank.shape])
    return stacked


def compiled(program):
    return tf.function(program, reduce_retracing=True)


def gradients(loss, tensors):
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = loss(tensors)
    return tape.gradient(value, tensors, unconnected_gradients="zero")


def unpack_ragged(sequences):
    """A ragged tensor as a dense one and its mask, and how to make the outputs ragged again."""
    if not isinstance(sequences, tf.RaggedTensor):
        return sequences, None, lambda outputs, mask: outputs
    mask = tf.sequence_mask(sequences.row_lengths(), maxlen=sequences.bounding_shape()[1])
    return sequences.to_tensor(), mask, _pack_ragged


def _pack_ragged(outputs, mask):
    return tf.ragged.boolean_mask(outputs, tf.transpose(mask))


enrol(
    "tensorflow",
    Engine(
        strategies=(CellByCell(), ProjectedLoop(scan), Loop(scan)),
        runs_eagerly=lambda sequences: tf.executing_eagerly(),
        gradients=gradients,
        compile=compiled,
        compiled_note="compiled once as a tf.function, then one call of a graph",
        unpack_ragged=unpack_ragged,
    ),
)
