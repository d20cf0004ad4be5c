r"""The linear recurrence $s_t = a_t \odot s_{t-1} + x_t$ over all steps, with a gradient of its own.

A step costs a few microseconds however little it computes. So the steps are cut into chunks, and all chunks take their
k-th step in one operation, two times: from a state of zeros, which tells how a chunk passes a state on, and then from
the right one. That makes some 430 operations of 4,096. The gradient is the same recurrence run from the last step.
Nothing is divided and no logarithm is taken, so decays may be zero or negative. Only the product of a chunk's decays
must not overflow.
"""

import math

import torch

from keras_rnn_ext.core.compat import is_recorded

# Measured on two cores: with fewer steps, or with more values in a state, taking them one by one is as fast.
LEAST_STEPS = 64
MOST_VALUES = 2048
# Torch runs an operation on that many values in parallel. These are too short for that: with a core busy elsewhere,
# waiting for its part took 10 ms each.
PARALLEL_VALUES = 2**15


def linear_scan(decay, inputs, start):
    r"""All states of $s_t = a_t \odot s_{t-1} + x_t$.

    Args:
        decay: $a$, `(steps, batch, ...)`, real or complex.
        inputs: $x$, in the shape and type of `decay`.
        start: $s_0$, `(batch, ...)`.

    Returns:
        The states $s_1, s_2, \dots$, in the shape and type of `inputs`.
    """
    if is_traced():
        return _one_by_one(decay, inputs, start)
    return _Forward.apply(decay, inputs, start)


class _Forward(torch.autograd.Function):
    """The states; its gradient runs backward in time."""

    @staticmethod
    def forward(decay, inputs, start):
        states = torch.empty_like(inputs, memory_format=torch.contiguous_format)
        _fill(states, decay, inputs, start, upward=True)
        return states

    @staticmethod
    def setup_context(ctx, inputs, output):
        decay, _, start = inputs
        ctx.save_for_backward(decay, start, output)

    @staticmethod
    def backward(ctx, upstream):
        decay, start, states = ctx.saved_tensors
        adjoints, before_first = _Backward.apply(_conjugate(decay), upstream)
        return adjoints * _conjugate(_before(start, states)), adjoints, before_first


class _Backward(torch.autograd.Function):
    """The adjoints of all states and that of the first one; its gradient runs forward in time."""

    @staticmethod
    def forward(decay, upstream):
        adjoints = torch.empty_like(upstream, memory_format=torch.contiguous_format)
        if not len(decay):
            return adjoints, upstream.new_zeros(upstream.shape[1:])
        adjoints[-1] = upstream[-1]
        _fill(adjoints[:-1], decay[1:], upstream[:-1], adjoints[-1], upward=False)
        return adjoints, decay[0] * adjoints[0]

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0], output[0])

    @staticmethod
    def backward(ctx, upstream, upstream_first):
        decay, adjoints = ctx.saved_tensors
        states = linear_scan(_conjugate(decay), upstream, upstream_first)
        return _before(upstream_first, states) * _conjugate(adjoints), states


def _fill(states, decay, inputs, start, upward):
    """Writes the states, with the first step first (`upward`) or last."""
    steps, values = len(inputs), start.numel()
    if steps < LEAST_STEPS or not 0 < values <= MOST_VALUES:
        _take(states, decay, inputs, start, upward)
        return
    count = min(math.isqrt(steps), (PARALLEL_VALUES - 1) // values)
    whole = steps // count * count
    # The steps that fill no chunk are the last ones in time, whichever are taken first.
    chunks, rest = zip(*(tensor.split([whole, steps - whole]) for tensor in (states, decay, inputs)), strict=True)
    chunks = [tensor.unflatten(0, (count, -1)).transpose(0, 1) for tensor in chunks]
    if upward:
        _fill_chunks(*chunks, start, upward)
        _take(*rest, states[whole - 1], upward)
    else:
        _take(*rest, start, upward)
        _fill_chunks(*chunks, states[whole] if whole < steps else start, upward)


def _fill_chunks(states, decay, inputs, start, upward):
    """`_fill` for tensors `(steps of a chunk, chunks, batch, ...)`."""
    ends, factors = torch.zeros_like(inputs[0]), torch.ones_like(decay[0])
    _take([ends] * len(inputs), decay, inputs, ends, upward)
    for factor in decay:
        factors *= factor
    # The states between chunks, with the first and the last one.
    bounds = ends.new_empty((len(ends) + 1, *start.shape))
    bounds[0 if upward else -1] = start
    before, after = (bounds[:-1], bounds[1:]) if upward else (bounds[1:], bounds[:-1])
    _take(after, factors, ends, start, upward)
    _take(states, decay, inputs, before, upward)


def _take(states, decay, inputs, state, upward):
    """Takes the steps one by one, and writes each state to its place."""
    entries = list(zip(states, decay, inputs, strict=True))
    for place, factor, value in entries if upward else reversed(entries):
        state = torch.addcmul(value, factor, state, out=place)


def _one_by_one(decay, inputs, state):
    """The same with operations that an exporter knows."""
    states = []
    for factor, value in zip(decay, inputs, strict=True):
        state = value + factor * state
        states.append(state)
    return torch.stack(states) if states else torch.zeros_like(inputs)


def is_traced():
    """Whether what runs is recorded, for a file or to run again."""
    return is_recorded() or torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export() or torch.jit.is_tracing()


def _conjugate(tensor):
    """A conjugate that is computed at once: an operation on a lazy one would compute it each time."""
    return torch.conj_physical(tensor) if tensor.is_complex() else tensor


def _before(start, states):
    """The state before each step."""
    return torch.cat([start.unsqueeze(0), states])[:-1]
