"""Cells on top of each other, as one cell."""

import keras

from keras_rnn_ext.core.recurrence import accepts, cell_output_size
from keras_rnn_ext.core.registration import register
from keras_rnn_ext.core.state import listed


@register
class MyStackedRNNCells(keras.layers.StackedRNNCells):
    """A stack of cells that behaves as one cell. Drop-in for `keras.layers.StackedRNNCells`.

    The output of each cell is the input of the next: $y^k_t, s^k_t = \\mathrm{cell}_k(y^{k-1}_t, s^k_{t-1})$, with
    $y^0_t$ the input. In `MyRNN` the stack runs cell by cell over the whole sequence, each in the fastest way
    that it allows; that gives the same numbers as step by step.

    Args:
        cells: list of cells, ours, Keras's or any that keep Keras's contract.

    Call arguments:
        inputs: `(batch, features)`.
        states: list with one entry per cell: a tensor, or a list of tensors.
        training: whether dropout is on. Default False.

    Returns:
        `(output, states)`: the last cell's output, and the new states in the form of `states`.

    Raises:
        ValueError: if there is no cell, one lacks `call` or `state_size`, or the states are too few or many.

    >>> import numpy as np
    >>> from keras_rnn_ext import MyGRUCell, MyLSTMCell, MyRNN
    >>> layer = MyRNN(MyStackedRNNCells([MyLSTMCell(4), MyGRUCell(5)]))
    >>> tuple(layer(np.zeros((2, 7, 3), "float32")).shape)
    (2, 5)
    """

    def __init__(self, cells, **kwargs):
        cells = list(cells)
        if not cells:
            raise ValueError("Argument `cells` must hold at least one cell. Received: an empty list.")
        super().__init__(cells, **kwargs)

    @property
    def output_size(self):
        return cell_output_size(self.cells[-1])

    def build(self, input_shape):
        # Keras hands on `(batch, output_size)`, also where an output has a shape.
        for cell in self.cells:
            if isinstance(cell, keras.layers.Layer) and not cell.built:
                cell.build(input_shape)
                cell.built = True
            input_shape = (input_shape[0], *listed(cell_output_size(cell)))
        self.built = True

    @property
    def stacks(self):
        """Whether the step is one cell after the other: a subclass may have overridden it."""
        return type(self).call is MyStackedRNNCells.call

    def call(self, inputs, states, training=False, constants=None):
        if len(states) != len(self.cells):
            raise ValueError(
                f"Argument `states` must be a list with one entry for each of the {len(self.cells)} cells. "
                f"Received: {len(states)} entries. `get_initial_state(batch_size)` gives a list of the right form."
            )
        new_states = []
        for cell, state in zip(self.cells, states, strict=True):
            offered = {"training": training, **({} if constants is None else {"constants": constants})}
            options = {name: value for name, value in offered.items() if accepts(cell, name)}
            inputs, new_state = (cell if callable(cell) else cell.call)(inputs, listed(state), **options)
            new_state = listed(new_state)
            new_states.append(new_state if isinstance(state, (list, tuple)) else new_state[0])
        return inputs, new_states
