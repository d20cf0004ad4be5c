"""The state that a recurrent layer starts with, and the one that a stateful layer carries."""

import warnings

import keras
import numpy as np
from keras import ops

from keras_rnn_ext.core.compat import set_unlisted
from keras_rnn_ext.core.state import StateVariables, check_initial_state, listed, row_mask


class CarriesState:
    """Mixin of `MyRNN`: initial states, learned or not; carried states, read, set, reset and saved."""

    def build_states(self, batch, sequences_shape):
        """Adds the weights of a learned initial state and the variables of carried ones."""
        if self.learned_initial_state:
            start = keras.tree.flatten(self._cell_states(1))
            self._learned_states = [
                self.add_weight(
                    name=f"initial_state_{position}",
                    shape=tuple(state.shape[1:]),
                    dtype=keras.backend.result_type(self.variable_dtype, state.dtype),
                    initializer=lambda shape, dtype, position=position: ops.cast(
                        keras.tree.flatten(self._cell_states(1))[position][0], dtype
                    ),
                )
                for position, state in enumerate(start)
            ]
        if self.stateful and self._carried is None:
            if batch is None:
                raise ValueError(
                    "With `stateful=True` the batch size must be known. Found dynamic batch size: "
                    f"sequences.shape={tuple(sequences_shape)}. Give the model's input a `batch_size` or "
                    "`batch_shape`, e.g. `keras.Input(batch_shape=(32, None, 8))`."
                )
            self._carried = StateVariables(lambda: listed(self.get_initial_state(batch)), self.variable_dtype)
            # TensorFlow's checkpoints and saved models look for variables among the attributes.
            set_unlisted(self, "_carried_variables", self._carried.flat)
            self._expected_batch_size = batch
        elif self.stateful:
            self.reset_state()

    def _cell_states(self, batch):
        """The states that the cell itself starts with."""
        initial = getattr(self.cell, "get_initial_state", None)
        if initial is not None:
            return listed(initial(batch_size=batch))
        dtype = getattr(self.cell, "compute_dtype", self.compute_dtype)
        return [ops.zeros((batch, *listed(size)), dtype=dtype) for size in self.state_size]

    def get_initial_state(self, batch_size):
        """The states that a sequence starts with if none are given: a list of tensors, nested for a stack."""
        states = self._cell_states(batch_size)
        if not (self.learned_initial_state and self.built):
            return states
        learned = [
            ops.broadcast_to(ops.cast(weight, state.dtype), (batch_size, *weight.shape))
            for weight, state in zip(self._learned_states, keras.tree.flatten(states), strict=True)
        ]
        return keras.tree.pack_sequence_as(states, learned)

    def starting_states(self, initial_state, batch):
        """The states of a call: those given, the carried ones, or those that a sequence starts with."""
        reference = listed(self.get_initial_state(batch))
        if initial_state is None:
            if not self.stateful:
                return reference
            # Copies: PyTorch would see the variables change under its gradient.
            initial_state = keras.tree.map_structure(ops.copy, self._carried.nested)
        return check_initial_state(listed(initial_state), reference, batch if isinstance(batch, int) else None)

    def check_batch_size(self, batch):
        """Raises a ValueError if a stateful layer gets another number of rows than it was built for."""
        if self.stateful and batch is not None and batch != self._expected_batch_size:
            raise ValueError(self._batch_size_message(batch))

    def _batch_size_message(self, batch):
        return (
            f"Layer {self.name!r} is stateful, so the batch size must stay what it was when the layer was built. "
            f"Expected batch size: {self._expected_batch_size}. Received batch size: {batch}."
        )

    @property
    def states(self):
        """The variables of a stateful layer's states, nested as `get_initial_state`; None before it is built."""
        return None if self._carried is None else self._carried.nested

    @states.setter
    def states(self, value):
        # `keras.layers.RNN.__init__` sets None.
        if value is not None:
            raise AttributeError("`states` cannot be set. Use `layer.set_state(states)`.")

    @property
    def variables(self):
        """All state of the layer: weights, seeds, and the carried states of a stateful layer."""
        return super().variables + ([] if self._carried is None else self._carried.flat)

    def _carried_states(self, action):
        if self._carried is None:
            reason = "it is not built yet" if self.stateful else "it was made with `stateful=False`"
            raise ValueError(f"Layer {self.name!r} carries no state to {action}: {reason}.")
        return self._carried

    def get_state(self):
        """The carried states of a stateful layer as NumPy arrays, nested as `get_initial_state`."""
        # Copies: on PyTorch an array would share the memory of the variable.
        read = self._carried_states("read").nested
        return keras.tree.map_structure(lambda variable: np.array(ops.convert_to_numpy(variable)), read)

    def set_state(self, states, rows=None):
        """Sets the carried states of a stateful layer, wholly or for some rows of the batch.

        Args:
            states: tensors or arrays `(batch, size)` in the form of `get_state`.
            rows: row numbers, or a mask of booleans `(batch,)`; the other rows stay. Default: all rows.

        Raises:
            ValueError: if the layer is not stateful or not built, or `states` or `rows` do not fit.
        """
        carried = self._carried_states("set")
        batch = self._expected_batch_size
        states = check_initial_state(states, carried.template, batch, argument="states")
        carried.assign(states, None if rows is None else row_mask(rows, batch))

    def reset_state(self, states=None, rows=None):
        """Puts the carried states back to what a sequence starts with, or to `states`.

        Args:
            states: as in `set_state`. Default: the initial state of the cell, or the learned one.
            rows: row numbers, or a mask of booleans `(batch,)`; the other rows stay. Default: all rows.

        Raises:
            ValueError: if `states` or `rows` are given and do not fit, or the layer carries no state.

        In a batch callback of `fit` on JAX, write `reset_states(model)`: while it trains, Keras keeps the states
        outside the layer, and that function asks for them first.
        """
        if self._carried is None and states is None and rows is None:
            return
        self._carried_states("reset")
        self.set_state(self.get_initial_state(self._expected_batch_size) if states is None else states, rows)

    def reset_states(self, states=None, rows=None):
        """The name of `reset_state` in Keras 2."""
        self.reset_state(states, rows)

    # Saving

    def save_own_variables(self, store):
        super().save_own_variables(store)
        if self.save_states and self._carried is not None:
            for position, variable in enumerate(self._carried.flat):
                store[f"state_{position}"] = ops.convert_to_numpy(variable)

    def load_own_variables(self, store):
        names = list(store.keys())
        saved = [name for name in names if name.startswith("state_")]
        if saved and self._carried is not None:
            values = [store[f"state_{position}"] for position in range(len(saved))]
            shapes = [tuple(value.shape) for value in values]
            expected = [tuple(variable.shape) for variable in self._carried.flat]
            if shapes == expected:
                self._carried.assign(values)
            else:
                warnings.warn(
                    f"Layer {self.name!r} keeps its present states: those in the file have the shapes {shapes}, the "
                    f"layer's have {expected}. Load the file into a model with the batch size it was saved with, or "
                    "save without `save_states=True`.",
                    stacklevel=2,
                )
        super().load_own_variables({name: store[name] for name in names if name not in saved})
