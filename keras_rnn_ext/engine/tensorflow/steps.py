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


class Run(NamedTuple):
    """Steps that are taken in turns of `size` each, with none left over."""

    first: int
    stop: Any  # an int or a tensor
    size: int

    @property
    def is_one_turn(self):
        """Whether it is known to need no loop."""
        return isinstance(self.turns, int) and self.turns == 1

    @property
    def turns(self):
        return (self.stop - self.first) // self.size

    def start(self, turn):
        """The first step of a turn."""
        return self.first + turn * self.size


def runs(first, stop, block):
    """The whole blocks between two steps, and the steps that fill none. What is known to be empty is left out."""
    whole = first + (stop - first) // block * block
    both = [Run(first, whole, block), Run(whole, stop, 1)]
    return [run for run in both if not isinstance(run.turns, int) or run.turns]


def over_run(run, body, carry, upward=True):
    """`carry = body(turn, *carry)` for each turn, in the order of time or against it."""
    if run.is_one_turn:
        return body(0, *carry)

    def turn(at, carry):
        at = at if upward else at - 1
        return at + 1 if upward else at, body(at, *carry)

    turns = run.turns
    _, carry = tf.while_loop(
        (lambda at, _: at < turns) if upward else (lambda at, _: at > 0),
        turn,
        (tf.convert_to_tensor(0 if upward else turns), carry),
        # Also where there is nothing to do: XLA makes no room for no turns, and then trips over it.
        maximum_iterations=tf.maximum(turns, 1),
    )
    return carry


def collect_run(run, body, states):
    """`states, output = body(turn, states)` for each turn: the last states, and the outputs, which lead with the
    steps of a turn, as one tensor."""
    if run.is_one_turn:
        return body(0, states)
    like, turns = states[0], run.turns
    known = isinstance(turns, int)
    # Exporters know lists with one entry a turn, at its number, and LiteRT those with a shape and a length.
    form = {"element_shape": _block_shape(run.size, like), "element_dtype": like.dtype}
    # XLA looks at the loop also where there is nothing to do, and then wants room for an entry.
    handle = tf.raw_ops.TensorListReserve(num_elements=turns if known else tf.maximum(turns, 1), **form)

    def write(turn, states, arrays):
        states, output = body(turn, states)
        return states, write_each(arrays, turn, [output])

    states, (array,) = over_run(run, write, (states, [tf.TensorArray(like.dtype, flow=handle)]))
    blocks = tf.raw_ops.TensorListStack(input_handle=array.flow, num_elements=turns if known else -1, **form)
    blocks = blocks if known else blocks[:turns]
    outputs = tf.reshape(blocks, _block_shape(turns * run.size, like))
    outputs.set_shape([turns * run.size if known else None, *like.shape])
    return states, outputs


def _block_shape(steps, like):
    """The shape of so many steps in the form of `like`."""
    if isinstance(steps, int) and like.shape.is_fully_defined():
        return [steps, *like.shape]
    return tf.concat([[steps], tf.shape(like)], 0)
