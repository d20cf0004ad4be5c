"""Everything that a training stands on, in one file."""

import json
import os
import random
import sys

import keras
import numpy as np

from keras_rnn_ext.core.compat import all_layers
from keras_rnn_ext.core.files import open_arrays, write_whole

FORMAT = 1


class Checkpoint:
    """Everything that a training stands on, in one file, so that it goes on exactly as if there had been no pause.

    That is: the model's weights, seeds of dropout and carried states, all that the optimizer keeps, and where the
    random numbers of Python, NumPy and PyTorch stand. `ResumeTraining` uses it in `fit`; use it by yourself in a
    training loop of your own.

    The file is written whole or not at all: one that was there stays until the new one is on the disk, whatever happens
    meanwhile. It is read whole or not at all, too: a damaged one, or one of another model, changes nothing.

    Args:
        path: of the file, a NumPy archive; `.npz` is usual.
        model: a Keras model, built and compiled. Without an optimizer the file has none.
        settings: whatever must be the same where the training goes on, such as the name of the data: a dict that JSON
            can hold. Default: nothing.

    Raises:
        TypeError, ValueError: if `model` is no built Keras model, or JSON cannot hold `settings`; when it is used, if
            the model carries states on several devices of TensorFlow.

    >>> import tempfile
    >>> import keras
    >>> from keras_rnn_ext import MyGRU
    >>> from keras_rnn_ext.training import Checkpoint
    >>> model = keras.Sequential([keras.Input((None, 3)), MyGRU(4, dropout=0.2)])
    >>> model.compile("adam", "mse")
    >>> checkpoint = Checkpoint(tempfile.mkdtemp() + "/training.npz", model)
    >>> checkpoint.save({"epoch": 3})
    >>> checkpoint.restore()
    {'epoch': 3}
    """

    def __init__(self, path, model, settings=None):
        if not isinstance(model, keras.Model):
            raise TypeError(
                f"Argument `model` must be a Keras model. Received: {model!r} (type {type(model).__name__})"
            )
        if not model.built:
            raise ValueError(
                "Argument `model` must be built: begin it with `keras.Input`, or call it on a batch. Received: model "
                f"{model.name!r}, which is not built"
            )
        self.path, self.model = os.fspath(path), model
        self.settings = {} if settings is None else _as_json("settings", settings)

    def _variables(self):
        """All of them once, in an order that does not depend on the process."""
        found = list(self.model.variables)
        stateful = [each for each in all_layers(self.model) if isinstance(each, keras.layers.RNN) and each.stateful]
        strategy = getattr(self.model, "distribute_strategy", None)
        # A `TruncatedBPTT` that resets its states where an epoch begins does not need them.
        forgets = getattr(self.model, "reset", "never") != "never"
        if stateful and not forgets and strategy is not None and strategy.num_replicas_in_sync > 1:
            raise ValueError(
                "Argument `model` must not carry states where TensorFlow trains on several devices: those of its "
                f"copies cannot be read. Received: stateful layers {[layer.name for layer in stateful]}"
            )
        for layer in stateful:
            found += keras.tree.flatten(layer.states or [])
        optimizer = getattr(self.model, "optimizer", None)
        if optimizer is not None:
            if not optimizer.built:
                optimizer.build(self.model.trainable_variables)
            found += optimizer.variables
        return list({id(variable): variable for variable in found}.values())

    def save(self, notes=None):
        """Writes the file.

        Args:
            notes: more to be kept, as JSON can hold it.

        Raises:
            ValueError: if JSON cannot hold `notes`.
            OSError: if the file cannot be written. The one of before is whole.
        """
        variables = self._variables()
        arrays = {str(place): _to_numpy(variable) for place, variable in enumerate(variables)}
        about = {
            "format": FORMAT,
            "backend": keras.backend.backend(),
            "settings": self.settings,
            "notes": _as_json("notes", notes),
            "variables": [_described(variable) for variable in variables],
        }
        arrays |= {"about": np.array(json.dumps(about)), **_random_states()}
        write_whole(self.path, lambda file: np.savez(file, **arrays))

    def restore(self):
        """Reads the file into the model and its optimizer.

        Returns:
            The notes.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if it is damaged, or of another model, backend or other settings. Nothing has changed then.
        """
        notes, take = self.read()
        take()
        return notes

    def read(self):
        """Reads the file and checks it, and changes nothing yet.

        Returns:
            `(notes, take)`: the notes, and a function without arguments that sets all that the file holds.

        Raises:
            FileNotFoundError, ValueError: as `restore`.
        """
        try:
            with open_arrays(self.path) as archive:
                about = json.loads(str(archive["about"]))
                version, backend, settings, notes, described = (
                    about[name] for name in ("format", "backend", "settings", "notes", "variables")
                )
                values = [archive[str(place)] for place in range(len(described))]
                set_random_states = _random_states_of(archive) if backend == keras.backend.backend() else None
            there = {**settings, "backend": backend}
            described = [[str(name), [int(size) for size in shape], str(dtype)] for name, shape, dtype in described]
        except FileNotFoundError:
            raise
        # Whatever NumPy, the archive and the parts of a file that somebody made bring about.
        except Exception as error:
            raise ValueError(
                f"Argument `path` must be a whole checkpoint. Received: {self.path!r}, which is damaged or something "
                f"else: {error}. Delete it to begin anew."
            ) from error
        if version != FORMAT:
            raise ValueError(
                f"Argument `path` must be a checkpoint of format {FORMAT}. Received: {self.path!r} of format "
                f"{version}, of another version of keras_rnn_ext."
            )
        here = {**self.settings, "backend": keras.backend.backend()}
        other = [
            f"{name} was {there.get(name)!r} and is {here.get(name)!r}"
            for name in {**here, **there}
            if here.get(name) != there.get(name)
        ]
        if other:
            raise ValueError(
                f"Argument `path` must be a checkpoint of the same training. Received: {self.path!r}, of one with "
                f"other settings: {'; '.join(other)}."
            )
        variables = self._variables()
        _check_variables(self.path, described, [_described(variable) for variable in variables])
        _check_values(self.path, described, values)

        def take():
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
            set_random_states()

        return notes, take


def _as_json(name, value):
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError) as error:
        raise ValueError(f"Argument `{name}` must be something that JSON can hold. Received: {error}") from error


def _described(variable):
    return [variable.path, list(variable.shape), keras.backend.standardize_dtype(variable.dtype)]


def _check_variables(path, there, here):
    """Names may differ, as those of a second model of the same code do; shapes and types may not."""
    if len(there) != len(here):
        raise ValueError(
            f"Argument `path` must be a checkpoint of this model and optimizer, with {len(here)} variables. Received: "
            f"{path!r} with {len(there)}."
        )
    for (name, *kind), (own_name, *own_kind) in zip(there, here, strict=True):
        if kind != own_kind:
            raise ValueError(
                "Argument `path` must be a checkpoint of this model and optimizer, with shape and type "
                f"{tuple(own_kind[0])}, {own_kind[1]} for {own_name!r}. Received: {path!r} with {tuple(kind[0])}, "
                f"{kind[1]} for {name!r}."
            )


def _check_values(path, described, values):
    """A file may say one thing of its arrays and hold another."""
    for (name, shape, dtype), value in zip(described, values, strict=True):
        expected = [*shape], "float32" if dtype == "bfloat16" else dtype
        found = [*getattr(value, "shape", [])], str(getattr(value, "dtype", type(value).__name__))
        if found != expected:
            raise ValueError(
                f"Argument `path` must be a whole checkpoint, with shape and type {tuple(expected[0])}, {expected[1]} "
                f"for {name!r}, as it says itself. Received: {path!r} with {tuple(found[0])}, {found[1]}. Delete it to "
                "begin anew."
            )


def _to_numpy(variable):
    array = keras.ops.convert_to_numpy(variable.value)
    # NumPy has no bfloat16 of its own; all its values are float32, too.
    return array.astype("float32") if array.dtype.name == "bfloat16" else array


# Random numbers that belong to nobody: the order in which `fit` shuffles comes from these, and on PyTorch dropout
# without a seed.


def _random_states():
    version, numbers, gauss = random.getstate()
    name, keys, *place = np.random.get_state()  # noqa: NPY002 - Keras draws from it
    found = {
        "python_random": np.array(json.dumps([version, numbers, gauss])),
        "numpy_random": np.array(json.dumps([name, keys.tolist(), *place])),
    }
    if keras.backend.backend() == "torch":
        torch = sys.modules["torch"]
        found["torch_random"] = torch.get_rng_state().numpy()
        found |= {f"cuda_random_{place}": each.numpy() for place, each in enumerate(torch.cuda.get_rng_state_all())}
    return found


def _random_states_of(arrays):
    """A function that sets the states in the arrays of a file, after each was tried on a generator of nobody's."""
    version, numbers, gauss = json.loads(str(arrays["python_random"]))
    python_state = (version, tuple(numbers), gauss)
    random.Random().setstate(python_state)
    name, keys, *place = json.loads(str(arrays["numpy_random"]))
    numpy_state = (name, np.array(keys, "uint32"), *place)
    np.random.RandomState().set_state(numpy_state)
    torch, torch_state, devices = sys.modules.get("torch"), None, []
    if keras.backend.backend() == "torch":
        torch_state = torch.from_numpy(arrays["torch_random"])
        torch.Generator().set_state(torch_state)
        names = sorted(name for name in arrays if name.startswith("cuda_random_"))
        if len(names) == torch.cuda.device_count():
            devices = [torch.from_numpy(arrays[name]) for name in names]
        for number, state in enumerate(devices):
            torch.Generator(f"cuda:{number}").set_state(state)

    def set_all():
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        if torch_state is not None:
            torch.set_rng_state(torch_state)
            torch.cuda.set_rng_state_all(devices)

    return set_all
