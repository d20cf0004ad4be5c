"""A callback that makes a training survive being killed."""

import inspect
import warnings

import keras
import numpy as np

from keras_rnn_ext.core.compat import order_is_lost, set_first_epoch
from keras_rnn_ext.training.checkpoint import Checkpoint


class ResumeTraining(keras.callbacks.Callback):
    """Makes `fit` go on where it was cut off, exactly as if it had not been.

    Run the same script again after a crash, a `kill`, or a loss of power: training goes on with the epoch that was cut
    off, and ends with the same numbers, bit for bit where the backend computes the same numbers twice. Keras's
    `BackupAndRestore` leaves out the seeds of dropout, the carried states of stateful layers, the random numbers behind
    the order of the data, and the history; and being killed while it writes, it leaves a torn file behind.

    The file is a `Checkpoint`, written after an epoch, whole or not at all. It stays at the end: run again, the script
    has the trained model at once, and with more `epochs` it goes on. Delete the file to begin anew.

    Args:
        path: of the file, `.npz`.
        every: int from 1, epochs from one writing to the next; the last one is always written. Default 1.
        data: the dataset handed to `fit` if its order depends on its attribute `epoch`, as that of `ArrayBatches`:
            the attribute is set where an epoch begins. Default None.
        callbacks: other callbacks of the same `fit` that count something, such as `EarlyStopping` and
            `ReduceLROnPlateau`: their numbers, texts and arrays are kept. Default: none.
        settings: whatever must be the same where the training goes on, as for `Checkpoint`. Default: nothing.
        verbose: whether to say in a line where training goes on. Default True.

    Put it at the end of the list of callbacks, so that the others have done their part of an epoch when it writes. The
    order of the data must depend on nothing else than what is kept: an `ArrayBatches`, `shuffle=False`, or arrays in
    any order on JAX and PyTorch. Arrays in TensorFlow's own random order are refused.

    Raises:
        ValueError: if an argument or the file does not fit, see `Checkpoint`; or for an order that cannot be kept.

    A file that cannot be written, as on a full disk, is a warning; the one of before is whole, and training goes on.

    >>> import tempfile
    >>> import keras
    >>> import numpy as np
    >>> from keras_rnn_ext import MyDense, MyGRU
    >>> from keras_rnn_ext.training import ArrayBatches, ResumeTraining
    >>> path = tempfile.mkdtemp() + "/run.npz"
    >>> def train(epochs):
    ...     keras.utils.set_random_seed(1)
    ...     model = keras.Sequential([keras.Input((5, 2)), MyGRU(4, dropout=0.2), MyDense(1)])
    ...     model.compile("adam", "mse")
    ...     data = ArrayBatches(np.ones((32, 5, 2)), np.arange(32)[:, None] / 32, batch_size=8)
    ...     resume = ResumeTraining(path, data=data, verbose=False)
    ...     return model.fit(data, epochs=epochs, callbacks=[resume], verbose=0)
    >>> first, longer = train(2), train(5)
    >>> longer.epoch, longer.history["loss"][:2] == first.history["loss"]
    ([0, 1, 2, 3, 4], True)
    """

    def __init__(self, path, every=1, data=None, callbacks=(), settings=None, verbose=True):
        super().__init__()
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(f"Argument `every` must be an int from 1. Received: every={every!r}")
        if data is not None and not isinstance(getattr(data, "epoch", None), (int, np.integer)):
            raise ValueError(
                "Argument `data` must have an attribute `epoch`, an int, as `ArrayBatches` has it. Received: "
                f"{type(data).__name__}. Leave `data` out where the order does not depend on it."
            )
        self.path, self.every, self.data, self.callbacks = path, every, data, list(callbacks)
        self.settings, self.verbose = settings, verbose
        self._checkpoint = None

    def on_train_begin(self, logs=None):
        if order_is_lost():
            raise ValueError(
                "Argument `shuffle` of `fit` must be False with arrays on TensorFlow, which draws their order from "
                "numbers that nobody can keep. Received: shuffle=True. Or hand `fit` an `ArrayBatches(x, y)`, which "
                "shuffles by itself."
            )
        self._checkpoint = Checkpoint(self.path, self.model, self.settings)
        self._first, self._done, self._epochs, self._logs = 0, 0, [], {}
        try:
            notes, take = self._checkpoint.read()
        except FileNotFoundError:
            return
        kept = notes.get("callbacks") if isinstance(notes, dict) else None
        if kept is None or len(kept) != len(self.callbacks):
            raise ValueError(
                "Argument `path` must be a file that `ResumeTraining` wrote, with as many `callbacks`, "
                f"{len(self.callbacks)}. Received: {self._checkpoint.path!r} "
                f"{'of something else' if kept is None else f'with {len(kept)}'}."
            )
        try:
            done, stopped = int(notes["done"]), bool(notes["stopped"])
            numbers, logs = list(notes["epochs"]), {name: list(each) for name, each in notes["logs"].items()}
            counts = [{name: _from_json(value) for name, value in counted.items()} for counted in kept]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"Argument `path` must be a file that `ResumeTraining` wrote. Received: {self._checkpoint.path!r}, "
                f"whose notes are something else: {error!r}. Delete it to begin anew."
            ) from error
        take()
        self._epochs, self._logs = numbers, logs
        self._first = self._done = done
        for callback, counted in zip(self.callbacks, counts, strict=True):
            vars(callback).update(counted)
        epochs = self.params["epochs"]
        # A training that stopped by itself has no epoch left.
        set_first_epoch(self.model, epochs if stopped else self._done)
        if self.verbose:
            left = "it had stopped by itself" if stopped else f"{max(0, epochs - self._done)} of {epochs} left"
            print(f"{self._checkpoint.path}: going on after {self._done} epochs, {left}.")

    def on_epoch_begin(self, epoch, logs=None):
        # A later `fit` begins where it says.
        set_first_epoch(self.model, None)
        if self.data is not None:
            self.data.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        self._done = epoch + 1
        self._epochs.append(epoch)
        for name, value in (logs or {}).items():
            self._logs.setdefault(name, []).append(float(value))
        # After the last epoch `on_train_end` comes at once, and writes what the other callbacks do there, too.
        is_last = self._done >= self.params["epochs"] or self.model.stop_training
        if self._done % self.every == 0 and not is_last:
            self._save()

    def on_train_end(self, logs=None):
        set_first_epoch(self.model, None)
        if self._done > self._first:
            self._save()
        history = self.model.history
        if history is not None:
            history.epoch, history.history = list(self._epochs), {name: list(each) for name, each in self._logs.items()}

    def _save(self):
        notes = {
            "done": self._done,
            "epochs": self._epochs,
            "logs": self._logs,
            "stopped": self.model.stop_training,
            "callbacks": [_kept(callback) for callback in self.callbacks],
        }
        try:
            self._checkpoint.save(notes)
        except OSError as error:
            warnings.warn(
                f"The checkpoint {self._checkpoint.path!r} was not written after epoch {self._done}: {error}. The one "
                "of before, if there was one, is whole. Training goes on.",
                stacklevel=2,
            )


def _kept(callback):
    """What a callback counts, as JSON can hold it; not what it was made with, which Keras turns over at times."""
    made_with = {name for kind in type(callback).__mro__ for name in inspect.signature(kind.__init__).parameters}
    return {
        name: _to_json(value)
        for name, value in vars(callback).items()
        if name not in made_with and name != "params" and _can_be_kept(value)
    }


def _can_be_kept(value):
    if isinstance(value, (list, tuple)):
        return all(map(_can_be_kept, value))
    return value is None or isinstance(value, (bool, int, float, str, np.ndarray, np.generic))


def _to_json(value):
    if isinstance(value, (list, tuple)):
        return {type(value).__name__: [_to_json(each) for each in value]}
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        return {"array": array.tolist(), "dtype": array.dtype.name, "shape": list(array.shape)}
    return value


def _from_json(value):
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return np.array(value["array"], value["dtype"]).reshape(value["shape"])
    ((kind, items),) = value.items()
    return (list if kind == "list" else tuple)(_from_json(each) for each in items)
