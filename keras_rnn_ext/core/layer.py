"""The layer: Keras's contract around a recurrence. How it runs over time is the engine's business."""

import keras
import numpy as np
from keras import ops

from keras_rnn_ext.core import masks, strategy
from keras_rnn_ext.core.arguments import parameters, serialize
from keras_rnn_ext.core.compat import attached_mask
from keras_rnn_ext.core.recurrence import as_recurrence, cell_output_size
from keras_rnn_ext.core.registration import register
from keras_rnn_ext.core.stacked import MyStackedRNNCells
from keras_rnn_ext.core.state import StateVariables, check_initial_state, listed, row_mask
from keras_rnn_ext.core.twin import describe_layer, forward_arguments, layer_init

EXTRAS = ("time_major", "save_states", "learned_initial_state")


@register
class MyRNN(keras.layers.RNN):
    """Any cell over a sequence. Twin of `keras.layers.RNN`, with its defects mended.

    $$y_t, s_t = \\mathrm{cell}(x_t, s_{t-1}), \\quad t = 1 \\dots T$$

    A mask has one meaning, whatever the backend: at a masked step the state stays and the output repeats the last
    valid output, zeros before the first one. What stands in a masked step, NaN included, has no effect.

    Args:
        cell: a cell, or a list of cells, which are stacked. Ours, Keras's, or any object with `call(inputs,
            states)`, `state_size` and perhaps `output_size` and `get_initial_state(batch_size)`.
        return_sequences: whether to give the outputs of all steps instead of the last valid one. Default False.
        return_state: whether to give the last states as well. Default False.
        go_backwards: whether to process the sequence from its end. Outputs (and the mask) stay in the order of
            processing. Default False.
        stateful: whether the states at the end of a batch are those that the next batch starts with. Needs a
            known batch size. Default False.
        unroll: True: one copy of the step for each time step; an int: that many steps per turn of the loop.
            Default False.
        zero_output_for_mask: with `return_sequences`, zeros instead of the last valid output at masked steps.
            Default False.
        time_major: whether sequences, masks and outputs have time first, `(steps, batch, ...)`. Default False.
        save_states: whether the states of a stateful layer are saved with the model. Default False.
        learned_initial_state: whether the initial state is a trainable weight instead of zeros. Default False.
        name, dtype, trainable, activity_regularizer: as for every Keras layer.

    Call arguments:
        sequences: `(batch, steps, features)`; the number of steps may be unknown, and may be 0. A
            `tf.RaggedTensor` is taken on TensorFlow.
        initial_state: a tensor or a (nested) list of tensors in the form of `get_initial_state`. Default: zeros,
            the carried states, or the learned ones.
        mask: `(batch, steps)` or `(batch, steps, 1)`, False or 0 where a step is to be left out. Default: the mask
            that comes with the sequences.
        training: whether dropout is on.
        constants: handed on to a cell whose `call` has an argument `constants`.

    Returns:
        The outputs, `(batch, steps, units)` with `return_sequences`, else the last valid one `(batch, units)`;
        with `return_state`, a tuple of that and the states.

    Raises:
        ValueError: naming the argument, for a cell without `call` or `state_size`, a mask or initial state of the
            wrong shape or number, a stateful layer with an unknown or changed batch size, `unroll=True` with an
            unknown number of steps.
        TypeError: for an initial state that is no tensor.

    >>> import numpy as np
    >>> from keras_rnn_ext import MyGRUCell, MyLSTMCell, MyRNN
    >>> layer = MyRNN([MyLSTMCell(4), MyGRUCell(5)], return_sequences=True)
    >>> tuple(layer(np.zeros((2, 7, 3), "float32")).shape)
    (2, 7, 5)
    """

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
        **kwargs,
    ):
        if isinstance(cell, (list, tuple)):
            cell = MyStackedRNNCells(cell)
        if not isinstance(unroll, bool) and (not isinstance(unroll, int) or unroll < 1):
            raise ValueError(
                "Argument `unroll` must be False, True, or the number of steps per turn of the loop, an integer "
                f"above zero. Received: unroll={unroll!r}"
            )
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
        # Kept from Keras's attribute tracking, which would take a dict for a container of variables.
        self._programs = _Untracked({})

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

        def with_batch(size):
            if isinstance(size, (list, tuple)):
                return [with_batch(part) for part in size]
            return (batch, size)

        size = cell_output_size(self.cell)
        dimensions = tuple(size) if isinstance(size, (list, tuple)) else (size,)
        output = (batch, *dimensions)
        if self.return_sequences:
            output = (steps, *output) if self.time_major else (batch, steps, *dimensions)
        if self.return_state:
            return output, *(with_batch(size) for size in self.state_size)
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

    # Building, and the state

    def build(self, sequences_shape, initial_state_shape=None):
        batch, _ = self._batch_and_steps(sequences_shape)
        step_shape = (batch, *sequences_shape[2:])
        if isinstance(self.cell, keras.layers.Layer) and not self.cell.built:
            self.cell.build(step_shape)
            self.cell.built = True
        if self.learned_initial_state:
            self._learned_states = [
                self.add_weight(name=f"initial_state_{position}", shape=size, initializer="zeros")
                for position, size in enumerate(self._state_shapes())
            ]
        if self.stateful and self._carried is None:
            if batch is None:
                raise ValueError(
                    "With `stateful=True` the batch size must be known. Found dynamic batch size: "
                    f"sequences.shape={tuple(sequences_shape)}. Give the model's input a `batch_size` or "
                    "`batch_shape`, e.g. `keras.Input(batch_shape=(32, None, 8))`."
                )
            self._carried = StateVariables(
                self._zero_states(batch), lambda: self._fresh_states(batch), self.variable_dtype
            )
            self._expected_batch_size = batch
        elif self.stateful:
            self.reset_state()

    def _state_shapes(self):
        return [tuple(state.shape[1:]) for state in keras.tree.flatten(self._zero_states(1))]

    def _zero_states(self, batch):
        """The states that the cell itself starts with."""
        initial = getattr(self.cell, "get_initial_state", None)
        if initial is not None:
            return listed(initial(batch_size=batch))
        dtype = getattr(self.cell, "compute_dtype", self.compute_dtype)
        return [ops.zeros((batch, *listed(size)), dtype=dtype) for size in self.state_size]

    def _fresh_states(self, batch):
        states = self._zero_states(batch)
        if not self.learned_initial_state:
            return states
        learned = [
            ops.broadcast_to(ops.cast(weight, state.dtype), (batch, *weight.shape))
            for weight, state in zip(self._learned_states, keras.tree.flatten(states), strict=True)
        ]
        return keras.tree.pack_sequence_as(states, learned)

    def get_initial_state(self, batch_size):
        """The states that a sequence starts with if none are given: a list of tensors, nested for a stack."""
        return self._fresh_states(batch_size) if self.built else self._zero_states(batch_size)

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
        """
        if self._carried is None and states is None and rows is None:
            return
        self._carried_states("reset")
        self.set_state(self._fresh_states(self._expected_batch_size) if states is None else states, rows)

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
            for position, variable in enumerate(self._carried.flat):
                variable.assign(store[f"state_{position}"])
        super().load_own_variables({name: store[name] for name in names if name not in saved})

    def get_config(self):
        config = super().get_config()
        return {**config, **{name: getattr(self, name) for name in EXTRAS if getattr(self, name)}}

    # The call

    def call(self, sequences, initial_state=None, mask=None, training=False, constants=None):
        recurrence, plan, feed, pack = self.prepare(sequences, initial_state, mask, training, constants)
        outputs, states = strategy.run(plan, feed)
        recurrence.release_noise()
        return self._finish(outputs, states, feed.mask, pack)

    def prepare(self, sequences, initial_state=None, mask=None, training=False, constants=None):
        """What `call` hands to the engine: the recurrence, the plan, the tensors, and how to pack the outputs."""
        if mask is None:
            # Keras attaches no mask to a call with more than one tensor argument.
            mask = attached_mask(sequences)
        backend = strategy.engine()
        sequences, lengths_mask, pack = backend.unpack_ragged(sequences)
        mask = lengths_mask if mask is None else mask
        batch, steps = self._batch_and_steps(sequences.shape)
        if self.unroll is True and steps is None:
            raise ValueError(
                "Cannot unroll a RNN if the time dimension is undefined: with `unroll=True` the number of steps must "
                f"be known. Received: sequences.shape={tuple(sequences.shape)}. Give it in the model's `Input`, or "
                "write `unroll=8` for 8 steps per turn of a loop of any length."
            )
        mask = masks.standardize(mask, sequences, self.time_major)
        if not self.time_major:
            sequences = ops.transpose(sequences, (1, 0, *range(2, len(sequences.shape))))
        if self.go_backwards:
            sequences = ops.flip(sequences, axis=0)
            mask = mask if mask is None else ops.flip(mask, axis=0)

        recurrence = as_recurrence(self.cell, training, constants, self.compute_dtype)
        if recurrence.kind != "foreign" or keras.backend.is_float_dtype(sequences.dtype):
            sequences = ops.cast(sequences, recurrence.compute_dtype)
        sequences = masks.blank_masked(mask, sequences)
        states = self._starting_states(initial_state, batch, ops.shape(sequences)[1])
        # One step stands for all: a mask is drawn per sequence.
        noise = recurrence.draw_noise(_a_step(sequences), states, training)
        plan = self._plan(recurrence, mask is not None, training, batch, steps, backend.runs_eagerly(sequences))
        feed = strategy.Feed(sequences, states, mask, recurrence.gather_weights(), noise)
        return recurrence, plan, feed, pack

    def _plan(self, recurrence, masked, training, batch, steps, eager):
        return strategy.Plan(
            recurrence=recurrence,
            return_sequences=self.return_sequences,
            unroll=self.unroll,
            masked=masked,
            noisy=bool(training) and recurrence.noisy,
            steps=steps,
            batch=batch,
            eager=eager,
            use_cudnn=getattr(self, "use_cudnn", "auto"),
            programs=self._programs.value,
        )

    def _starting_states(self, initial_state, batch, batch_tensor):
        if self.stateful and batch is not None and batch != self._expected_batch_size:
            raise ValueError(
                f"Layer {self.name!r} is stateful, so the batch size must stay what it was when the layer was built. "
                f"Expected batch size: {self._expected_batch_size}. Received batch size: {batch}."
            )
        reference = self._zero_states(batch_tensor if batch is None else batch)
        if initial_state is None:
            if not self.stateful:
                return self._fresh_states(batch_tensor if batch is None else batch)
            # Copies: PyTorch would see the variables change under its gradient.
            initial_state = keras.tree.map_structure(ops.copy, self._carried.nested)
        return check_initial_state(listed(initial_state), reference, batch)

    def _finish(self, outputs, states, mask, pack):
        if self.return_sequences:
            if self.zero_output_for_mask:
                outputs = masks.blank_masked(mask, outputs)
            if not self.time_major:
                outputs = ops.transpose(outputs, (1, 0, *range(2, len(outputs.shape))))
            outputs = pack(outputs, mask)
        outputs = ops.cast(outputs, self.compute_dtype)
        states = keras.tree.map_structure(lambda state: ops.cast(state, self.compute_dtype), states)
        if self.stateful:
            self._carried.assign(states)
        return (outputs, *states) if self.return_state else outputs

    # Telling

    def explain(self, batch=None, steps=None, masked=False, training=False, eager=False):
        """Which strategy runs, and why the others do not, as text.

        Args:
            batch: batch size, or None if it is unknown.
            steps: number of steps, or None if it is unknown.
            masked: whether there is a mask.
            training: whether the call is made in training.
            eager: whether the layer is called directly instead of in a compiled function or in `fit`.

        Returns:
            A text with a line for each strategy of the backend.
        """
        recurrence = as_recurrence(self.cell, training, dtype=self.compute_dtype)
        return strategy.explain(self._plan(recurrence, masked, training, batch, steps, eager))


class _Untracked:
    def __init__(self, value):
        self.value = value


def _a_step(sequences):
    """Something in the shape of one step's inputs, also where there are no steps."""
    return ops.zeros(ops.shape(sequences)[1:], dtype=sequences.dtype)


class RecurrentLayer(MyRNN):
    """Abstract: a layer that makes its cell itself. Signature and documentation are the cell's plus the layer's.

    class MyLSTM(RecurrentLayer, cell=MyLSTMCell, tail=("use_cudnn",))

    `tail` names the arguments that stand behind `unroll`, where Keras has them there.
    """

    def __init_subclass__(cls, cell=None, tail=(), **kwargs):
        super().__init_subclass__(**kwargs)
        if cell is not None:
            cls.cell_class = cell
            cls.__init__ = layer_init(cls, cell, MyRNN, tail)
            cls.__doc__ = describe_layer(cls, cell, MyRNN)
            forward_arguments(cls, cell)

    def _make(self, cell, **options):
        if "use_cudnn" in parameters(type(self)):
            # Only where it is an argument: Keras asks for the attribute.
            self.use_cudnn = use_cudnn = options.pop("use_cudnn", "auto")
            if use_cudnn not in ("auto", True, False):
                raise ValueError(
                    "Invalid value received for argument `use_cudnn`. Expected one of 'auto', True, False. "
                    f"Received: use_cudnn={use_cudnn!r}"
                )
        MyRNN.__init__(self, cell, **options)
        self.input_spec = keras.InputSpec(ndim=3)

    def build(self, sequences_shape, initial_state_shape=None):
        super().build(sequences_shape, initial_state_shape)
        self.input_spec = keras.InputSpec(ndim=3, axes={-1: sequences_shape[-1]})

    def get_config(self):
        config = super().get_config()
        del config["cell"]
        config = {**self.cell.get_config(), **config}
        config["activity_regularizer"] = serialize("activity_regularizer", self.activity_regularizer)
        if getattr(self, "use_cudnn", "auto") != "auto":
            config["use_cudnn"] = self.use_cudnn
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)
