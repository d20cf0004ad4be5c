"""The cell that the neural architecture search of Zoph and Le (2017) found."""

from typing import Any

from keras import ops

from keras_rnn_ext.custom import GatedCell, Integer, State, Weight, define_cell, layer_of, product


@define_cell(
    "nas",
    "Zoph, Le 2017, Neural architecture search with reinforcement learning, arXiv 1611.01578, the cell that its search "
    "found, as TensorFlow's `tf.contrib.rnn.NASCell` and TensorFlow Addons have it. The bias belongs to the product of "
    "the state, as there, which matters for the fourth leaf; it is on by default here and off there. The projection is "
    "theirs, not the paper's.",
    variants=({}, {"projection": 3}, {"use_bias": False}),
)
class NASCell(GatedCell):
    r"""One step of the recurrent cell that neural architecture search found.

    With $p = x_t W$ and $q = h_{t-1} U + b$, each in eight parts of `units` columns:

    $$\begin{aligned}
    l_1 &= \tanh(\sigma(p_1 + q_1) \odot \mathrm{relu}(p_2 + q_2)) \\
    l_2 &= \tanh(\sigma(p_3 + q_3) + \mathrm{relu}(p_4 \odot q_4)) \\
    l_3 &= \tanh(\tanh(p_5 + q_5) \odot \sigma(p_6 + q_6)) \\
    l_4 &= \sigma(\tanh(p_7 + q_7) + \sigma(p_8 + q_8)) \\
    c_t &= \tanh(l_1 + c_{t-1}) \odot l_2 \\
    h_t &= \tanh(c_t \odot \tanh(l_3 + l_4))
    \end{aligned}$$

    With `projection` $h_t$ is multiplied with the `projection_kernel` `(units, projection)`, and what comes out is
    output and state.
    """

    gates = 8
    states = (State("h", "output_size"), "c")
    pure = True
    activation: Any = None

    projection = Integer(None, "the size of the output; None: `units`, without a projection", optional=True)
    projection_kernel = Weight(("units", "output_size"), when="projection")

    @property  # type: ignore[misc]
    def output_size(self):
        """The size of the output: `projection`, or else `units`."""
        return self.projection or self.units

    def derive(self, weights):
        # The bias stands beside the product of the state.
        return {"recurrent_bias" if name == "bias" else name: weight for name, weight in weights.items()}

    def gate(self, projected, recurrent, states, weights):
        from_inputs, from_state = ops.split(projected, 8, axis=-1), ops.split(recurrent, 8, axis=-1)
        leaves = [one + other for one, other in zip(from_inputs, from_state, strict=True)]
        first = ops.tanh(ops.sigmoid(leaves[0]) * ops.relu(leaves[1]))
        second = ops.tanh(ops.sigmoid(leaves[2]) + ops.relu(from_inputs[3] * from_state[3]))
        third = ops.tanh(ops.tanh(leaves[4]) * ops.sigmoid(leaves[5]))
        fourth = ops.sigmoid(ops.tanh(leaves[6]) + ops.sigmoid(leaves[7]))
        carry = ops.tanh(first + states[1]) * second
        hidden = ops.tanh(carry * ops.tanh(third + fourth))
        if "projection_kernel" in weights:
            hidden = product(hidden, weights["projection_kernel"])
        return hidden, [hidden, carry]


NAS = layer_of(NASCell)
