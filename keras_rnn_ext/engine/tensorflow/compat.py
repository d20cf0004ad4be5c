"""The only module that may import private TensorFlow. Each name says why."""

# `tf.saved_model.save` saves custom gradients too, but none that reads a list that the forward pass has made.
from tensorflow.python.saved_model.save_context import in_save_context

__all__ = ["in_save_context"]
