"""JAX: `lax.scan`; called eagerly, the whole layer compiled once."""

import jax
import keras

from keras_rnn_ext.core.strategy import Engine, Strategy, enrol
from keras_rnn_ext.engine.loops import CellByCell, Loop, ProjectedLoop


def scan(body, carry, values, blank, turns):
    """See `loops`."""
    carry, outputs = jax.lax.scan(body, carry, values, unroll=turns)
    return carry, None if blank is None else outputs


def carried_scan(variables):
    """A scan that carries the values of `variables` from step to step, as if each step assigned them.

    Without it a seed that a cell advances inside its step would be the same at every step, and the variable
    would be left with a tracer in it.
    """
    carried = [variable for variable in variables if not variable.trainable]
    fixed = [(variable, variable.value) for variable in variables if variable.trainable]

    def scan_with_variables(body, carry, values, blank, turns):
        def body_with_variables(carry, entry):
            inner, current = carry
            with keras.StatelessScope(state_mapping=[*fixed, *zip(carried, current, strict=True)]) as scope:
                inner, output = body(inner, entry)
            return (inner, [scope.get_current_value(variable) for variable in carried]), output

        start = [variable.value for variable in carried]
        (inner, last), outputs = scan(body_with_variables, (carry, start), values, blank, turns)
        for variable, value in zip(carried, last, strict=True):
            variable.assign(value)
        return inner, outputs

    return scan_with_variables


class LoopWithVariables(Strategy):
    """The plain loop, for a cell that changes variables of its own (a seed, a running mean) inside its step."""

    name = "loop with variables"
    summary = "the cell called step by step, its variables carried along"

    def obstacle(self, plan):
        if plan.recurrence.kind != "foreign":
            return "only a foreign cell changes variables inside its step"
        return None if _changing(plan.recurrence) else "the cell has no variable that a step could change"

    def run(self, plan, feed):
        if plan.unroll is True:
            return Loop(scan).run(plan, feed)
        return Loop(carried_scan(plan.recurrence.cell.variables)).run(plan, feed)


def _changing(recurrence):
    variables = getattr(recurrence.cell, "variables", [])
    return [variable for variable in variables if not variable.trainable]


enrol(
    "jax",
    Engine(
        strategies=(CellByCell(), ProjectedLoop(scan), LoopWithVariables(), Loop(scan)),
        runs_eagerly=lambda sequences: not isinstance(sequences, jax.core.Tracer),
        gradients=lambda loss, tensors: jax.jit(jax.grad(loss))(list(tensors)),
        compile=jax.jit,
        compiled_note="compiled once with jax.jit",
        recomputed=jax.checkpoint,
    ),
)
