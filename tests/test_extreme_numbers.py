"""Inputs that are not finite, huge or denormal: what the equations give, on every strategy, and nothing beyond.

Each layer is run on two rows. One has an extreme number in one step; the other has none, and must not notice.
"""

import functools

import keras
import numpy as np
import pytest
from keras import ops

import keras_rnn_ext as ext
from keras_rnn_ext.core import strategy
from keras_rnn_ext.engine.loops import Loop, ProjectedLoop
from keras_rnn_ext.testing import oracle
from tests.helpers import BACKEND, assert_close
from tests.oracles import gru, lstm

STEPS, PLACE, UNITS = 5, 2, 4
EXTREMES = [np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-40]
MAKE = {
    "MySimpleRNN": ext.MySimpleRNN,
    "MySimpleRNN with relu": functools.partial(ext.MySimpleRNN, activation="relu"),
    "MyLSTM": ext.MyLSTM,
    "MyGRU": ext.MyGRU,
    "MinGRU": ext.MinGRU,
    "LRU": ext.LRU,
    "SLSTM": ext.SLSTM,
    "MLSTM": ext.MLSTM,
    "LayerNormLSTM": ext.LayerNormLSTM,
}
# Those whose states are finite, whatever the inputs are but NaN.
BOUNDED = ("MySimpleRNN", "MyLSTM", "MyGRU")


class Both:
    """A layer's fastest strategies and its plain loop, each as a function from inputs to values and gradients."""

    def __init__(self, name):
        keras.utils.set_random_seed(1)
        self.layer = MAKE[name](UNITS, return_sequences=True, return_state=True)
        self.layer.build((2, STEPS, 2))
        inputs = ops.convert_to_tensor(usual())
        _, plan, feed, _ = self.layer.prepare(inputs, self.layer.get_initial_state(2), None, True)
        rows = [row for row in strategy.engine().strategies if row.obstacle(plan) is None]
        own = [row for row in rows if not isinstance(row, (Loop, ProjectedLoop))]
        self.loop = self._run(rows[-1], plan, feed)
        self.rows = {row.name: self._run(row, plan, feed) for row in own or rows[-2:-1]}

    def _run(self, row, plan, feed):
        backend = strategy.engine()
        parts = (feed.states, feed.weights)

        def values(tensors):
            inputs, *others = tensors
            states, weights = keras.tree.pack_sequence_as(parts, others)
            return keras.tree.flatten(row.run(plan, feed._replace(inputs=inputs, states=states, weights=weights)))

        def loss(tensors):
            return sum((place + 1) * ops.sum(value) for place, value in enumerate(values(tensors)))

        def both(inputs):
            tensors = [inputs, *keras.tree.flatten(parts)]
            return values(tensors), backend.gradients(loss, tensors)

        # Where a strategy needs no graph, to run it eagerly takes less time than to make one.
        both = backend.compile(both) if BACKEND == "jax" or row.name == "block loop" else both

        def run(inputs):
            found = both(ops.convert_to_tensor(np.swapaxes(inputs, 0, 1)))
            return keras.tree.map_structure(lambda each: np.array(ops.convert_to_numpy(each)), found)

        return run


@functools.cache
def both(name):
    return Both(name)


def usual():
    return np.random.default_rng(3).normal(size=(2, STEPS, 2)).astype("float32")


def extreme(value):
    inputs = usual()
    inputs[0, PLACE, 0] = value
    return inputs


def assert_alike(found, expected, what):
    """The same numbers where they are finite, and none that is finite where they are not."""
    for place, (one, other) in enumerate(zip(found, expected, strict=True)):
        finite = np.isfinite(other)
        np.testing.assert_array_equal(np.isfinite(one), finite, f"{what} {place}: what is finite")
        scale = np.abs(other[finite]).max(initial=1.0)
        assert np.abs(one[finite] - other[finite]).max(initial=0.0) <= 1e-5 * scale, f"{what} {place}"


@pytest.mark.parametrize("name", MAKE)
def test_every_strategy_gives_what_the_plain_loop_gives(name):
    """The gradients, too, wherever there is something to be differentiated: no infinity times zero of its own."""
    for value in EXTREMES:
        inputs = extreme(value)
        expected, expected_gradients = both(name).loop(inputs)
        for row, run in both(name).rows.items():
            found, gradients = run(inputs)
            assert_alike(found, expected, f"{row}, {value}: value")
            if not all(np.isfinite(each).all() for each in expected):
                continue
            for place, (one, other) in enumerate(zip(gradients, expected_gradients, strict=True)):
                finite = np.isfinite(other)
                assert np.isfinite(one[finite]).all(), f"{row}, {value}: gradient {place} is not finite"
                # Products of 1e30 with what is left of a sum that cancels.
                if abs(value) < 1:
                    assert_close(one, other, 1e-4, f"{row}, {value}: gradient {place}", scale=1.0)


@pytest.mark.parametrize("name", MAKE)
def test_nan_reaches_no_earlier_step_and_no_other_row(name):
    clean, _ = both(name).loop(usual())
    for value in (np.nan, np.inf, 1e30):
        for row, run in {"loop": both(name).loop, **both(name).rows}.items():
            (outputs, *states), (d_inputs, *_) = run(extreme(value))
            assert_alike([outputs[:PLACE]], [clean[0][:PLACE]], f"{row}, {value}: earlier steps")
            assert_alike([outputs[:, 1]], [clean[0][:, 1]], f"{row}, {value}: the other row")
            assert_alike([each[1] for each in states], [each[1] for each in clean[1:]], f"{row}: its states")
            assert np.isfinite(d_inputs[:, 1]).all(), f"{row}, {value}: its gradient"
            if np.isnan(value):
                assert np.isnan(outputs[PLACE:, 0]).all(), f"{row}: the steps from NaN on"


@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e30, -1e30])
def test_saturated_gates_give_finite_states(name, value):
    for run in (both(name).loop, *both(name).rows.values()):
        (outputs, *states), _ = run(extreme(value))
        assert np.abs(outputs).max() <= 1
        assert all(np.isfinite(each).all() for each in states)


@pytest.mark.parametrize(("name", "cell"), [("MyLSTM", lstm), ("MyGRU", gru)])
def test_huge_numbers_are_those_of_the_oracle(name, cell):
    layer = both(name).layer
    weights = {each.name: ops.convert_to_numpy(each).astype("float64") for each in layer.cell.weights}
    states = [np.zeros((2, UNITS)) for _ in layer.get_initial_state(2)]
    for value in (1e30, -1e30, 1e-40):
        inputs = extreme(value)
        expected, _ = oracle.run(cell.step, inputs.astype("float64"), states, weights, layer.cell.get_config())
        assert_close(np.swapaxes(both(name).loop(inputs)[0][0], 0, 1), expected, 1e-6)


def test_relu_overflows_to_infinity():
    """Up or down: what is not positive is zero."""
    name = "MySimpleRNN with relu"
    for run in (both(name).loop, *both(name).rows.values()):
        up, down = (run(extreme(value))[0][0][PLACE, 0] for value in (np.inf, -np.inf))
        np.testing.assert_array_equal(np.sort([up, down], axis=0), [[0.0] * UNITS, [np.inf] * UNITS])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("make", [ext.MyLSTM, ext.MyGRU, ext.MinGRU], ids=lambda make: make.__name__)
def test_the_largest_numbers_of_sixteen_bits(policy, make):
    """65504 is the largest of float16; a product with it overflows, and the gates saturate as at infinity."""
    layer = make(UNITS, return_sequences=True, dtype=policy)
    inputs = ops.cast(ops.convert_to_tensor(extreme(65504.0)), layer.compute_dtype)
    outputs = np.array(ops.convert_to_numpy(ops.cast(layer(inputs), "float32")))
    clean = np.array(ops.convert_to_numpy(ops.cast(layer(ops.cast(usual(), layer.compute_dtype)), "float32")))
    np.testing.assert_array_equal(outputs[1], clean[1])
    np.testing.assert_array_equal(outputs[0, :PLACE], clean[0, :PLACE])
    if make is not ext.MinGRU:
        assert np.abs(outputs).max() <= 1
