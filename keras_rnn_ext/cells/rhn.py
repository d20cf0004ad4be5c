"""The recurrent highway network of Zilly et al. (2017)."""

from keras import ops

from keras_rnn_ext.custom import Activation, Integer, KernelCell, Real, Weight, define_cell, layer_of, product


@define_cell(
    "rhn",
    "Zilly, Srivastava, Koutník, Schmidhuber 2017, Recurrent highway networks, arXiv 1607.03474, equations 6 to 9 with "
    "the carry gate $1 - u$, as in the experiments. The transform bias is that of the authors' word models; for "
    "characters they take -4. They draw all other weights from -0.04 to 0.04. `recurrent_dropout` has one mask for all "
    "layers.",
    variants=({}, {"depth": 1, "activation": "softsign"}, {"use_bias": False}),
)
class RHNCell(KernelCell):
    r"""One step of a recurrent highway network: several layers between two states. With $s_{t, 0} = s_{t-1, L}$:

    $$\begin{aligned}
    g_{t, l} &= \phi([l = 1]\,x_t W_h + s_{t, l-1} U_{h, l} + b_{h, l}) \\
    u_{t, l} &= \sigma([l = 1]\,x_t W_t + s_{t, l-1} U_{t, l} + b_{t, l}) \\
    s_{t, l} &= (1 - u_{t, l}) \odot s_{t, l-1} + u_{t, l} \odot g_{t, l}
    \end{aligned}$$

    for each layer $l$ from 1 to $L$, the `depth`. The output is $s_{t, L}$. The columns of `kernel`, `recurrent_kernel`
    `(depth, units, 2 units)` and `bias` `(depth, 2 units)` stand in the order h, t.
    """

    gates = 2
    states = ("s",)
    pure = True

    recurrent_activation = Activation("sigmoid", "$\\sigma$")
    depth = Integer(3, "$L$, the number of layers in a step")
    transform_bias = Real(-2.0, "what $b_t$ starts at")
    recurrent_kernel = Weight(("depth", "units", "width"), initializer="orthogonal", by_row=True)
    bias = Weight(("depth", "width"), initializer="zeros", when="use_bias", by_row=True)

    def initializer_of(self, name):
        given = super().initializer_of(name)
        return {"recurrent_kernel": _by_layer, "bias": self._with_transform_bias}.get(name, lambda own: own)(given)

    def _with_transform_bias(self, given):
        def initialize(shape, dtype=None):
            shape = shape[0], self.units
            return ops.concatenate([given(shape, dtype=dtype), ops.full(shape, self.transform_bias, dtype=dtype)], -1)

        return initialize

    def project(self, inputs, weights, noise):
        projected = product(inputs, weights["kernel"], noise.get("inputs"))
        return projected + weights["bias"][0] if "bias" in weights else projected

    def recur(self, projected, states, weights, noise):
        hidden, biases = states[0], weights.get("bias", [0.0] * self.depth)
        for layer, kernel in enumerate(weights["recurrent_kernel"]):
            entering = projected if layer == 0 else biases[layer]
            values = product(hidden, kernel, noise.get("recurrent")) + entering
            candidate, transform_gate = ops.split(values, 2, axis=-1)
            share = self.recurrent_activation(transform_gate)
            hidden = hidden + share * (self.activation(candidate) - hidden)
        return hidden, [hidden]


def _by_layer(given):
    """`given` for each layer by itself, with another seed: the same one would give the same numbers."""

    def initialize(shape, dtype=None):
        return ops.stack([_reseeded(given, layer)(shape[1:], dtype=dtype) for layer in range(shape[0])])

    return initialize


def _reseeded(initializer, layer):
    seed = getattr(initializer, "seed", None)
    if not isinstance(seed, int):
        return initializer
    return type(initializer).from_config({**initializer.get_config(), "seed": seed + layer})


RHN = layer_of(RHNCell)
