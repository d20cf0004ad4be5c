"""Series of any lengths as batches of windows, in order."""

import bisect
import heapq
import itertools
import math

import keras
import numpy as np

RESETS = ("series", "epoch", "never")


class SeriesWindows(keras.utils.PyDataset):
    """Series laid out for truncated back-propagation: rows of windows, in order, many windows in each batch.

    A series stays in one row of the batch, from its first window to its last; the next series of the list starts in
    the row that is free first. `TruncatedBPTT` makes one of these from the arrays that its `fit` is given.

    Args:
        x: the series: an array `(series, steps, ...)`, or a list of arrays `(steps, ...)` of any lengths; for a model
            of several inputs, a dict or tuple of these.
        y: targets for each step, in the same form. Default: none.
        sample_weight: a weight for each step, in the same form. Default: none.
        rows: number of rows of a batch: the batch size of the model.
        window: number of steps of a window.
        length: number of steps that a window's gradient reaches back, at least `window`. Default: `window`.
        windows_per_batch: number of windows in a batch, one behind the other in each row. Default 64.
        drop_remainder: whether to leave out the steps at the end that do not fill a window; otherwise the window is
            filled up with zeros that do not count. Default False.
        reset: "series": each series starts afresh, at a window's beginning; "epoch" or "never": the series of a row
            follow each other without a gap, and the state goes on. Default "series".
        workers, use_multiprocessing, max_queue_size: as for `keras.utils.PyDataset`.

    Returns:
        A dataset of batches `(x,)`, `(x, y)` or `(x, y, sample_weight)`. Its `x` is a dict: `series`
        `(rows, windows_per_batch * window, ...)`; `starts` `(rows, windows_per_batch)`, 1 where a row starts afresh, 0
        where it goes on, -1 where the windows have ended; if some steps do not count, `valid` `(rows, steps)`, False at
        these; with `length > window`, the steps before, `context` `(rows, length - window, ...)`, and the starts in
        them, `context_starts`.

    Raises:
        ValueError: naming the argument, for lengths that differ, a series without steps or a number out of range.

    >>> import numpy as np
    >>> windows = SeriesWindows(np.arange(12).reshape(2, 6), rows=2, window=3, windows_per_batch=1)
    >>> len(windows), windows[1][0]["series"].tolist()
    (2, [[3, 4, 5], [9, 10, 11]])
    """

    def __init__(
        self,
        x,
        y=None,
        sample_weight=None,
        *,
        rows,
        window,
        length=None,
        windows_per_batch=64,
        drop_remainder=False,
        reset="series",
        **kwargs,
    ):
        super().__init__(**kwargs)
        length = window if length is None else length
        check_counts(rows=rows, window=window, length=length, windows_per_batch=windows_per_batch)
        check_reset(reset, length > window)
        self.rows, self.window, self.length, self.reset = rows, window, length, reset
        self.windows_per_batch, self.drop_remainder = windows_per_batch, drop_remainder
        self._plan = None
        self.set_series(x, y, sample_weight)

    def set_series(self, x, y=None, sample_weight=None):
        """Takes new series in place of the old ones, for instance from a method `on_epoch_begin` of a subclass.

        Args:
            x, y, sample_weight: as when the dataset was made.

        Raises:
            ValueError: if they do not fit each other, or need another layout of the batches than before.
        """
        given = {"x": x, "y": y, "sample_weight": sample_weight}
        parts = {name: _map(_as_series, part) for name, part in given.items() if part is not None}
        lengths = _common_lengths(parts)
        plan = _Plan(self, parts, lengths)
        if self._plan is None:
            self.windows_per_batch = min(self.windows_per_batch, plan.windows)
        elif plan.uneven and not self._plan.masked:
            raise ValueError(
                "The new series differ in length or do not fill their windows, so that some steps need a mask, and the "
                "old ones needed none. Make a new dataset, or use `drop_remainder=True`."
            )
        plan.masked = plan.uneven or (self._plan is not None and self._plan.masked)
        # In one go: a reader in another thread sees the old series or the new ones.
        self._plan = plan

    @property
    def windows_per_epoch(self):
        """How many windows, and so updates of the weights, an epoch has."""
        return self._plan.windows

    @property
    def num_batches(self):
        return math.ceil(self._plan.windows / self.windows_per_batch)

    def __len__(self):
        return self.num_batches

    def __getitem__(self, index):
        plan, window, count = self._plan, self.window, self.windows_per_batch
        first = index * count
        start, stop = first * window, (first + count) * window
        x = {"series": plan.take("x", start, stop), "starts": plan.starts(first, first + count)}
        if plan.masked:
            x["valid"] = plan.valid(start, stop)
        if self.length > window:
            before = self.length - window
            x["context"] = plan.take("x", start - before, start)
            x["context_starts"] = plan.starts(first - before // window, first)
        return (x, *(plan.take(name, start, stop) for name in ("y", "sample_weight") if name in plan.parts))

    def unpack(self, outputs):
        """Puts the outputs for all batches, one behind the other along their first axis, back into series.

        Args:
            outputs: an array `(batches * rows, windows_per_batch * window, ...)`, as `Model.predict` gives it.

        Returns:
            An array `(series, steps, ...)`, or a list of arrays if the series differ in length.
        """
        outputs = np.asarray(outputs)
        outputs = outputs.reshape(len(self), self.rows, -1, *outputs.shape[2:]).swapaxes(0, 1)
        outputs = outputs.reshape(self.rows, -1, *outputs.shape[3:])
        found = {
            number: outputs[row, start : start + steps]
            for row, places in enumerate(self._plan.places)
            for start, steps, number in places
        }
        series = [found[number] for number in sorted(found)]
        return np.stack(series) if len({len(each) for each in series}) == 1 else series


class _Plan:
    """Where each series stands: for each row, its `(first step, steps, number of the series)` in order."""

    def __init__(self, dataset, parts, lengths):
        self.parts, self._rows, self._reset = parts, dataset.rows, dataset.reset
        self._window, self.masked = dataset.window, False
        round_up = not dataset.drop_remainder
        # A series that starts afresh starts at a window's beginning; others follow each other.
        alone = dataset.reset == "series"
        self.places = [[] for _ in range(dataset.rows)]
        free = [(0, row) for row in range(dataset.rows)]
        for number, steps in enumerate(lengths):
            room = self._whole_windows(steps, round_up) * self._window if alone else steps
            if room:
                taken, row = heapq.heappop(free)
                self.places[row].append((taken, min(steps, room), number))
                heapq.heappush(free, (taken + room, row))
        self.windows = self._whole_windows(max(taken for taken, _ in free), round_up)
        if self.windows == 0:
            raise ValueError(
                f"Argument `x` must fill at least a window where `drop_remainder=True`. Received: "
                f"window={self._window} and series of at most {max(lengths)} steps."
            )
        # Whether there are steps, up to the last window, that no series fills.
        self.uneven = not self.valid(0, self.windows * self._window).all()
        self._first = [{start // self._window for start, _, _ in row} for row in self.places]

    def _whole_windows(self, steps, round_up):
        return math.ceil(steps / self._window) if round_up else steps // self._window

    def _overlapping(self, start, stop):
        """For each row, `(number, where in the span, where in the series)` as slices."""
        for row, places in enumerate(self.places):
            # From the last one that begins by `start`.
            for position in range(max(0, bisect.bisect_right(places, (start, math.inf)) - 1), len(places)):
                place, steps, number = places[position]
                if place >= stop:
                    break
                left, right = max(place, start), min(place + steps, stop)
                if left < right:
                    yield row, number, slice(left - start, right - start), slice(left - place, right - place)

    def take(self, name, start, stop):
        """The steps from `start` to `stop` of all rows; zeros where there are none."""

        def fill(series):
            taken = np.zeros((self._rows, stop - start, *series[0].shape[1:]), series[0].dtype)
            for row, number, there, here in self._overlapping(start, stop):
                taken[row, there] = series[number][here]
            return taken

        return _map(fill, self.parts[name])

    def valid(self, start, stop):
        """For each step whether there is one."""
        valid = np.zeros((self._rows, stop - start), "bool")
        for row, _, there, _ in self._overlapping(start, stop):
            valid[row, there] = True
        return valid

    def starts(self, first, stop):
        """See `SeriesWindows`."""
        codes = np.zeros((self._rows, stop - first), "int32")
        windows = np.arange(first, stop)
        if self._reset == "epoch":
            codes[:, windows == 0] = 1
        elif self._reset == "series":
            for row, column in itertools.product(range(self._rows), range(len(windows))):
                codes[row, column] = windows[column] in self._first[row]
        codes[:, windows >= self.windows] = -1
        return codes


def _map(function, part):
    """`function` of each list of series in a dict or tuple of such."""
    if isinstance(part, dict):
        return {name: _map(function, value) for name, value in part.items()}
    if isinstance(part, tuple):
        return tuple(_map(function, value) for value in part)
    return function(part)


def _as_series(values):
    """An array `(series, steps, ...)` or a list of arrays as a list of arrays of one dtype and one shape of a step."""
    if not isinstance(values, list):
        values = list(keras.ops.convert_to_numpy(values))
    series = [np.asarray(each) for each in values]
    if not series:
        raise ValueError("Arguments `x`, `y` and `sample_weight` must hold at least one series. Received: none.")
    shapes = {each.shape[1:] if each.ndim else None for each in series}
    if len(shapes) > 1 or None in shapes:
        raise ValueError(
            "Arguments `x`, `y` and `sample_weight` must be arrays (series, steps, ...) or lists of arrays "
            f"(steps, ...) that differ in their steps only. Received: shapes {sorted({each.shape for each in series})}"
        )
    dtype = np.result_type(*series)
    dtype = keras.config.floatx() if dtype == "float64" else dtype
    return [each.astype(dtype, copy=False) for each in series]


def longest(x):
    """The number of steps of the longest series."""
    lengths = []
    _map(lambda values: lengths.extend(len(series) for series in _as_series(values)), x)
    return max(lengths)


def _common_lengths(parts):
    found = {}
    for name, part in parts.items():
        _map(lambda series, name=name: found.setdefault(name, []).append([len(each) for each in series]), part)
    lengths = found["x"][0]
    for name, given in found.items():
        for other in given:
            if other != lengths:
                raise ValueError(
                    f"Argument `{name}` must have as many series as `x`, each with as many steps. Received: "
                    f"{_brief(other)} steps, expected {_brief(lengths)}."
                )
    if 0 in lengths:
        raise ValueError(f"Argument `x` must have series of at least one step. Received: none in {lengths.index(0)}.")
    return lengths


def _brief(lengths):
    return f"{len(lengths)} series of {lengths[0] if len(set(lengths)) == 1 else lengths[:8]}"


def check_reset(reset, reaches_back):
    """Raises a `ValueError` for a `reset` that there is not, or not with a `length` above `window`."""
    if reset not in RESETS:
        raise ValueError(f"Argument `reset` must be one of {RESETS}. Received: reset={reset!r}")
    if reset == "never" and reaches_back:
        raise ValueError(
            "Argument `length` must be `window` with reset='never': the steps before an epoch are not known in it."
        )


def check_counts(**counts):
    """Raises a `ValueError` for what is no integer above zero, or a `length` below `window`."""
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"Argument `{name}` must be an integer above zero. Received: {name}={value!r}")
    if counts["length"] < counts["window"]:
        raise ValueError(
            "Argument `length`, the number of steps that the gradient reaches back, must be at least `window`. "
            f"Received: length={counts['length']}, window={counts['window']}"
        )
