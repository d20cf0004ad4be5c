"""Keras's `fit`, `evaluate` and `predict` for series."""

import keras

from keras_rnn_ext.training.carried_states import CarryKeeper
from keras_rnn_ext.training.series import SeriesWindows, longest


class SeriesTrainer(keras.Model):
    """Abstract: a model whose `fit`, `evaluate` and `predict` take series and keep their order.

    A subclass sets `model`, `window`, `length`, `windows_per_call`, `reset` and `_carried`.
    """

    @property
    def _replicas(self):
        """On how many devices TensorFlow trains copies of the model."""
        strategy = getattr(self, "distribute_strategy", None)
        return 1 if strategy is None else strategy.num_replicas_in_sync

    @property
    def _rows(self):
        """The rows of a batch, of which each copy of the model gets its part."""
        return self._carried.batch_size * self._replicas

    def as_windows(self, x, y=None, sample_weight=None, drop_remainder=False):
        """The `SeriesWindows` that `fit` makes of arrays, to be changed or used again.

        Args:
            x, y, sample_weight, drop_remainder: as for `SeriesWindows`.
        """
        data = SeriesWindows(
            x,
            y,
            sample_weight,
            rows=self._rows,
            window=self.window,
            length=self.length,
            windows_per_batch=self.windows_per_call,
            drop_remainder=drop_remainder,
            reset=self.reset,
        )
        if self._replicas > 1:
            # Each batch full, because a copy of the model cannot leave out a window.
            count = data.windows_per_epoch
            data.windows_per_batch = max(each for each in range(1, data.windows_per_batch + 1) if count % each == 0)
        return data

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        shuffle=False,
        class_weight=None,
        sample_weight=None,
        **kwargs,
    ):
        """Keras's `fit`, in windows.

        Args:
            x: series: an array `(series, steps, ...)` or a list of arrays `(steps, ...)`; a dict or tuple of these for
                several inputs; a `SeriesWindows`; or any dataset with batches of series, `(batch, steps, ...)`, which
                are all new series with `reset="series"` and stretches of the same series otherwise.
            y: targets for each step, in the same form.
            sample_weight: weights for each step, in the same form.
            validation_data: `(x, y)` or `(x, y, sample_weight)` of such, or a dataset.
            shuffle: must be False: the order is what the carried state stands on.
            batch_size: the model's own, or None.
            validation_split, class_weight: not for series; use `validation_data` and `sample_weight`.
            epochs, verbose, callbacks, ...: as for `keras.Model.fit`.

        Returns:
            The `History`.
        """
        for name, value in {
            "shuffle": shuffle,
            "validation_split": validation_split,
            "class_weight": class_weight,
        }.items():
            if value:
                raise ValueError(f"Argument `{name}` is not for series in order. Received: {name}={value!r}")
        self._check_batch_size(batch_size)
        self._check_optimizer()
        if self._replicas > 1 and self.reset == "never":
            raise ValueError(
                "Argument `reset` of the trainer must be 'series' or 'epoch' where TensorFlow trains on several "
                "devices: the states of the copies of a model cannot be kept around an evaluation. Received: 'never'"
            )
        if isinstance(validation_data, (tuple, list)):
            validation_data = self._as_data(*validation_data)[0]
        x, y, sample_weight = self._as_data(x, y, sample_weight)
        return super().fit(
            x,
            y,
            sample_weight=sample_weight,
            epochs=epochs,
            verbose=verbose,
            callbacks=self._with_keeper(callbacks),
            validation_data=validation_data,
            shuffle=False,
            **kwargs,
        )

    def evaluate(self, x=None, y=None, batch_size=None, verbose="auto", sample_weight=None, callbacks=None, **kwargs):
        """Keras's `evaluate`, in windows. Takes what `fit` takes."""
        self._check_batch_size(batch_size)
        x, y, sample_weight = self._as_data(x, y, sample_weight)
        callbacks = self._with_keeper(callbacks)
        return super().evaluate(x, y, verbose=verbose, sample_weight=sample_weight, callbacks=callbacks, **kwargs)

    def predict(self, x, batch_size=None, verbose="auto", steps=None, callbacks=None):
        """The outputs for each series: an array `(series, steps, ...)`, or a list if the series differ in length.

        Of a dataset, whose batches are one window each, the outputs of its batches behind each other.
        """
        self._check_batch_size(batch_size)
        callbacks = self._with_keeper(callbacks)
        if not _are_series(x):
            return super().predict(x, verbose=verbose, steps=steps, callbacks=callbacks)
        # Nothing is truncated without gradients, so these windows may be long.
        window = min(self.window * self.windows_per_call, longest(x))
        rows = self._rows
        windows = SeriesWindows(x, rows=rows, window=window, windows_per_batch=1, reset=self.reset)
        outputs = super().predict(windows, verbose=verbose, steps=steps, callbacks=callbacks)
        return keras.tree.map_structure(windows.unpack, outputs)

    def _as_data(self, x, y=None, sample_weight=None):
        if isinstance(x, SeriesWindows):
            given, own = (x.rows, x.window, x.length), (self._rows, self.window, self.length)
            if given != own:
                raise ValueError(
                    "Argument `x`, a `SeriesWindows`, must be made for this trainer, with (rows, window, length) = "
                    f"{own}. Received: {given}. `trainer.as_windows(x, y)` makes one that fits."
                )
            if self._replicas > 1 and x.windows_per_epoch % x.windows_per_batch:
                raise ValueError(
                    "Argument `x`, a `SeriesWindows`, must have full batches where TensorFlow trains on several "
                    f"devices. Received: {x.windows_per_epoch} windows, {x.windows_per_batch} a batch. "
                    "`trainer.as_windows(x, y)` makes one that fits."
                )
        return (self.as_windows(x, y, sample_weight), None, None) if _are_series(x) else (x, y, sample_weight)

    def _check_batch_size(self, batch_size):
        if batch_size not in (None, self._rows):
            raise ValueError(
                f"Argument `batch_size` must be None or the model's own, {self._rows}. Received: "
                f"batch_size={batch_size}"
            )

    def _check_optimizer(self):
        scaled = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
        if self.compiled and self.model.dtype_policy.name == "mixed_float16" and not scaled:
            # Keras scales the loss by itself only where the trained model has that policy, and the trainer has not.
            raise ValueError(
                "A `mixed_float16` model needs its loss scaled: compile with "
                f"`keras.optimizers.LossScaleOptimizer(optimizer)`. Received: optimizer {type(self.optimizer).__name__}"
            )

    def _with_keeper(self, callbacks):
        keeper = CarryKeeper(self._carried, self.reset)
        if isinstance(callbacks, keras.callbacks.CallbackList):
            if not any(isinstance(callback, CarryKeeper) for callback in callbacks.callbacks):
                callbacks.append(keeper)
            return callbacks
        return [keeper, *(callbacks if isinstance(callbacks, (list, tuple)) else [callbacks] if callbacks else [])]


def _are_series(x):
    return isinstance(x, (list, tuple, dict)) or hasattr(x, "shape")
