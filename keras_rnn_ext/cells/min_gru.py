"""The minimal GRU of Feng et al. (2024), whose steps can be run side by side."""

from keras import ops

from keras_rnn_ext.custom import Flag, LinearCell, State, define_cell, layer_of


@define_cell(
    "min_gru",
    "Feng, Tung, Ahmed, Bengio, Hajimirsadeghi 2024, Were RNNs all we needed?, arXiv 2410.01201, section 3.1; "
    "`positive=True` is what its log-space form in the appendix computes. The steps are run side by side without "
    "logarithms here.",
    variants=({}, {"positive": True}, {"use_bias": False}),
)
class MinGRUCell(LinearCell):
    r"""One step of a minimal gated recurrent unit: neither gate nor candidate sees the state.

    $$\begin{aligned}
    z_t &= \sigma(x_t W_z + b_z) \\
    g_t &= x_t W_h + b_h \\
    h_t &= (1 - z_t) \odot h_{t-1} + z_t \odot g_t
    \end{aligned}$$

    The columns of `kernel` and `bias` stand in the order z, h.
    """

    gates = 2
    states = (State("h", wide=True),)
    pure = True

    positive = Flag(False, "whether the candidate is made positive: $g + 1/2$ where $g \\ge 0$, else $\\sigma(g)$")

    def coefficients(self, projected, weights):
        update_gate, candidate = ops.split(projected, 2, axis=-1)
        candidate = above_zero(candidate) if self.positive else candidate
        return ops.sigmoid(-update_gate), ops.sigmoid(update_gate) * candidate


def above_zero(values):
    """`values + 1/2` where that is more than a half, else their sigmoid."""
    return ops.where(values >= 0, values + 0.5, ops.sigmoid(values))


MinGRU = layer_of(MinGRUCell)
