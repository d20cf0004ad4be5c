"""A stream of ids as windows for training, in an order that lets a stateful model read on."""

import keras
import numpy as np


def contiguous_rows(ids, batch):
    """Cuts a stream of ids into `batch` rows of equal length; what is left over at the end is dropped.

    Args:
        ids: integers `(n,)`.
        batch: how many rows, from 1.

    Returns:
        Array `(batch, n // batch)`: row after row, the stream.

    Raises:
        ValueError: if `ids` has not one dimension, or fewer ids than `batch`.

    >>> from keras_rnn_ext.text import contiguous_rows
    >>> contiguous_rows([0, 1, 2, 3, 4, 5, 6], 3)
    array([[0, 1],
           [2, 3],
           [4, 5]])
    """
    ids = np.asarray(ids)
    if isinstance(batch, bool) or not isinstance(batch, (int, np.integer)) or batch < 1:
        raise ValueError(f"Argument `batch` must be an integer from 1. Received: batch={batch!r}")
    if ids.ndim != 1 or len(ids) < batch:
        raise ValueError(
            f"Argument `ids` must have one dimension and at least one id for each of the {batch} rows. "
            f"Received: a shape of {ids.shape}"
        )
    length = len(ids) // batch
    return ids[: batch * length].reshape(batch, length)


class ContiguousWindows(keras.utils.PyDataset):
    """A stream of ids in batches of windows: each row reads on in the next batch where it stopped in this one.

    The stream is cut into `batch` rows (`contiguous_rows`), the rows into windows of `steps`. The targets are the ids
    one place further on. The order is part of the meaning, so give `shuffle=False` to `fit`, which shuffles by default;
    a wrong order is an error.

    Args:
        ids: integers `(n,)`, the stream.
        batch: how many rows, from 1.
        steps: how many steps a window has, from 1.
        keep_last: whether a shorter window at the end is kept. Default False.

    Returns:
        A dataset for `fit`, `evaluate` and `predict`. Item i is `(inputs, targets)`, arrays `(batch, steps)`.

    Raises:
        ValueError: if an argument is no such number, or the stream is too short for one window; in use, if the
            windows are taken out of order.

    Source:
        Zaremba, Sutskever, Vinyals 2014, Recurrent neural network regularization, arXiv 1409.2329, section 4.1.

    >>> import numpy as np
    >>> from keras_rnn_ext.text import ContiguousWindows
    >>> windows = ContiguousWindows(np.arange(11), batch=2, steps=2)
    >>> len(windows)
    2
    >>> inputs, targets = windows[0]
    >>> inputs.tolist(), targets.tolist()
    ([[0, 1], [5, 6]], [[1, 2], [6, 7]])
    """

    def __init__(self, ids, batch, steps, keep_last=False):
        super().__init__()
        self.rows = contiguous_rows(ids, batch)
        if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 1:
            raise ValueError(f"Argument `steps` must be an integer from 1. Received: steps={steps!r}")
        self.steps, self.keep_last = steps, keep_last
        if len(self) < 1:
            least = batch * ((1 if keep_last else steps) + 1)
            raise ValueError(
                f"Argument `ids` must hold at least {least} ids for {batch} rows of one window of {steps} steps and "
                f"one target more. Received: {np.size(ids)} ids"
            )
        self._next = 0

    def __len__(self):
        usable = self.rows.shape[1] - 1
        return -(-usable // self.steps) if self.keep_last else usable // self.steps

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(f"Expected a window from 0 to {len(self) - 1}. Received: {index}")
        # Anybody may start again, or look at the same window twice.
        if index not in (0, self._next, self._next - 1):
            raise ValueError(
                f"The windows of a contiguous stream must be read in order: after window {self._next - 1} comes "
                f"{self._next}. Received: {index}. Give `shuffle=False` to `fit`, and leave `workers` at 1."
            )
        self._next = index + 1
        return self.window(index)

    def window(self, index):
        """Item `index` as `(inputs, targets)`, whatever was read before."""
        start = index * self.steps
        stop = min(start + self.steps, self.rows.shape[1] - 1)
        return self.rows[:, start:stop], self.rows[:, start + 1 : stop + 1]
