"""Tensors that lead with time, and lists of what steps make."""

from typing import Any, NamedTuple

import tensorflow as tf


def number_of_steps(tensor):
    """An int if it is known, else a tensor."""
    return tensor.shape[0] if tensor.shape[0] is not None else tf.shape(tensor)[0]


def part(tensor, start, count):
    """Steps `(count, ...)` of a tensor; nothing is copied if its number of steps is known."""
    if tensor.shape[0] is None:
        # XLA looks at a block also where there are too few steps for one, and does not mind that here.
        return tf.gather(tensor, start + tf.range(count))
    size = [count, *(-1 if length is None else length for length in tensor.shape[1:])]
    return tf.slice(tensor, [start, *(0 for _ in size[1:])], size)


def one_by_one(tensor, start, count):
    """A list of `count` steps."""
    return tf.unstack(part(tensor, start, count), count)


def select(valid, new, old):
    """`new` in the valid rows, else `old`. Many times as fast on a CPU as `tf.where`, which broadcasts."""
    return tf.raw_ops.Select(condition=valid, x=new, y=old)


def with_shapes_of(old, new):
    """The tensors `new`, told that they have the shapes of `old`: a loop insists."""
    for before, after in zip(old, new, strict=True):
        after.set_shape(before.shape)
    return new


def make_list(size, like, width=None, popped=False):
    """A list for tensors in the type and shape of `like`, or of that with another width.

    One that `pop_each` will read has to be `popped`.
    """
    if not popped:
        return tf.TensorArray(like.dtype, size=size, element_shape=_shape(like, width))
    # With a part of the shape unknown, XLA would lose count of what was taken out.
    handle = tf.raw_ops.TensorListReserve(
        element_shape=_dynamic_shape(like, width), num_elements=size, element_dtype=like.dtype
    )
    return tf.TensorArray(like.dtype, flow=handle)


def write_each(lists, place, values):
    """Writes one value into each list. There may be more values than lists."""
    return [each.write(place, value) for each, value in zip(lists, values, strict=False)]


class Form(NamedTuple):
    """What the tensors in a list have in common."""

    dtype: Any
    shape: Any
    dynamic_shape: Any

    @classmethod
    def of(cls, like, width=None):
        """That of a list which was made with these arguments."""
        return cls(like.dtype, _shape(like, width), _dynamic_shape(like, width))


def pop_each(handles, forms):
    """Takes the last value out of each list, which frees its memory: `(handles, values)`.

    Args:
        handles: of the lists, at first `each.flow`.
        forms: of the lists. They are made outside of the loop, once.
    """
    rest, values = [], []
    for handle, form in zip(handles, forms, strict=True):
        handle, value = tf.raw_ops.TensorListPopBack(
            input_handle=handle, element_shape=form.dynamic_shape, element_dtype=form.dtype
        )
        value.set_shape(form.shape)
        rest.append(handle)
        values.append(value)
    return rest, values


def stack(array, steps, like, width=None):
    """A list made by `make_list` as one tensor."""
    # `TensorArray.stack` cannot give an empty stack of tensors whose batch size is unknown.
    stacked = tf.raw_ops.TensorListStack(
        input_handle=array.flow,
        element_shape=_dynamic_shape(like, width),
        element_dtype=like.dtype,
        num_elements=-1,
    )
    stacked.set_shape([steps if isinstance(steps, int) else None, *_shape(like, width)])
    return stacked


def _shape(like, width):
    return like.shape if width is None else [like.shape[0], width]


def _dynamic_shape(like, width):
    return tf.shape(like) if width is None else [tf.shape(like)[0], width]


def over_blocks(first, stop, block, body, carry, upward):
    """`carry = body(start, count, *carry)` for each block of steps, and for each of the steps that fill none.

    Args:
        first: the first step, an int.
        stop: where the steps end, an int or a tensor.
        block: how many a block has.
        body: the turn of the loop.
        carry: what goes from turn to turn.
        upward: whether in the order of time, or against it.
    """
    whole = first + (stop - first) // block * block
    runs = [(first, whole, block), (whole, stop, 1)]
    for first, stop, count in runs if upward else reversed(runs):
        if isinstance(stop, int) and stop - first in (0, count):
            carry = carry if first == stop else body(first, count, *carry)
            continue

        def turn(start, carry, count=count):
            start = start if upward else start - count
            return start + count if upward else start, body(start, count, *carry)

        condition = (lambda at, _, stop=stop: at < stop) if upward else (lambda at, _, first=first: at > first)
        _, carry = tf.while_loop(
            condition,
            turn,
            (tf.convert_to_tensor(first if upward else stop), carry),
            # Also where there is nothing to do: XLA makes no room for no turns, and then trips over it.
            maximum_iterations=tf.maximum((stop - first) // count, 1),
        )
    return carry
