"""Matrix products over any number of leading axes, with dropout masks."""

from keras import ops


def product(values, kernel, noise=None):
    """`(values * noise) @ kernel`, with one mask for all columns of the kernel or one per gate.

    Args:
        values: `(..., batch, features)`.
        kernel: `(features, gates * units)`.
        noise: None, one mask `(batch, features)`, or a mask per gate `(gates, batch, features)`.

    Returns:
        `(..., batch, gates * units)`.
    """
    if noise is None:
        return _flat_product(values, kernel)
    if len(noise.shape) == 2:
        return _flat_product(values * noise, kernel)
    columns = ops.split(kernel, noise.shape[0], axis=-1)
    return ops.concatenate([_flat_product(values * noise[gate], part) for gate, part in enumerate(columns)], axis=-1)


def _flat_product(values, kernel):
    # One large product instead of a batch of small ones.
    if len(values.shape) == 2:
        return ops.matmul(values, kernel)
    leading = ops.shape(values)[:-1]
    flat = ops.matmul(ops.reshape(values, (-1, values.shape[-1])), kernel)
    return ops.reshape(flat, (*leading, kernel.shape[-1]))
