"""JAX: `lax.scan`; called eagerly, the whole layer compiled once."""

import jax

from keras_rnn_ext.core.strategy import Engine, enrol
from keras_rnn_ext.engine.loops import CellByCell, Loop, ProjectedLoop


def scan(body, carry, values, blank, turns):
    """See `loops`."""
    carry, outputs = jax.lax.scan(body, carry, values, unroll=turns)
    return carry, None if blank is None else outputs


enrol(
    "jax",
    Engine(
        strategies=(CellByCell(), ProjectedLoop(scan), Loop(scan)),
        runs_eagerly=lambda sequences: not isinstance(sequences, jax.core.Tracer),
        compile=jax.jit,
        compiled_note="compiled once with jax.jit",
    ),
)
