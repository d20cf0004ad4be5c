"""A model run with its recurrent layers opened: what goes through their states, and room for probes on these.

While it runs, another `call` stands in for that of each recurrent layer. It computes the same, and besides gives out
all states and adds a probe, a tensor of zeros, to each state as it leaves a step. The gradient by the probe is the
gradient by that state.
"""

import contextlib
import dataclasses
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_rnn_ext import MyRNN
from keras_rnn_ext.core import strategy
from keras_rnn_ext.core.compat import all_layers
from keras_rnn_ext.core.masks import blank_masked
from keras_rnn_ext.core.recurrence import Recurrence
from keras_rnn_ext.core.state import listed

# What `Watch` knows how to stand in for.
_KNOWN_CALLS = {
    layer.call for layer in (MyRNN, keras.layers.RNN, keras.layers.SimpleRNN, keras.layers.LSTM, keras.layers.GRU)
}


class Trace(NamedTuple):
    """What went through a recurrence, in the order in which it read the steps."""

    inputs: Any  # (steps, batch, features)
    start: list  # for each state (batch, size)
    states: list  # for each state (steps, batch, size), as they leave the steps
    valid: Any  # (steps, batch) booleans

    def before(self):
        """For each state (steps, batch, size), as it enters the steps."""
        return [np.concatenate([start[None], after[:-1]]) for start, after in zip(self.start, self.states, strict=True)]


@dataclasses.dataclass(frozen=True)
class Part:
    """A recurrence in a model: the cell of a layer, or one of its stack of cells."""

    name: str
    layer: Any
    recurrence: Any

    @property
    def cell(self):
        return getattr(self.recurrence, "cell", self.recurrence)

    def step(self, inputs, states):
        """The output and the states, flat, of one step without dropout."""
        noise = self.recurrence.draw_noise(inputs, states, False)
        output, new_states = self.recurrence.step(inputs, states, self.recurrence.gather_weights(), noise)
        _release(self.recurrence)
        return output, keras.tree.flatten(new_states)


class Watch:
    """The recurrences of a model. Programs are compiled when they are first needed, and kept.

    Args:
        model: a Keras model.

    Raises:
        TypeError: if `model` is no Keras model.
        ValueError: naming the layer, if it has no recurrent layer or one that cannot be opened.
    """

    def __init__(self, model):
        if not isinstance(model, keras.Model):
            raise TypeError(
                f"Argument `model` must be a Keras model. Received: {model!r} (of type {type(model).__name__})"
            )
        self.model = model
        self.layers = [layer for layer in all_layers(model) if isinstance(layer, keras.layers.RNN)]
        if not self.layers:
            raise ValueError(f"Argument `model` must have a recurrent layer. Received: model {model.name!r} with none.")
        foreign = [layer.name for layer in self.layers if type(layer).call not in _KNOWN_CALLS]
        if foreign:
            raise ValueError(
                f"Argument `model` has recurrent layers with a `call` of their own, which cannot be opened: {foreign}. "
                "`MyRNN`, `keras.layers.RNN` and the layers made from them with a cell can."
            )
        self.parts: dict[str, Part] = {}
        self._programs: dict = {}

    # Running the model

    def trace(self, x):
        """The model's outputs, and a `Trace` of each recurrence by name, in the order of the calls: as arrays."""
        if not self.model.built:
            self.model(x, training=False)
        outputs, traces = self.program("trace", self.run)(self.values(), x)
        # The order of the calls; JAX sorts the names.
        return outputs, {name: _filled(traces[name]) for name in self.parts}

    def run(self, values, x, probes=None):
        """The model's outputs and a dict of `Trace`s, with the `values` of all variables and the probes that there are.

        `probes[name]` is a list with a tensor for each state, in the shape of the states in a `Trace`.
        """
        self.parts.clear()
        traces: dict[str, Trace] = {}
        calls = [(layer, "call", self._opened(layer, probes, traces)) for layer in self.layers]
        with self.with_values(values), standing_in(calls):
            outputs = self.model(x, training=False)
        return outputs, traces

    def _opened(self, layer, probes, traces):
        """What stands in for `layer.call`."""
        # It has the method `prepare`, and for a layer of Keras's the one meaning of a mask.
        ours = layer if isinstance(layer, MyRNN) else _twin(layer)

        def call(sequences, initial_state=None, mask=None, training=False, constants=None):
            if initial_state is None and layer.stateful:
                # Not the carried one, which belongs to another batch.
                initial_state = layer.get_initial_state(ops.shape(sequences)[1 if ours.time_major else 0])
            recurrence, plan, feed, pack = ours.prepare(sequences, initial_state, mask, False, constants)
            if any(part.layer is layer for part in self.parts.values()):
                raise ValueError(f"Layer {layer.name!r} is called more than once, so its steps have no one place.")
            outputs, flat_states = feed.inputs, []
            for name, member, member_feed in _members(layer, recurrence, feed):
                # Layers of different models may have the same name.
                name = name if name not in self.parts else f"{layer.path}#{len(self.parts)}"
                self.parts[name] = Part(name, layer, member)
                member_feed = member_feed._replace(inputs=ops.cast(outputs, member.compute_dtype))
                outputs, last_states, traces[name] = _run(plan, member, member_feed, (probes or {}).get(name))
                flat_states += last_states
                _release(member)
            states = keras.tree.pack_sequence_as(feed.states, flat_states)
            return _finished(ours, outputs, states, feed.mask, pack)

        return call

    # Programs

    def program(self, key, function):
        """`function` as the backend compiles it, the one of the first call with this key."""
        if key not in self._programs:
            compile_program = strategy.engine().compile
            self._programs[key] = function if compile_program is None else compile_program(function)
        return self._programs[key]

    def values(self):
        """The values of all variables, to be handed to a program."""
        return [ops.stop_gradient(variable.value) for variable in self.model.variables]

    def with_values(self, values):
        return keras.StatelessScope(state_mapping=list(zip(self.model.variables, values, strict=True)))


@contextlib.contextmanager
def standing_in(attributes):
    """Inside, `thing.name` is `value` for each `(thing, name, value)`, unseen by Keras's attribute tracking."""
    with contextlib.ExitStack() as stack:
        for thing, name, value in attributes:
            own = vars(thing)
            if name in own:
                stack.callback(own.__setitem__, name, own[name])
            else:
                stack.callback(own.__delitem__, name)
            own[name] = value
        yield


def _twin(layer):
    """A `MyRNN` around the cell of one of Keras's layers."""
    names = ("return_sequences", "return_state", "go_backwards", "zero_output_for_mask")
    return MyRNN(layer.cell, dtype=layer.dtype_policy, **{name: getattr(layer, name) for name in names})


def _members(layer, recurrence, feed):
    """Name, recurrence and feed of the layer's cell, or of each cell of a stack."""
    if recurrence.kind != "stack":
        return [(layer.name, recurrence, feed)]
    members = []
    for place, member in enumerate(recurrence.members):
        cell = getattr(member, "cell", member)
        own = feed._replace(states=listed(feed.states[place]), weights=feed.weights[place], noise=feed.noise[place])
        members.append((f"{layer.name}/{getattr(cell, 'name', place)}", member, own))
    return members


def _release(recurrence):
    # Cells of this package keep nothing of what was drawn for a call.
    if recurrence.kind == "foreign":
        recurrence.release_noise()


class _Probed(Recurrence):
    """A recurrence that adds a probe to each state, and whose output is its output and all its states."""

    def __init__(self, recurrence, sizes):
        self.recurrence = recurrence
        self.kind = "foreign" if recurrence.kind == "foreign" else "cell"
        self.cell = getattr(recurrence, "cell", recurrence)
        self.compute_dtype = recurrence.compute_dtype
        self.sizes = [recurrence.output_size, *sizes]
        self.output_size = sum(self.sizes)

    def ready(self, weights, noise):
        return self.recurrence.ready(weights, noise)

    def step(self, value, states, weights, noise):
        output, new_states = self.recurrence.step(value["inputs"], states, weights, noise)
        flat = keras.tree.flatten(new_states)
        probed = (
            [state + probe for state, probe in zip(flat, value["probes"], strict=True)] if value["probes"] else flat
        )
        # What is output and state at once gets one probe for both ways on.
        output = next((new for old, new in zip(flat, probed, strict=True) if old is output), output)
        together = [ops.cast(each, self.compute_dtype) for each in (output, *probed)]
        return ops.concatenate(together, axis=-1), keras.tree.pack_sequence_as(new_states, probed)


def _run(plan, recurrence, feed, probes):
    """The outputs of all steps, the last states, and the `Trace`."""
    start = keras.tree.flatten(feed.states)
    shapes = [tuple(state.shape) for state in start]
    if not isinstance(recurrence.output_size, int) or any(len(shape) != 2 for shape in shapes):
        raise ValueError(
            f"The states and the output of a cell must have the shape (batch, size). Received: states {shapes} and "
            f"output_size={recurrence.output_size}."
        )
    probed = _Probed(recurrence, [shape[1] for shape in shapes])
    plan = dataclasses.replace(
        plan, recurrence=probed, return_sequences=True, unroll=False, eager=False, use_cudnn="auto"
    )
    values = {"inputs": feed.inputs, "probes": list(probes or [])}
    together, last_states = strategy.choose(plan).run(plan, feed._replace(inputs=values))
    output, *states = ops.split(together, np.cumsum(probed.sizes[:-1]).tolist(), axis=-1)
    valid = ops.ones(ops.shape(feed.inputs)[:2], dtype="bool") if feed.mask is None else feed.mask
    return output, keras.tree.flatten(last_states), Trace(feed.inputs, start, states, valid)


def _finished(layer, outputs, states, mask, pack):
    """What `layer.call` gives, of all outputs and the last states."""
    if not layer.return_sequences:
        # At masked steps the last valid output is repeated.
        outputs = outputs[-1]
    else:
        outputs = blank_masked(mask, outputs) if layer.zero_output_for_mask else outputs
        outputs = outputs if layer.time_major else ops.transpose(outputs, (1, 0, 2))
        outputs = pack(outputs, layer.go_backwards)
    outputs = ops.cast(outputs, layer.compute_dtype)
    states = keras.tree.map_structure(lambda state: ops.cast(state, layer.compute_dtype), states)
    return (outputs, *states) if layer.return_state else outputs


def _filled(trace):
    """The trace as arrays, with the states staying at masked steps also before the first valid one."""
    inputs, start, states, valid = keras.tree.map_structure(ops.convert_to_numpy, trace)
    states = [np.array(state) for state in states]
    for first, after in zip(start, states, strict=True):
        for step, chosen in enumerate(valid):
            after[step] = np.where(chosen[:, None], after[step], after[step - 1] if step else first)
    return Trace(inputs, start, states, valid)
