"""Random masks: drawn before the loop, never inside a step.

Most are drawn once for a sequence. Those under a key of `PER_STEP` lead with time, and each step gets its own.
"""

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


# `zoneout` is for the wrapper's own step, `share` for a loop over the cell inside: dicts of how much of each state is
# new, by the place of the state.
PER_STEP = ("zoneout", "share")


def of_steps(noise):
    """What of a nest of noise leads with time, in the same nest."""
    if isinstance(noise, dict):
        return {name: each if name in PER_STEP else of_steps(each) for name, each in noise.items()}
    return [of_steps(each) for each in noise] if isinstance(noise, list) else {}


def at_step(noise, step):
    """The noise of one step: `noise` with that of the step, `step`, in place of what leads with time."""
    if isinstance(noise, dict):
        return {name: step[name] if name in PER_STEP else at_step(each, step[name]) for name, each in noise.items()}
    return [at_step(*each) for each in zip(noise, step, strict=True)] if isinstance(noise, list) else noise


def blend(shares, new, old):
    """The states with a share of each that is new, and the rest as it was.

    Args:
        shares: dict from the place of a state, as a string, to its share, `(batch, size)` or `(batch, 1)`.
        new: list of states after a step.
        old: list of states before it.
    """
    new = list(new)
    for place, share in shares.items():
        share = ops.cast(share, old[int(place)].dtype)
        # Exactly one or the other where the share is 1 or 0.
        new[int(place)] = share * new[int(place)] + (1 - share) * old[int(place)]
    return new


def blend_step(shares, output, new, old):
    """`(output, states)` of a step; an output that is the first state stays that."""
    blended = blend(shares, new, old)
    return (blended[0] if output is new[0] else output), blended
