"""What one step of a gated cell computes beside its matrix products, and the gradient of that.

The well-known cells have their gradients written out, on TensorFlow's fused operations for activations; for any other
cell TensorFlow finds the gradient of its `gate`.
"""

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from keras_rnn_ext.engine.loops import states_of_gate


@dataclasses.dataclass(frozen=True)
class AnyGate:
    """The `gate` of any cell. The backward step runs it once more for its gradient."""

    cell: Any

    # Whether there may be weights beside those of the two products.
    has_weights = True

    @property
    def summed(self):
        """Whether projected input and recurrent product enter only as their sum, so that they have one gradient."""
        return self.cell.is_summed

    @property
    def kept(self):
        """The widths of what a forward step keeps for the backward one."""
        projected = self.cell.projected_width
        return (projected,) if self.summed else (projected, self.cell.recurrent_width)

    def forward(self, projected, recurrent, states, weights):
        """`(new states, what to keep)`. The output is the first of the new states."""
        states = states_of_gate(self.cell, projected, recurrent, states, weights)
        return states, ((projected + recurrent,) if self.summed else (projected, recurrent))

    def backward(self, kept, old, new, d_new, weights):
        """From the gradient of the new states: those of `(projected, recurrent)`, or of their sum, of the old states,
        and of weights.

        `new` is the first of the new states. The part of the first state that goes through the recurrent product is
        left out. That of the weights is a list, empty if the gate has none.
        """
        inner = [*kept, *old]
        sources = [*inner, *keras.tree.flatten(weights)]
        with tf.GradientTape() as tape:
            tape.watch(sources)
            # Of a sum it does not matter which of the two is zero.
            states = states_of_gate(self.cell, *kept, *([0.0] if self.summed else []), old, weights)
        found = tape.gradient(states, sources, output_gradients=d_new)
        for place, source in enumerate(inner):
            found[place] = tf.zeros_like(source) if found[place] is None else found[place]
        return found[: len(kept)], found[len(kept) : len(inner)], found[len(inner) :]


@dataclasses.dataclass(frozen=True)
class SimpleGate:
    """h' = act(p + r)."""

    activation: Any
    gradient: Any  # of the activation, from its output and the gradient of that
    summed = True
    has_weights = False
    kept = ()

    def forward(self, projected, recurrent, states, weights):
        return [self.activation(projected + recurrent)], ()

    def backward(self, kept, old, new, d_new, weights):
        return [self.gradient(new, d_new[0])], [None], []


@dataclasses.dataclass(frozen=True)
class LSTMGate:
    """i, f, g, o = split(p + r); c' = f c + i g; h' = o tanh(c')."""

    units: int
    summed = True
    has_weights = False

    @property
    def kept(self):
        return (self.units,) * 5

    def forward(self, projected, recurrent, states, weights):
        input_gate, forget_gate, candidate, output_gate = tf.split(projected + recurrent, 4, axis=1)
        input_gate, forget_gate, output_gate = map(tf.sigmoid, (input_gate, forget_gate, output_gate))
        candidate = tf.tanh(candidate)
        carry = forget_gate * states[1] + input_gate * candidate
        squashed = tf.tanh(carry)
        return [output_gate * squashed, carry], (input_gate, forget_gate, candidate, output_gate, squashed)

    def backward(self, kept, old, new, d_new, weights):
        input_gate, forget_gate, candidate, output_gate, squashed = kept
        d_hidden, d_carry = d_new
        d_carry = d_carry + _tanh_gradient(squashed, d_hidden * output_gate)
        d_rows = [
            _sigmoid_gradient(input_gate, d_carry * candidate),
            _sigmoid_gradient(forget_gate, d_carry * old[1]),
            _tanh_gradient(candidate, d_carry * input_gate),
            _sigmoid_gradient(output_gate, d_hidden * squashed),
        ]
        return [tf.concat(d_rows, 1)], [None, d_carry * forget_gate], []


@dataclasses.dataclass(frozen=True)
class GRUGate:
    """z, r from p + q; g = tanh(p + r q); h' = g + z (h - g), where q is the recurrent product."""

    units: int
    summed = False
    has_weights = False

    @property
    def kept(self):
        return (2 * self.units, self.units, self.units)

    def forward(self, projected, recurrent, states, weights):
        sizes = [2 * self.units, self.units]
        gates, candidate = tf.split(projected, sizes, axis=1)
        recurrent_gates, recurrent_candidate = tf.split(recurrent, sizes, axis=1)
        gates = tf.sigmoid(gates + recurrent_gates)
        update_gate, reset_gate = tf.split(gates, 2, axis=1)
        candidate = tf.tanh(candidate + reset_gate * recurrent_candidate)
        return [candidate + update_gate * (states[0] - candidate)], (gates, candidate, recurrent_candidate)

    def backward(self, kept, old, new, d_new, weights):
        gates, candidate, recurrent_candidate = kept
        update_gate, reset_gate = tf.split(gates, 2, axis=1)
        d_hidden = d_new[0]
        d_old = d_hidden * update_gate
        d_candidate = _tanh_gradient(candidate, d_hidden - d_old)
        d_gates = tf.concat([d_hidden * (old[0] - candidate), d_candidate * recurrent_candidate], 1)
        d_gates = _sigmoid_gradient(gates, d_gates)
        rows = [tf.concat([d_gates, each], 1) for each in (d_candidate, d_candidate * reset_gate)]
        return rows, [d_old], []


def _tanh_gradient(output, gradient):
    return tf.raw_ops.TanhGrad(y=output, dy=gradient)


def _sigmoid_gradient(output, gradient):
    return tf.raw_ops.SigmoidGrad(y=output, dy=gradient)


def _relu_gradient(output, gradient):
    return tf.raw_ops.ReluGrad(gradients=gradient, features=output)


# Where a step's product is small beside its gates, running these twice costs what the block loop saves. Measured on two
# cores for LSTMs with peepholes, coupled gates, layer normalisation and exponential gates, with 64 and 128 units.
LEAST_UNITS = 128


def twice_is_too_much(plan):
    """Why TensorFlow's own gradient of a plain loop is faster than a loop with a gradient of its own, or None."""
    cell = plan.recurrence
    small = cell.gates > 1 and cell.units < LEAST_UNITS
    if plan.differentiable and not plan.recompute and small and isinstance(gate_of(plan), AnyGate):
        return f"the gradient would run these gates twice, which pays from {LEAST_UNITS} units on"
    return None


def gate_of(plan):
    """The gate of a plan's cell."""
    cell = plan.recurrence
    known = {
        "rnn_tanh": SimpleGate(tf.tanh, _tanh_gradient),
        "rnn_relu": SimpleGate(tf.nn.relu, _relu_gradient),
        "lstm": LSTMGate(cell.units),
        "gru": GRUGate(cell.units),
    }
    gate = known.get(cell.library)
    # In a wrapper the state may not be what an activation gave.
    return AnyGate(cell) if gate is None or (plan.mixed and isinstance(gate, SimpleGate)) else gate
