"""A checkpoint of TensorFlow as a mapping."""

import glob
import importlib
import os
from collections.abc import Mapping


class Checkpoint(Mapping):
    """The arrays of a checkpoint by name, each read when it is asked for.

    Raises:
        ValueError: if there is none, or it is damaged or something else.
    """

    def __init__(self, path):
        # TensorFlow may not be the backend: only looked for here.
        tensorflow = importlib.import_module("tensorflow")
        # TensorFlow gives some of its errors as Python's.
        self._path, self._errors = os.fspath(path), (tensorflow.errors.OpError, ValueError, IndexError, RuntimeError)
        for name in (self._path, os.path.join(self._path, "checkpoint"), *glob.glob(glob.escape(self._path) + ".*")):
            # TensorFlow would wait for a pipe.
            if os.path.exists(name) and not os.path.isfile(name) and not os.path.isdir(name):
                raise self._unusable(f"{name!r} is neither a file nor a folder")
        try:
            self._reader = tensorflow.train.load_checkpoint(self._path)
        except self._errors as error:
            raise self._unusable(error) from error

    def _unusable(self, reason):
        return ValueError(
            "Argument `arrays` must be the path of a whole checkpoint of TensorFlow, without the ending `.index`. "
            f"Received: {self._path!r}: {reason}"
        )

    def __getitem__(self, name):
        if name not in self:
            raise KeyError(name)
        try:
            return self._reader.get_tensor(name)
        except self._errors as error:
            raise self._unusable(error) from error

    def __contains__(self, name):
        return self._reader.has_tensor(name)

    def __iter__(self):
        return iter(self._reader.get_variable_to_shape_map())

    def __len__(self):
        return len(self._reader.get_variable_to_shape_map())
