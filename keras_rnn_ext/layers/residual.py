"""Residual connections around a cell."""

from keras import ops

from keras_rnn_ext.core.recurrence import cell_output_size
from keras_rnn_ext.core.registration import register
from keras_rnn_ext.layers.wrapper import CellWrapper


@register
class ResidualWrapper(CellWrapper):
    r"""A cell whose inputs are added to its outputs, so that a deep stack of cells still learns.

    $$y_t = \tilde y_t + x_t, \quad \tilde y_t, s_t = \mathrm{cell}(x_t, s_{t-1})$$

    The states are the cell's, and with them what the cell gets of the step before: only the next layer sees the sum.
    In `MyRNN` the cell keeps the fast way that it runs in.

    Args:
        cell: a cell or a stack of cells, ours, Keras's or any that keeps Keras's contract, with outputs of the size of
            its inputs.
        name, dtype, trainable: as for every Keras layer.

    Call arguments:
        inputs: `(batch, features)`.
        states: the states of the cell.
        training: whether dropout of the cell is on. Default False.
        constants: for a cell that takes them. Default None.

    Returns:
        `(output, states)`, in the form of the cell's.

    Raises:
        ValueError: if inputs and outputs differ in size.

    Source:
        Wu et al. 2016, Google's neural machine translation system, arXiv 1609.08144, equation 6.

    >>> import numpy as np
    >>> from keras_rnn_ext import MyLSTMCell, MyRNN, ResidualWrapper
    >>> layer = MyRNN([MyLSTMCell(4), ResidualWrapper(MyLSTMCell(4)), ResidualWrapper(MyLSTMCell(4))])
    >>> tuple(layer(np.zeros((2, 7, 3), "float32")).shape)
    (2, 4)
    """

    def __init__(self, cell, **kwargs):
        super().__init__(cell, **kwargs)
        self.take(locals())

    def build(self, input_shape):
        size = cell_output_size(self.cell)
        given, made = tuple(input_shape[1:]), tuple(size) if isinstance(size, (list, tuple)) else (size,)
        pairs = zip(given, made, strict=False)
        if len(given) != len(made) or any(None not in pair and pair[0] != pair[1] for pair in pairs):
            raise ValueError(
                "Argument `cell` of ResidualWrapper must give outputs of the size of its inputs, to which they are "
                f"added. Received: inputs of shape {(None, *given)}, outputs of shape {(None, *made)}. Give the cell "
                "as many units as the inputs have features, or bring the inputs to its size with a layer before it, "
                "such as `keras.layers.Dense`."
            )
        super().build(input_shape)

    def leave(self, outputs, inputs, noise, pick):
        return outputs + ops.cast(pick(inputs), outputs.dtype)
