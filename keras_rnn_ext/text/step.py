"""A model taken apart into one step: ids and states in, logits and new states out."""

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_rnn_ext import MyRNN
from keras_rnn_ext.core.compat import all_layers


class Step(NamedTuple):
    """A model over a few steps, with its states handed in and out."""

    model: Any  # [ids, *states] -> [outputs, *new states]
    recurrent: list  # the recurrent layers in the order of their states, one entry for each call of a layer
    is_softmax: bool  # whether the outputs are probabilities

    def initial_states(self, batch):
        """The states that a text starts with: a flat list of tensors `(batch, size)`."""
        return keras.tree.flatten([layer.get_initial_state(batch_size=batch) for layer in self.recurrent])


def step_model(model, steps=1):
    """A model for one step, or a few, that takes the recurrent states and gives them back.

    It shares the layers and weights of `model`, which stays as it is: training one trains the other, and the states
    that a stateful layer carries are neither read nor changed. The steps that `model` was made for do not matter.

    Args:
        model: ids to logits (or probabilities): a Sequential, functional or subclassed model of layers that work on
            each step by itself and of recurrent layers, `MyRNN` and its kind, in models nested to any depth.
        steps: how many steps it takes at a time, from 1. Default 1.

    Returns:
        A functional model. Inputs: `[ids, *states]`, the ids of shape `(batch, steps)`, the states flat, in the
        order in which the layers are called. Outputs: `[outputs, *new_states]`, the outputs as `model` gives them,
        `(batch, steps, tokens)` or `(batch, tokens)`.

    Raises:
        TypeError: if `model` is no Keras model.
        ValueError: naming the layer, if the model cannot run step by step: it is not built, has no recurrent layer
            or several inputs, reads backward, or hands its layer an initial state, a mask or constants.

    >>> import keras
    >>> import numpy as np
    >>> from keras_rnn_ext import MyDense, MyEmbedding, MyLSTM
    >>> from keras_rnn_ext.text import step_model
    >>> model = keras.Sequential([keras.Input((9,)), MyEmbedding(5, 3), MyLSTM(4, return_sequences=True), MyDense(5)])
    >>> step = step_model(model)
    >>> outputs, h, c = step([np.array([[2]]), np.zeros((1, 4)), np.zeros((1, 4))])
    >>> tuple(outputs.shape), tuple(h.shape), tuple(c.shape)
    ((1, 1, 5), (1, 4), (1, 4))
    """
    return take_apart(model, steps).model


def take_apart(model, steps=1):
    """The `Step` of a model. Arguments and errors as for `step_model`."""
    if not isinstance(model, keras.Model):
        raise TypeError(
            "Argument `model` must be a Keras model, ids to logits. "
            f"Received: {model!r} (of type {type(model).__name__})"
        )
    if not all(layer.built for layer in _recurrent_layers(model)):
        raise ValueError(f"Model {model.name!r} has no weights yet. Call it on a batch of ids first, or train it.")
    inputs = keras.tree.flatten(getattr(model, "inputs", None) or [])
    if len(inputs) > 1:
        raise ValueError(
            f"Model {model.name!r} must have one input, the ids. Received: a model with the inputs "
            f"{[each.name for each in inputs]}. If some are states, leave them out: they are handed on without it."
        )
    ids = keras.Input((steps,), dtype=inputs[0].dtype if inputs else "int32", name="ids")
    walk = _Walk(steps)
    outputs = keras.tree.flatten(walk.call(model, ids))
    if not walk.recurrent:
        raise ValueError(f"Model {model.name!r} has no recurrent layer, so there is no state to hand on.")
    stepped = keras.Model([ids, *walk.states], [outputs[0], *walk.new_states], name=f"{model.name}_step")
    return Step(stepped, walk.recurrent, _is_softmax(walk.makers.get(id(outputs[0]))))


def _is_softmax(layer):
    layer = layer.layer if isinstance(layer, keras.layers.TimeDistributed) else layer
    is_activation = getattr(layer, "activation", None) is keras.activations.softmax
    # The layer of that name, or the operation `keras.ops.softmax`.
    return is_activation or type(layer).__name__ == "Softmax"


class _Walk:
    """Calls the layers of a model on new inputs, the recurrent ones with states handed in."""

    def __init__(self, steps):
        self.steps = steps
        self.recurrent, self.states, self.new_states = [], [], []
        # Which layer made a tensor, by the tensor's id; `kept` keeps the ids from being used again.
        self.makers, self.kept = {}, []
        # Layers of different models may have the same name, those of one model may not.
        self.names = {}

    def call(self, layer, *args, **kwargs):
        """What `layer(*args, **kwargs)` gives, layers within layers included."""
        if isinstance(layer, keras.layers.RNN):
            return self._call_recurrent(layer, *args, **kwargs)
        if isinstance(layer, keras.Sequential):
            return self._call_in_turn(layer.layers, args[0])
        if isinstance(layer, keras.Model) and getattr(layer, "outputs", None):
            return self._call_graph(layer, args[0])
        if isinstance(layer, keras.layers.Layer) and _recurrent_layers(layer):
            return self._call_opened(layer, args, kwargs)
        named = layer if self.names.setdefault(layer.name, layer) is layer else _Alias(layer)
        outputs = named(*args, **kwargs)
        self.kept.append(outputs)
        self.makers.update((id(output), layer) for output in keras.tree.flatten(outputs))
        return outputs

    def _call_in_turn(self, layers, values):
        for layer in layers:
            values = self.call(layer, values)
        return values

    def _call_graph(self, model, inputs):
        # A graph of its own: cloning a compiled model would compile the clone, with all that its loss needs. What
        # comes to a mark is an output. The clone is not used, and must be connected to its inputs, states to none.
        inputs = keras.tree.flatten(inputs)
        marks = [keras.layers.Identity() for _ in model.outputs]
        graph = keras.Model(model.input, [mark(output) for mark, output in zip(marks, model.outputs, strict=True)])
        marked = {}

        def call(layer, *args, **kwargs):
            if layer not in marks:
                return self.call(layer, *args, **kwargs)
            marked[layer] = args[0]
            return layer(inputs[0])

        keras.models.clone_model(
            graph,
            input_tensors=keras.tree.pack_sequence_as(model.input, inputs),
            clone_function=lambda layer: layer,
            call_function=call,
        )
        return keras.tree.pack_sequence_as(model.output, [marked[mark] for mark in marks])

    def _call_opened(self, layer, args, kwargs):
        """A subclassed model or a layer made of layers: its `call` is run once to see what it does."""
        if isinstance(layer, (keras.layers.Bidirectional, keras.layers.TimeDistributed)):
            raise ValueError(
                f"Layer {layer.name!r} ({type(layer).__name__}) cannot run step by step: it needs the whole sequence."
            )

        def fresh(leaf):
            return keras.Input(leaf.shape[1:], dtype=leaf.dtype) if isinstance(leaf, keras.KerasTensor) else leaf

        fresh_args, fresh_kwargs = keras.tree.map_structure(fresh, (args, kwargs))
        outputs = layer.call(*fresh_args, **fresh_kwargs)
        graph = keras.Model(_tensors((fresh_args, fresh_kwargs)), outputs)
        return self._call_graph(graph, _tensors((args, kwargs)))

    def _call_recurrent(self, layer, sequences, initial_state=None, mask=None, training=None, constants=None):
        if layer.go_backwards:
            raise ValueError(
                f"Layer {layer.name!r} cannot run step by step: it reads its sequence from the end (go_backwards=True)."
            )
        given = {"initial_state": initial_state, "mask": mask, "constants": constants}
        named = [name for name, value in given.items() if value is not None]
        if named:
            raise ValueError(
                f"Layer {layer.name!r} cannot run step by step: the model hands it {named}. Leave them out: the "
                "states are handed on without it, and a text has no masked steps."
            )
        template = layer.get_initial_state(batch_size=1)
        states = keras.tree.map_structure(lambda state: keras.Input(state.shape[1:], dtype=state.dtype), template)
        outputs, new_states = RecurrentStep(layer, self.steps)(sequences, states)
        self.recurrent.append(layer)
        self.states += keras.tree.flatten(states)
        self.new_states += keras.tree.flatten(new_states)
        return (outputs, *new_states) if layer.return_state else outputs


def _recurrent_layers(layer):
    return [each for each in all_layers(layer) if isinstance(each, keras.layers.RNN)]


def _tensors(structure):
    return [leaf for leaf in keras.tree.flatten(structure) if isinstance(leaf, keras.KerasTensor)]


class _Alias(keras.layers.Layer):
    """A layer or operation under another name."""

    def __init__(self, layer):
        super().__init__(dtype=getattr(layer, "dtype_policy", None))
        self.layer = layer
        self.supports_masking = True
        self.autocast = False

    def call(self, *args, **kwargs):
        return self.layer(*args, **kwargs)


class RecurrentStep(keras.layers.Layer):
    """A recurrent layer over a few steps, with its states handed in and out. It shares the layer's cell.

    Args:
        layer: a built recurrent layer.
        steps: how many steps there are.

    Call arguments:
        sequences: as the layer takes them, with `steps` steps.
        states: as its `get_initial_state` gives them.

    Returns:
        `(outputs, new_states)`: the outputs as the layer gives them, and the states as they came.
    """

    def __init__(self, layer, steps):
        super().__init__(dtype=layer.dtype_policy)
        # Outputs have no mask: a text has no masked steps.
        self.supports_masking = True
        self.cell = layer.cell
        self.return_sequences = layer.return_sequences
        self.time_axis = 0 if getattr(layer, "time_major", False) else 1
        self.rnn = None
        # For one step, to call the cell is the fastest way.
        if steps > 1 or not _is_ours(layer.cell):
            options = {"time_major": True} if self.time_axis == 0 else {}
            self.rnn = MyRNN(
                layer.cell,
                return_sequences=layer.return_sequences,
                return_state=True,
                unroll=steps == 1,
                dtype=layer.dtype_policy,
                **options,
            )

    def compute_mask(self, sequences, mask=None):
        return None

    def call(self, sequences, states):
        if self.rnn is not None:
            outputs, *new_states = self.rnn(sequences, initial_state=states)
        else:
            outputs, new_states = self.cell(ops.squeeze(sequences, axis=self.time_axis), states, training=False)
            outputs = ops.cast(outputs, self.compute_dtype)
            outputs = ops.expand_dims(outputs, axis=self.time_axis) if self.return_sequences else outputs
        # A loop needs states of one type.
        return outputs, keras.tree.map_structure(lambda new, old: ops.cast(new, old.dtype), new_states, states)


def _is_ours(cell):
    """Whether a cell, and each one of a stack, is of this package and may be called by itself."""
    return all(hasattr(each, "recur") for each in getattr(cell, "cells", [cell]))
