"""What the tests share: arrays, closeness and gradients, the same on TensorFlow, JAX and PyTorch."""

import contextlib

import keras
import numpy as np
from keras import ops

BACKEND = keras.backend.backend()

# Keras's version as numbers, such as (3, 15): for what depends on how Keras itself behaves.
KERAS = tuple(int(number) for number in keras.__version__.split(".")[:2])

# The bounds for parity, relative to the largest entry. On JAX and PyTorch Keras's own `ops.tanh` and `ops.sigmoid`
# compute in float32 whatever comes in (keras/src/backend/common/dtypes.py: 64-bit types exist on TensorFlow only), so
# that neither Keras's numbers nor ours are better than float32 there.
RTOL = {"float32": 1e-6, "float64": 1e-12 if BACKEND == "tensorflow" else 1e-6}

# The widest type that Keras computes in throughout.
WIDEST = "float64" if BACKEND == "tensorflow" else "float32"


def to_numpy(structure):
    """Tensors, variables and arrays, also nested, as NumPy arrays."""
    # Copies: on PyTorch an array may share the memory of the tensor.
    return keras.tree.map_structure(lambda leaf: np.array(ops.convert_to_numpy(leaf)), structure)


def assert_close(actual, expected, rtol, name="value", scale=1e-30):
    """Fails unless shapes are equal and `max|actual - expected| <= rtol * max(scale, max|expected|)` in every leaf.

    `scale` is the size of the terms that the values are sums of, where these can cancel.
    """
    keras.tree.assert_same_structure(actual, expected)
    pairs = zip(keras.tree.flatten(to_numpy(actual)), keras.tree.flatten(to_numpy(expected)), strict=True)
    for place, (left, right) in enumerate(pairs):
        assert left.shape == right.shape, f"{name} {place}: shape {left.shape}, expected {right.shape}"
        left, right = left.astype("float64"), right.astype("float64")
        if right.size == 0:
            continue
        error = np.abs(left - right).max()
        bound = rtol * max(scale, np.abs(right).max())
        # Also false for NaN.
        assert error <= bound, f"{name} {place}: {error} apart, more than {bound} = {rtol} of the largest entry"


@contextlib.contextmanager
def precision(dtype):
    """JAX computes in float64 only where it is asked to."""
    if BACKEND == "jax" and dtype == "float64":
        import jax

        with jax.enable_x64(True):
            yield
    else:
        yield


def gradients(function, tensors=(), variables=(), seed=0):
    """The second half of what `values_and_gradients` gives."""
    return values_and_gradients(function, tensors, variables, seed)[1]


def values_and_gradients(function, tensors=(), variables=(), seed=0):
    """Outputs of `function(*tensors)`, and the gradients of a random weighted sum of them all.

    Args:
        function: takes the tensors, gives a tensor or a nest of them.
        tensors: arrays of floats.
        variables: Keras variables that the function reads.
        seed: of the weights of the sum, which are normal, rounded to eighths.

    Returns:
        The outputs as arrays, and a list of arrays, one for each tensor, then one for each variable; zeros where the
        outputs do not depend on it.
    """
    tensors = [ops.convert_to_tensor(tensor) for tensor in tensors]
    outputs, found = _GRADIENTS[BACKEND](function, tensors, list(variables), seed)
    return to_numpy(outputs), to_numpy(found)


def _weighted_sum(outputs, seed):
    generator = np.random.default_rng(seed)
    total = 0.0
    for output in keras.tree.flatten(outputs):
        dtype = "float64" if keras.backend.standardize_dtype(output.dtype) == "float64" else "float32"
        # Eighths: with weights that are whole numbers too, there is no rounding in a linear layer.
        weights = np.round(8 * generator.normal(size=tuple(output.shape))) / 8
        weights = ops.convert_to_tensor(weights.astype(dtype))
        total = total + ops.sum(ops.cast(output, dtype) * weights)
    return total


def _tensorflow_gradients(function, tensors, variables, seed):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(tensors)
        outputs = function(*tensors)
        total = _weighted_sum(outputs, seed)
    sources = [*tensors, *(variable.value for variable in variables)]
    found = tape.gradient(total, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return outputs, [tf.convert_to_tensor(gradient) for gradient in found]


def _jax_gradients(function, tensors, variables, seed):
    import jax

    def total(tensors, values):
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            outputs = function(*tensors)
        return _weighted_sum(outputs, seed), outputs

    # One program: piece by piece, compilation would take most of the time of the tests.
    both = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))
    (by_tensor, by_value), outputs = both(tensors, [variable.value for variable in variables])
    return outputs, [*by_tensor, *by_value]


def _torch_gradients(function, tensors, variables, seed):
    import torch

    tensors = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    outputs = function(*tensors)
    sources = [*tensors, *(variable.value for variable in variables)]
    found = torch.autograd.grad(_weighted_sum(outputs, seed), sources, allow_unused=True, materialize_grads=True)
    return outputs, list(found)


_GRADIENTS = {"tensorflow": _tensorflow_gradients, "jax": _jax_gradients, "torch": _torch_gradients}
