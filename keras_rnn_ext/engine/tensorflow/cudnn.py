"""cuDNN's layers on a GPU."""

import tensorflow as tf

from keras_rnn_ext.engine.library import CudnnLayer, flat_parameters
from keras_rnn_ext.engine.tensorflow.steps import number_of_steps


def has_gpu():
    """Whether TensorFlow has a GPU of the kind that has cuDNN."""
    return bool(tf.config.list_logical_devices("GPU")) and tf.sysconfig.get_build_info().get("is_cuda_build", False)


class CudnnRow(CudnnLayer):
    """`CudnnRNNV3`, which Keras's LSTM and GRU call too; here for SimpleRNN as well, and for any mask."""

    summary = "cuDNN's layer of that kind"
    backend = "TensorFlow"
    fits_xla = False

    def sees_gpu(self):
        return has_gpu()

    def call_kernel(self, recurrence, inputs, lengths, states, weights):
        if lengths is None:
            lengths = tf.fill([tf.shape(inputs)[1]], number_of_steps(inputs))
        states = [tf.expand_dims(state, 0) for state in states]
        outputs, *new_states, _, _ = tf.raw_ops.CudnnRNNV3(
            input=inputs,
            input_h=states[0],
            input_c=states[1] if len(states) > 1 else tf.zeros((), inputs.dtype),
            params=flat_parameters(recurrence, weights),
            # Else there would be no gradient outside of training.
            is_training=True,
            rnn_mode=recurrence.library,
            sequence_lengths=lengths,
            time_major=True,
        )
        outputs.set_shape([*inputs.shape[:2], recurrence.units])
        return outputs, [tf.squeeze(new, 0) for new in new_states[: len(states)]]
