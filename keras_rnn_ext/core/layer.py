"""The layer: Keras's contract around a recurrence. How it runs over time is the engine's business."""

import keras
from keras import ops

from keras_rnn_ext.core import masks, strategy
from keras_rnn_ext.core.cell import RecurrentCell
from keras_rnn_ext.core.compat import Untracked, attached_mask
from keras_rnn_ext.core.layer_states import CarriesState
from keras_rnn_ext.core.layer_words import with_layer_words
from keras_rnn_ext.core.recurrence import as_recurrence, cell_output_size, state_shapes
from keras_rnn_ext.core.registration import register
from keras_rnn_ext.core.stacked import MyStackedRNNCells

EXTRAS = ("time_major", "save_states", "learned_initial_state", "recompute")


@register
class MyRNN(CarriesState, keras.layers.RNN):
    """Any cell over a sequence. Drop-in for `keras.layers.RNN`, with its defects fixed.

    $$y_t, s_t = \\mathrm{cell}(x_t, s_{t-1}), \\quad t = 1 \\dots T$$

    A mask has one meaning, whatever the backend: at a masked step the state stays and the output repeats the last
    valid output, zeros before the first one. What stands in a masked step, NaN included, has no effect.

    >>> import numpy as np
    >>> from keras_rnn_ext import MyGRUCell, MyLSTMCell, MyRNN
    >>> layer = MyRNN([MyLSTMCell(4), MyGRUCell(5)], return_sequences=True)
    >>> tuple(layer(np.zeros((2, 7, 3), "float32")).shape)
    (2, 7, 5)
    """

    # Whether another loop runs at the same time, as that of the other direction does.
    accompanied = False

    def __init__(
        self,
        cell,
        return_sequences=False,
        return_state=False,
        go_backwards=False,
        stateful=False,
        unroll=False,
        zero_output_for_mask=False,
        *,
        time_major=False,
        save_states=False,
        learned_initial_state=False,
        recompute=False,
        **kwargs,
    ):
        if isinstance(cell, (list, tuple)):
            cell = MyStackedRNNCells(cell)
        if not isinstance(unroll, bool) and (not isinstance(unroll, int) or unroll < 1):
            raise ValueError(
                "Argument `unroll` must be False, True, or the number of steps per turn of the loop, an integer "
                f"above zero. Received: unroll={unroll!r}"
            )
        if stateful and learned_initial_state:
            raise ValueError(
                "Argument `learned_initial_state` cannot be True with `stateful=True`: carried states are variables, "
                "which no gradient reaches, so that nothing would be learned."
            )
        if save_states and not stateful:
            raise ValueError("Argument `save_states=True` needs `stateful=True`: other layers carry no states to save.")
        self._carried = None
        super().__init__(
            cell,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            zero_output_for_mask=zero_output_for_mask,
            **kwargs,
        )
        if isinstance(cell.state_size, (list, tuple)) and len(cell.state_size) == 0:
            raise ValueError(f"Argument `cell` must have at least one state. Received: state_size={cell.state_size}")
        self.time_major = time_major
        self.save_states = save_states
        self.learned_initial_state = learned_initial_state
        self.recompute = recompute
        self._programs = Untracked({})

    @property
    def supports_jit(self):
        """Whether `compile(jit_compile="auto")` may use XLA: not where TensorFlow calls cuDNN, unknown to XLA."""
        return self._supports_jit and all(
            strategy.fits_xla(
                self._plan(as_recurrence(self.cell, training), False, training, training, None, None, False)
            )
            for training in (False, True)
        )

    @supports_jit.setter
    def supports_jit(self, supports):
        self._supports_jit = supports

    # Shapes and masks

    @property
    def _time_axis(self):
        return 0 if self.time_major else 1

    def _batch_and_steps(self, shape):
        if len(shape) < 3:
            axes = "(steps, batch, features)" if self.time_major else "(batch, steps, features)"
            raise ValueError(
                f"Argument `sequences` of layer {self.name!r} must have the shape {axes}, or more axes behind it. "
                f"Received: shape {tuple(shape)}."
            )
        return (shape[1], shape[0]) if self.time_major else (shape[0], shape[1])

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        batch, steps = self._batch_and_steps(sequences_shape)

        size = cell_output_size(self.cell)
        dimensions = tuple(size) if isinstance(size, (list, tuple)) else (size,)
        output = (batch, *dimensions)
        if self.return_sequences:
            output = (steps, *output) if self.time_major else (batch, steps, *dimensions)
        if self.return_state:
            return output, *state_shapes(self.cell, batch)
        return output

    def compute_mask(self, sequences, mask=None):
        mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        if not self.return_sequences:
            mask = None
        elif mask is not None and self.go_backwards:
            mask = ops.flip(mask, axis=self._time_axis)
        if self.return_state:
            return [mask] + [None for _ in self.state_size]
        return mask

    def build(self, sequences_shape, initial_state_shape=None):
        batch, _ = self._batch_and_steps(sequences_shape)
        step_shape = (batch, *sequences_shape[2:])
        if isinstance(self.cell, keras.layers.Layer) and not self.cell.built:
            self.cell.build(step_shape)
            self.cell.built = True
        self.build_states(batch, sequences_shape)

    def get_config(self):
        config = super().get_config()
        return {**config, **{name: getattr(self, name) for name in EXTRAS if getattr(self, name)}}

    # The call

    def call(self, sequences, initial_state=None, mask=None, training=None, constants=None):
        recurrence, plan, feed, pack = self.prepare(sequences, initial_state, mask, training, constants)
        outputs, states = strategy.run(plan, feed)
        recurrence.release_noise()
        return self._finish(outputs, states, feed.mask, pack)

    def prepare(self, sequences, initial_state=None, mask=None, training=None, constants=None):
        """What `call` hands to the engine: the recurrence, the plan, the tensors, and how to pack the outputs."""
        if mask is None:
            # Keras attaches no mask to a call with more than one tensor argument.
            mask = attached_mask(sequences)
        backend = strategy.engine()
        sequences, mask, pack = backend.unpack_ragged(sequences, mask, self.time_major)
        sequences, batch, steps = self._sized(sequences)
        recurrence = as_recurrence(self.cell, training, constants, self.compute_dtype)
        self._check_features(sequences, recurrence)
        sequences, mask = self._in_order(sequences, mask)
        sequences = _as_read(sequences, mask, recurrence)
        states = self.starting_states(initial_state, ops.shape(sequences)[1] if batch is None else batch)
        # One step stands for all: a mask is drawn per sequence.
        step = _a_step(sequences) if recurrence.noisy or not isinstance(recurrence, RecurrentCell) else None
        noise = recurrence.draw_noise(step, states, training, ops.shape(sequences)[0])
        eager = backend.runs_eagerly(sequences)
        differentiable, exported = backend.may_differentiate(training), backend.being_exported()
        plan = self._plan(recurrence, mask is not None, training, differentiable, batch, steps, eager, exported)
        feed = strategy.Feed(sequences, states, mask, recurrence.gather_weights(noise), noise)
        return recurrence, plan, feed, pack

    def _sized(self, sequences):
        """The sequences, with their batch size if it has to be known; the batch size and the number of steps."""
        batch, steps = self._batch_and_steps(sequences.shape)
        if self.unroll is True and steps is None:
            raise ValueError(
                "Cannot unroll a RNN if the time dimension is undefined: with `unroll=True` the number of steps must "
                f"be known. Received: sequences.shape={tuple(sequences.shape)}. Give it in the model's `Input`, or "
                "write `unroll=8` for 8 steps per turn of a loop of any length."
            )
        self.check_batch_size(batch)
        if self.stateful and batch is None:
            batch, message = self._expected_batch_size, self._batch_size_message("another")
            sequences = strategy.engine().fix_size(sequences, 1 - self._time_axis, batch, message)
        return sequences, batch, steps

    def _in_order(self, sequences, mask):
        """Sequences and mask as the engine goes through them: time first, and from the end if so asked."""
        mask = masks.standardize(mask, sequences, self.time_major)
        if not self.time_major:
            sequences = ops.transpose(sequences, (1, 0, *range(2, len(sequences.shape))))
        if self.go_backwards:
            sequences = ops.flip(sequences, axis=0)
            mask = mask if mask is None else ops.flip(mask, axis=0)
        return sequences, mask

    def _check_features(self, sequences, recurrence):
        # Keras checks this where a cell is called; here it is not called, and PyTorch's kernels do not look.
        expected, shape = recurrence.features, tuple(sequences.shape)
        if expected is not None and (len(shape) != 3 or shape[-1] != expected):
            raise ValueError(
                f"Argument `sequences` of layer {self.name!r} must have 3 axes and {expected} features on the last "
                f"one, which is what its cell was built for. Received: shape {shape}."
            )

    def _plan(self, recurrence, masked, training, differentiable, batch, steps, eager, exported=False):
        return strategy.Plan(
            recurrence=recurrence,
            return_sequences=self.return_sequences,
            unroll=self.unroll,
            masked=masked,
            noisy=bool(training) and recurrence.noisy,
            differentiable=bool(differentiable),
            recompute=self.recompute,
            accompanied=self.accompanied,
            steps=_known(steps),
            batch=_known(batch),
            eager=eager,
            exported=exported,
            use_cudnn=getattr(self, "use_cudnn", "auto"),
            programs=self._programs.value,
        )

    def _finish(self, outputs, states, mask, pack):
        if self.return_sequences:
            if self.zero_output_for_mask:
                outputs = masks.blank_masked(mask, outputs)
            if not self.time_major:
                outputs = ops.transpose(outputs, (1, 0, *range(2, len(outputs.shape))))
            outputs = pack(outputs, self.go_backwards)
        outputs = ops.cast(outputs, self.compute_dtype)
        if self.stateful or self.return_state:
            states = keras.tree.map_structure(self._in_own_type, states)
        if self.stateful:
            self._carried.assign(states)
        return (outputs, *states) if self.return_state else outputs

    def _in_own_type(self, state):
        """A state in the layer's type, unless its cell keeps it wider than 16 bits."""
        is_narrow = self.compute_dtype in ("float16", "bfloat16")
        keeps = is_narrow and keras.backend.standardize_dtype(state.dtype) == "float32"
        return state if keeps else ops.cast(state, self.compute_dtype)

    # Telling

    def explain(self, batch=None, steps=None, masked=False, training=False, eager=False, exported=False):
        """Which strategy runs, and why the others do not, as text.

        Args:
            batch: batch size, or None if it is unknown.
            steps: number of steps, or None if it is unknown.
            masked: whether there is a mask.
            training: whether the call is made in training, and a gradient is asked for.
            eager: whether the layer is called directly instead of in a compiled function or in `fit`.
            exported: whether the call is made by `model.export`, which takes plainer ways.

        Returns:
            A text with a line for each strategy of the backend.
        """
        recurrence = as_recurrence(self.cell, training, dtype=self.compute_dtype)
        return strategy.explain(self._plan(recurrence, masked, training, training, batch, steps, eager, exported))


MyRNN.__doc__ = with_layer_words(MyRNN.__doc__)


def _known(length):
    """A length as an int, or None: JAX and PyTorch have symbols for unknown ones, which cannot be compared."""
    return length if isinstance(length, int) else None


def _as_read(sequences, mask, recurrence):
    """The sequences in the type that the recurrence reads, with nothing in masked steps that could do harm."""
    if recurrence.kind != "foreign" or keras.backend.is_float_dtype(sequences.dtype):
        sequences = ops.cast(sequences, recurrence.input_dtype)
    # Zeros are nothing special to a cell of ours; to another they may be, so there only NaN and infinity go.
    return masks.blank_masked(mask, sequences, keep_finite=not recurrence.is_pure)


def _a_step(sequences):
    """Something in the shape of one step's inputs, also where there are no steps."""
    return ops.zeros(ops.shape(sequences)[1:], dtype=sequences.dtype)
