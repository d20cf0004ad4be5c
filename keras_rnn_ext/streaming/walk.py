"""Calls the layers of a model anew, those that look at earlier steps with what they remember handed in."""

from typing import Any, NamedTuple

import keras
import numpy as np

from keras_rnn_ext.core.compat import all_layers, attached_mask
from keras_rnn_ext.streaming.parts import ConvolutionStep, RecurrentStep, is_causal_convolution, remembers

# Steps with which a layer is tried, and rows: numbers that are no size by chance.
_TRIED, _ROWS = 5, 3


class Part(NamedTuple):
    """A call of a layer that remembers something."""

    layer: Any
    step: RecurrentStep | ConvolutionStep


class Walk:
    """Calls the layers of a model on inputs with few steps.

    Args:
        steps: how many steps the inputs have.
        inputs: the inputs, with the steps on axis 1.
    """

    def __init__(self, steps, inputs):
        self.steps = steps
        self.parts: list[Part] = []
        self.states, self.new_states = [], []
        # Which layer made a tensor, and on which axis its steps are, by the tensor's id; `kept` keeps the ids from
        # being used again.
        self.makers, self.axes, self.kept = {}, {id(each): 1 for each in inputs}, list(inputs)
        # Layers of different models may have the same name, those of one model may not.
        self.names = {each.name: each for each in inputs}

    def call(self, layer, *args, **kwargs):
        """What `layer(*args, **kwargs)` gives, layers within layers included."""
        if not self._has_steps((args, kwargs)):
            return self._call_plain(layer, args, kwargs)
        if isinstance(layer, keras.layers.RNN):
            return self._call_recurrent(layer, *args, **kwargs)
        if is_causal_convolution(layer):
            return self._call_convolution(layer, *args)
        if isinstance(layer, keras.Sequential):
            return self._call_in_turn(layer.layers, args[0])
        if isinstance(layer, keras.Model) and getattr(layer, "outputs", None):
            return self._call_graph(layer, args[0])
        if isinstance(layer, keras.layers.Bidirectional):
            raise _cannot(layer, "it reads its sequence from the end, too, and so needs the whole of it")
        # What such a layer wraps sees one step at a time, and may well be a model of sequences.
        is_opened = not isinstance(layer, keras.layers.TimeDistributed) and isinstance(layer, keras.layers.Layer)
        if is_opened and any(map(remembers, all_layers(layer))):
            return self._call_opened(layer, args, kwargs)
        outputs = self._call_plain(layer, args, kwargs)
        found = _axes_of_steps(layer, args, kwargs, self.axes)
        self.axes.update(zip(map(id, keras.tree.flatten(outputs)), found, strict=True))
        return outputs

    def _has_steps(self, structure):
        return any(id(leaf) in self.axes for leaf in keras.tree.flatten(structure))

    def _call_plain(self, layer, args, kwargs):
        named = layer if self.names.setdefault(layer.name, layer) is layer else _Alias(layer)
        try:
            outputs = named(*args, **kwargs)
        except Exception as error:
            raise _cannot(layer, f"with {self.steps} step(s) it fails: {error}") from error
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

        def fresh(leaf):
            return keras.Input(leaf.shape[1:], dtype=leaf.dtype) if isinstance(leaf, keras.KerasTensor) else leaf

        fresh_args, fresh_kwargs = keras.tree.map_structure(fresh, (args, kwargs))
        outputs = layer.call(*fresh_args, **fresh_kwargs)
        graph = keras.Model(_tensors((fresh_args, fresh_kwargs)), outputs)
        return self._call_graph(graph, _tensors((args, kwargs)))

    def _call_recurrent(self, layer, sequences, initial_state=None, mask=None, training=None, constants=None):
        if layer.go_backwards:
            raise _cannot(layer, "it reads its sequence from the end (go_backwards=True)")
        given = {"initial_state": initial_state, "constants": constants}
        named = [name for name, value in given.items() if value is not None]
        if named:
            raise _cannot(
                layer,
                f"the model hands it {named}. Leave them out: the states are handed on from step to step without it",
            )
        masked = mask is not None or attached_mask(sequences) is not None
        like = None
        if masked:
            like = keras.tree.flatten(layer.compute_output_spec(sequences))[0]
        step = RecurrentStep(layer, self.steps, like)
        states = self._states_of(layer, step)
        outputs, new_states = step(sequences, states) if mask is None else step(sequences, states, mask=mask)
        if layer.return_sequences:
            self.axes[id(outputs)] = step.time_axis
        self.kept.append(outputs)
        self.new_states += keras.tree.flatten(new_states)
        count = len(_tensors(new_states)) - masked
        return (outputs, *_tensors(new_states)[:count]) if layer.return_state else outputs

    def _call_convolution(self, layer, sequences):
        step = ConvolutionStep(layer, sequences)
        outputs, new_states = step(sequences, self._states_of(layer, step))
        self.axes[id(outputs)] = 1
        self.kept.append(outputs)
        self.new_states += new_states
        return outputs

    def _states_of(self, layer, step):
        """New inputs for the states of a part."""
        states = keras.tree.map_structure(
            lambda state: keras.Input(state.shape[1:], dtype=state.dtype), step.initial_states(1)
        )
        self.parts.append(Part(layer, step))
        self.states += keras.tree.flatten(states)
        return states


def _cannot(layer, reason):
    return ValueError(f"Layer {layer.name!r} ({type(layer).__name__}) cannot run step by step: {reason}.")


def _axes_of_steps(layer, args, kwargs, axes):
    """On which axis of each output of a layer the steps are. It is tried with all steps, and with each alone."""
    inputs = _tensors((args, kwargs))
    specs = keras.tree.flatten(layer.compute_output_spec(*args, **kwargs))
    if any(keras.backend.standardize_dtype(each.dtype) == "string" for each in inputs):
        return [1] * len(specs)
    random = np.random.default_rng(0)
    tried = {id(each): _values(each, axes.get(id(each)), random) for each in inputs}

    def outputs(place):
        def value(leaf):
            if not isinstance(leaf, keras.KerasTensor):
                return leaf
            array = tried[id(leaf)]
            if place is not None and id(leaf) in axes:
                array = np.take(array, [place], axes[id(leaf)])
            return keras.ops.convert_to_tensor(array, dtype=leaf.dtype)

        given, named = keras.tree.map_structure(value, (args, kwargs))
        found = keras.tree.flatten(layer(*given, **named))
        return [keras.ops.convert_to_numpy(keras.ops.cast(each, "float32")) for each in found]

    try:
        whole, *single = [outputs(place) for place in (None, *range(_TRIED))]
    except Exception as error:
        raise _cannot(layer, f"it takes no other number of steps: {error}") from error
    found = []
    for number, expected in enumerate(whole):
        half = specs[number].dtype in ("float16", "bfloat16")
        pieces = [each[number] for each in single]
        axis = next((axis for axis in range(expected.ndim) if _is_joined(pieces, expected, axis, half)), None)
        if axis is None:
            raise _cannot(
                layer,
                "with all steps at once it gives something else than with one after the other. It looks at more than "
                "one step, as convolutions that are not causal, attention and sums over time do",
            )
        found.append(axis)
    return found


def _values(tensor, axis, random):
    shape = [_ROWS if size is None else size for size in tensor.shape]
    if axis is not None:
        shape[axis] = _TRIED
    # Zeros and ones: numbers, and ids that the smallest embedding knows.
    return random.integers(0, 2, shape).astype("float32" if "float" in tensor.dtype else tensor.dtype)


def _is_joined(pieces, whole, axis, half):
    if any(piece.ndim != whole.ndim or piece.shape[axis] != 1 for piece in pieces):
        return False
    try:
        joined = np.concatenate(pieces, axis)
    except ValueError:
        return False
    size = np.abs(whole, where=np.isfinite(whole), out=np.zeros_like(whole)).max(initial=1e-6)
    return joined.shape == whole.shape and np.allclose(
        joined, whole, rtol=0, atol=(0.05 if half else 1e-3) * size, equal_nan=True
    )


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
