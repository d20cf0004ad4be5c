"""The LSTM with a recurrent projection, of Sak, Senior and Beaufays (2014)."""

from keras import ops

from keras_rnn_ext.custom import (
    Activation,
    Flag,
    GatedCell,
    Integer,
    State,
    Weight,
    define_cell,
    layer_of,
    product,
)


@define_cell(
    "projected_lstm",
    "Sak, Senior, Beaufays 2014, Long short-term memory based recurrent neural network architectures for large "
    "vocabulary speech recognition, arXiv 1402.1128, equations 7 to 12, without the second projection, which does not "
    "recur. The bias of the forget gate starts at one. PyTorch's `proj_size` is the same without peepholes.",
    variants=({"projection": 3}, {"projection": 1, "peepholes": False}, {"use_bias": False}),
)
class ProjectedLSTMCell(GatedCell):
    r"""One step of a long short-term memory whose state is projected to fewer units.

    $$\begin{aligned}
    i_t &= \sigma(x_t W_i + h_{t-1} U_i + p_i \odot c_{t-1} + b_i) \\
    f_t &= \sigma(x_t W_f + h_{t-1} U_f + p_f \odot c_{t-1} + b_f) \\
    c_t &= f_t \odot c_{t-1} + i_t \odot \phi(x_t W_c + h_{t-1} U_c + b_c) \\
    o_t &= \sigma(x_t W_o + h_{t-1} U_o + p_o \odot c_t + b_o) \\
    h_t &= (o_t \odot \phi(c_t))\,P
    \end{aligned}$$

    The columns of `kernel`, `recurrent_kernel` `(projection, 4 units)` and `bias` stand in the order i, f, c, o, the
    rows of `peephole` in the order i, f, o. $P$ is `projection_kernel` `(units, projection)`.
    """

    gates = 4
    states = (State("h", "output_size"), "c")
    summed = pure = True
    forget_gate = 1

    recurrent_activation = Activation("sigmoid", "$\\sigma$")
    projection = Integer(None, "the size of the output, in the paper less than `units`; None: `units`", optional=True)
    peepholes = Flag(True, "whether the gates see the carry")
    peephole = Weight((3, "units"), "what the gates see of the carry", by_row=True, when="peepholes")
    projection_kernel = Weight(("units", "output_size"), "$P$")

    @property  # type: ignore[misc]
    def output_size(self):
        """The size of the output."""
        return self.projection or self.units

    def gate(self, projected, recurrent, states, weights):
        input_gate, forget_gate, candidate, output_gate = ops.split(projected + recurrent, 4, axis=-1)
        to_input, to_forget, to_output = weights.get("peephole", (0.0, 0.0, 0.0))
        carry = self.recurrent_activation(forget_gate + to_forget * states[1]) * states[1]
        carry = carry + self.recurrent_activation(input_gate + to_input * states[1]) * self.activation(candidate)
        hidden = self.recurrent_activation(output_gate + to_output * carry) * self.activation(carry)
        hidden = product(hidden, weights["projection_kernel"])
        return hidden, [hidden, carry]


ProjectedLSTM = layer_of(ProjectedLSTMCell)
