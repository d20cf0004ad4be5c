"""Windows of a stream, in order."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_rnn_ext import MyDense, MyEmbedding, MyGRU, reset_states
from keras_rnn_ext.text import ContiguousWindows, contiguous_rows
from tests.helpers import assert_close, to_numpy


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 40), st.booleans())
def test_windows_read_each_row_on_and_targets_are_one_further(batch, steps, extra, keep_last):
    ids = np.arange(batch * (steps + 1) + extra)
    windows = ContiguousWindows(ids, batch, steps, keep_last=keep_last)
    inputs, targets = (np.concatenate(each, axis=1) for each in zip(*windows, strict=True))
    rows = contiguous_rows(ids, batch)
    width = inputs.shape[1]
    np.testing.assert_array_equal(inputs, rows[:, :width])
    np.testing.assert_array_equal(targets, rows[:, 1 : width + 1])
    assert width == rows.shape[1] - 1 if keep_last else 0 <= rows.shape[1] - 1 - width < steps


def test_a_stateful_model_reads_on():
    keras.utils.set_random_seed(1)
    ids = np.random.default_rng(0).integers(0, 7, 3 * 25)
    windows = ContiguousWindows(ids, 3, 4, keep_last=True)
    parts = [MyEmbedding(7, 4), MyGRU(5, return_sequences=True, stateful=True), MyDense(7)]
    model = keras.Sequential([keras.Input(batch_shape=(3, None), dtype="int32"), *parts])
    read = np.concatenate([to_numpy(model(inputs)) for inputs, _ in windows], axis=1)
    reset_states(model)
    assert_close(read, to_numpy(model(windows.rows[:, :-1])), 1e-5)


def test_windows_out_of_order_are_an_error():
    windows = ContiguousWindows(np.arange(40), 1, 4)
    for place in (0, 1, 1, 2, 0, 1):
        assert windows[place][0][0, 0] == 4 * place
    with pytest.raises(ValueError, match=r"after window 1 comes 2. Received: 3. Give `shuffle=False`"):
        windows[3]
    assert windows.window(3)[0][0, 0] == 12


@pytest.mark.parametrize("shuffle", [True, False])
def test_fit_must_not_shuffle(shuffle):
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((None,), dtype="int32"), MyEmbedding(50, 3), MyDense(50)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    windows = ContiguousWindows(np.arange(50), 1, 4)
    if shuffle:
        # TensorFlow wraps the error.
        with pytest.raises(Exception, match="Give `shuffle=False` to `fit`"):
            model.fit(windows, verbose=0)
    else:
        history = model.fit(windows, epochs=2, shuffle=False, verbose=0).history["loss"]
        assert history[1] < history[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.arange(9), 0, 2), "`batch` must be an integer from 1. Received: batch=0"),
        ((np.arange(9), True, 2), "`batch` must be an integer from 1. Received: batch=True"),
        ((np.arange(9), 2, 0), "`steps` must be an integer from 1. Received: steps=0"),
        ((np.zeros((3, 3), int), 2, 2), r"one dimension.*Received: a shape of \(3, 3\)"),
        ((np.arange(5), 2, 2), "at least 6 ids for 2 rows of one window of 2 steps.*Received: 5 ids"),
    ],
)
def test_unusable_windows(arguments, message):
    with pytest.raises(ValueError, match=message):
        ContiguousWindows(*arguments)
