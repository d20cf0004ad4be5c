"""The only module that may import private Keras. Each name says why.

If a Keras release moves one of them, this is the file to mend.
"""

import contextlib
import contextvars
import sys

import keras

# The mask that a layer attached to its output. Keras hands it to `call` only where a call has one tensor
# argument; a recurrent layer called with an initial state has to fetch it.
from keras.src.backend import get_keras_mask as attached_mask

# A layer is run for its shapes alone in a symbolic scope; on PyTorch that happens with made-up values.
from keras.src.backend.common.symbolic_scope import in_symbolic_scope

# A cell that is an instance of this class has its dropout masks drawn by `keras.layers.RNN` before
# the loop. Our cells are instances of it, so that they work in Keras's own `RNN` too.
from keras.src.layers.rnn.dropout_rnn_cell import DropoutRNNCell

# A variable that is an attribute of a layer becomes one of its weights. Carried states are none, but TensorFlow
# finds what to save among the attributes; Keras's own recurrent layers use this too.
from keras.src.utils.tracking import no_automatic_dependency_tracking

__all__ = [
    "DropoutRNNCell",
    "Untracked",
    "all_layers",
    "attached_mask",
    "being_exported",
    "is_recorded",
    "order_is_lost",
    "recording",
    "set_first_epoch",
    "set_unlisted",
    "unlocked",
    "values_are_known",
]


class Untracked:
    """Holds a value that Keras's attribute tracking would take for a container of variables."""

    def __init__(self, value):
        self.value = value


@no_automatic_dependency_tracking
def set_unlisted(layer, name, value):
    """Sets an attribute that holds variables, without making them weights of the layer."""
    setattr(layer, name, value)


@contextlib.contextmanager
def unlocked(layer):
    """Weights can be added to `layer` inside, although it is built already.

    Keras locks a layer's tracker when `build` ends, and has no public way to open it again.
    """
    locked = layer._tracker.locked
    layer._tracker.unlock()
    try:
        yield
    finally:
        if locked:
            layer._tracker.lock()


_RECORDED = contextvars.ContextVar("recorded", default=False)


@contextlib.contextmanager
def recording():
    """Inside, what is computed is recorded, to run again with other values."""
    token = _RECORDED.set(True)
    try:
        yield
    finally:
        _RECORDED.reset(token)


def is_recorded():
    """Whether what is computed is recorded. Only PyTorch records, and `torch.compile` reads no context variable."""
    if keras.backend.backend() != "torch" or sys.modules["torch"].compiler.is_compiling():
        return False
    return _RECORDED.get()


def values_are_known(tensor):
    """Whether `tensor` has values now: False while a graph is traced or recorded, or shapes are inferred."""
    if in_symbolic_scope() or is_recorded():
        return False
    name = keras.backend.backend()
    # Keras has imported the module of its backend; no module here does.
    backend = sys.modules[name]
    if name == "tensorflow":
        return backend.executing_eagerly()
    if name == "jax":
        # The entries of a sparse tensor are its `data`.
        return not isinstance(getattr(tensor, "data", tensor), backend.core.Tracer)
    if name == "torch":
        return not (backend.compiler.is_compiling() or backend.jit.is_tracing())
    return True


def being_exported():
    """Whether what is traced now is for a file: exporters take no function that XLA has to compile.

    Keras tells nobody that it exports, so this looks for its exporters, and those of others, among the callers.
    """
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith(("keras.src.export", "tf2onnx", "tensorflow.lite")):
            return True
        frame = frame.f_back
    return False


def set_first_epoch(model, epoch):
    """Where `fit` begins, asked from a callback at the beginning; None: where its argument says.

    Keras's own `BackupAndRestore` sets the same attribute; there is no public one.
    """
    model._initial_epoch = epoch


def order_is_lost():
    """Whether the `fit` that calls shuffles arrays with TensorFlow's random numbers, whose state nobody can read.

    Callbacks are not told of the data, so this looks for the iterator of `fit` among the callers.
    """
    if keras.backend.backend() != "tensorflow":
        return False
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "fit" and "epoch_iterator" in frame.f_locals:
            adapter = frame.f_locals["epoch_iterator"].data_adapter
            return type(adapter).__name__ == "ArrayDataAdapter" and bool(adapter._shuffle)
        frame = frame.f_back
    return False


def all_layers(model):
    """`model` and every layer in it, whatever holds it: a model, a wrapper, an attribute.

    Keras walks this tree itself, but `model.layers` shows its first level only.
    """
    return list(model._flatten_layers())
