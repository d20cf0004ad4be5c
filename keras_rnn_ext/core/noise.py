"""Random masks: drawn before the loop, never inside a step.

Most are drawn once for a sequence. Those under the key `"steps"` lead with time, and each step gets its own.

A wrapper may mix the states of the cell inside. What it mixes stands under `"steps"` of the cell's noise, a dict of two
dicts by the place of the state, as a string: `"masks"`, by which a state is multiplied on its way into the step, and
`"shares"`, how much of a state is new behind it.
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
    if mask is None or mask.shape[-len(values.shape) :] != values.shape:
        return False
    home = getattr(mask, "graph", None)
    here = getattr(ops.zeros(()), "graph", None)
    while here is not None and here is not home:
        here = getattr(here, "outer_graph", None)
    return here is home


STEPS = "steps"


def of_steps(noise):
    """What of a nest of noise leads with time, in the same nest."""
    if isinstance(noise, dict):
        return {name: each if name == STEPS else of_steps(each) for name, each in noise.items()}
    return [of_steps(each) for each in noise] if isinstance(noise, list) else {}


def at_step(noise, step):
    """The noise of one step: `noise` with that of the step, `step`, in place of what leads with time."""
    if isinstance(noise, dict):
        return {name: step[name] if name == STEPS else at_step(each, step[name]) for name, each in noise.items()}
    return [at_step(*each) for each in zip(noise, step, strict=True)] if isinstance(noise, list) else noise


def mix_of(noise):
    """How a wrapper mixes the states of the cell whose noise this is; empty where none does."""
    return noise.get(STEPS, {}) if isinstance(noise, dict) else {}


def masked_states(mix, states):
    """The states as a step gets them: some multiplied by a mask. So are gradients on their way back.

    Args:
        mix: as the module says, of one step; or of all steps, where `states` lead with time too.
        states: list of tensors.
    """
    states = list(states)
    for place, mask in mix.get("masks", {}).items():
        states[int(place)] = ops.cast(mask, states[int(place)].dtype) * states[int(place)]
    return states


def blend(mix, new, old):
    """The states with a share of each that is new, and the rest as it was.

    Args:
        mix: as the module says, of one step. A share is `(batch, size)` or `(batch, 1)`.
        new: list of states after a step.
        old: list of states before it.
    """
    new = list(new)
    for place, share in mix.get("shares", {}).items():
        share = ops.cast(share, old[int(place)].dtype)
        # Exactly one or the other where the share is 1 or 0.
        new[int(place)] = share * new[int(place)] + (1 - share) * old[int(place)]
    return new


def mixed_step(mix, step, states):
    """`output, states = step(states)`, with the states mixed; an output that is the first state stays that."""
    output, new = step(masked_states(mix, states))
    blended = blend(mix, new, states)
    return (blended[0] if output is new[0] else output), blended
