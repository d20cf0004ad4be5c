"""Series laid out in windows: every step once, in order, in one row."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_rnn_ext.training import SeriesWindows

LAYOUTS = st.fixed_dictionaries(
    {
        "rows": st.integers(1, 4),
        "window": st.integers(1, 5),
        "windows_per_batch": st.integers(1, 4),
        "reset": st.sampled_from(["series", "epoch", "never"]),
    }
)
LENGTHS = st.lists(st.integers(1, 14), min_size=1, max_size=7)


def numbered(lengths):
    """Series whose steps are numbered on from series to series, from 1 up."""
    ends = np.cumsum(lengths)
    return [np.arange(end - length, end) + 1 for end, length in zip(ends, lengths, strict=True)]


def all_batches(dataset):
    """The batches of an epoch behind each other, as one dict of arrays `(rows, steps)` or `(rows, windows)`."""
    batches = [dataset[index][0] for index in range(len(dataset))]
    return {name: np.concatenate([batch[name] for batch in batches], axis=1) for name in batches[0]}


def has_steps(dataset, batches):
    """For each step whether it belongs to a series."""
    if "valid" in batches:
        return batches["valid"]
    return np.repeat(batches["starts"] >= 0, dataset.window, axis=1)


@given(lengths=LENGTHS, layout=LAYOUTS)
def test_every_step_is_there_once_and_padding_is_zero(lengths, layout):
    dataset = SeriesWindows(numbered(lengths), **layout)
    batches = all_batches(dataset)
    valid = has_steps(dataset, batches)
    assert sorted(batches["series"][valid]) == list(range(1, sum(lengths) + 1))
    assert not batches["series"][~valid].any()


@given(lengths=LENGTHS, layout=LAYOUTS)
def test_a_series_stands_in_one_row_in_order_from_a_window_s_beginning(lengths, layout):
    dataset = SeriesWindows(numbered(lengths), **layout)
    rows = all_batches(dataset)["series"]
    for series in numbered(lengths):
        row, start = np.argwhere(rows == series[0])[0]
        assert start % dataset.window == 0 or layout["reset"] != "series"
        np.testing.assert_array_equal(rows[row, start : start + len(series)], series)


@given(lengths=LENGTHS, layout=LAYOUTS)
def test_series_start_in_the_order_of_the_list(lengths, layout):
    dataset = SeriesWindows(numbered(lengths), **layout)
    rows = all_batches(dataset)["series"]
    starts = [np.argwhere(rows == series[0])[0][1] for series in numbered(lengths)]
    assert starts == sorted(starts)


@given(lengths=LENGTHS, layout=LAYOUTS)
def test_rows_start_afresh_where_the_reset_says(lengths, layout):
    dataset = SeriesWindows(numbered(lengths), **layout)
    batches = all_batches(dataset)
    first_steps = [series[0] for series in numbered(lengths)]
    expected = np.isin(batches["series"][:, :: dataset.window], first_steps)
    if layout["reset"] != "series":
        expected = np.zeros_like(expected)
        expected[:, 0] = layout["reset"] == "epoch"
    np.testing.assert_array_equal(batches["starts"] == 1, expected)


@given(lengths=LENGTHS, layout=LAYOUTS)
def test_without_resets_the_series_of_a_row_follow_each_other_without_a_gap(lengths, layout):
    dataset = SeriesWindows(numbered(lengths), **{**layout, "reset": "epoch"})
    valid = has_steps(dataset, all_batches(dataset))
    np.testing.assert_array_equal(valid, np.sort(valid, axis=1)[:, ::-1])


@given(lengths=LENGTHS, layout=LAYOUTS)
def test_windows_end_with_the_last_series(lengths, layout):
    dataset = SeriesWindows(numbered(lengths), **layout)
    batches = all_batches(dataset)
    used = has_steps(dataset, batches).reshape(dataset.rows, -1, dataset.window).any(axis=(0, 2))
    np.testing.assert_array_equal((batches["starts"] >= 0).all(axis=0), used)
    assert used.sum() == dataset.windows_per_epoch
    assert used[: dataset.windows_per_epoch].all()


@given(lengths=LENGTHS, layout=LAYOUTS, more=st.integers(1, 9))
def test_context_is_the_steps_before_each_batch(lengths, layout, more):
    if layout["reset"] == "never":
        with pytest.raises(ValueError, match="must be `window` with reset='never'"):
            SeriesWindows(numbered(lengths), length=layout["window"] + more, **layout)
        return
    dataset = SeriesWindows(numbered(lengths), length=layout["window"] + more, **layout)
    batches = [dataset[index][0] for index in range(len(dataset))]
    for part, context, size in (("series", "context", more), ("starts", "context_starts", more // layout["window"])):
        before = np.zeros((dataset.rows, size), "int32")
        for batch in batches:
            np.testing.assert_array_equal(batch[context], before)
            joined = np.concatenate([before, batch[part]], axis=1)
            before = joined[:, joined.shape[1] - size :]


@given(lengths=LENGTHS, layout=LAYOUTS)
def test_unpack_puts_outputs_back_into_series(lengths, layout):
    series = numbered(lengths)
    dataset = SeriesWindows(series, **layout)
    outputs = np.concatenate([dataset[index][0]["series"] for index in range(len(dataset))])
    unpacked = dataset.unpack(outputs * 2)
    assert isinstance(unpacked, np.ndarray) == (len(set(lengths)) == 1)
    for actual, expected in zip(unpacked, series, strict=True):
        np.testing.assert_array_equal(actual, expected * 2)


@given(lengths=LENGTHS, layout=LAYOUTS)
def test_drop_remainder_keeps_whole_windows_only(lengths, layout):
    window = layout["window"]
    layout = {**layout, "reset": "series"}
    kept = [series[: len(series) // window * window] for series in numbered(lengths)]
    if not any(map(len, kept)):
        with pytest.raises(ValueError, match="fill at least a window"):
            SeriesWindows(numbered(lengths), drop_remainder=True, **layout)
        return
    dataset = SeriesWindows(numbered(lengths), drop_remainder=True, **layout)
    batches = all_batches(dataset)
    assert sorted(batches["series"][has_steps(dataset, batches)]) == sorted(np.concatenate(kept))


def test_without_resets_drop_remainder_drops_the_last_window_of_all_rows():
    dataset = SeriesWindows(numbered([4, 3]), rows=2, window=3, reset="epoch", drop_remainder=True)
    np.testing.assert_array_equal(all_batches(dataset)["series"], [[1, 2, 3], [5, 6, 7]])


def test_series_that_fill_their_windows_need_no_mask():
    assert "valid" not in SeriesWindows(np.zeros((2, 6)), rows=2, window=3)[0][0]
    assert "valid" in SeriesWindows(np.zeros((2, 7)), rows=2, window=3)[0][0]
    assert "valid" not in SeriesWindows(np.zeros((2, 7)), rows=2, window=3, drop_remainder=True)[0][0]


def test_inputs_may_be_a_dict_and_targets_and_weights_follow():
    x = {"a": np.arange(8).reshape(2, 4), "b": np.arange(16.0).reshape(2, 4, 2)}
    dataset = SeriesWindows(x, x["a"] * 10, x["b"][..., 0], rows=2, window=2, windows_per_batch=1)
    inputs, targets, weights = dataset[1]
    np.testing.assert_array_equal(inputs["series"]["a"], [[2, 3], [6, 7]])
    np.testing.assert_array_equal(inputs["series"]["b"], x["b"][:, 2:])
    np.testing.assert_array_equal(targets, [[20, 30], [60, 70]])
    np.testing.assert_array_equal(weights, x["b"][:, 2:, 0])


def test_floats_of_64_bits_become_keras_s_own():
    dataset = SeriesWindows(np.zeros((1, 4), "float64"), np.zeros((1, 4), "int64"), rows=1, window=2)
    assert dataset[0][0]["series"].dtype == keras.config.floatx()
    assert dataset[0][1].dtype == "int64"


def test_new_series_take_the_place_of_the_old_ones():
    dataset = SeriesWindows(np.zeros((2, 4)), rows=2, window=2)
    dataset.set_series(np.ones((2, 6)))
    assert dataset.windows_per_epoch == 3
    assert all_batches(dataset)["series"][:, :6].all()
    with pytest.raises(ValueError, match="the old ones needed none"):
        dataset.set_series(np.ones((2, 5)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": np.zeros((2, 4)), "y": np.zeros((2, 5))}, "Argument `y` .* 2 series of 5 steps, expected 2 series of 4"),
        ({"x": np.zeros((2, 4)), "sample_weight": np.zeros((3, 4))}, "Argument `sample_weight` .* 3 series"),
        ({"x": [np.zeros(3), np.zeros(0)]}, "at least one step. Received: none in 1"),
        ({"x": []}, "at least one series"),
        ({"x": np.zeros(4)}, r"arrays \(series, steps, ...\)"),
        ({"x": [np.zeros((3, 1)), np.zeros((3, 2))]}, "differ in their steps only"),
        ({"x": np.zeros((2, 4)), "window": 0}, "`window` must be an integer above zero. Received: window=0"),
        ({"x": np.zeros((2, 4)), "rows": 2.0}, "`rows` must be an integer above zero. Received: rows=2.0"),
        ({"x": np.zeros((2, 4)), "window": 3, "length": 2}, "must be at least `window`. Received: length=2, window=3"),
        ({"x": np.zeros((2, 4)), "reset": "batch"}, "Argument `reset` must be one of .* Received: reset='batch'"),
        ({"x": np.zeros((2, 4)), "window": 5, "drop_remainder": True}, "at most 4 steps"),
    ],
)
def test_errors_name_the_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        SeriesWindows(**{"rows": 2, "window": 2, **arguments})
