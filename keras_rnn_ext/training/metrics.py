"""Metrics of sequence models."""

import keras
from keras import ops

from keras_rnn_ext.core.compat import attached_mask


@keras.saving.register_keras_serializable(package="keras_rnn_ext")
class Perplexity(keras.metrics.Mean):
    r"""The perplexity of predicted classes: the exponential of the mean cross-entropy of a step.

    $$\exp \Bigl( -\frac{\sum_i w_i \ln p_i(y_i)}{\sum_i w_i} \Bigr)$$

    over all steps $i$ of all batches since the last reset, so that batches and windows of different sizes count by
    their steps. The weight $w_i$ is 0 where a step is masked, else the sample weight, else 1.

    Args:
        from_logits: whether predictions are logits; otherwise they are probabilities. Default False.
        ignore_class: a class, for instance that of padding, whose steps do not count. Default: none.
        name: of the metric. Default "perplexity".
        dtype: of the sums. Default: Keras's `floatx`.

    Call arguments of `update_state`:
        y_true: classes, integers `(batch, ...)`.
        y_pred: predictions `(batch, ..., classes)`; a mask that is attached to them counts.
        sample_weight: weights that broadcast to `(batch, ...)`. Default: 1.

    Returns:
        From `result()`, a scalar: at least 1 for probabilities; the number of classes for uniform ones; 1 before
        there is any step.

    Source: as `keras_hub.metrics.Perplexity`, whose `mask_token_id` is `ignore_class` here. Deviation: masks count.

    >>> metric = Perplexity()
    >>> metric.update_state([[0, 3]], [[[0.25, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, 0.25]]])
    >>> round(float(metric.result()), 3)
    4.0
    """

    def __init__(self, from_logits=False, ignore_class=None, name="perplexity", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.from_logits, self.ignore_class = from_logits, ignore_class

    def update_state(self, y_true, y_pred, sample_weight=None):
        mask = attached_mask(y_pred)
        y_pred = ops.cast(y_pred, self.dtype)
        y_true = ops.cast(y_true, "int32")
        if len(y_true.shape) == len(y_pred.shape):
            y_true = ops.squeeze(y_true, axis=-1)
        weights = ops.ones_like(y_true, dtype=self.dtype)
        if sample_weight is not None:
            weights = weights * _like(ops.cast(sample_weight, self.dtype), weights)
        if mask is not None:
            weights = ops.where(_like(ops.cast(mask, "bool"), weights), weights, 0.0)
        if self.ignore_class is not None:
            weights = ops.where(y_true == self.ignore_class, 0.0, weights)
        # What does not count may be no class, or NaN: NaN times 0 is NaN.
        counts = weights != 0
        y_true = ops.where(counts, y_true, 0)
        losses = keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=self.from_logits)
        losses = ops.where(counts, losses, 0.0)
        # In one row: `Mean` would give each row of a batch the same weight, however many steps it has.
        super().update_state(ops.reshape(losses, (-1,)), sample_weight=ops.reshape(weights, (-1,)))

    def result(self):
        return ops.exp(super().result())

    def get_config(self):
        return {**super().get_config(), "from_logits": self.from_logits, "ignore_class": self.ignore_class}


def _like(weights, values):
    """Weights with axes of one entry behind, as many as values have."""
    return ops.reshape(weights, (*ops.shape(weights), *(1,) * (len(values.shape) - len(weights.shape))))
