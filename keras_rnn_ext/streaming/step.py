"""A model taken apart into one step: inputs and states in, outputs and new states out."""

import collections
from typing import Any, NamedTuple

import keras

from keras_rnn_ext.core.compat import all_layers
from keras_rnn_ext.streaming.parts import remembers
from keras_rnn_ext.streaming.walk import Part, Walk


class Step(NamedTuple):
    """A model over a few steps, with its states handed in and out."""

    model: Any  # [*inputs, *states] -> [*outputs, *new states]
    parts: list[Part]  # the layers with states, in the order of these, one entry for each call of a layer
    inputs: Any  # the inputs, in the structure that the model takes
    outputs: Any  # the outputs, in the structure that the model gives
    has_steps: list[bool]  # of each output: whether it has an axis of steps
    is_softmax: bool  # whether the first output is probabilities

    def initial_states(self, batch):
        """The states that a sequence starts with: a flat list of tensors, the batch first."""
        return keras.tree.flatten([part.step.initial_states(batch) for part in self.parts])

    def names(self):
        """A name for each part: the path of its layer, with `#2` and so on where it is called again."""
        seen: collections.Counter = collections.Counter()
        names = []
        for part in self.parts:
            path = part.layer.path
            seen[path] += 1
            names.append(path if seen[path] == 1 else f"{path}#{seen[path]}")
        return names


def step_model(model, steps=1):
    """A model for one step, or a few, that takes the recurrent states and gives them back.

    It shares the layers and weights of `model`, which stays as it is: training one trains the other, and the states
    that a stateful layer carries are neither read nor changed. The steps that `model` was made for do not matter.

    Args:
        model: a Sequential, functional or subclassed model of sequences: of recurrent layers, `MyRNN` and its kind, of
            causal convolutions over time, and of layers that work on each step by itself; in models nested to any
            depth. Each of its inputs has the steps on axis 1.
        steps: how many steps it takes at a time, from 1. Default 1.

    Returns:
        A functional model. Inputs: `[*inputs, *states]`, the inputs of shape `(batch, steps, ...)`, the states flat, in
        the order in which the layers are called. A causal convolution's state is the inputs before. Where steps may be
        masked, the last output of a recurrent layer is one more state. Outputs: `[*outputs, *new_states]`, the outputs
        as `model` gives them, `(batch, steps, ...)`, or without steps where it gives the last alone.

    Raises:
        TypeError: if `model` is no Keras model.
        ValueError: naming the layer, if the model cannot run step by step: it is not built, has no layer with a state,
            reads backward, looks at several steps, or hands its layer an initial state or constants.

    >>> import keras
    >>> import numpy as np
    >>> from keras_rnn_ext import MyDense, MyEmbedding, MyLSTM
    >>> from keras_rnn_ext.streaming import step_model
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
        raise TypeError(f"Argument `model` must be a Keras model. Received: {model!r} (of type {type(model).__name__})")
    if not all(layer.built for layer in all_layers(model) if remembers(layer)):
        raise ValueError(f"Model {model.name!r} has no weights yet. Call it on a batch of its inputs, or train it.")
    structure = input_structure(model)
    inputs = [_with_steps(each, steps, model) for each in keras.tree.flatten(structure)]
    walk = Walk(steps, inputs)
    structure = keras.tree.pack_sequence_as(structure, inputs)
    outputs = walk.call(model, structure)
    flat = keras.tree.flatten(outputs)
    if not walk.parts:
        raise ValueError(
            f"Model {model.name!r} has no recurrent layer and no causal convolution, so there is no state to hand on. "
            "Call the model itself."
        )
    stepped = keras.Model([*inputs, *walk.states], [*flat, *walk.new_states], name=f"{model.name}_step")
    has_steps = [id(each) in walk.axes for each in flat]
    return Step(stepped, walk.parts, structure, outputs, has_steps, _is_softmax(walk.makers.get(id(flat[0]))))


def input_structure(model):
    """The model's inputs; of a model that only its `call` knows, one as it was built for."""
    if getattr(model, "inputs", None):
        # A Sequential says of one input that it is a list.
        return model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    shape = (model.get_build_config() or {}).get("input_shape")
    if not isinstance(shape, (tuple, list)) or not all(size is None or isinstance(size, int) for size in shape):
        raise ValueError(
            f"Model {model.name!r} does not tell its inputs. Make it a functional model of them: "
            "keras.Model(inputs, model(inputs))."
        )
    return keras.KerasTensor(shape, dtype="int32" if len(shape) == 2 else "float32", name="inputs")


def _with_steps(tensor, steps, model):
    if len(tensor.shape) < 2:
        raise ValueError(
            f"Model {model.name!r} must have inputs of the shape (batch, steps, ...). Received: an input "
            f"{tensor.name!r} of the shape {tuple(tensor.shape)}"
        )
    return keras.Input((steps, *tensor.shape[2:]), dtype=tensor.dtype, name=tensor.name)


def _is_softmax(layer):
    layer = layer.layer if isinstance(layer, keras.layers.TimeDistributed) else layer
    is_activation = getattr(layer, "activation", None) is keras.activations.softmax
    # The layer of that name, or the operation `keras.ops.softmax`.
    return is_activation or type(layer).__name__ == "Softmax"
