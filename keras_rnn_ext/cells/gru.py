"""The gated recurrent unit of Cho et al. (2014)."""

from keras import ops

from keras_rnn_ext.core.cell import GatedCell, is_function
from keras_rnn_ext.core.made import RecurrentLayer
from keras_rnn_ext.core.products import product
from keras_rnn_ext.core.registration import register


@register
class MyGRUCell(GatedCell):
    r"""One step of a gated recurrent unit.

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
    and the one state are $h_t$. Twin of `keras.layers.GRUCell`.

    Args:
        units: int above zero, the size of the state and of the output.
        activation: name or callable of $\phi$; None: none. Default `"tanh"`.
        recurrent_activation: name or callable of $\sigma$; None: none. Default `"sigmoid"`.
        use_bias: whether there is a bias. Default True.
        kernel_initializer: of `kernel`. Default `"glorot_uniform"`.
        recurrent_initializer: of `recurrent_kernel`. Default `"orthogonal"`.
        bias_initializer: of `bias`. Default `"zeros"`.
        kernel_regularizer: of `kernel`. Default None.
        recurrent_regularizer: of `recurrent_kernel`. Default None.
        bias_regularizer: of `bias`. Default None.
        kernel_constraint: of `kernel`. Default None.
        recurrent_constraint: of `recurrent_kernel`. Default None.
        bias_constraint: of `bias`. Default None.
        dropout: rate in [0, 1] for the inputs, in training: one mask for a whole sequence. Default 0.
        recurrent_dropout: rate in [0, 1] for the state on its way into the products, in training: one mask
            per gate for a whole sequence. Default 0.
        reset_after: whether the reset gate acts behind the product (the form of cuDNN) or before it (the form
            of the paper). Default True.
        seed: int, seed of the dropout masks. Default None.
        implementation: 1: one dropout mask per gate; any other number: one for all gates.
            `recurrent_dropout` makes it 1. Default 2.

    Call arguments:
        inputs: `(batch, features)`.
        states: `[h]`, or `h`, of shape `(batch, units)`.
        training: whether dropout is on. Default False.

    Returns:
        `(output, states)`: `(batch, units)`, and the new state in the form of `states`.

    Raises:
        ValueError: if `units` is no positive integer, a rate no number, or the states are not one.
        TypeError: if an activation, an initializer, regularizer or constraint is a number or a bool.

    Source:
        Cho et al. 2014, arXiv 1406.1078, equations 5 to 8: `reset_after=False`. Keras's default, and so ours, is
        the later form, `reset_after=True`.

    >>> import numpy as np
    >>> cell = MyGRUCell(4)
    >>> output, states = cell(np.zeros((2, 3), "float32"), cell.get_initial_state(2))
    >>> tuple(output.shape), len(states)
    ((2, 4), 1)
    """

    gates = 3
    pure = True
    takes_kernels_in_parts = True

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        kernel_initializer="glorot_uniform",
        recurrent_initializer="orthogonal",
        bias_initializer="zeros",
        kernel_regularizer=None,
        recurrent_regularizer=None,
        bias_regularizer=None,
        kernel_constraint=None,
        recurrent_constraint=None,
        bias_constraint=None,
        dropout=0.0,
        recurrent_dropout=0.0,
        reset_after=True,
        seed=None,
        *,
        implementation=2,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.take(locals())
        self.state_size = self.units

    @property
    def kind(self):
        # With the reset gate before the product a step needs two products, one after the other.
        return "gated" if self.reset_after else "cell"

    @property
    def library_name(self):
        usual = is_function(self.activation, "tanh") and is_function(self.recurrent_activation, "sigmoid")
        return "gru" if self.reset_after and usual else None

    @property
    def bias_shape(self):
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def gather_weights(self):
        weights = super().gather_weights()
        if self.use_bias and self.reset_after:
            weights["bias"], weights["recurrent_bias"] = ops.unstack(weights["bias"], 2, axis=0)
        return weights

    def recurrent(self, hidden, weights, noise):
        recurrent = super().recurrent(hidden, weights, noise)
        return recurrent + weights["recurrent_bias"] if self.use_bias else recurrent

    # The bias that `recurrent` adds changes nothing there.
    gradient_to_hidden = GatedCell.gradient_to_hidden

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
    """`MyGRUCell` over a sequence. Twin of `keras.layers.GRU`."""
