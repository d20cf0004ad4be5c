"""The long short-term memory of Hochreiter and Schmidhuber (1997), with the forget gate of Gers et al. (2000)."""

from keras import ops

from keras_rnn_ext.core.cell import GatedCell, is_function
from keras_rnn_ext.core.made import RecurrentLayer
from keras_rnn_ext.core.registration import register


@register
class MyLSTMCell(GatedCell):
    r"""One step of a long short-term memory.

    $$\begin{aligned}
    i_t &= \sigma(x_t W_i + h_{t-1} U_i + b_i) \\
    f_t &= \sigma(x_t W_f + h_{t-1} U_f + b_f) \\
    g_t &= \phi(x_t W_c + h_{t-1} U_c + b_c) \\
    o_t &= \sigma(x_t W_o + h_{t-1} U_o + b_o) \\
    c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
    h_t &= o_t \odot \phi(c_t)
    \end{aligned}$$

    The columns of `kernel` `(features, 4 units)`, `recurrent_kernel` `(units, 4 units)` and `bias` `(4 units,)`
    stand in the order i, f, c, o. $\phi$ is the `activation`, $\sigma$ the `recurrent_activation`. The output is
    $h_t$, the states are $[h_t, c_t]$. Twin of `keras.layers.LSTMCell`.

    Args:
        units: int above zero, the size of each state and of the output.
        activation: name or callable of $\phi$; None: none. Default `"tanh"`.
        recurrent_activation: name or callable of $\sigma$; None: none. Default `"sigmoid"`.
        use_bias: whether there is a bias. Default True.
        kernel_initializer: of `kernel`. Default `"glorot_uniform"`.
        recurrent_initializer: of `recurrent_kernel`. Default `"orthogonal"`.
        bias_initializer: of `bias`. Default `"zeros"`.
        unit_forget_bias: whether the bias of the forget gate starts at one. Default True.
        kernel_regularizer: of `kernel`. Default None.
        recurrent_regularizer: of `recurrent_kernel`. Default None.
        bias_regularizer: of `bias`. Default None.
        kernel_constraint: of `kernel`. Default None.
        recurrent_constraint: of `recurrent_kernel`. Default None.
        bias_constraint: of `bias`. Default None.
        dropout: rate in [0, 1] for the inputs, in training: one mask for a whole sequence. Default 0.
        recurrent_dropout: rate in [0, 1] for the state on its way into the product, in training: one mask
            per gate for a whole sequence. Default 0.
        seed: int, seed of the dropout masks. Default None.
        implementation: 1: one dropout mask per gate; any other number: one for all gates.
            `recurrent_dropout` makes it 1. Default 2.

    Call arguments:
        inputs: `(batch, features)`.
        states: `[h, c]`, each of shape `(batch, units)`.
        training: whether dropout is on. Default False.

    Returns:
        `(output, states)`: `(batch, units)`, and `[h, c]`.

    Raises:
        ValueError: if `units` is no positive integer, a rate no number, or the states are not two.
        TypeError: if an activation, an initializer, regularizer or constraint is a number or a bool.

    Source:
        Hochreiter, Schmidhuber 1997, doi 10.1162/neco.1997.9.8.1735; the forget gate: Gers, Schmidhuber,
        Cummins 2000, doi 10.1162/089976600300015015. The forget bias of one: Jozefowicz et al. 2015. The original
        squashes with other functions ($4\sigma - 2$ and $2\sigma - 1$); tanh is what the field uses.

    >>> import numpy as np
    >>> cell = MyLSTMCell(4)
    >>> output, (h, c) = cell(np.zeros((2, 3), "float32"), cell.get_initial_state(2))
    >>> tuple(output.shape), tuple(c.shape)
    ((2, 4), (2, 4))
    """

    gates = 4
    summed = True
    pure = True

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        kernel_initializer="glorot_uniform",
        recurrent_initializer="orthogonal",
        bias_initializer="zeros",
        unit_forget_bias=True,
        kernel_regularizer=None,
        recurrent_regularizer=None,
        bias_regularizer=None,
        kernel_constraint=None,
        recurrent_constraint=None,
        bias_constraint=None,
        dropout=0.0,
        recurrent_dropout=0.0,
        seed=None,
        *,
        implementation=2,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.take(locals())
        self.state_size = [self.units, self.units]

    @property
    def library_name(self):
        usual = is_function(self.activation, "tanh") and is_function(self.recurrent_activation, "sigmoid")
        return "lstm" if usual else None

    def initialize_bias(self, shape, dtype=None, **kwargs):
        if not self.unit_forget_bias:
            return super().initialize_bias(shape, dtype=dtype, **kwargs)
        # The other parts each ask the initializer for their own shape, as Keras does.
        input_bias = self.bias_initializer((self.units,), dtype=dtype, **kwargs)
        rest = self.bias_initializer((2 * self.units,), dtype=dtype, **kwargs)
        return ops.concatenate([input_bias, ops.ones((self.units,), dtype=dtype), rest])

    def gate(self, projected, recurrent, states, weights):
        input_gate, forget_gate, candidate, output_gate = ops.split(projected + recurrent, 4, axis=-1)
        kept = self.recurrent_activation(forget_gate) * states[1]
        carry = kept + self.recurrent_activation(input_gate) * self.activation(candidate)
        hidden = self.recurrent_activation(output_gate) * self.activation(carry)
        return hidden, [hidden, carry]


@register
class MyLSTM(RecurrentLayer, cell=MyLSTMCell, tail=("use_cudnn",)):
    """`MyLSTMCell` over a sequence. Twin of `keras.layers.LSTM`."""
