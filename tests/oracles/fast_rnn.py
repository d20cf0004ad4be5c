"""FastRNN of Kusupati et al. (2018), arXiv 1901.02358. The weights of the sum go through the sigmoid."""

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    (h,) = states
    phi = oracle.function(options.get("activation", "tanh"))
    update = phi(x @ weights["kernel"] + h @ weights["recurrent_kernel"] + weights.get("bias", 0.0))
    h = oracle.sigmoid(weights["alpha"]) * update + oracle.sigmoid(weights["beta"]) * h
    return h, [h]
