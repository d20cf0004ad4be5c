"""The gradients of windows, against full back-propagation and against windows cut by hand."""

import numpy as np
import pytest
from keras import ops

from keras_rnn_ext.training import TruncatedBPTT
from tests.helpers import BACKEND, assert_close, to_numpy
from tests.training_nets import (
    FEATURES,
    OUTPUTS,
    ROWS,
    RTOL,
    Batches,
    Net,
    Recorder,
    data,
    recorded,
    squared_error,
    total,
)

COMPILATIONS = [{}, {"run_eagerly": True}] + ([{"jit_compile": True}] if BACKEND == "tensorflow" else [])


# Gradients


@pytest.mark.parametrize("compile_options", COMPILATIONS, ids=str)
def test_window_of_the_whole_series_gives_the_gradients_of_full_backpropagation(compile_options):
    net, (x, y) = Net(), data(9)
    expected = net.gradients(lambda: squared_error(net.run(x)[0], y))
    assert_close(recorded(net, x, y, 9, compile_options), expected, RTOL)


def cut_by_hand(net, x, y, window, length):
    """The gradients of all windows; each starts `length` steps before its end from a state that is a constant."""
    found = []
    for end in range(window, x.shape[1] + 1, window):
        start = max(0, end - length)
        states = net.states_after(x[:, :start]) if start else None

        def loss(start=start, end=end, states=states):
            outputs, _ = net.run(x[:, start:end], states)
            return squared_error(outputs[:, -window:], y[:, end - window : end])

        found.append(net.gradients(loss))
    return total(found)


@pytest.mark.parametrize(("length", "windows_per_call"), [(3, 64), (3, 1), (4, 64), (6, 3), (7, 2)])
def test_gradients_are_those_of_windows_cut_by_hand(length, windows_per_call):
    net, (x, y) = Net(), data(12)
    expected = cut_by_hand(net, x, y, 3, length)
    assert_close(recorded(net, x, y, 3, length=length, windows_per_call=windows_per_call), expected, RTOL)


def test_cutting_changes_the_gradients():
    net, (x, y) = Net(), data(12)
    full, cut = recorded(net, x, y, 12), recorded(net, x, y, 3)
    assert max(np.abs(4 * left - right).max() for left, right in zip(full, cut, strict=True)) > 0.01


@pytest.mark.parametrize("length", [2, 3, 6])
def test_series_of_different_lengths_start_afresh_and_count_by_their_steps(length):
    net, window = Net(), 2
    lengths = [5, 2, 4, 3, 1]
    series = [data(steps, 1, seed)[0][0] for seed, steps in enumerate(lengths)]
    targets = [data(steps, 1, seed)[1][0] for seed, steps in enumerate(lengths)]
    actual = recorded(net, series, targets, window, length=length)

    # Rows 1 and 2 are free after one and two windows.
    rows = [[(0, 0)], [(1, 0), (3, 1)], [(2, 0), (4, 2)]]
    found = []
    for number in range(3):
        parts = []
        for row in rows:
            which, first = [place for place in row if place[1] <= number][-1]
            end = (number - first + 1) * window
            own, stop = end - window, min(end, lengths[which])
            if own < stop:
                start = max(0, end - length)
                x = np.repeat(series[which][None], ROWS, axis=0)
                states = net.states_after(x[:, :start]) if start else None
                parts.append((x[:, start:stop], states, targets[which][own:stop]))

        def loss(parts=parts):
            errors = [
                ops.square(net.run(x, states)[0][0, -len(y) :] - ops.convert_to_tensor(y)) for x, states, y in parts
            ]
            return ops.mean(ops.concatenate(errors))

        found.append(net.gradients(loss))
    assert_close(actual, total(found), RTOL)


# Batches of other datasets


def sums_of_batches(reset, batches, **options):
    net = Net()
    trainer = TruncatedBPTT(net.model, 3, reset=reset, **options)
    trainer.compile(Recorder(), "mse")
    trainer.fit(Batches(*batches), verbose=0)
    return to_numpy([total.value for total in trainer.optimizer.sums])


@pytest.mark.parametrize("length", [3, 5])
def test_each_batch_of_another_dataset_is_new_series_with_reset_series(length):
    batches = [data(8, seed=1), data(8, seed=2)]
    actual = sums_of_batches("series", [tuple(batch) for batch in batches], length=length)
    expected = [recorded(Net(), x, y, 3, length=length) for x, y in batches]
    assert_close(actual, total(expected), RTOL)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the other backends know all shapes")
def test_batches_of_unknown_length():
    import tensorflow as tf

    def batches():
        yield tuple(data(8, seed=1))
        yield tuple(data(6, seed=2))

    specs = [tf.TensorSpec((ROWS, None, size)) for size in (FEATURES, OUTPUTS)]
    net = Net()
    trainer = TruncatedBPTT(net.model, 3)
    trainer.compile(Recorder(), "mse")
    dataset = tf.data.Dataset.from_generator(batches, output_signature=tuple(specs))
    trainer.fit(dataset.apply(tf.data.experimental.assert_cardinality(2)), verbose=0)
    expected = [recorded(Net(), x, y, 3) for x, y in batches()]
    assert_close(to_numpy([each.value for each in trainer.optimizer.sums]), total(expected), RTOL)


@pytest.mark.parametrize("reset", ["epoch", "never"])
def test_batches_of_another_dataset_go_on_otherwise(reset):
    x, y = data(12)
    batches = [(x[:, :6], y[:, :6]), (x[:, 6:], y[:, 6:])]
    assert_close(sums_of_batches(reset, batches), recorded(Net(), x, y, 3), RTOL)
