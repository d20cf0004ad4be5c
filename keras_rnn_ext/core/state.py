"""States: nested lists of tensors in the form that a cell's `state_size` gives."""

import keras
import numpy as np
from keras import ops


def listed(states):
    """States as a list, also where there is one and it stands alone."""
    return list(states) if isinstance(states, (list, tuple)) else [states]


def _describe(states):
    return str(keras.tree.map_structure(lambda value: tuple(value.shape), states))


def check_initial_state(states, reference, batch, argument="initial_state"):
    """`states` as tensors in the structure and dtypes of `reference`.

    Args:
        states: a tensor, or a (nested) list of tensors or arrays.
        reference: the states that the layer would start with, in structure, shapes and dtypes.
        batch: the static batch size, or None.
        argument: the argument's name, for the error.

    Raises:
        ValueError: if their number, nesting or shapes differ.
        TypeError: if one is no tensor.
    """
    expected = _describe(reference)
    for value in keras.tree.flatten(states):
        is_array = hasattr(value, "__array__") or np.ndim(value) > 0
        if value is None or isinstance(value, (str, bytes)) or not is_array:
            raise TypeError(
                f"Argument `{argument}` must be a tensor or a list of tensors with the shapes {expected}. "
                f"Received: {value!r} (of type {type(value).__name__})"
            )
    flat, wanted = keras.tree.flatten(states), keras.tree.flatten(reference)
    if len(flat) != len(wanted):
        raise ValueError(
            f"Argument `{argument}` must hold {len(wanted)} tensor(s), with the shapes {expected}. Received: "
            f"{len(flat)} tensor(s). `layer.get_initial_state(batch_size)` gives a list of the right form."
        )
    tensors = [ops.convert_to_tensor(value) for value in flat]
    for tensor, model in zip(tensors, wanted, strict=True):
        shape, model_shape = tuple(tensor.shape), (batch, *model.shape[1:])
        pairs = zip(shape, model_shape, strict=False)
        if len(shape) != len(model_shape) or any(None not in pair and pair[0] != pair[1] for pair in pairs):
            raise ValueError(
                f"Argument `{argument}` must hold tensors with the shapes {expected} (batch size first). "
                f"Received: a tensor of shape {shape}."
            )
    tensors = [ops.cast(tensor, model.dtype) for tensor, model in zip(tensors, wanted, strict=True)]
    return keras.tree.pack_sequence_as(reference, tensors)


def row_mask(rows, batch):
    """Rows of a batch, given by number or as a mask of booleans, as an array `(batch,)` of booleans."""
    rows = np.asarray(keras.ops.convert_to_numpy(rows) if keras.ops.is_tensor(rows) else rows)
    chosen = np.zeros(batch, bool)
    if rows.dtype == bool:
        if rows.shape != (batch,):
            raise ValueError(
                f"Argument `rows`, where it is a mask, must have the shape ({batch},). Received: shape {rows.shape}."
            )
        return rows
    whole = rows.size == 0 or np.issubdtype(rows.dtype, np.integer)
    if rows.ndim != 1 or not whole or np.any(rows < -batch) or np.any(rows >= batch):
        raise ValueError(
            f"Argument `rows` must be a list of row numbers from 0 to {batch - 1}, or a mask of {batch} booleans. "
            f"Received: rows={rows.tolist()!r}"
        )
    chosen[rows.astype(int)] = True
    return chosen


class StateVariables:
    """The carried states of a stateful layer, in variables that are state but no weights.

    Keras on JAX forgets variables that a layer does not list, so the layer lists them among `variables`;
    `weights`, and with it `get_weights` and the built-ins' order, stay as they are.
    """

    def __init__(self, initial, dtype):
        """
        Args:
            initial: function without arguments that gives the states to start with.
            dtype: of the variables; of one for a wider state, that of the state.
        """
        start = initial()
        self.template = keras.tree.map_structure(lambda state: keras.KerasTensor(state.shape, state.dtype), start)

        def variable(position, state):
            return keras.Variable(
                # A copy: on PyTorch a broadcast value has no memory of its own to be written to.
                lambda shape, dtype: ops.copy(ops.cast(keras.tree.flatten(initial())[position], dtype)),
                shape=tuple(state.shape),
                dtype=keras.backend.result_type(dtype, state.dtype),
                trainable=False,
                name=f"rnn_state_{position}",
            )

        flat = [variable(position, state) for position, state in enumerate(keras.tree.flatten(self.template))]
        self.nested = keras.tree.pack_sequence_as(self.template, flat)

    @property
    def flat(self):
        return keras.tree.flatten(self.nested)

    def assign(self, states, rows=None):
        """Sets all rows, or those where the array `rows` of booleans is True."""
        for variable, value in zip(self.flat, keras.tree.flatten(states), strict=True):
            value = ops.cast(value, variable.dtype)
            if rows is not None:
                chosen = rows.reshape((-1, *(1,) * (len(variable.shape) - 1)))
                value = ops.where(chosen, value, ops.convert_to_tensor(variable))
            variable.assign(value)
