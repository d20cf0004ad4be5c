"""The scalar-memory LSTM of xLSTM, by Beck et al. (2024)."""

from keras import ops

from keras_rnn_ext.custom import Flag, GatedCell, Heads, Integer, State, define_cell, layer_of


@define_cell(
    "slstm",
    "Beck, Pöppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter, Hochreiter 2024, xLSTM: extended long "
    "short-term memory, arXiv 2405.04517, equations 8 to 17. As $m$ starts far below all gates, the first step needs "
    "no rule of its own, as it has in the authors' code.",
    variants=({}, {"heads": 2}, {"exponential_forget_gate": True}, {"use_bias": False}),
    multiple=2,
)
class SLSTMCell(GatedCell):
    r"""One step of an LSTM with exponential gates, a normaliser and a stabiliser.

    $$\begin{aligned}
    [\tilde i_t, \tilde f_t, \tilde z_t, \tilde o_t] &= x_t W + h_{t-1} R + b \\
    m_t &= \max(\log f_t + m_{t-1}, \tilde i_t), \quad \log f_t = \log\sigma(\tilde f_t) \text{ or } \tilde f_t \\
    i'_t &= \exp(\tilde i_t - m_t), \quad f'_t = \exp(\log f_t + m_{t-1} - m_t) \\
    c_t &= f'_t \odot c_{t-1} + i'_t \odot \phi(\tilde z_t), \quad n_t = f'_t \odot n_{t-1} + i'_t \\
    h_t &= \sigma(\tilde o_t) \odot c_t / n_t
    \end{aligned}$$

    The columns stand in the order i, f, z, o. `recurrent_kernel` is `(heads, units / heads, 4 units / heads)`: a unit
    sees those of its own head. The states are $[h_t, c_t, n_t, m_t]$, of which the last three stay in float32.
    """

    gates = 4
    states = (
        "h",
        State("c", wide=True, mixes=False),
        State("n", positive=True, wide=True, mixes=False),
        State("m", initial=-1e30, wide=True, mixes=False),
    )
    summed = pure = True
    recurrence = Heads("heads")

    heads = Integer(1, "the number of heads, which divides `units`")
    exponential_forget_gate = Flag(False, "whether the forget gate is exponential too")

    def check(self):
        if self.units % self.heads:
            raise ValueError(f"Argument `heads` must divide `units`. Received: heads={self.heads}, units={self.units}")

    def gate(self, projected, recurrent, states, weights):
        gates, (_, memory, normalizer, stabilizer) = ops.split(projected + recurrent, 4, axis=-1), states
        input_gate, forget_gate, candidate, output_gate = (ops.cast(gate, memory.dtype) for gate in gates)
        kept = (forget_gate if self.exponential_forget_gate else ops.log_sigmoid(forget_gate)) + stabilizer
        stabilizer = ops.maximum(kept, input_gate)
        input_gate, forget_gate = ops.exp(input_gate - stabilizer), ops.exp(kept - stabilizer)
        memory = forget_gate * memory + input_gate * self.activation(candidate)
        normalizer = forget_gate * normalizer + input_gate
        hidden = ops.cast(ops.sigmoid(output_gate) * memory / normalizer, projected.dtype)
        return hidden, [hidden, memory, normalizer, stabilizer]


SLSTM = layer_of(SLSTMCell)
