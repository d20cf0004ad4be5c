"""Cells whose state is linear in the one before, so that no step has to wait for its turn."""

from typing import Any

from keras import ops

from keras_rnn_ext.core.claims import holds
from keras_rnn_ext.core.kernel_cell import ProjectedCell


class LinearCell(ProjectedCell, abstract=True):
    r"""Abstract: $s_t = a_t \odot s_{t-1} + b_t$ with $a_t$ and $b_t$ of the inputs alone, the only state but for one.

    A subclass writes `coefficients`, and `readout` if the output is not the state. The engine may then run all steps
    side by side. A complex state is real here: `(2, size)`, its real part and its imaginary one; the class says
    `is_complex = True`.

    Where `sees_previous` is True, a step sees the input before as well: the second half of what `project` gives is
    added to the first half of the next step's. The second state holds it in between.
    """

    kind = "linear"
    is_complex = False
    sees_previous: Any = False

    @property
    def is_linear(self):
        """Whether a step is known to be `coefficients`, the recurrence and `readout`."""
        return holds(type(self), "kind", ("call", "step", "recur", "move", "read"))

    def coefficients(self, projected, weights):
        """$a$ and $b$ `(..., batch, size)` from projected inputs `(..., batch, gates * units)`."""
        raise NotImplementedError(f"{type(self).__name__} must define `coefficients(projected, weights)`.")

    def readout(self, states, projected, weights):
        """The outputs `(..., batch, units)` of states after their steps; made once, for all steps."""
        return states

    @property
    def reads_out(self):
        """Whether the output is something else than the state."""
        return type(self).readout is not LinearCell.readout

    def move(self, decay, added, state):
        """The state after a step."""
        return (multiply_complex(decay, state) if self.is_complex else decay * state) + added

    def recur(self, projected, states, weights, noise):
        rest = []
        if self.sees_previous:
            projected, handed_on = ops.split(projected, 2, axis=-1)
            projected, rest = projected + states[1], [handed_on]
        coefficients = (ops.cast(each, states[0].dtype) for each in self.coefficients(projected, weights))
        state = self.move(*coefficients, states[0])
        return self.read(state, projected, weights), [state, *rest]

    def read(self, states, projected, weights):
        """The outputs of states, which may be wider than what a step computes in."""
        return self.readout(ops.cast(states, projected.dtype), projected, weights) if self.reads_out else states


def multiply_complex(left, right):
    """The product of complex numbers with their parts on the axis before the last."""
    (real, imaginary), (other_real, other_imaginary) = (ops.unstack(each, 2, axis=-2) for each in (left, right))
    parts = real * other_real - imaginary * other_imaginary, real * other_imaginary + imaginary * other_real
    return ops.stack(parts, axis=-2)
