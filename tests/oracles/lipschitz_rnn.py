"""The Lipschitz RNN of Erichson, Azencot, Queiruga, Hodgkinson and Mahoney (2020), arXiv 2006.12070, by Euler's method.

Columns of the recurrent kernel: M_A, M_W, of which the matrices A and W are made.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def hidden_to_hidden(m, beta, gamma):
    """A mixture of the symmetric and the skew-symmetric part, moved to the left by gamma."""
    return (1.0 - beta) * (m + m.T) + beta * (m - m.T) - gamma * np.eye(len(m))


def step(x, states, weights, options):
    (h,) = states
    phi = oracle.function(options.get("activation", "tanh"))
    m_a, m_w = np.split(weights["recurrent_kernel"], 2, axis=-1)
    a = hidden_to_hidden(m_a, options["beta_a"], options["gamma_a"])
    w = hidden_to_hidden(m_w, options["beta_w"], options["gamma_w"])
    h = h + options["epsilon"] * (h @ a + phi(h @ w + x @ weights["kernel"] + weights.get("bias", 0.0)))
    return h, [h]
