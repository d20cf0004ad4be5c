"""One meaning of a mask.

At a masked step the state stays; the output repeats the last valid output, zeros before the first one.
Whatever stands in a masked step, NaN included, touches neither values nor gradients.
"""

from keras import ops


def standardize(mask, sequences, time_major):
    """A mask as booleans `(steps, batch)`, whatever of Keras's forms it came in.

    Args:
        mask: None, or a mask `(batch, steps)` or `(batch, steps, 1)` (the first two swapped if
            `time_major`) of any dtype, or a list whose first entry is one.
        sequences: the sequences that it belongs to.
        time_major: whether both lead with time.

    Raises:
        ValueError: if the shape is another.
    """
    if isinstance(mask, (list, tuple)):
        mask = mask[0] if mask else None
    if mask is None:
        return None
    mask = ops.convert_to_tensor(mask)
    expected = tuple(sequences.shape[:2])
    shape = tuple(mask.shape)
    fits = len(shape) in (2, 3) and all(
        None in pair or pair[0] == pair[1] for pair in zip(shape, (*expected, 1), strict=False)
    )
    if not fits:
        axes = "(steps, batch)" if time_major else "(batch, steps)"
        raise ValueError(
            f"Argument `mask` must have the shape {axes} = {expected} of the sequences, or that with an axis of "
            f"length 1 behind it. Received: mask.shape={shape}, sequences.shape={tuple(sequences.shape)}"
        )
    if len(shape) == 3:
        mask = ops.squeeze(mask, axis=-1)
    mask = ops.cast(mask, "bool")
    return mask if time_major else ops.transpose(mask, (1, 0))


def select(valid, new, old):
    """`new` where the step is valid, else `old`. `valid` leads with the axes that it shares with both."""
    missing = len(new.shape) - len(valid.shape)
    return ops.where(ops.reshape(valid, (*ops.shape(valid), *(1,) * missing)), new, old)


def blank_masked(mask, values, keep_finite=False):
    """`values` with zeros where the mask is False, or there only in the place of what is not finite."""
    if mask is None:
        return values
    blank = ops.zeros_like(values)
    return select(mask, values, ops.where(ops.isfinite(values), values, blank) if keep_finite else blank)


def zeros_before_first(values, mask, select=select):
    """Outputs with zeros before the first valid step: there a state is the initial one, and an output nothing.

    Args:
        values: those after each step, `(steps, batch, units)`, or those after the last one, `(batch, units)`.
        mask: `(steps, batch)`.
        select: a function like the one above, for a backend that has a faster one.
    """
    is_last = len(values.shape) == 2
    seen = ops.any(mask, axis=0) if is_last else ops.cumsum(ops.cast(mask, "int32"), axis=0) > 0
    flat = ops.reshape(values, (-1, values.shape[-1]))
    return ops.reshape(select(ops.reshape(seen, (-1,)), flat, ops.zeros_like(flat)), ops.shape(values))


def last_valid(outputs, mask):
    """At each step the output of the last valid one up to it, zeros before the first. Both lead with time."""
    order, count = valid_first(mask)
    place = ops.take_along_axis(order, ops.maximum(count - 1, 0), axis=0)
    return zeros_before_first(steps_of_rows(outputs, place), mask)


def previous_valid(values, start, mask):
    """Before each step the value of the last valid one, and behind the last step too; `start` where there was none.

    Args:
        values: `(steps, batch, features)`.
        start: `(batch, features)`.
        mask: `(steps, batch)`, or None.

    Returns:
        `(steps, batch, features)` and `(batch, features)`.
    """
    values = ops.concatenate([start[None], values])
    if mask is not None:
        order, count = valid_first(mask)
        place = ops.take_along_axis(order, ops.maximum(count - 1, 0), axis=0) + 1
        place = ops.where(count > 0, place, ops.zeros_like(place))
        values = steps_of_rows(values, ops.concatenate([ops.zeros_like(place[:1]), place]))
    return values[:-1], values[-1]


def valid_first(mask):
    """The order that brings the valid steps of each row first, and how many of them there are up to each step."""
    time = ops.expand_dims(ops.arange(ops.shape(mask)[0], dtype="int32"), 1)
    order = ops.argsort(ops.where(mask, time, time + ops.shape(mask)[0]), axis=0)
    return order, ops.cumsum(ops.cast(mask, "int32"), axis=0)


def steps_of_rows(values, index):
    """Of `values` `(steps, batch, features)`, in each row the steps that `index` `(any, batch)` tells."""
    batch, width = ops.shape(values)[1], values.shape[-1]
    rows = ops.cast(index, "int32") * batch + ops.arange(batch, dtype="int32")
    taken = ops.take(ops.reshape(values, (-1, width)), ops.reshape(rows, (-1,)), axis=0)
    return ops.reshape(taken, (*ops.shape(index)[:1], batch, width))
