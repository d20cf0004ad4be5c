"""A trained model of sequences that gets its steps as they come."""

import threading

import keras
import numpy as np
from keras import ops

from keras_rnn_ext.core.files import open_arrays, write_whole
from keras_rnn_ext.core.state import row_mask
from keras_rnn_ext.core.strategy import engine
from keras_rnn_ext.streaming.programs import blocks, compiled
from keras_rnn_ext.streaming.step import take_apart

# More steps than these are not written out one by one.
MOST_WRITTEN_OUT = 8


class Stream:
    """Runs a trained model of sequences on steps as they come, and keeps its states from one to the next.

    What it gives is what the model gives at that step of the whole sequence. A step is one call of a compiled program,
    and takes a fraction of a millisecond for a small model, where `model.predict` takes tens.

    Args:
        model: as for `step_model`: a Sequential, functional or subclassed model of recurrent layers, causal
            convolutions, and layers that work on each step by itself. It may be trained on meanwhile: the stream uses
            its weights as they are.
        batch_size: int, how many sequences, such as sensors, are followed side by side: its rows. Default 1.

    Raises:
        TypeError, ValueError: as `step_model`; or if `batch_size` is no int from 1.

    Threads may call one stream: each call has it to itself.

    >>> import keras
    >>> import numpy as np
    >>> from keras_rnn_ext import MyDense, MyLSTM
    >>> from keras_rnn_ext.streaming import Stream
    >>> model = keras.Sequential([keras.Input((None, 3)), MyLSTM(8, return_sequences=True), MyDense(1)])
    >>> stream = Stream(model)
    >>> sequence = np.random.default_rng(0).normal(size=(1, 20, 3)).astype("float32")
    >>> outputs = [stream.step(sequence[:, time]) for time in range(20)]
    >>> outputs[0].shape, bool(np.allclose(np.stack(outputs, axis=1), model.predict(sequence, verbose=0), atol=1e-6))
    ((1, 1), True)
    """

    def __init__(self, model, batch_size=1):
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"Argument `batch_size` must be an int from 1. Received: batch_size={batch_size!r}")
        self.model, self.batch_size = model, batch_size
        self._taken_apart, self._programs = {1: take_apart(model)}, {}
        self._one, self._names = self._taken_apart[1], self._taken_apart[1].names()
        self._inputs = keras.tree.flatten(self._one.inputs)
        counts = [len(keras.tree.flatten(part.step.initial_states(1))) for part in self._one.parts]
        self._counts = dict(zip(self._names, counts, strict=True))
        self._lock = threading.RLock()
        self.reset()

    # Steps

    def step(self, inputs, rows=None):
        """One step.

        Args:
            inputs: an array `(batch_size, ...)` as the model takes it, without the axis of steps; for a model of
                several inputs a list or dict of such, as the model takes them.
            rows: row numbers, or a mask of booleans `(batch_size,)`: `inputs` and outputs have these rows alone, in
                this order, and the others wait. Default: all rows.

        Returns:
            What the model gives at this step, as NumPy arrays `(rows, ...)` without the axis of steps.

        Raises:
            ValueError: if `inputs` or `rows` do not fit.
        """
        rows = self._rows(rows)
        arrays = [array[:, None] for array in self._arrays(inputs, rows, ())]
        with self._lock:
            outputs = self._run(arrays, 1, rows)
        return self._structured(
            [each[:, 0] if timed else each for each, timed in zip(outputs, self._one.has_steps, strict=True)]
        )

    def steps(self, inputs, rows=None):
        """Several steps at once, which is faster than one by one.

        Args:
            inputs: as for `step`, with the axis of steps: `(batch_size, steps, ...)`.
            rows: as for `step`.

        Returns:
            What the model gives at these steps: `(rows, steps, ...)`, or for a model that gives its last output alone
            `(rows, ...)`.

        Raises:
            ValueError: if `inputs` or `rows` do not fit.

        Any number of steps is made up of blocks of 1, 2, 4 up to 256 steps, so that there are at most nine programs.
        """
        rows = self._rows(rows)
        arrays = self._arrays(inputs, rows, (None,))
        count = arrays[0].shape[1]
        if count < 1 or any(array.shape[1] != count for array in arrays):
            raise ValueError(
                "Argument `inputs` must have at least one step, and the same number in all arrays. Received: shapes "
                f"{[array.shape for array in arrays]}"
            )
        pieces, first = [], 0
        with self._lock:
            for length in blocks(count):
                pieces.append(self._run([array[:, first : first + length] for array in arrays], length, rows))
                first += length
        return self._structured(
            [
                np.concatenate(each, axis=1) if timed else each[-1]
                for each, timed in zip(zip(*pieces, strict=True), self._one.has_steps, strict=True)
            ]
        )

    def _run(self, arrays, steps, rows):
        """The outputs of a block for some rows, or None for all; the states go on."""
        if rows is None:
            found = self._program(steps, False)(self._states, *map(ops.convert_to_tensor, arrays))
        else:
            whole = [np.zeros((self.batch_size, *array.shape[1:]), array.dtype) for array in arrays]
            for place, array in zip(whole, arrays, strict=True):
                place[rows] = array
            active = np.zeros(self.batch_size, bool)
            active[rows] = True
            found = self._program(steps, True)(
                self._states, *map(ops.convert_to_tensor, whole), ops.convert_to_tensor(active)
            )
        outputs, self._states = found
        outputs = [_to_numpy(each) for each in outputs]
        return outputs if rows is None else [each[rows] for each in outputs]

    def _program(self, steps, with_rows):
        if (steps, with_rows) not in self._programs:
            if steps not in self._taken_apart:
                self._taken_apart[steps] = take_apart(self.model, steps)
            model = self._taken_apart[steps].model

            def program(states, *tensors):
                tensors, active = (tensors[:-1], tensors[-1]) if with_rows else (tensors, None)
                found = model([*tensors, *states], training=False)
                outputs, new = found[: -len(states)], found[-len(states) :]
                if with_rows:
                    new = [
                        ops.where(ops.reshape(active, (-1, *(1,) * (len(each.shape) - 1))), each, old)
                        for each, old in zip(new, states, strict=True)
                    ]
                return outputs, new

            # Long blocks are large products, which need no fusing and take long to compile with it.
            self._programs[steps, with_rows] = compiled(
                program, model, self.batch_size * steps, steps > MOST_WRITTEN_OUT
            )
        return self._programs[steps, with_rows]

    # States

    @property
    def state(self):
        """The states of all rows: a dict from the path of a layer to a list of arrays, the batch first.

        They are as `get_states(model)` gives those of stateful layers. Set it to go on from there.
        """
        with self._lock:
            arrays = iter([np.array(_to_numpy(state)) for state in self._states])
        return {name: [next(arrays) for _ in range(count)] for name, count in self._counts.items()}

    @state.setter
    def state(self, states):
        expected = {name: self._counts[name] for name in self._names}
        given = states if hasattr(states, "items") else {}
        flat = {name: keras.tree.flatten(value) for name, value in given.items()}
        if {name: len(arrays) for name, arrays in flat.items()} != expected:
            raise ValueError(
                "Argument `state` must be a dict as `Stream.state` gives it, with so many arrays a layer: "
                f"{expected}. Received: {({name: len(arrays) for name, arrays in flat.items()}) or states!r}"
            )
        tensors = []
        for name in self._names:
            for array in flat[name]:
                old = self._states[len(tensors)]
                array = np.asarray(_to_numpy(array) if ops.is_tensor(array) else array)
                if array.shape != tuple(old.shape):
                    raise ValueError(
                        f"Argument `state` must hold arrays of the shape {tuple(old.shape)} for {name!r}. Received: "
                        f"shape {array.shape}"
                    )
                if array.dtype.kind in "OSUMmc":
                    raise ValueError(
                        f"Argument `state` must hold arrays of numbers for {name!r}. Received: {array.dtype}"
                    )
                tensors.append(ops.convert_to_tensor(array, dtype=old.dtype))
        with self._lock:
            self._states = tensors

    def reset(self, rows=None):
        """Puts the states back to what a sequence starts with.

        Args:
            rows: row numbers, or a mask of booleans `(batch_size,)`, as when a sensor joins in the place of another;
                the other rows stay. Default: all rows.

        Raises:
            ValueError: if `rows` do not fit.
        """
        with self._lock, engine().inference():
            start = [ops.stop_gradient(state) for state in self._one.initial_states(self.batch_size)]
            if rows is not None:
                chosen = row_mask(rows, self.batch_size)
                start = [
                    ops.where(np.reshape(chosen, (-1, *(1,) * (len(new.shape) - 1))), new, old)
                    for new, old in zip(start, self._states, strict=True)
                ]
            self._states = start

    def save(self, path):
        """Writes the states into a file, whole or not at all.

        Args:
            path: of the file, a NumPy archive; `.npz` is usual.
        """
        arrays = {f"{name}/{place}": each for name, states in self.state.items() for place, each in enumerate(states)}
        write_whole(path, lambda file: np.savez(file, **arrays))

    def restore(self, path):
        """Goes on from the states in a file that `save` wrote.

        Args:
            path: of the file.

        Raises:
            TypeError: if `path` is no path.
            FileNotFoundError: if there is none.
            ValueError: if it is no such file, or one of another model or batch size. The states stay then.
        """
        wanted = [f"{name}/{place}" for name, count in self._counts.items() for place in range(count)]
        try:
            with open_arrays(path) as archive:
                found = sorted(archive.files)
                arrays = {name: archive[name] for name in wanted} if found == sorted(wanted) else None
        except (FileNotFoundError, TypeError):
            raise
        except Exception as error:
            raise ValueError(
                f"Argument `path` must be a file that `Stream.save` wrote. Received: {str(path)!r}: {error}"
            ) from error
        if arrays is None:
            raise ValueError(
                f"Argument `path` must be a file with the states {wanted}. Received: {str(path)!r} with {found}"
            )
        self.state = {
            name: [arrays[f"{name}/{place}"] for place in range(count)] for name, count in self._counts.items()
        }

    # Arguments

    def _rows(self, rows):
        if rows is None:
            return None
        chosen = row_mask(rows, self.batch_size)
        rows = np.asarray(rows)
        rows = np.flatnonzero(chosen) if rows.dtype == bool else rows.astype(int) % self.batch_size
        if len(rows) != chosen.sum():
            raise ValueError(f"Argument `rows` must name each row once. Received: rows={rows.tolist()}")
        return rows

    def _arrays(self, inputs, rows, steps):
        """The inputs as a flat list of arrays, checked; `steps` stands between batch and features."""
        structure = self._one.inputs
        if len(self._inputs) == 1:
            flat = keras.tree.flatten(structure)
            given = keras.tree.flatten(inputs) if isinstance(inputs, dict) else [inputs]
            if isinstance(structure, (list, tuple)) and isinstance(inputs, (list, tuple)) and len(inputs) == 1:
                given = list(inputs)
        else:
            try:
                keras.tree.assert_same_structure(structure, inputs)
            except (ValueError, TypeError) as error:
                raise ValueError(
                    "Argument `inputs` must have the structure of the model's inputs, "
                    f"{keras.tree.map_structure(lambda each: each.name, structure)}. Received: {type(inputs).__name__}"
                ) from error
            flat, given = keras.tree.flatten(structure), keras.tree.flatten(inputs)
        batch = self.batch_size if rows is None else len(rows)
        arrays = []
        for tensor, array in zip(flat, given, strict=True):
            array = np.asarray(_to_numpy(array) if ops.is_tensor(array) else array)
            expected = (batch, *steps, *tensor.shape[2:])
            if len(array.shape) != len(expected) or any(
                size not in (None, there) for size, there in zip(expected, array.shape, strict=True)
            ):
                raise ValueError(
                    f"Argument `inputs` must have the shape {_in_words(expected, bool(steps))} for {tensor.name!r}. "
                    f"Received: shape {array.shape}"
                )
            # NumPy has no bfloat16 of its own.
            dtype = "float32" if tensor.dtype == "bfloat16" else tensor.dtype
            arrays.append(array if array.dtype == dtype or dtype == "string" else _as(array, dtype, tensor.name))
        return arrays

    def _structured(self, outputs):
        return keras.tree.pack_sequence_as(self._one.outputs, outputs)


def _as(array, dtype, name):
    """The same values in another type; ids do not lose their decimals."""
    converted = array.astype(dtype)
    if converted.dtype.kind in "iub" and array.dtype.kind == "f" and not np.array_equal(converted, array):
        raise ValueError(
            f"Argument `inputs` must hold values of the type {dtype} for {name!r}. Received: {array.dtype}"
        )
    return converted


def _in_words(shape, has_steps):
    sizes = ["steps" if has_steps and place == 1 else str(size) for place, size in enumerate(shape)]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


def _to_numpy(tensor):
    array = ops.convert_to_numpy(tensor)
    return array.astype("float32") if array.dtype.name == "bfloat16" else array
