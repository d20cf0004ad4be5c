"""Matrix products over any number of leading axes, with dropout masks."""

from keras import ops


def product(values, kernel, noise=None):
    """`(values * noise) @ kernel`, with one mask for all columns of the kernel or one per gate.

    Args:
        values: `(..., batch, features)`.
        kernel: `(features, gates * units)`, or what `per_gate` made of it.
        noise: None, one mask `(batch, features)`, or a mask per gate `(gates, batch, features)`.

    Returns:
        `(..., batch, gates * units)`.
    """
    if noise is None:
        return _flat_product(values, kernel)
    if len(noise.shape) == 2:
        return _flat_product(values * noise, kernel)
    parts = [_flat_product(values * noise[gate], part) for gate, part in enumerate(per_gate(kernel, noise))]
    return ops.concatenate(parts, axis=-1)


def per_gate(kernel, noise):
    """The kernel as a list of a part per gate, if there is a mask per gate. A loop does this before it starts."""
    if noise is None or len(noise.shape) == 2 or isinstance(kernel, list):
        return kernel
    return ops.split(kernel, noise.shape[0], axis=-1)


def gradient_through(gradient, transposed, noise=None):
    """The gradient of the values of a `product`, from that of the product and the transpose of what `per_gate` gives.

    A kernel that is transposed once is read faster, step by step, than one that each product reads across.
    """
    if noise is None:
        return _flat_product(gradient, transposed)
    if len(noise.shape) == 2:
        return _flat_product(gradient, transposed) * noise
    parts = ops.split(gradient, len(transposed), axis=-1)
    return sum(_flat_product(part, transposed[gate]) * noise[gate] for gate, part in enumerate(parts))


def _flat_product(values, kernel):
    # One large product instead of a batch of small ones.
    if len(values.shape) == 2:
        return ops.matmul(values, kernel)
    leading = ops.shape(values)[:-1]
    flat = ops.matmul(ops.reshape(values, (-1, values.shape[-1])), kernel)
    return ops.reshape(flat, (*leading, kernel.shape[-1]))
