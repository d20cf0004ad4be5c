"""The Legendre memory unit of Voelker, Kajic and Eliasmith (2019), NeurIPS 32, with a zero-order hold."""

import numpy as np

from keras_rnn_ext.testing import oracle


def exponential(matrix):
    """The exponential of a matrix, from a Taylor series of a part of it that is squared often enough."""
    squarings = max(0, int(np.ceil(np.log2(np.linalg.norm(matrix, 1)))) + 4)
    term = total = np.eye(len(matrix))
    for degree in range(1, 16):
        term = term @ matrix / (degree * 2.0**squarings)
        total = total + term
    return np.linalg.matrix_power(total, 2**squarings)


def memory_matrices(order, theta):
    """A and B of the paper's equation 2, for steps of the length 1."""
    row, column = np.mgrid[:order, :order]
    a = np.where(row < column, -1.0, (-1.0) ** (row - column + 1)) * (2 * row + 1)
    b = (2.0 * np.arange(order) + 1.0) * (-1.0) ** np.arange(order)
    # The input is held: a further state that does not change.
    held = np.zeros((order + 1, order + 1))
    held[:order] = np.column_stack([a, b]) / theta
    held = exponential(held)
    return held[:order, :order], held[:order, order]


def step(x, states, weights, options):
    h, m = states
    phi = oracle.function(options.get("activation", "tanh"))
    a, b = memory_matrices(options["order"], options["theta"])
    u = x @ weights["input_encoder"] + h @ weights["hidden_encoder"] + m @ weights["memory_encoder"]
    m = m @ a.T + u * b
    h = phi(x @ weights["kernel"] + h @ weights["recurrent_kernel"] + m @ weights["memory_kernel"])
    return h, [h, m]
