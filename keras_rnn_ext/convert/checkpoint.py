"""A checkpoint of TensorFlow as a mapping."""

import importlib
import os
from collections.abc import Mapping


class Checkpoint(Mapping):
    """The arrays of a checkpoint by name, each read when it is asked for."""

    def __init__(self, path):
        # TensorFlow may not be the backend: only looked for here.
        self._reader = importlib.import_module("tensorflow").train.load_checkpoint(os.fspath(path))

    def __getitem__(self, name):
        if name not in self:
            raise KeyError(name)
        return self._reader.get_tensor(name)

    def __contains__(self, name):
        return self._reader.has_tensor(name)

    def __iter__(self):
        return iter(self._reader.get_variable_to_shape_map())

    def __len__(self):
        return len(self._reader.get_variable_to_shape_map())
