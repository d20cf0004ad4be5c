"""The simple recurrent network with layer normalization of Ba, Kiros and Hinton (2016), arXiv 1607.06450, equation 4.

One normalization over the sum of both products. The gain comes behind it, then the bias.
"""

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    (h,) = states
    phi = oracle.function(options.get("activation", "tanh"))
    summed = x @ weights["kernel"] + h @ weights["recurrent_kernel"]
    h = phi(oracle.layer_norm(summed, weights["gain"], weights.get("bias", 0.0), options["epsilon"]))
    return h, [h]
