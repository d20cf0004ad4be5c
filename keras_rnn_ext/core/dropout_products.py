"""Matrix products over any number of leading axes, with dropout masks."""

import functools

from keras import ops


def product(values, kernel, noise=None):
    """`(values * noise) @ kernel`, with one mask for all columns of the kernel or one per gate.

    Args:
        values: `(..., batch, features)`.
        kernel: `(features, gates * units)`, or what `per_gate` made of it.
        noise: None, one mask `(batch, features)`, or a mask per gate `(gates, batch, features)`, also as a list.

    Returns:
        `(..., batch, gates * units)`.
    """
    if noise is None:
        return _flat_product(values, kernel)
    if not _is_per_gate(noise):
        return _flat_product(values * noise, kernel)
    parts = [_flat_product(values * noise[gate], part) for gate, part in enumerate(per_gate(kernel, noise))]
    return ops.concatenate(parts, axis=-1)


def per_gate(kernel, noise):
    """The kernel as a list of a part per gate, if there is a mask per gate. A loop does this before it starts."""
    if not _is_per_gate(noise) or isinstance(kernel, list):
        return kernel
    return list(ops.split(kernel, len(noise) if isinstance(noise, list) else noise.shape[0], axis=-1))


def listed_by_gate(noise):
    """The masks as a list of one per gate, if there is one per gate. A loop does this before it starts."""
    return list(ops.unstack(noise, axis=0)) if _is_per_gate(noise) else noise


def _is_per_gate(noise):
    return isinstance(noise, list) or (noise is not None and len(noise.shape) == 3)


def gradient_through(gradient, transposed, noise=None):
    """The gradient of the values of a `product`, from that of the product and the transpose of what `per_gate` gives.

    A kernel that is transposed once is read faster, step by step, than one that each product reads across.
    """
    if noise is None:
        return _flat_product(gradient, transposed)
    if not _is_per_gate(noise):
        return _flat_product(gradient, transposed) * noise
    parts = ops.split(gradient, len(transposed), axis=-1)
    through = [_flat_product(part, transposed[gate]) * noise[gate] for gate, part in enumerate(parts)]
    return functools.reduce(ops.add, through)


def _flat_product(values, kernel):
    # One large product instead of a batch of small ones.
    if len(values.shape) == 2:
        return ops.matmul(values, kernel)
    leading = ops.shape(values)[:-1]
    flat = ops.matmul(ops.reshape(values, (-1, values.shape[-1])), kernel)
    return ops.reshape(flat, (*leading, kernel.shape[-1]))
