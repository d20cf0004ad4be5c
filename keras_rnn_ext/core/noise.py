"""Dropout masks: drawn before the loop, never inside a step."""

import keras
from keras import ops


def draw_mask(values, rate, count, seed_generator, dtype):
    """A dropout mask in the shape of `values`, with a leading axis of `count` masks unless that is None.

    Kept entries are `1 / (1 - rate)`, dropped ones 0. A rate of 1 drops everything.
    """
    shape = ops.shape(values) if count is None else (count, *ops.shape(values))
    if rate >= 1.0:
        return ops.zeros(shape, dtype=dtype)
    return keras.random.dropout(ops.ones(shape, dtype=dtype), rate=rate, seed=seed_generator)


def still_usable(mask, values):
    """Whether a cached mask fits `values` and does not belong to a graph that is no longer being built."""
    if mask is None or mask.shape[-2:] != values.shape[-2:]:
        return False
    home = getattr(mask, "graph", None)
    here = getattr(ops.zeros(()), "graph", None)
    while here is not None and here is not home:
        here = getattr(here, "outer_graph", None)
    return here is home
