"""The layers of a model that look at earlier steps, each as a layer that takes what it remembers and gives it back."""

import keras
from keras import ops

from keras_rnn_ext import MyRNN
from keras_rnn_ext.core.compat import attached_mask

_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.DepthwiseConv1D, keras.layers.SeparableConv1D)


def is_causal_convolution(layer):
    """Whether `layer` is a convolution over time that sees no later step and skips none."""
    return isinstance(layer, _CONVOLUTIONS) and layer.padding == "causal" and set(_listed(layer.strides)) == {1}


def remembers(layer):
    """Whether `layer` hands something from one step to the next in a way that a step model can follow."""
    return isinstance(layer, keras.layers.RNN) or is_causal_convolution(layer)


def _listed(value):
    return list(value) if isinstance(value, (list, tuple)) else [value]


class RecurrentStep(keras.layers.Layer):
    """A recurrent layer over a few steps, with its states handed in and out. It shares the layer's cell.

    Args:
        layer: a built recurrent layer.
        steps: how many steps there are.
        output: a `KerasTensor` like the layer's output where steps may be masked: the last output is one more state
            then, for a masked step repeats it. Default None: no step is masked.

    Call arguments:
        sequences: as the layer takes them, with `steps` steps.
        states: as `initial_states` gives them.
        mask: booleans `(batch, steps)`. Default: the mask that `sequences` carry, if any.

    Returns:
        `(outputs, new_states)`: the outputs as the layer gives them, and the states as they came.
    """

    def __init__(self, layer, steps, output=None):
        super().__init__(dtype=layer.dtype_policy)
        self.supports_masking = True
        self.layer, self.cell = layer, layer.cell
        self.return_sequences = layer.return_sequences
        self.time_axis = 0 if getattr(layer, "time_major", False) else 1
        self.output_like = None
        if output is not None:
            shape = list(output.shape)
            if self.return_sequences:
                del shape[self.time_axis]
            self.output_like = keras.KerasTensor(shape, dtype=output.dtype)
        self.rnn = None
        # For one step, to call the cell is the fastest way.
        if steps > 1 or self.output_like is not None or not _is_ours(layer.cell):
            options = {"time_major": True} if self.time_axis == 0 else {}
            self.rnn = MyRNN(
                layer.cell,
                return_sequences=layer.return_sequences,
                return_state=True,
                unroll=steps == 1,
                zero_output_for_mask=getattr(layer, "zero_output_for_mask", False),
                dtype=layer.dtype_policy,
                **options,
            )

    def initial_states(self, batch):
        """What a sequence starts with: the layer's states, and an output of zeros where steps may be masked."""
        states = _listed(self.layer.get_initial_state(batch_size=batch))
        if self.output_like is None:
            return states
        return [*states, ops.zeros((batch, *self.output_like.shape[1:]), self.output_like.dtype)]

    def compute_mask(self, sequences, mask=None):
        """The mask of the steps goes on with the outputs of all steps."""
        return mask if self.return_sequences else None

    def call(self, sequences, states, mask=None):
        given = states
        if self.rnn is None:
            outputs, new_states = self.cell(ops.squeeze(sequences, axis=self.time_axis), states, training=False)
            outputs = ops.cast(outputs, self.compute_dtype)
            outputs = ops.expand_dims(outputs, axis=self.time_axis) if self.return_sequences else outputs
        elif self.output_like is None:
            outputs, *new_states = self.rnn(sequences, initial_state=states)
        else:
            outputs, new_states = self._with_masks(
                sequences, states, attached_mask(sequences) if mask is None else mask
            )
        # A loop needs states of one type.
        return outputs, keras.tree.map_structure(lambda new, old: ops.cast(new, old.dtype), new_states, given)

    def _with_masks(self, sequences, states, mask):
        *states, last = states
        outputs, *new_states = self.rnn(sequences, initial_state=states, mask=mask)
        if mask is None or self.rnn.zero_output_for_mask:
            outputs_now = outputs
        else:
            # Before the first valid step of this call, the output is that of the call before.
            axis = self.time_axis
            seen = ops.cumsum(ops.cast(mask, "int32"), axis=axis) > 0
            seen = seen if self.return_sequences else ops.take(seen, -1, axis=axis)
            before = ops.expand_dims(last, axis) if self.return_sequences else last
            outputs_now = ops.where(_widened(seen, outputs), outputs, ops.cast(before, outputs.dtype))
        newest = ops.take(outputs_now, -1, axis=self.time_axis) if self.return_sequences else outputs_now
        return outputs_now, [*new_states, newest]


def _widened(mask, like):
    return ops.reshape(mask, (*ops.shape(mask), *(1,) * (len(like.shape) - len(mask.shape))))


def _is_ours(cell):
    """Whether a cell, and each one of a stack, is of this package and may be called by itself."""
    return all(hasattr(each, "recur") for each in getattr(cell, "cells", [cell]))


class ConvolutionStep(keras.layers.Layer):
    """A causal convolution over a few steps, with the inputs before them handed in and out.

    Args:
        layer: a built causal convolution of one axis, with strides of 1.
        sequences: a `KerasTensor` like its inputs.

    Call arguments:
        sequences: as the layer takes them.
        states: a list of one tensor, the inputs before: `(batch, dilation_rate * (kernel_size - 1), features)`.

    Returns:
        `(outputs, new_states)`.
    """

    def __init__(self, layer, sequences):
        super().__init__(dtype=layer.dtype_policy)
        self.layer = layer
        (kernel,), (dilation,) = _listed(layer.kernel_size), _listed(layer.dilation_rate)
        self.before = (kernel - 1) * dilation
        self.like = (self.before, sequences.shape[-1]), sequences.dtype

    def initial_states(self, batch):
        """Zeros, as the padding of the layer."""
        shape, dtype = self.like
        return [ops.zeros((batch, *shape), dtype)]

    def call(self, sequences, states):
        sequences = ops.concatenate([ops.cast(states[0], sequences.dtype), sequences], axis=1)
        # Its own padding changes only what stands before these steps.
        outputs = self.layer(sequences)[:, self.before :]
        return outputs, [ops.cast(sequences[:, ops.shape(sequences)[1] - self.before :], states[0].dtype)]
