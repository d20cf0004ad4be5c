"""The echo state network of Jaeger (2001), GMD Report 148, with the leaky integration of Lukoševičius (2012)."""

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    (h,) = states
    phi = oracle.function(options.get("activation", "tanh"))
    update = phi(x @ weights["kernel"] + h @ weights["recurrent_kernel"] + weights.get("bias", 0.0))
    h = (1.0 - options["leak"]) * h + options["leak"] * update
    return h, [h]
