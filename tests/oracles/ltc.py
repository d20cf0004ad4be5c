"""The liquid time-constant cell of Hasani, Lechner, Amini, Rus and Grosu (2020), arXiv 2006.04439.

All units are connected, as in the authors' code, which solves the equation of a membrane with conductances. Rows of a
matrix: from, columns: to. Conductances and capacities are positive by a softplus. If timed, the last feature is the
time since the step before. The output is not the state.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def conductances(source, weights, prefix):
    """The sum of the open conductances of each unit, and the same sum times the potentials they pull to."""
    opened = weights[prefix + "sigma"] * (source[:, :, None] - weights[prefix + "mu"])
    opened = oracle.softplus(weights[prefix + "w"]) * oracle.sigmoid(opened)
    return np.sum(opened, axis=1), np.sum(opened * weights[prefix + "erev"], axis=1)


def step(x, states, weights, options):
    (v,) = states
    x, time = (x[:, :-1], oracle.relu(x[:, -1:])) if options["timed"] else (x, 1.0)
    x = x * weights["input_w"] + weights.get("input_b", 0.0)
    leak, capacity = oracle.softplus(weights["gleak"]), oracle.softplus(weights["cm"])
    dt = time / options["ode_unfolds"]
    x_sum, x_pull = conductances(x, weights, "sensory_")
    for _ in range(options["ode_unfolds"]):
        v_sum, v_pull = conductances(v, weights, "")
        pulls = capacity * v + dt * (leak * weights["vleak"] + v_pull + x_pull)
        v = pulls / (capacity + dt * (leak + v_sum + x_sum + options["epsilon"]))
    return v * weights["output_w"] + weights.get("output_b", 0.0), [v]
