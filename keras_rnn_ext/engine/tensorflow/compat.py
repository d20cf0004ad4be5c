"""The only module that may import private TensorFlow. Each name says why."""

# Whether a tape is active. What a gradient reads is kept where there may be one; TensorFlow has no public way to ask.
from tensorflow.python.eager.record import could_possibly_record

# `tf.saved_model.save` saves custom gradients too, but none that reads a list that the forward pass has made.
from tensorflow.python.saved_model.save_context import in_save_context

__all__ = ["could_possibly_record", "in_save_context"]
