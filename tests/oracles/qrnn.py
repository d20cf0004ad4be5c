"""The quasi-recurrent network of Bradbury, Merity, Xiong and Socher (2017), arXiv 1611.01576.

Columns: z, f, with an output gate o, with an input gate i. Rows of the kernel: first for the input of this step, then
for the one of the step before; the second state is what these make of this step's input.
"""

import numpy as np

from keras_rnn_ext.testing import oracle


def step(x, states, weights, options):
    c, *previous = states
    phi = oracle.function(options.get("activation", "tanh"))
    sigma = oracle.function(options.get("recurrent_activation", "sigmoid"))
    features = x.shape[-1]
    pooling = options.get("pooling", "fo")
    columns = {"f": "zf", "fo": "zfo", "ifo": "zfoi"}[pooling]
    seen = x @ weights["kernel"][:features] + (previous[0] if previous else 0.0) + weights.get("bias", 0.0)
    parts = np.split(seen, len(columns), axis=-1)
    gates = dict(zip(columns, parts, strict=True))
    f = sigma(gates["f"])
    i = sigma(gates["i"]) if "i" in gates else 1.0 - f
    c = f * c + i * phi(gates["z"])
    output = sigma(gates["o"]) * c if "o" in gates else c
    return output, [c, x @ weights["kernel"][features:]] if previous else [c]
