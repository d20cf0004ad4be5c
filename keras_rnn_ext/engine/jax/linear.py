r"""The linear recurrence $s_t = a_t \odot s_{t-1} + x_t$ over all steps, with a gradient of its own.

All states together solve a linear system with ones on its diagonal and $-a_t$ below. JAX is told how to solve it and
how to solve its transpose: one `lax.scan` each, in the order of time and against it. From that it derives `jvp`, `vjp`
and `vmap`, to any order, and none of them differentiates a loop. Nothing is divided and no logarithm is taken, so
decays may be any numbers, zeros included.
"""

import jax.numpy as jnp
from jax import lax


def linear_scan(decay, inputs, start):
    r"""All states of $s_t = a_t \odot s_{t-1} + x_t$.

    Args:
        decay: $a$, `(steps, batch, ...)`, real or complex; or `(batch, ...)`, the same for all steps.
        inputs: $x$, `(steps, batch, ...)`, in the type of `decay`.
        start: $s_0$, `(batch, ...)`.

    Returns:
        The states $s_1, s_2, \dots$, in the shape and type of `inputs`.
    """

    is_constant = decay.ndim < inputs.ndim
    # Either all of them have tangents now or none: `jax.checkpoint` fails where a solver has some.
    decay, inputs, start = lax.optimization_barrier((decay, inputs, start))

    def entries(values):
        """What the steps get: a decay of their own, or none."""
        return (values,) if is_constant else (values, decay)

    def system(unknown):
        start, states = unknown
        return start, states - decay * _before(start, states)

    def solve(_, right):
        start, inputs = right

        def step(state, entry):
            value, *own = entry
            state = value + (own[0] if own else decay) * state
            return state, state

        return start, lax.scan(step, start, entries(inputs))[1]

    def solve_transposed(_, right):
        start, upstream = right

        def step(later, entry):
            value, *own = entry
            adjoint = value + later
            return (own[0] if own else decay) * adjoint, adjoint

        later, adjoints = lax.scan(step, jnp.zeros_like(start), entries(upstream), reverse=True)
        return start + later, adjoints

    _, states = lax.custom_linear_solve(system, (start, inputs), solve, solve_transposed)
    return states


def _before(start, states):
    """The state before each step."""
    return jnp.concatenate([start[None], states])[:-1]
