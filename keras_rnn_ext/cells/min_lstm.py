"""The minimal LSTM of Feng et al. (2024), whose steps can be run side by side."""

from keras import ops

from keras_rnn_ext.cells.min_gru import above_zero
from keras_rnn_ext.custom import Flag, LinearCell, State, define_cell, layer_of


@define_cell(
    "min_lstm",
    "Feng, Tung, Ahmed, Bengio, Hajimirsadeghi 2024, Were RNNs all we needed?, arXiv 2410.01201, section 3.2; "
    "`positive=True` is what its log-space form in the appendix computes.",
    variants=({}, {"positive": True}, {"use_bias": False}),
)
class MinLSTMCell(LinearCell):
    r"""One step of a minimal long short-term memory: neither gates nor candidate see the state.

    $$\begin{aligned}
    f_t &= \sigma(x_t W_f + b_f), \quad i_t = \sigma(x_t W_i + b_i) \\
    g_t &= x_t W_h + b_h \\
    h_t &= \frac{f_t}{f_t + i_t} \odot h_{t-1} + \frac{i_t}{f_t + i_t} \odot g_t
    \end{aligned}$$

    The columns of `kernel` and `bias` stand in the order f, i, h.
    """

    gates = 3
    states = (State("h", wide=True),)
    pure = True

    positive = Flag(False, "whether the candidate is made positive: $g + 1/2$ where $g \\ge 0$, else $\\sigma(g)$")

    def coefficients(self, projected, weights):
        forget_gate, input_gate, candidate = ops.split(projected, 3, axis=-1)
        candidate = above_zero(candidate) if self.positive else candidate
        # f / (f + i) is a sigmoid of log f - log i, which is there also where f and i are too small to be numbers.
        ratio = ops.log_sigmoid(forget_gate) - ops.log_sigmoid(input_gate)
        return ops.sigmoid(ratio), ops.sigmoid(-ratio) * candidate


MinLSTM = layer_of(MinLSTMCell)
