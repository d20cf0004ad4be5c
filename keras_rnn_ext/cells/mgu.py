"""The minimal gated unit of Zhou et al. (2016)."""

from keras import ops

from keras_rnn_ext.custom import Activation, KernelCell, define_cell, layer_of, product


@define_cell(
    "mgu",
    "Zhou, Wu, Zhang, Zhou 2016, Minimal gated unit for recurrent neural networks, arXiv 1603.09420, equations 7.",
    variants=({}, {"use_bias": False}),
)
class MGUCell(KernelCell):
    r"""One step of a minimal gated unit: a GRU whose one gate both resets and updates.

    $$\begin{aligned}
    f_t &= \sigma(x_t W_f + h_{t-1} U_f + b_f) \\
    g_t &= \phi(x_t W_h + (f_t \odot h_{t-1}) U_h + b_h) \\
    h_t &= (1 - f_t) \odot h_{t-1} + f_t \odot g_t
    \end{aligned}$$

    The columns of `kernel`, `recurrent_kernel` and `bias` stand in the order f, h. As the gate acts before the second
    product, a step has two products, one after the other.
    """

    gates = 2
    states = ("h",)
    pure = True

    recurrent_activation = Activation("sigmoid", "$\\sigma$")

    def recur(self, projected, states, weights, noise):
        previous, mask = states[0], noise.get("recurrent")
        gate_kernel, candidate_kernel = ops.split(weights["recurrent_kernel"], 2, axis=-1)
        forget_gate, candidate = ops.split(projected, 2, axis=-1)
        forget_gate = self.recurrent_activation(forget_gate + product(previous, gate_kernel, mask))
        candidate = self.activation(candidate + product(forget_gate * previous, candidate_kernel, mask))
        hidden = previous + forget_gate * (candidate - previous)
        return hidden, [hidden]


MGU = layer_of(MGUCell)
