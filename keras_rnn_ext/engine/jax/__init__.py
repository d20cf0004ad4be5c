"""JAX: `lax.scan`, or cuDNN's LSTM on a GPU; called eagerly, the whole layer compiled once."""

import jax
import keras
from jax.experimental import rnn

from keras_rnn_ext.core.strategy import Engine, Strategy, enrol
from keras_rnn_ext.engine.chunks import Chunks
from keras_rnn_ext.engine.jax.choices import hoisting_pays, with_turns
from keras_rnn_ext.engine.jax.linear import linear_scan
from keras_rnn_ext.engine.jax.tangents import TangentLoop
from keras_rnn_ext.engine.library import CudnnLayer, flat_parameters
from keras_rnn_ext.engine.loops import CellByCell, CellInside, Loop, ParallelScan, ProjectedLoop


def scan(body, carry, values, blank, turns):
    """See `loops`."""
    carry, outputs = jax.lax.scan(body, carry, values, unroll=turns)
    return carry, None if blank is None else outputs


class HoistedLoop(ProjectedLoop):
    """The projected loop where it pays; the rest is for the plain one."""

    def reluctance(self, plan):
        return None if hoisting_pays(plan) else "each step makes its own input product as fast"

    def run(self, plan, feed):
        return super().run(with_turns(plan), feed)


class StepLoop(Loop):
    """The plain loop, a few steps a turn where that pays."""

    def run(self, plan, feed):
        return super().run(with_turns(plan), feed)


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


def has_gpu():
    """Whether JAX computes on a GPU with CUDA, rather than one with ROCm."""
    return jax.default_backend() == "gpu" and "cuda" in jax.devices()[0].client.platform_version.lower()


class CudnnRow(CudnnLayer):
    """`jax.experimental.rnn.lstm`, which Keras's LSTM calls too where there is no mask."""

    summary = "cuDNN's LSTM"
    backend = "JAX"

    def sees_gpu(self):
        return has_gpu()

    def obstacle(self, plan):
        reason = super().obstacle(plan)
        if reason is None and plan.recurrence.library != "lstm":
            return "of cuDNN's layers JAX has the LSTM alone"
        if reason is None and plan.recurrence.compute_dtype != "float32":
            return "JAX calls cuDNN in float32 alone"
        return reason

    def call_kernel(self, recurrence, inputs, lengths, states, weights):
        steps, batch, features = inputs.shape
        outputs, *new_states = rnn.lstm(
            jax.numpy.swapaxes(inputs, 0, 1),
            *(state[None] for state in states),
            flat_parameters(recurrence, weights),
            jax.numpy.full((batch,), steps, "int32") if lengths is None else lengths,
            features,
            recurrence.units,
            1,  # layers
            0.0,  # dropout between layers
            False,  # bidirectional
        )
        return jax.numpy.swapaxes(outputs, 0, 1), [new[0] for new in new_states]


def _changing(recurrence):
    variables = getattr(recurrence.cell, "variables", [])
    return [variable for variable in variables if not variable.trainable]


enrol(
    "jax",
    Engine(
        strategies=(
            CellByCell(),
            CellInside(),
            CudnnRow(),
            ParallelScan(linear_scan, jax.lax.complex, takes_constant=True),
            Chunks(scan),
            TangentLoop(),
            HoistedLoop(scan),
            LoopWithVariables(),
            StepLoop(scan),
        ),
        runs_eagerly=lambda sequences: not isinstance(sequences, jax.core.Tracer),
        gradients=lambda loss, tensors: jax.jit(jax.grad(loss))(list(tensors)),
        compile=jax.jit,
        compiled_note="compiled once with jax.jit",
        reads_variables=False,
        recomputed=jax.checkpoint,
    ),
)
