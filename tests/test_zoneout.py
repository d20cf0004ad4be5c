"""Zoneout: its rates, its expectation, what of it is exact, and what it refuses."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_rnn_ext import (
    CoRNNCell,
    MinGRUCell,
    MyBidirectional,
    MyGRUCell,
    MyLSTMCell,
    MyRNN,
    MySimpleRNNCell,
    MyStackedRNNCells,
    SLSTMCell,
    ZoneoutWrapper,
)
from tests.helpers import BACKEND, assert_close, to_numpy

X = np.random.default_rng(0).normal(size=(3, 9, 4)).astype("float32")


def layers(cell, *rates, **options):
    """A layer with zoneout and one without, of the same weights."""
    zoned, plain = MyRNN(ZoneoutWrapper(cell(5), *rates, **options), return_sequences=True), None
    plain = MyRNN(cell(5), return_sequences=True)
    for layer in (zoned, plain):
        layer.build(X.shape)
    plain.set_weights(zoned.get_weights())
    return zoned, plain


@pytest.mark.parametrize("cell", [MyLSTMCell, MyGRUCell, MySimpleRNNCell, MinGRUCell, CoRNNCell, SLSTMCell])
def test_rates_of_zero_change_nothing(cell):
    zoned, plain = layers(cell, 0.0, 0.0)
    for training in (False, True):
        np.testing.assert_array_equal(to_numpy(zoned(X, training=training)), to_numpy(plain(X, training=training)))


def test_at_inference_states_are_mixed():
    zoned, plain = layers(MyLSTMCell, 0.3, 0.6)
    h = c = np.zeros((3, 5), "float32")
    expected = []
    for step in range(9):
        _, (new_h, new_c) = plain.cell(X[:, step], [h, c])
        h = 0.3 * h + 0.7 * to_numpy(new_h)
        c = 0.6 * c + 0.4 * to_numpy(new_c)
        expected.append(h)
    assert_close(to_numpy(zoned(X)), np.stack(expected, 1), 1e-6)
    # And no random number is drawn.
    np.testing.assert_array_equal(to_numpy(zoned(X)), to_numpy(zoned(X)))


@pytest.mark.parametrize("cell", [MySimpleRNNCell, MinGRUCell])
def test_in_training_each_value_is_the_old_or_the_new_one(cell):
    zoned, plain = layers(cell, 0.25, seed=3)
    wide = np.random.default_rng(1).normal(size=(200, 9, 4)).astype("float32")
    outputs = to_numpy(zoned(wide, training=True))
    kept = []
    state = np.zeros((200, 5), "float32")
    for step in range(9):
        new = to_numpy(plain.cell(wide[:, step], [state])[0])
        is_old, is_new = (np.abs(outputs[:, step] - each) < 1e-5 for each in (state, new))
        assert (is_old | is_new).all()
        kept.append(is_old)
        state = outputs[:, step]
    # 9,000 draws: four standard deviations are 0.018.
    assert abs(np.mean(kept) - 0.25) < 0.02
    # A mask of its own for each step.
    assert not (np.stack(kept)[1:] == np.stack(kept)[:-1]).all()


def test_seeds_and_draws():
    def outputs(seed):
        layer, _ = layers(MyLSTMCell, 0.3, 0.3, seed=seed)
        layer.set_weights([np.full(weight.shape, 0.1, "float32") for weight in layer.get_weights()])
        return to_numpy(layer(X, training=True)), to_numpy(layer(X, training=True))

    (first, second), (again, _), (other, _) = outputs(1), outputs(1), outputs(2)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - second).max() > 1e-3
    assert np.abs(first - other).max() > 1e-3


def test_it_works_in_keras_in_a_stack_and_in_both_directions():
    cell = ZoneoutWrapper(MyLSTMCell(5), 0.3, 0.6)
    ours = MyRNN(cell, return_sequences=True)
    expected = to_numpy(ours(X))
    assert_close(to_numpy(keras.layers.RNN(cell, return_sequences=True)(X)), expected, 1e-6)
    stack = MyStackedRNNCells([cell, ZoneoutWrapper(keras.layers.GRUCell(3), 0.2)])
    assert tuple(MyRNN(stack)(X, training=True).shape) == (3, 3)
    assert tuple(MyBidirectional(MyRNN(ZoneoutWrapper(MyGRUCell(5), 0.1)))(X, training=True).shape) == (3, 10)


def test_the_fast_rows_stay():
    layer, _ = layers(MyLSTMCell, 0.1, 0.1)
    assert "cell inside: runs" in layer.explain(3, 9, training=True)
    linear, _ = layers(MinGRUCell, 0.1)
    assert "cell inside: runs" in linear.explain(3, 9, training=True)


def test_training_and_saving(tmp_path):
    model = keras.Sequential(
        [keras.Input((None, 4)), MyRNN(ZoneoutWrapper(MyLSTMCell(8), 0.1, 0.2)), keras.layers.Dense(1)]
    )
    model.compile(keras.optimizers.Adam(0.02), "mse", jit_compile=BACKEND == "jax")
    y = X.mean(axis=(1, 2))
    before = model.evaluate(X, y, verbose=0)
    model.fit(X, y, epochs=20, verbose=0)
    assert model.evaluate(X, y, verbose=0) < before
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))
    wrapper = loaded.layers[0].cell
    assert (wrapper.zoneout_h, wrapper.zoneout_c) == (0.1, 0.2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((MyLSTMCell(2), 1.0), "`zoneout_h` must be a number >= 0 and < 1. Received: zoneout_h=1.0"),
        ((MyLSTMCell(2), 0.1, "a"), "`zoneout_c` must be a number"),
        ((MyGRUCell(2), 0.1, 0.1), "`zoneout_c` is for states beside the first, and MyGRUCell has one state"),
        ((SLSTMCell(2), 0.1, 0.1), r"`zoneout_c` must be 0 for SLSTMCell: .* \['c', 'n', 'm'\] means nothing"),
        ((MyStackedRNNCells([MyGRUCell(2)]), 0.1), "`cell` must be one cell. For a stack, wrap each cell"),
        ((3, 0.1), "`cell` must have `call` and `state_size`. Received: cell=3"),
        ((ZoneoutWrapper(MyGRUCell(2), 0.1), 0.1), "`cell` must not be a ZoneoutWrapper"),
        ((MyGRUCell(2), 0.1, 0, "a"), "`seed` must be an int, or None. Received: seed='a'"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ZoneoutWrapper(*arguments)


def test_masks_and_carried_states():
    layer = MyRNN(ZoneoutWrapper(MyLSTMCell(5), 0.3, 0.3, seed=1), stateful=True, return_sequences=True)
    mask = np.arange(9)[None] < np.array([[9], [4], [0]])
    outputs = to_numpy(layer(X, mask=mask, training=True))
    assert not outputs[2].any()
    np.testing.assert_array_equal(outputs[1, 4:], np.broadcast_to(outputs[1, 3], (5, 5)))
    assert [each.shape for each in layer.get_state()] == [(3, 5), (3, 5)]
    np.testing.assert_array_equal(layer.get_state()[0], outputs[:, -1])
    assert ops.shape(layer.states[0]) == (3, 5)
