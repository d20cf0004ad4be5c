"""The Phased LSTM of Neil, Pfeiffer and Liu (2016), arXiv 1610.09513, equations 1 to 10.

Columns: i, f, c, o. Rows of the peepholes: i, f, o. The output gate sees the cell state before the time gate. If timed,
the last feature is the time stamp; else time is the number of steps before this one, and a state. As in the authors'
code, period and ratio count by their size.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def absolute(values):
    return np.sign(np.real(values)) * values


def openness(time, weights, leak):
    """The time gate k: it opens and closes in the first part of a period, and leaks in the rest."""
    ratio = absolute(weights["ratio"])
    turns = (time - weights["phase"]) / absolute(weights["period"])
    turns = turns - np.floor(np.real(turns))
    opening = np.where(np.real(turns) < np.real(ratio), 2.0 - 2.0 * turns / ratio, leak * turns)
    return np.where(np.real(turns) < 0.5 * np.real(ratio), 2.0 * turns / ratio, opening)


def step(x, states, weights, options):
    h, c = states[:2]
    phi = oracle.function(options.get("activation", "tanh"))
    sigma = oracle.function(options.get("recurrent_activation", "sigmoid"))
    x, time = (x[:, :-1], x[:, -1:]) if options["timed"] else (x, states[2])
    p_i, p_f, p_o = weights.get("peephole", np.zeros(3))
    gates = x @ weights["kernel"] + h @ weights["recurrent_kernel"] + weights.get("bias", 0.0)
    i, f, g, o = np.split(gates, 4, axis=-1)
    proposed_c = sigma(f + p_f * c) * c + sigma(i + p_i * c) * phi(g)
    proposed_h = sigma(o + p_o * proposed_c) * phi(proposed_c)
    k = openness(time, weights, options["leak"])
    c = k * proposed_c + (1.0 - k) * c
    h = k * proposed_h + (1.0 - k) * h
    return h, [h, c, *(states[2:] if options["timed"] else [time + 1.0])]
