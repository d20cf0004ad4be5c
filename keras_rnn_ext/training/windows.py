"""The windows of one batch of series, taken one by one inside a compiled loop."""

import itertools

import keras
from keras import ops


def is_laid_out(x):
    """Whether `x` comes from `SeriesWindows` (or `lay_out`), and not from a dataset of the user's."""
    return isinstance(x, dict) and "series" in x and "starts" in x


def lay_out(x, y, sample_weight, window, length, reset):
    """A batch of whole series, or of stretches of series, `(batch, steps, ...)`, as `SeriesWindows` gives them."""
    if is_laid_out(x):
        return x, y, sample_weight
    if length > window and reset != "series":
        raise ValueError(
            f"With `length` above `window` and reset={reset!r}, the steps before each batch are needed: give `fit` "
            "arrays or a `SeriesWindows`. Received: batches of another dataset."
        )
    first = keras.tree.flatten(x)[0]
    if len(first.shape) < 2:
        raise ValueError(f"A batch of series must have the shape (batch, steps, ...). Received: {tuple(first.shape)}.")
    batch, steps = ops.shape(first)[:2]
    missing = -steps % window
    count = (steps + missing) // window
    is_full = first.shape[1] is not None and missing == 0

    def fill(leaf):
        return leaf if is_full else ops.concatenate([leaf, _blank(leaf, batch, missing)], axis=1)

    starts = ops.cast(ops.arange(count) == 0, "int32") * int(reset == "series")
    laid_out = {"series": _map(fill, x), "starts": ops.broadcast_to(starts, (batch, count))}
    if not is_full:
        laid_out["valid"] = fill(ops.ones((batch, steps), "bool"))
    if length > window:
        before = length - window
        laid_out["context"] = _map(lambda leaf: _blank(leaf, batch, before), x)
        laid_out["context_starts"] = ops.zeros((batch, before // window), "int32")
    return laid_out, _map(fill, y), _map(fill, sample_weight)


def _blank(leaf, batch, steps):
    return ops.zeros((batch, steps, *ops.shape(leaf)[2:]), dtype=leaf.dtype)


def stretches(window, length):
    """How the steps that a window's gradient reaches are run: `(start, stop, back)` for each stretch.

    A stretch ends where a series may start, a multiple of `window` steps before the end, or where the state is wanted,
    after `window` steps; the last one at the end, `stop` None. `back` is how many windows before the last one a series
    may start at its beginning; None if none may.

    >>> stretches(3, 3), stretches(3, 7)
    ([(0, None, 0)], [(0, 1, None), (1, 3, 1), (3, 4, None), (4, None, 0)])
    """
    first_own = length - window
    starts = {first_own - back * window: back for back in range(first_own // window + 1)}
    places = sorted({0, *starts, *([window] if length > window else [])})
    return [(start, stop, starts.get(start)) for start, stop in itertools.pairwise([*places, None])]


def cut(part, start, stop):
    """The steps from `start` to `stop` of all tensors."""
    return keras.tree.map_structure(lambda leaf: leaf[:, start:stop], part)


def starting_rows(x, back):
    """For each row whether a series starts there, `back` windows before the window `x`."""
    if back == 0:
        return x["starts"][:, 0] == 1
    return x["context_starts"][:, -back] == 1


def _is_there(leaf):
    return leaf is not None


def _map(function, part):
    """`function` of each tensor in `part`, which may be None or hold None."""
    return keras.tree.map_structure(lambda leaf: function(leaf) if _is_there(leaf) else None, part)


def _join(first, later):
    return keras.tree.map_structure(lambda *parts: ops.concatenate(parts, axis=1), first, later)


class Windows:
    """The windows of a batch in the layout of `SeriesWindows`.

    Args:
        x, y, sample_weight: the batch; the last two may be None.
        rows: the batch size of the model.
        window: number of steps of a window.
        length: number of steps that the gradient reaches back.
    """

    def __init__(self, x, y, sample_weight, rows, window, length):
        self._x, self._y, self._sample_weight = x, y, sample_weight
        self._rows, self._window, self._before = rows, window, length - window
        _check_batch(x, rows, window, self._before)
        check_targets(y, x["series"])
        self.count = ops.sum(ops.cast(self._x["starts"][0] >= 0, "int32"))

    def __getitem__(self, number):
        """The data of one window, as Keras's own steps take it. `number` may be a tensor."""
        start = number * self._window
        x = {"starts": self._cut(self._x["starts"], number, 1)}
        for name in ("series", "valid"):
            if name in self._x:
                x[name] = self._cut(self._x[name], start, self._window)
        if "context" in self._x:
            x["context"] = self._cut(_join(self._x["context"], self._x["series"]), start, self._before)
            back = self._x["context_starts"].shape[1]
            x["context_starts"] = self._cut(_join(self._x["context_starts"], self._x["starts"]), number, back)
        y, sample_weight = (self._cut(part, start, self._window) for part in (self._y, self._sample_weight))
        return x, y, sample_weight

    def _cut(self, part, start, size):
        def take(leaf):
            if isinstance(start, int):
                return leaf[:, start : start + size]
            rest = ops.shape(leaf)[2:]
            return ops.slice(leaf, (0, start, *(0 for _ in rest)), (self._rows, size, *rest))

        return _map(take, part)


def _check_batch(x, rows, window, before):
    columns = x["starts"].shape[1]
    for leaf in keras.tree.flatten(x["series"]):
        if leaf.shape[0] not in (None, rows):
            raise ValueError(
                f"A batch must have the {rows} rows that the model's stateful layers were made for. Received: "
                f"{leaf.shape[0]} rows."
            )
        if None not in (columns, leaf.shape[1]) and leaf.shape[1] != columns * window:
            raise ValueError(
                f"A batch must consist of windows of {window} steps. Received: {columns} windows in {leaf.shape[1]} "
                "steps. Make the `SeriesWindows` with the same `window` as the trainer."
            )
    given = keras.tree.flatten(x["context"])[0].shape[1] if "context" in x else 0
    if given != before:
        raise ValueError(
            f"A batch must bring the {before} steps before its windows. Received: {given}. Make the `SeriesWindows` "
            "with the same `length` as the trainer."
        )


def check_targets(y, steps_of):
    """Raises a `ValueError` unless there is a target for each step of the tensors `steps_of`."""
    steps = keras.tree.flatten(steps_of)[0].shape[1]
    for leaf in filter(_is_there, keras.tree.flatten(y)):
        if len(leaf.shape) < 2 or (None not in (steps, leaf.shape[1]) and leaf.shape[1] != steps):
            raise ValueError(
                f"Argument `y` must have a target for each step, with the shape (batch, {steps}, ...). Received: shape "
                f"{tuple(leaf.shape)}."
            )


class Masks:
    """Masks that travel with tensors, by Keras's own means: a layer's `compute_mask`.

    A plain object, so that these layers do not show among a model's.

    Args:
        before: how many steps `join` leaves out.
    """

    def __init__(self, before):
        self._attach, self._join = _Attach(autocast=False), _Join(before)

    def attach(self, tensors, mask):
        """The tensors with a mask: this one, and the one that they have already."""
        return keras.tree.map_structure(lambda tensor: self._attach([tensor, mask]), tensors)

    def join(self, parts):
        """The steps of all parts but the first `before`, with the parts' masks."""
        if len(parts) == 1:
            return parts[0]
        return keras.tree.map_structure(lambda *tensors: self._join(list(tensors)), *parts)


class _Attach(keras.layers.Layer):
    def call(self, inputs):
        # Another tensor: the mask of one that has a mask stays as it is.
        return ops.copy(inputs[0])

    def compute_mask(self, inputs, previous_mask):
        own, mask = previous_mask[0], inputs[1]
        return mask if own is None else ops.logical_and(own, mask)


class _Join(keras.layers.Layer):
    def __init__(self, before):
        super().__init__(autocast=False)
        self._before = before

    def call(self, inputs):
        return ops.concatenate(inputs, axis=1)[:, self._before :]

    def compute_mask(self, inputs, previous_mask):
        if any(mask is None for mask in previous_mask):
            return None
        return ops.concatenate(previous_mask, axis=1)[:, self._before :]


def without_context(x):
    """The windows alone, without the steps before them."""
    return {name: part for name, part in x.items() if not name.startswith("context")}
