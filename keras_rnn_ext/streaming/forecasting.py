"""A model run on from the end of a series, its outputs fed back."""

import random as python_random

import keras
import numpy as np
from keras import ops

from keras_rnn_ext.streaming.programs import blocks, compiled
from keras_rnn_ext.streaming.stream import Stream


def forecast(model, history, steps, feedback=None, covariates=None, samples=None, seed=None, *, distribution=None):
    """What a model expects after the end of a series: its outputs are its next inputs.

    The model reads the history, several steps at a time; what it gives at the last step is the first value of the
    forecast. From there on it runs in one compiled loop:

        values[0] = draw(model(history))            draw: `distribution`, or the outputs as they are
        inputs[t] = feedback(values[t], covariates[t])
        values[t + 1] = draw(model(inputs[t]))

    Args:
        model: as for `Stream`, of one input `(batch, steps, features)` and one output: at each step, or after the last.
        history: an array `(batch, steps, features)`, or a list of arrays `(steps, features)` of different lengths; or
            one such array, for one series.
        steps: int from 1, how far to look ahead.
        feedback: a function `(values, covariates)` that gives the next inputs `(rows, features)`, written with
            `keras.ops`; `values` is `(rows, outputs)`, and `covariates` `(rows, known features)` or None. Default: the
            values, followed by the covariates.
        covariates: array `(batch, steps, known features)`, what is known of the steps ahead, such as the day of the
            week; for one series also `(steps, known features)`. Row t belongs to the value of step t. Default None.
        samples: int, how many courses to draw for each series, each fed back its own values. Default None: one.
        seed: int from 0. The same seed gives the same samples. Default None: drawn from Python's `random`, which
            `keras.utils.set_random_seed` sets.
        distribution: a function `(outputs, seed)` that draws values `(rows, values)` from what the model gave,
            `(rows, outputs)`, with functions of `keras.random` and that `seed`. Default None: the outputs are the
            values.

    Returns:
        An array `(batch, steps, values)`; with `samples`, `(samples, batch, steps, values)`, of which
        `np.quantile(result, [0.05, 0.5, 0.95], axis=0)` gives a band; without the batch for one series.

    Raises:
        TypeError, ValueError: as `Stream`; or if an argument does not fit the model or the others.

    >>> import keras
    >>> import numpy as np
    >>> from keras_rnn_ext import MyDense, MyGRU
    >>> from keras_rnn_ext.streaming import forecast
    >>> model = keras.Sequential([keras.Input((None, 1)), MyGRU(8, return_sequences=True), MyDense(1)])
    >>> series = np.sin(np.arange(50) / 5)[:, None]
    >>> forecast(model, series, steps=10).shape
    (10, 1)

    With a normal distribution around each value, and a band that holds nine of ten courses:

    >>> def normal(outputs, seed):
    ...     return outputs + 0.1 * keras.random.normal(keras.ops.shape(outputs), seed=seed)
    >>> courses = forecast(model, series, steps=10, samples=100, seed=1, distribution=normal)
    >>> low, high = np.quantile(courses, [0.05, 0.95], axis=0)
    >>> courses.shape, low.shape
    ((100, 10, 1), (10, 1))
    """
    steps = _integer("steps", steps)
    if samples is not None:
        samples = _integer("samples", samples)
        if distribution is None:
            raise ValueError("Argument `samples` needs a `distribution` to draw from. Received: distribution=None")
    rows, is_one = _series(history)
    known = _known(covariates, len(rows), steps, is_one)
    seed = python_random.randrange(2**31) if seed is None else _integer("seed", seed, 0)
    seed = int(np.random.SeedSequence(seed).generate_state(1)[0]) >> 1

    stream = Stream(model, len(rows))
    if len(stream._inputs) > 1 or len(stream._one.has_steps) > 1:
        raise ValueError(
            f"Argument `model` must have one input and one output. Received: model {model.name!r}. Put several inputs "
            "side by side with `keras.ops.concatenate`."
        )
    outputs = _read(stream, rows)
    count = samples or 1
    loop = _Loop(stream, feedback, distribution, seed, count * len(rows))
    # The samples of a series stand together.
    values = loop.run(
        np.repeat(outputs, count, axis=0), None if known is None else np.repeat(known, count, axis=0), steps
    )
    values = values.reshape(len(rows), count, *values.shape[1:]).swapaxes(0, 1)
    values = values if samples else values[0]
    return values[..., 0, :, :] if is_one else values


def _integer(name, value, least=1):
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"Argument `{name}` must be an int from {least}. Received: {name}={value!r}")
    return int(value)


def _series(history):
    """The series as a list of arrays `(steps, features)`, and whether one was given alone."""
    history = ops.convert_to_numpy(history) if ops.is_tensor(history) else history
    is_one = isinstance(history, np.ndarray) and history.ndim == 2
    rows = [np.asarray(row) for row in ([history] if is_one else history)]
    if not rows or any(row.ndim != 2 or not len(row) for row in rows) or len({row.shape[1] for row in rows}) > 1:
        raise ValueError(
            "Argument `history` must be an array (batch, steps, features), or a list of arrays (steps, features) with "
            f"at least one step each. Received: shapes {[row.shape for row in rows]}"
        )
    return rows, is_one


def _known(covariates, batch, steps, is_one):
    if covariates is None:
        return None
    known = np.asarray(ops.convert_to_numpy(covariates) if ops.is_tensor(covariates) else covariates)
    known = known[None] if is_one and known.ndim == 2 else known
    if known.ndim != 3 or known.shape[:2] != (batch, steps):
        raise ValueError(
            f"Argument `covariates` must have the shape ({batch}, {steps}, known features): the series, the steps "
            f"ahead. Received: shape {np.shape(covariates)}"
        )
    return known


def _read(stream, rows):
    """What the model gives at the end of each series; all of them end together."""
    lengths = np.array([len(row) for row in rows])
    begins = lengths.max() - lengths
    outputs = None
    # From where one more series begins to where the next does.
    for begin, end in zip(np.unique(begins), [*np.unique(begins)[1:], lengths.max()], strict=True):
        started = np.flatnonzero(begins <= begin)
        block = np.stack([rows[row][begin - begins[row] : end - begins[row]] for row in started])
        outputs = stream.steps(block, rows=None if len(started) == len(rows) else started)
    if not isinstance(outputs, np.ndarray):
        outputs = keras.tree.flatten(outputs)[0]
    return outputs[:, -1] if stream._one.has_steps[0] else outputs


class _StepSeed(keras.random.SeedGenerator):
    """The random numbers of one step: drawn from a number that the loop hands in, so that nothing is kept."""

    def __init__(self, seed, time, dtype):
        # Without the variable that other generators keep.
        self._seed, self._time, self._dtype, self._calls = seed, time, dtype, 0

    def next(self, ordered=True):
        # Times an odd number, so that the draws of a step and those of its neighbours have no seed in common.
        other = self._calls * 0x9E3779B1 % 2**31
        self._calls += 1
        return ops.cast(ops.stack([ops.bitwise_xor(self._seed, other), self._time]), self._dtype)


class _Loop:
    """The compiled loop of a forecast."""

    def __init__(self, stream, feedback, distribution, seed, rows):
        self.step, self.feedback, self.distribution = stream._one, feedback or _side_by_side, distribution
        self.seed, self.seed_dtype = seed, keras.random.SeedGenerator(0).state.dtype
        self.rows = rows
        self.states = [ops.repeat(state, rows // stream.batch_size, axis=0) for state in stream._states]
        self.programs = {}

    def run(self, outputs, known, steps):
        """The values of all rows: `(rows, steps, values)`."""
        seed = ops.convert_to_tensor(np.asarray(self.seed, "int32"))
        values = self._draw(ops.convert_to_tensor(outputs), seed, ops.convert_to_tensor(np.asarray(0, "int32")))
        self._check_feedback(values, None if known is None else ops.convert_to_tensor(known[:, 0].astype("float32")))
        found, first, carry = [], 0, [values, *self.states]
        for length in blocks(steps):
            if length not in self.programs:
                self.programs[length] = compiled(self._program(length), self.step.model, self.rows)
            ahead = () if known is None else (np.swapaxes(known[:, first : first + length], 0, 1).astype("float32"),)
            begin = np.asarray(first, "int32")
            made, *carry = self.programs[length](carry, seed, *map(ops.convert_to_tensor, (begin, *ahead)))
            found.append(np.swapaxes(ops.convert_to_numpy(made), 0, 1))
            first += length
        return np.concatenate(found, axis=1)

    def _check_feedback(self, values, covariates):
        inputs = self.feedback(values, covariates)
        expected = (self.rows, *self.step.model.inputs[0].shape[2:])
        if tuple(inputs.shape) != expected:
            raise ValueError(
                f"Argument `feedback` must give inputs of the shape {expected}, for {tuple(values.shape)} values and "
                f"{'no' if covariates is None else tuple(covariates.shape)} covariates. Received: shape "
                f"{tuple(inputs.shape)}"
            )

    def _draw(self, outputs, seed, time):
        return (
            outputs if self.distribution is None else self.distribution(outputs, _StepSeed(seed, time, self.seed_dtype))
        )

    def _program(self, length):
        model, has_steps = self.step.model, self.step.has_steps[0]

        def program(carry, seed, begin, *known):
            def turn(place, made, values, *states):
                made = ops.where(ops.reshape(ops.arange(length, dtype="int32"), (-1, 1, 1)) == place, values, made)
                inputs = self.feedback(
                    values, *(None if each is None else ops.take(each, place, axis=0) for each in known or (None,))
                )
                inputs = ops.cast(inputs, model.inputs[0].dtype)[:, None]
                outputs, *states = model([inputs, *states], training=False)
                drawn = self._draw(outputs[:, 0] if has_steps else outputs, seed, begin + place + 1)
                return place + 1, made, ops.cast(drawn, values.dtype), *states

            made = ops.zeros((length, *carry[0].shape), carry[0].dtype)
            start = (ops.zeros((), dtype="int32"), made, *carry)
            _, *found = ops.while_loop(lambda place, *rest: place < length, turn, start)
            return found

        return program


def _side_by_side(values, covariates):
    return values if covariates is None else ops.concatenate([values, ops.cast(covariates, values.dtype)], axis=-1)
