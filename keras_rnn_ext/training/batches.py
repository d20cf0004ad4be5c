"""Arrays in batches, in an order that can be had again."""

import math

import keras
import numpy as np


class ArrayBatches(keras.utils.PyDataset):
    """Arrays in batches, shuffled anew in each pass, in an order that depends on the seed and the pass alone.

    With it a training goes on in the middle of long data after it was cut off, see `ResumeTraining`. Keras's own order
    of arrays on TensorFlow cannot be had again.

    Args:
        x: array of inputs, the samples on its first axis; a list, tuple or dict of such for several inputs.
        y: the targets, in the same form. Default None.
        sample_weight: weights of the samples, `(samples,)` or as for `fit`. Default None.
        batch_size: int from 1. The last batch of a pass may be smaller. Default 32.
        shuffle: whether to shuffle. Default True.
        seed: int from 0, of the order. Default 0.
        batches_per_epoch: int from 1, how many batches are an epoch of `fit`, which need not be a pass through the
            data: with long ones, `ResumeTraining` then writes its file on the way. Default: a pass.

    Its attribute `epoch`, an int, is the epoch whose batches it gives; `fit` moves it on.

    Raises:
        ValueError: if an argument is out of range, or the arrays have different numbers of samples.

    >>> import numpy as np
    >>> from keras_rnn_ext.training import ArrayBatches
    >>> data = ArrayBatches(np.arange(7), batch_size=3, seed=1)
    >>> len(data), [batch.shape for (batch,) in data]
    (3, [(3,), (3,), (1,)])
    """

    def __init__(
        self,
        x,
        y=None,
        sample_weight=None,
        batch_size=32,
        shuffle=True,
        seed=0,
        batches_per_epoch=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("seed", seed, 0),
            ("batches_per_epoch", 1 if batches_per_epoch is None else batches_per_epoch, 1),
        ):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise ValueError(f"Argument `{name}` must be an int from {least}. Received: {name}={value!r}")
        given = [x, y, sample_weight]
        while given[-1] is None:
            given.pop()
        self._arrays = keras.tree.map_structure(lambda each: None if each is None else np.asarray(each), tuple(given))
        sizes = {array.shape[:1] for array in keras.tree.flatten(self._arrays) if array is not None}
        if len(sizes) != 1 or not all(sizes) or not next(iter(sizes))[0]:
            raise ValueError(
                "Arguments `x`, `y` and `sample_weight` must be arrays of as many samples each, at least one. "
                f"Received: {sorted(sizes)} samples"
            )
        self._samples = next(iter(sizes))[0]
        self.batch_size, self.shuffle, self.seed = batch_size, shuffle, seed
        self._in_a_pass = math.ceil(self._samples / batch_size)
        self.batches_per_epoch = batches_per_epoch or self._in_a_pass
        self.epoch = 0
        self._order = (None, None)

    @property
    def num_batches(self):
        return self.batches_per_epoch

    def __len__(self):
        return self.batches_per_epoch

    def __getitem__(self, index):
        self._given += 1
        which, place = divmod(self.epoch * self.batches_per_epoch + index, self._in_a_pass)
        chosen = self._order_of(which)[place * self.batch_size : (place + 1) * self.batch_size]
        return keras.tree.map_structure(lambda each: None if each is None else each[chosen], self._arrays)

    def _order_of(self, which):
        number, order = self._order
        if number != which:
            order = np.arange(self._samples)
            if self.shuffle:
                order = np.random.default_rng([self.seed, which]).permutation(self._samples)
            self._order = which, order
        return order

    @property
    def epoch(self):
        """The epoch that the batches are of."""
        return self._epoch

    @epoch.setter
    def epoch(self, number):
        self._epoch, self._has_begun, self._given = number, False, 0

    # Keras calls `on_epoch_end` once more than there are epochs, before the first, and where it looks at the shapes of
    # a batch `on_epoch_begin` too. An epoch is over when all its batches were given.
    def on_epoch_begin(self):
        if self._has_begun and self._given >= self.batches_per_epoch:
            self._epoch += 1
        self._has_begun, self._given = True, 0
