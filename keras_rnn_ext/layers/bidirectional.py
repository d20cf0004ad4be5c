"""Both directions of a sequence."""

import keras
from keras import ops

from keras_rnn_ext.core.compat import Untracked, attached_mask
from keras_rnn_ext.core.layer import MyRNN
from keras_rnn_ext.core.recurrence import accepts
from keras_rnn_ext.core.registration import register

_MERGES = {
    "concat": lambda forward, backward: ops.concatenate([forward, backward], axis=-1),
    "sum": lambda forward, backward: forward + backward,
    "ave": lambda forward, backward: (forward + backward) / 2,
    "mul": lambda forward, backward: forward * backward,
    None: lambda forward, backward: (forward, backward),
}


_NEEDED = ("go_backwards", "return_sequences", "return_state", "stateful")


@register
class MyBidirectional(keras.layers.Bidirectional):
    """A recurrent layer run forward and backward over a sequence. Drop-in for `keras.layers.Bidirectional`.

    $$y_t = \\mathrm{merge}(\\overrightarrow{y}_t, \\overleftarrow{y}_t)$$

    The wrapped layer is copied from its config, weights not included; the outputs of the backward copy are put
    back in the order of time. With `return_sequences` the outputs at masked steps are zeros, whatever the layer's
    `zero_output_for_mask`.

    Args:
        layer: a recurrent layer, ours or any with `go_backwards`, `return_sequences` and `return_state`.
        merge_mode: `"concat"`, `"sum"`, `"mul"`, `"ave"`, or None: both outputs, unmerged. Default `"concat"`.
        weights: initial weights, those of the forward layer first. Default None.
        backward_layer: the layer for the backward direction, with the other `go_backwards`. Default: a copy of
            `layer`.
        name, dtype, trainable: as for every Keras layer.

    Call arguments:
        sequences: `(batch, steps, features)`.
        initial_state: list of tensors, the first half for the forward layer. Default None.
        mask: `(batch, steps)`. Default: the mask that comes with the sequences.
        training: whether dropout is on.

    Returns:
        The merged output, or both; with `return_state`, a tuple of that, the forward and the backward states.

    Raises:
        ValueError: for a `layer` that is no layer, an unknown `merge_mode`, a `backward_layer` that does not
            match, or an `initial_state` that cannot be halved.

    Source:
        Schuster, Paliwal 1997, Bidirectional recurrent neural networks, doi 10.1109/78.650093.

    >>> import numpy as np
    >>> from keras_rnn_ext import MyBidirectional, MyGRU
    >>> layer = MyBidirectional(MyGRU(4, return_sequences=True))
    >>> tuple(layer(np.zeros((2, 7, 3), "float32")).shape)
    (2, 7, 8)
    """

    def __init__(self, layer, merge_mode="concat", weights=None, backward_layer=None, **kwargs):
        for name, value in (("layer", layer), ("backward_layer", backward_layer)):
            lacking = [part for part in _NEEDED if value is not None and not hasattr(value, part)]
            if lacking and isinstance(value, keras.layers.Layer):
                raise ValueError(
                    f"Argument `{name}` must be a recurrent layer, with the attributes {list(_NEEDED)}. Received: "
                    f"{value}, which lacks {lacking}."
                )
        super().__init__(layer, merge_mode=merge_mode, backward_layer=backward_layer, **kwargs)
        self._first_weights = None if weights is None else Untracked(weights)
        for own in (self.forward_layer, self.backward_layer):
            if isinstance(own, MyRNN):
                own.accompanied = True

    def build(self, sequences_shape, initial_state_shape=None):
        super().build(sequences_shape, initial_state_shape)
        if self._first_weights is not None:
            self.set_weights(self._first_weights.value)
            self._first_weights = None

    @property
    def _time_axis(self):
        return 0 if getattr(self.forward_layer, "time_major", False) else 1

    def call(self, sequences, initial_state=None, mask=None, training=None):
        mask = attached_mask(sequences) if mask is None else mask
        forward_state = backward_state = None
        if initial_state is not None:
            if not isinstance(initial_state, (list, tuple)):
                raise ValueError(
                    "Argument `initial_state` must be a list whose first half is for the forward layer and whose "
                    f"second is for the backward layer. Received: {type(initial_state).__name__}."
                )
            half, odd = divmod(len(initial_state), 2)
            if odd:
                raise ValueError(
                    "Argument `initial_state` must be a list whose first half is for the forward layer and whose "
                    f"second is for the backward layer. Received: {len(initial_state)} entries."
                )
            forward_state, backward_state = initial_state[:half], initial_state[half:]
        forward = self._run(self.forward_layer, sequences, forward_state, mask, training)
        backward = self._run(self.backward_layer, sequences, backward_state, mask, training)
        states = (*forward[1:], *backward[1:])
        backward_output = ops.flip(backward[0], axis=self._time_axis) if self.return_sequences else backward[0]
        merged = _MERGES[self.merge_mode](forward[0], backward_output)
        outputs = (merged if isinstance(merged, tuple) else (merged,)) + states
        return outputs if len(outputs) > 1 else outputs[0]

    def _run(self, layer, sequences, initial_state, mask, training):
        offered = {"mask": mask, "training": training}
        options = {name: value for name, value in offered.items() if accepts(layer, name)}
        if initial_state is not None:
            options["initial_state"] = initial_state
        result = layer(sequences, **options)
        outputs = result if self.return_state else (result,)
        return (ops.cast(outputs[0], self.compute_dtype), *outputs[1:])

    def compute_mask(self, sequences, mask=None):
        mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        mask = mask if self.return_sequences else None
        if mask is not None and self.forward_layer.go_backwards:
            # A forward layer that goes backwards leaves its outputs, and those of the other, turned round.
            mask = ops.flip(mask, axis=self._time_axis)
        masks = [mask, mask] if self.merge_mode is None else [mask]
        if self.return_state:
            masks += [None for _ in [*self.forward_layer.state_size, *self.backward_layer.state_size]]
        return tuple(masks) if len(masks) > 1 else masks[0]

    @property
    def states(self):
        """The variables of the carried states, forward ones first; None if there are none."""
        forward, backward = self.forward_layer.states, self.backward_layer.states
        return None if forward is None or backward is None else (*forward, *backward)

    def get_state(self):
        """The carried states of both layers as NumPy arrays, forward ones first."""
        return [*self.forward_layer.get_state(), *self.backward_layer.get_state()]

    def set_state(self, states, rows=None):
        """Sets the carried states, the first half those of the forward layer. See `MyRNN.set_state`."""
        half = len(states) // 2
        self.forward_layer.set_state(states[:half], rows)
        self.backward_layer.set_state(states[half:], rows)

    def reset_state(self, states=None, rows=None):
        """Resets the carried states of both layers. See `MyRNN.reset_state`."""
        if not self.stateful:
            raise AttributeError(f"Layer {self.name!r} carries no state to reset: it was made with `stateful=False`.")
        if states is not None:
            self.set_state(states, rows)
            return
        for layer in (self.forward_layer, self.backward_layer):
            if rows is None:
                layer.reset_state()
            else:
                layer.reset_state(rows=rows)

    def reset_states(self, states=None, rows=None):
        """The name of `reset_state` in Keras 2."""
        self.reset_state(states, rows)

    def explain(self, **facts):
        """See `MyRNN.explain`: a text for each direction."""
        both = (("forward", self.forward_layer), ("backward", self.backward_layer))
        return "\n".join(f"{direction}: {layer.explain(**facts)}" for direction, layer in both)

    def get_config(self):
        config = super().get_config()
        # Keras's own layers leave it out of their config.
        use_cudnn = getattr(self.forward_layer, "use_cudnn", "auto")
        return config if use_cudnn == "auto" else {**config, "use_cudnn": use_cudnn}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        use_cudnn = config.pop("use_cudnn", "auto")
        layer = super().from_config(config, custom_objects=custom_objects)
        for part in (layer.forward_layer, layer.backward_layer):
            if hasattr(part, "use_cudnn"):
                part.use_cudnn = use_cudnn
        return layer
