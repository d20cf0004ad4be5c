"""Layer normalisation of a step, for the cells that have it."""

from keras import ops


def layer_norm(values, gain, offset=None, epsilon=1e-5):
    """`gain * (values - mean) / sqrt(variance + epsilon) + offset` over the last axis."""
    centred = values - ops.mean(values, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
    normed = centred * ops.rsqrt(variance + epsilon) * gain
    return normed if offset is None else normed + offset
