"""The quasi-recurrent network of Bradbury et al. (2017)."""

from keras import ops

from keras_rnn_ext.custom import Activation, Choice, Integer, LinearCell, State, Weight, define_cell, layer_of


@define_cell(
    "qrnn",
    "Bradbury, Merity, Xiong, Socher 2017, Quasi-recurrent neural networks, arXiv 1611.01576, equations 1 to 5, with "
    "a bias, as in the authors' code. Windows wider than 2 are left out. Its zoneout is `ZoneoutWrapper`.",
    variants=(
        {},
        {"pooling": "f"},
        {"pooling": "ifo", "use_bias": False},
        {"window": 1},
        {"window": 1, "pooling": "f"},
        {"window": 1, "pooling": "ifo"},
    ),
)
class QRNNCell(LinearCell):
    r"""One step of a quasi-recurrent network: the gates see this input and the one before, but not the state.

    $$\begin{aligned}
    p_t &= x_t V \\
    [\tilde z_t, \tilde f_t, \tilde o_t, \tilde i_t] &= x_t W + p_{t-1} + b \\
    c_t &= \sigma(\tilde f_t) \odot c_{t-1} + i_t \odot \phi(\tilde z_t) \\
    i_t &= \sigma(\tilde i_t) \text{ with pooling ifo, otherwise } 1 - \sigma(\tilde f_t) \\
    y_t &= c_t \text{ with pooling f, otherwise } \sigma(\tilde o_t) \odot c_t
    \end{aligned}$$

    The columns of `kernel` `(window * features, ...)` and `bias` stand in the order z, f, o, i, as far as the `pooling`
    has them; its first rows are $W$, the others $V$. The output is $y_t$, the states are $[c_t, p_t]$; with `window=1`
    there is no $p_t$. A masked input is as if it were not there.
    """

    states = (State("c", wide=True), State("p", "width", mixes=False, when="sees_previous"))
    pure = True

    activation = Activation("tanh", "$\\phi$")
    window = Integer(2, "how many inputs the gates see, 1 or 2")
    pooling = Choice("fo", ("f", "fo", "ifo"), "the gates: to forget, for the output, for the input")
    kernel = Weight(("window * features", "width"))

    @property
    def gates(self):
        """How many columns `kernel` has, in units."""
        return 1 + len(self.pooling)

    @property
    def sees_previous(self):
        """Whether the gates see the input of the step before."""
        return self.window == 2

    def check(self):
        if self.window > 2:
            raise ValueError(f"Argument `window` must be 1 or 2. Received: window={self.window}")

    def derive(self, weights):
        # Both products at once, side by side.
        kernels = ops.split(weights["kernel"], self.window, axis=0)
        weights = {**weights, "kernel": ops.concatenate(kernels, axis=-1)}
        if self.sees_previous and "bias" in weights:
            weights["bias"] = ops.concatenate([weights["bias"], ops.zeros_like(weights["bias"])])
        return weights

    def coefficients(self, projected, weights):
        candidate, forget_gate, *rest = ops.split(projected, self.gates, axis=-1)
        input_gate = ops.sigmoid(rest[1] if self.pooling == "ifo" else -forget_gate)
        return ops.sigmoid(forget_gate), input_gate * self.activation(candidate)

    def readout(self, states, projected, weights):
        return states if self.pooling == "f" else ops.sigmoid(ops.split(projected, self.gates, axis=-1)[2]) * states


QRNN = layer_of(QRNNCell)
