"""The gated recurrent unit of Cho et al. (2014)."""

from keras import ops

from keras_rnn_ext.custom import (
    Activation,
    Argument,
    Flag,
    GatedCell,
    RecurrentLayer,
    Weight,
    define_cell,
    is_function,
    product,
    register,
)


@define_cell(
    "gru",
    "Cho et al. 2014, arXiv 1406.1078, equations 5 to 8: `reset_after=False`. Keras's default, and so ours, is the "
    "later form, `reset_after=True`.",
    variants=({}, {"reset_after": False}, {"use_bias": False}, {"reset_after": False, "use_bias": False}),
)
class MyGRUCell(GatedCell):
    r"""One step of a gated recurrent unit. Drop-in for `keras.layers.GRUCell`.

    $$\begin{aligned}
    z_t &= \sigma(x_t W_z + h_{t-1} U_z + b_z + b'_z) \\
    r_t &= \sigma(x_t W_r + h_{t-1} U_r + b_r + b'_r) \\
    g_t &= \phi(x_t W_h + b_h + r_t \odot (h_{t-1} U_h + b'_h)) & \text{if reset\_after} \\
    g_t &= \phi(x_t W_h + b_h + (r_t \odot h_{t-1}) U_h) & \text{otherwise} \\
    h_t &= z_t \odot h_{t-1} + (1 - z_t) \odot g_t
    \end{aligned}$$

    The columns of `kernel` `(features, 3 units)`, `recurrent_kernel` `(units, 3 units)` and of the biases stand
    in the order z, r, h. With `reset_after` the `bias` is `(2, 3 units)`: $b$, then $b'$; without it is
    `(3 units,)` and there is no $b'$. $\phi$ is the `activation`, $\sigma$ the `recurrent_activation`. The output
    and the one state are $h_t$.
    """

    gates = 3
    states = ("h",)
    pure = True
    takes_kernels_in_parts = True

    recurrent_activation = Activation("sigmoid", "$\\sigma$")
    reset_after = Flag(
        True,
        "whether the reset gate acts behind the product (the form of cuDNN) or before it (the form of the paper)",
        after="recurrent_dropout",
    )
    implementation = Argument(
        2,
        "1: one dropout mask per gate; any other number: one for all gates. `recurrent_dropout` makes it 1",
        sparse=True,
        annotation="int",
    )
    bias = Weight(
        lambda cell: (2, cell.width) if cell.reset_after else (cell.width,), initializer="zeros", when="use_bias"
    )

    @property
    def kind(self):
        # With the reset gate before the product a step needs two products, one after the other.
        return "gated" if self.reset_after else "cell"

    @property
    def library_name(self):
        usual = is_function(self.activation, "tanh") and is_function(self.recurrent_activation, "sigmoid")
        return "gru" if self.reset_after and usual else None

    def derive(self, weights):
        if not (self.use_bias and self.reset_after):
            return weights
        bias, recurrent_bias = ops.unstack(weights["bias"], 2, axis=0)
        return {**weights, "bias": bias, "recurrent_bias": recurrent_bias}

    def gate(self, projected, recurrent, states, weights):
        update_input, reset_input, candidate_input = ops.split(projected, 3, axis=-1)
        update_recurrent, reset_recurrent, candidate_recurrent = ops.split(recurrent, 3, axis=-1)
        update_gate = self.recurrent_activation(update_input + update_recurrent)
        reset_gate = self.recurrent_activation(reset_input + reset_recurrent)
        candidate = self.activation(candidate_input + reset_gate * candidate_recurrent)
        return _mix(update_gate, states[0], candidate)

    def recur(self, projected, states, weights, noise):
        if self.reset_after:
            return super().recur(projected, states, weights, noise)
        previous, kernel, mask = states[0], weights["recurrent_kernel"], noise.get("recurrent")
        gates_kernel, candidate_kernel = kernel[:, : 2 * self.units], kernel[:, 2 * self.units :]
        update_input, reset_input, candidate_input = ops.split(projected, 3, axis=-1)
        recurrent = product(previous, gates_kernel, None if mask is None else mask[:2])
        update_recurrent, reset_recurrent = ops.split(recurrent, 2, axis=-1)
        update_gate = self.recurrent_activation(update_input + update_recurrent)
        reset_gate = self.recurrent_activation(reset_input + reset_recurrent)
        candidate = self.activation(
            candidate_input + product(reset_gate * previous, candidate_kernel, None if mask is None else mask[2])
        )
        return _mix(update_gate, previous, candidate)


def _mix(update_gate, previous, candidate):
    hidden = update_gate * previous + (1 - update_gate) * candidate
    return hidden, [hidden]


@register
class MyGRU(RecurrentLayer, cell=MyGRUCell, tail=("reset_after", "use_cudnn")):
    """`MyGRUCell` over a sequence. Drop-in for `keras.layers.GRU`."""
