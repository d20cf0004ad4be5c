"""The fully connected recurrence of Elman (1990), with the output as the state."""

from keras_rnn_ext.custom import GatedCell, RecurrentLayer, define_cell, is_function, register


@define_cell(
    "simple_rnn",
    "Elman 1990, Finding structure in time, doi 10.1207/s15516709cog1402_1. Elman's output layer is left out, as "
    "everywhere in the field.",
    variants=({}, {"activation": "relu"}, {"use_bias": False}),
)
class MySimpleRNNCell(GatedCell):
    r"""One step of a fully connected recurrence. Drop-in for `keras.layers.SimpleRNNCell`.

    $$h_t = \phi(x_t W + h_{t-1} U + b)$$

    with $W$ the `kernel` `(features, units)`, $U$ the `recurrent_kernel` `(units, units)`, $b$ the `bias`
    `(units,)` and $\phi$ the `activation`. The output is $h_t$.
    """

    gates = 1
    states = ("h",)
    summed = True
    pure = True

    @property
    def library_name(self):
        return next((f"rnn_{name}" for name in ("tanh", "relu") if is_function(self.activation, name)), None)

    def gate(self, projected, recurrent, states, weights):
        hidden = self.activation(projected + recurrent)
        return hidden, [hidden]


@register
class MySimpleRNN(RecurrentLayer, cell=MySimpleRNNCell, tail=("seed",)):
    """`MySimpleRNNCell` over a sequence. Drop-in for `keras.layers.SimpleRNN`."""
