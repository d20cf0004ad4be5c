"""The independently recurrent network of Li, Li, Cook, Zhu and Gao (2018), arXiv 1803.04831."""

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    (h,) = states
    phi = oracle.function(options.get("activation", "relu"))
    h = phi(x @ weights["kernel"] + weights["recurrent_kernel"] * h + weights.get("bias", 0.0))
    return h, [h]
