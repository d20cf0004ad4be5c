"""One package name for everything that can be saved."""

import keras

PACKAGE = "keras_rnn_ext"


def register(cls):
    """Registers a class as `keras_rnn_ext>ClassName`, the name under which `.keras` files know it.

    The name never changes, and does not depend on the file that the class stands in.
    """
    return keras.saving.register_keras_serializable(package=PACKAGE)(cls)
