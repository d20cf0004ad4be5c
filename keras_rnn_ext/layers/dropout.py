"""Dropout around a cell, the same for all steps or anew for each."""

import keras
from keras import ops

from keras_rnn_ext.core.argument_kinds import Flag, Seed
from keras_rnn_ext.core.noise import STEPS, draw_mask, still_usable
from keras_rnn_ext.core.recurrence import blank_output
from keras_rnn_ext.core.registration import register
from keras_rnn_ext.layers.wrapper import CellWrapper, check_mixes, mask_shape, share, states_of


@register
class DropoutWrapper(CellWrapper):
    r"""A cell with dropout of its inputs, its outputs and its state in training, for a whole sequence or step by step.

    $$\begin{aligned}
    \tilde y_t, s_t &= \mathrm{cell}(d^x_t \odot x_t,\ d^s_t \odot s_{t-1}) \\
    y_t &= d^y_t \odot \tilde y_t
    \end{aligned}$$

    where the entries of each mask $d$ are $1 / (1 - p)$ with the probability $1 - p$ and else zero, for $p$ the rate;
    at inference they are one. By default a row has the same masks at all steps, as Gal and Ghahramani have it. With
    `per_step=True` each step has its own: so `input_dropout` is what `dropout` of LSTM and GRU was in Keras 2 where
    they ran as one call (keras issue 19993).

    `state_dropout` is for the first state, which in most cells is also the output; a memory beside it, such as $c_t$ of
    an LSTM, stays whole. Of a state with several axes, entries of the last one are dropped. The mask acts where a step
    reads the state, so outputs, and the states that a layer returns or carries, are whole. It acts on all that a step
    makes of the state: where the state itself is a part of the next one, as in a GRU or a linear recurrence, that part
    is scaled by $1 / (1 - p)$ at each step and may grow. For a GRU, `recurrent_dropout` of the cell, which acts on the
    product with the recurrent kernel alone, is the better choice.

    In `MyRNN` the cell keeps the fast way that it runs in. In `keras.layers.RNN` the wrapper works too, but for
    `per_step=True` on JAX, where no step of Keras's loop may draw random numbers.

    Args:
        cell: a cell, ours, Keras's or any that keeps Keras's contract; without `state_dropout` also a stack of cells,
            of which these are the inputs and outputs.
        input_dropout: rate in [0, 1) for the inputs. Default 0.
        output_dropout: rate in [0, 1) for the outputs. Default 0.
        state_dropout: rate in [0, 1) for the first state on its way into a step. Default 0.
        per_step: whether each step has masks of its own. Default False.
        seed: int, seed of the masks. Default None.
        name, dtype, trainable: as for every Keras layer.

    Call arguments:
        inputs: `(batch, features)`.
        states: the states of the cell.
        training: whether dropout is on, of the cell too. Default False.
        constants: for a cell that takes them. Default None.

    Returns:
        `(output, states)`, in the form of the cell's.

    Raises:
        ValueError: for a rate outside of [0, 1), or `state_dropout` for a stack of cells or for a state of which a part
            means nothing.

    Source:
        Gal, Ghahramani 2016, A theoretically grounded application of dropout in recurrent neural networks, arXiv
        1512.05287, section 4; there each product with the state has a mask of its own. In tf.contrib's wrapper of this
        name the state is masked behind a step instead of before the next, which differs for the first and the last
        state of a call; and the masks for a whole sequence are the same for all rows.

    >>> import numpy as np
    >>> from keras_rnn_ext import DropoutWrapper, MyLSTMCell, MyRNN
    >>> layer = MyRNN(DropoutWrapper(MyLSTMCell(4), input_dropout=0.2, per_step=True), return_sequences=True)
    >>> tuple(layer(np.zeros((2, 7, 3), "float32"), training=True).shape)
    (2, 7, 4)
    """

    def __init__(
        self, cell, input_dropout=0.0, output_dropout=0.0, state_dropout=0.0, per_step=False, seed=None, **kwargs
    ):
        super().__init__(cell, **kwargs)
        input_dropout = share("input_dropout", input_dropout)
        output_dropout = share("output_dropout", output_dropout)
        state_dropout = share("state_dropout", state_dropout)
        per_step, seed = Flag().check("per_step", per_step), Seed().check("seed", seed)
        self.take(locals())
        if state_dropout:
            check_mixes(cell, states_of(cell)[1][:1], "state_dropout", state_dropout)
        self.seed_generator = keras.random.SeedGenerator(seed)

    @property
    def noisy(self):
        return bool(self.input_dropout or self.output_dropout or self.state_dropout)

    @property
    def draws_each_step(self):
        return self.per_step and self.noisy

    def mixes_states(self, noisy):
        return bool(noisy and self.state_dropout)

    def draw_mix(self, states, training, steps=None):
        if not (training and self.state_dropout):
            return {}
        like = ops.ones(mask_shape(states[0]), dtype=states[0].dtype)
        mask = self._mask("states", like, self.state_dropout, steps)
        if steps is not None and not self.per_step:
            mask = ops.broadcast_to(mask, (steps, *ops.shape(mask)))
        return {"masks": {"0": mask}}

    def draw_around(self, inputs, outputs, training, steps=None):
        both = {"inputs": (inputs, self.input_dropout), "outputs": (outputs, self.output_dropout)}
        masks = {name: self._mask(name, *each, steps) for name, each in both.items() if training and each[1]}
        return {STEPS: masks} if self.per_step else masks

    def _mask(self, name, values, rate, steps):
        """A mask for values of a step. Without `steps` it is that of a step of Keras's loop."""
        if self.per_step:
            return self._draw(values, rate, steps)
        if steps is not None:
            return self._draw(values, rate)
        mask = getattr(self, f"_{name}_mask", None)
        if not still_usable(mask, values):
            mask = self._draw(values, rate)
            setattr(self, f"_{name}_mask", mask)
        return mask

    def _draw(self, values, rate, count=None):
        dtype = keras.backend.standardize_dtype(values.dtype)
        return draw_mask(values, rate, count, self.seed_generator, dtype)

    def enter(self, inputs, noise):
        mask = {**noise, **noise.get(STEPS, {})}.get("inputs")
        return inputs if mask is None else inputs * mask

    def leave(self, outputs, inputs, noise, pick):
        own = noise.get(STEPS, {})
        mask = pick(own["outputs"]) if "outputs" in own else noise.get("outputs")
        return outputs if mask is None else outputs * ops.cast(mask, outputs.dtype)

    def get_dropout_mask(self, step_input):
        if not self.per_step:
            self.draw_around(step_input, blank_output(self, ops.shape(step_input)[0]), True)
        return super().get_dropout_mask(step_input)

    def get_recurrent_dropout_mask(self, step_input):
        if not self.per_step:
            self.draw_mix(keras.tree.flatten(step_input), True)
        return super().get_recurrent_dropout_mask(step_input)

    def reset_dropout_mask(self):
        self._inputs_mask = self._outputs_mask = None
        super().reset_dropout_mask()

    def reset_recurrent_dropout_mask(self):
        self._states_mask = None
        super().reset_recurrent_dropout_mask()
