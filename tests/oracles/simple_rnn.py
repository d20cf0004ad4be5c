"""The simple recurrent network of Elman (1990), DOI 10.1207/s15516709cog1402_1, with any activation."""

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    (h,) = states
    phi = oracle.function(options.get("activation", "tanh"))
    h = phi(x @ weights["kernel"] + h @ weights["recurrent_kernel"] + weights.get("bias", 0.0))
    return h, [h]
