"""What a property is tried on, and when two results are the same."""

import dataclasses

import keras
import numpy as np
from keras import ops


@dataclasses.dataclass(frozen=True)
class Case:
    """Sizes of a test, the seed of its numbers, and how many times more than others the cell amplifies rounding."""

    batch: int = 3
    steps: int = 5
    features: int = 2
    seed: int = 0
    condition: float = 1.0

    @property
    def tolerance(self):
        """Largest relative difference that rounding explains."""
        return tolerance() * self.condition

    def sequences(self):
        shape = (self.batch, self.steps, self.features)
        return np.random.default_rng(self.seed).normal(size=shape).astype(compute_dtype())

    def lengths(self):
        """The length of each row, from 0 (nothing is valid) to all steps."""
        return np.random.default_rng(self.seed + 1).integers(0, self.steps + 1, self.batch)

    def mask(self):
        return np.random.default_rng(self.seed + 2).random((self.batch, self.steps)) < 0.6


def compute_dtype():
    """The type that Keras's dtype policy computes in."""
    return keras.config.dtype_policy().compute_dtype


def tolerance():
    """Largest difference that rounding explains, relative to the largest number: by Keras's dtype policy."""
    return {"float64": 1e-12, "float32": 1e-6}[compute_dtype()]


def assert_same(actual, expected, what, rtol=None, scale=0.0):
    """Equal structure and, relative to the largest number of each tensor, equal values.

    `scale` is the size of the terms that the values are sums of, where these can cancel.
    """
    actual, expected = keras.tree.flatten(actual), keras.tree.flatten(expected)
    assert len(actual) == len(expected), f"{what}: {len(actual)} tensors, expected {len(expected)}"
    for left, right in zip(actual, expected, strict=True):
        left, right = ops.convert_to_numpy(left), ops.convert_to_numpy(right)
        assert left.shape == right.shape, f"{what}: shape {left.shape}, expected {right.shape}"
        if right.size:
            error = float(np.abs(left - right).max()) / max(float(np.abs(right).max()), scale, 1e-30)
            # A NaN fails too.
            assert error <= (rtol or tolerance()), f"{what}: relative error {error:.2e}"
