"""The fully connected recurrence of Elman (1990), with the output as the state."""

from keras_rnn_ext.core.cell import GatedCell, is_function
from keras_rnn_ext.core.made import RecurrentLayer
from keras_rnn_ext.core.registration import register


@register
class MySimpleRNNCell(GatedCell):
    r"""One step of a fully connected recurrence.

    $$h_t = \phi(x_t W + h_{t-1} U + b)$$

    with $W$ the `kernel` `(features, units)`, $U$ the `recurrent_kernel` `(units, units)`, $b$ the `bias`
    `(units,)` and $\phi$ the `activation`. The output is $h_t$. Twin of `keras.layers.SimpleRNNCell`.

    Args:
        units: int above zero, the size of the state and of the output.
        activation: name or callable of $\phi$; None: none. Default `"tanh"`.
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
        recurrent_dropout: rate in [0, 1] for the state on its way into the product, in training: one mask
            for a whole sequence. Default 0.
        seed: int, seed of the dropout masks. Default None.

    Call arguments:
        inputs: `(batch, features)`.
        states: `[h]`, or `h`, of shape `(batch, units)`.
        training: whether dropout is on. Default False.

    Returns:
        `(output, states)`: `(batch, units)`, and the new states in the form of `states`.

    Raises:
        ValueError: if `units` is no positive integer, a rate no number, or the states are too few or many.
        TypeError: if `activation`, an initializer, regularizer or constraint is a number or a bool.

    Source:
        Elman 1990, Finding structure in time, doi 10.1207/s15516709cog1402_1. Elman's output layer is left out,
        as everywhere in the field.

    >>> import numpy as np
    >>> cell = MySimpleRNNCell(4)
    >>> output, states = cell(np.zeros((2, 3), "float32"), cell.get_initial_state(2))
    >>> tuple(output.shape), len(states)
    ((2, 4), 1)
    """

    gates = 1
    summed = True
    pure = True

    def __init__(
        self,
        units,
        activation="tanh",
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
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.take(locals())
        self.state_size = self.units

    @property
    def library_name(self):
        return next((f"rnn_{name}" for name in ("tanh", "relu") if is_function(self.activation, name)), None)

    def gate(self, projected, recurrent, states, weights):
        hidden = self.activation(projected + recurrent)
        return hidden, [hidden]


@register
class MySimpleRNN(RecurrentLayer, cell=MySimpleRNNCell, tail=("seed",)):
    """`MySimpleRNNCell` over a sequence. Twin of `keras.layers.SimpleRNN`."""
