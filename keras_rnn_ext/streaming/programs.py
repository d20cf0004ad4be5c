"""Functions of a model, compiled as the backend does it, that see the weights of now."""

import keras
from keras import ops

from keras_rnn_ext.core.strategy import engine

# With a few rows a step is many small operations, and it pays to fuse them: a GRU of 1,024 units on two cores takes
# 0.20 ms instead of 0.33 with 1 row. With 64 rows and 10,000 tokens it takes 16 ms instead of 9.
FEW_ROWS = 8

# The most steps that a program of `blocks` makes at a time.
BLOCK = 256


def compiled(program, model, rows, has_loop=True):
    """`program(*tensors)`, which calls `model` for inference, compiled for about so many rows.

    It is for tensors of the shapes and types of its first call. The weights may change between calls. No gradient goes
    through it. `has_loop` says whether the program may have a loop, or many steps written out.
    """
    backend = engine()
    is_small = rows <= FEW_ROWS and all(layer.supports_jit for layer in model.layers)
    compile_program = (backend.compile_fused if is_small else None) or backend.compile or (lambda each: each)
    settle = (lambda run, tensors: run) if has_loop and not backend.compile else backend.settle
    if backend.reads_variables:
        return _Settled(compile_program(program), settle)
    variables = model.variables

    def with_values(values, *tensors):
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return program(*tensors)

    run = _Settled(compile_program(with_values), settle)

    def call(*tensors):
        with backend.inference():
            return run([ops.stop_gradient(variable.value) for variable in variables], *tensors)

    return call


class _Settled:
    """A compiled program, for the tensors of its first call from then on."""

    def __init__(self, program, settle):
        self.program, self.settle = program, settle
        self.settled = None

    def __call__(self, *tensors):
        if self.settled is None:
            self.settled = self.settle(self.program, tensors)
        return self.settled(*tensors)


def fingerprint(model):
    """What changes when a model gets other layers or weights."""
    return tuple(id(variable) for variable in model.variables)


def blocks(steps):
    """The lengths of blocks that make up `steps`: powers of two, so that few programs serve every number of steps.

    >>> blocks(600), blocks(5)
    ([256, 256, 64, 16, 8], [4, 1])
    """
    return [BLOCK] * (steps // BLOCK) + [
        1 << bit for bit in reversed(range(BLOCK.bit_length())) if steps % BLOCK >> bit & 1
    ]
