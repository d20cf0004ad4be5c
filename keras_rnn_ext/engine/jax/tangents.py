"""A loop whose derivative leaves the weights to one product over all steps.

The derivative of `lax.scan` adds to the gradient of each weight at each step, which reads and writes a sum as large as
the weight. Here the loop and its tangent are two loops: what the tangents of the weights add to each step, given the
states of all steps, is one product before the second, and its transpose is the one product that makes their gradients.
All of it is a JVP rule in JAX's own operations, so that forward mode, reverse mode and one over the other work.
"""

import functools

import jax
from jax import numpy as jnp

from keras_rnn_ext.core.masks import select, zeros_before_first
from keras_rnn_ext.core.noise import blend, masked_states, mix_of
from keras_rnn_ext.engine.jax.choices import against_tangents
from keras_rnn_ext.engine.loops import GatedStrategy, states_of_gate


class TangentLoop(GatedStrategy):
    """A gated cell, with a derivative of its own."""

    name = "tangent loop"
    summary = "the loop, and a derivative with the weights in one product"

    def obstacle(self, plan):
        reason = super().obstacle(plan)
        return "`recompute=True`, and it keeps what it needs" if reason is None and plan.recompute else reason

    def reluctance(self, plan):
        return against_tangents(plan)

    def run(self, plan, feed):
        weights, noise = plan.recurrence.ready(feed.weights, feed.noise)
        projected = plan.recurrence.project(feed.inputs, weights, noise)
        loop = _loop(plan.recurrence, int(plan.unroll) or 1)
        last, outputs = loop(projected, list(feed.states), feed.mask, weights, noise)
        values = outputs if plan.return_sequences else last[0]
        if feed.mask is not None:
            return zeros_before_first(values, feed.mask), last
        return (values if plan.return_sequences or feed.inputs.shape[0] else jnp.zeros_like(values)), last


def _loop(cell, turns):
    """The loop, as a function of all that it reads: `(last states, outputs)`."""

    def gate(sources, states, weights):
        # Of a sum it does not matter which of the two is zero.
        return states_of_gate(cell, *sources, *([0.0] if cell.is_summed else []), states, weights)

    def trace(projected, states, mask, weights, noise):
        """With what the derivative reads: what entered the gates of each step, and the states before it."""

        def body(states, entry):
            got = masked_states(entry["mix"], states)
            projected, recurrent = entry["projected"], cell.recurrent(cell.entering(got), weights, noise)
            sources = (projected + recurrent,) if cell.is_summed else (projected, recurrent)
            new_states = _held(entry, gate(sources, got, weights), states)
            return new_states, (new_states[0], sources, states[1:])

        entries = _entries(mask, noise, projected=projected)
        last, (outputs, sources, others) = jax.lax.scan(body, states, entries, unroll=turns)
        hidden = jnp.concatenate([states[0][None], outputs[:-1]]) if outputs.shape[0] else outputs
        return last, outputs, {"sources": sources, "states": [hidden, *others]}

    @jax.custom_jvp
    def loop(*operands):
        return trace(*operands)[:2]

    @loop.defjvp
    def derivative(operands, tangents):
        _, _, mask, weights, noise = operands
        # Masks and noise depend on nothing.
        d_projected, d_states, _, d_weights, _ = tangents
        last, outputs, befores = trace(*operands)
        # What the steps got of them.
        befores["states"] = masked_states(mix_of(noise), befores["states"])

        def recurrent(weights):
            return cell.recurrent(cell.entering(befores["states"]), weights, noise)

        _, d_recurrent = jax.jvp(recurrent, (weights,), (d_weights,))
        d_sources = (d_projected + d_recurrent,) if cell.is_summed else (d_projected, d_recurrent)

        # Of a step is kept what it gets, not the many factors of its derivative. In a scan that needs no barrier.
        @functools.partial(jax.checkpoint, prevent_cse=False)
        def body(d_states, entry):
            sources, states = entry["befores"]["sources"], entry["befores"]["states"]

            def recurrent(states):
                return cell.recurrent(cell.entering(states), weights, noise)

            d_got = masked_states(entry["mix"], d_states)
            _, moved = jax.jvp(recurrent, (states,), (d_got,))
            *first, d_recurrent = entry["d_sources"]
            tangents = ((*first, d_recurrent + moved), d_got, d_weights)
            _, d_new = jax.jvp(gate, (sources, states, weights), tangents)
            d_new = _held(entry, d_new, d_states)
            return d_new, d_new[0]

        entries = _entries(mask, noise, befores=befores, d_sources=d_sources)
        return (last, outputs), jax.lax.scan(body, d_states, entries, unroll=turns)

    return loop


def _entries(mask, noise, **entries):
    """What the steps of a loop get: with what says how much of a step counts."""
    entries["mix"] = mix_of(noise)
    return entries if mask is None else {**entries, "valid": mask}


def _held(entry, new, old):
    """`new` where the step is valid, and as far as the states are to be new; else `old`."""
    new = blend(entry["mix"], new, old)
    if "valid" not in entry:
        return new
    return [select(entry["valid"], *pair) for pair in zip(new, old, strict=True)]
