"""A cell around a cell: what all such wrappers share."""

import keras
from keras import ops

from keras_rnn_ext.core.argument_kinds import Real
from keras_rnn_ext.core.arguments import Configured, parameters
from keras_rnn_ext.core.compat import DropoutRNNCell
from keras_rnn_ext.core.recurrence import Foreign, Wrapped, accepts, cell_output_size, state_shapes, unwrapped
from keras_rnn_ext.core.state import listed


class CellWrapper(Configured, DropoutRNNCell, keras.layers.Layer):
    """Abstract: a cell that does something to the inputs, the outputs or the states of another, which keeps its kind.

    A subclass overrides `enter` and `leave` for inputs and outputs, and `draw_mix` with `mixes_states` for states. All
    of them get what is random as an argument, from `draw_around` and `draw_mix`; each is called for all steps at once
    as well as for one.
    """

    dropout = recurrent_dropout = 0.0

    def __init__(self, cell, **kwargs):
        super().__init__(**kwargs)
        if not hasattr(cell, "call") or not hasattr(cell, "state_size"):
            raise ValueError(f"Argument `cell` must have `call` and `state_size`. Received: cell={cell!r}")

    # What a subclass says

    # Whether training draws random numbers of the wrapper's own.
    noisy = False

    # Whether it draws some of them anew for each step.
    draws_each_step = False

    def mixes_states(self, noisy):
        """Whether something is done to the states, in training (`noisy`) or at inference."""
        return False

    def draw_mix(self, states, training, steps=None):
        """What is done to states: dicts as `keras_rnn_ext.core.noise` says, of one step, or of so many, which lead."""
        return {}

    def draw_around(self, inputs, outputs, training, steps=None):
        """The noise of `enter` and `leave`, for inputs and outputs in the shapes of these, which are those of a step.

        What is under the key `"steps"` leads with time if there are `steps`.
        """
        return {}

    def enter(self, inputs, noise):
        """The inputs of the cell inside."""
        return inputs

    def leave(self, outputs, inputs, noise, pick):
        """The outputs, of those of the cell inside and the inputs of this wrapper.

        `pick` takes what belongs to the outputs from what leads with time where all steps are run at once.
        """
        return outputs

    # The cell inside

    @property
    def wraps(self):
        """Whether a step is what the methods above make of it: a subclass may have overridden it."""
        return type(self).call is CellWrapper.call

    def program_key(self):
        names = [name for owner in self._owners for name in parameters(owner) if name != "cell"]
        return (type(self), *(getattr(self, name) for name in names))

    @property
    def state_size(self):
        """That of the cell."""
        return self.cell.state_size

    @property
    def output_size(self):
        """That of the cell."""
        return cell_output_size(self.cell)

    def get_initial_state(self, batch_size=None):
        """That of the cell."""
        own = getattr(self.cell, "get_initial_state", None)
        if own is not None:
            return own(batch_size=batch_size)
        return [ops.zeros((batch_size, *listed(size)), self.compute_dtype) for size in listed(self.state_size)]

    def build(self, input_shape):
        if isinstance(self.cell, keras.layers.Layer) and not self.cell.built:
            self.cell.build(input_shape)
            self.cell.built = True

    def call(self, inputs, states, training=False, constants=None):
        wrappers, inner = unwrapped(self.cell)
        wrappers = [self, *wrappers]
        if training and any(wrapper.in_loop and wrapper.draws_each_step for wrapper in wrappers):
            self._refuse_to_draw()
        constants = constants if accepts(inner, "constants") else None
        wrapped = Wrapped(_Inside(inner, training, constants, self.compute_dtype), wrappers)
        old = listed(states)
        noise = wrapped.with_noise_around({}, inputs, old, training)
        output, new = wrapped.step(inputs, old, {}, noise)
        return output, (new if isinstance(states, (list, tuple)) else new[0])

    def _refuse_to_draw(self):
        if keras.config.backend() != "jax":
            return
        self.reset_dropout_mask()
        raise ValueError(
            f"{type(self).__name__} draws random numbers at each step, and on JAX the loop of `keras.layers.RNN` "
            "allows none. Use `keras_rnn_ext.MyRNN`, which draws them before its loop."
        )

    # Keras has a cell draw its dropout masks before the loop, and forget them behind it.

    in_loop = False

    @property
    def _cells(self):
        return getattr(self.cell, "cells", [self.cell])

    def get_dropout_mask(self, step_input):
        self.in_loop, mask, batch = True, None, ops.shape(step_input)[0]
        for cell in self._cells:
            mask = _ask(cell, "get_dropout_mask", step_input)
            step_input = ops.zeros((batch, *listed(cell_output_size(cell))), dtype=step_input.dtype)
        return mask

    def get_recurrent_dropout_mask(self, step_input):
        first = keras.tree.flatten(step_input)[0]
        if len(self._cells) == 1:
            return _ask(self._cells[0], "get_recurrent_dropout_mask", first)
        for cell in self._cells:
            shape, *_ = state_shapes(cell, ops.shape(first)[0])
            _ask(cell, "get_recurrent_dropout_mask", ops.zeros(shape, dtype=first.dtype))
        return None

    def reset_dropout_mask(self):
        self.in_loop = False
        for cell in self._cells:
            _ask(cell, "reset_dropout_mask")

    def reset_recurrent_dropout_mask(self):
        for cell in self._cells:
            _ask(cell, "reset_recurrent_dropout_mask")

    def get_config(self):
        return {**super().get_config(), "cell": keras.saving.serialize_keras_object(self.cell)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        cell = keras.saving.deserialize_keras_object(config["cell"], custom_objects=custom_objects)
        return cls(**{**config, "cell": cell})


class _Inside(Foreign):
    """The cell inside, in one step of a loop that draws its masks and forgets them."""

    def step(self, inputs, states, weights, noise):
        output, new_states = self._call(inputs, states, **self._arguments)
        return output, listed(new_states)


def _ask(cell, method, *arguments):
    own = getattr(cell, method, None)
    return None if own is None else own(*arguments)


def share(name, value):
    """A rate that is less than one, or an error that names the argument."""
    return Real(least=0, below=1).check(name, value)


def states_of(cell):
    """How many states the cell inside has, and what it declares of them, an empty list if nothing.

    Raises:
        ValueError: for a stack, which has states of several cells.
    """
    inner = unwrapped(cell)[1]
    if isinstance(inner, keras.layers.StackedRNNCells):
        raise ValueError(
            "Argument `cell` must be one cell. For a stack, wrap each cell and stack the wrappers. "
            f"Received: cell={cell!r}"
        )
    return len(listed(inner.state_size)), inner.own_states() if hasattr(inner, "own_states") else []


def check_mixes(cell, states, argument, value):
    """Raises a ValueError that names `argument` if one of the declared states is whole or nothing."""
    fixed = [state.name for state in states if not state.mixes]
    if fixed and value:
        raise ValueError(
            f"Argument `{argument}` must be 0 for {type(unwrapped(cell)[1]).__name__}: a mixture of two values of its "
            f"states {fixed} means nothing. Received: {argument}={value}"
        )


def mask_shape(state):
    """The shape of a mask for a state: one for the values of the axes between the first and the last."""
    return (ops.shape(state)[0], *(1 for _ in state.shape[2:]), state.shape[-1])
