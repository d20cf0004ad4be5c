"""Which way XLA is fastest on a CPU, by shape: measured on two cores, with and without recurrent dropout."""

import dataclasses

import jax

USUAL_BATCH = 32  # where it is unknown
# Units from which on two steps a turn are faster, and batch size times units of a large step.
WIDE = 512
LARGE = 8192


def against_tangents(plan):
    """Why a derivative with the weights in one product had better not be used, or None.

    It is faster where the weights are large beside a step's states.
    """
    if not plan.differentiable:
        return "it gains where a gradient is asked for"
    if jax.default_backend() != "cpu":
        return "it was measured on CPUs alone"
    cell, batch = plan.recurrence, plan.batch or USUAL_BATCH
    least = 0 if cell.is_summed and cell.gates == 1 else (8 if cell.is_summed else 16) * batch
    return None if cell.units >= least else "the weights are small beside the states of a step"


def hoisting_pays(plan):
    """Whether the input product of all steps at once is faster than one in each step.

    XLA reads the inputs of a step as fast as what was made of them, so that it is where there is less of the latter;
    and in training where the gradient of the kernel, a sum over steps, is larger than what a step adds to it, or where
    a step is small.
    """
    cell, batch = plan.recurrence, plan.batch or USUAL_BATCH
    if jax.default_backend() != "cpu" or not cell.is_gated or cell.features is None:
        return True
    if cell.features > cell.projected_width:
        return True
    if plan.noisy and cell.recurrent_dropout:
        # A step of a product per gate has something to do beside its input product.
        return batch * cell.units < LARGE // 2
    return plan.differentiable and (cell.features > batch or batch * cell.units < LARGE)


def with_turns(plan):
    """The plan with as many steps a turn as are fastest, if nobody said how many."""
    wide = jax.default_backend() == "cpu" and plan.recurrence.is_gated and plan.recurrence.units >= WIDE
    return dataclasses.replace(plan, unroll=2) if wide and plan.unroll is False else plan
