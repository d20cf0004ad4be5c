"""Cells whose inputs enter through a matrix, and those whose states do so as well."""

from typing import Any

import keras
from keras import ops

from keras_rnn_ext.core.argument_kinds import Activation, Flag, Integer, Rate, Seed
from keras_rnn_ext.core.cell import RecurrentCell
from keras_rnn_ext.core.claims import holds
from keras_rnn_ext.core.declare import Weight
from keras_rnn_ext.core.dropout_products import listed_by_gate, per_gate, product
from keras_rnn_ext.core.state_products import Dense, StateProduct


class ProjectedCell(RecurrentCell, abstract=True):
    """Abstract: the inputs enter through one product with `kernel`, which is made for all steps at once.

    `gates` is the number of columns of `kernel` in units.
    """

    units = Integer(sentence="the size of the state and of the output")
    use_bias: Any = Flag(True, "whether there is a bias")
    kernel = Weight(("features", "width"))
    bias: Any = Weight(("width",), initializer="zeros", when="use_bias")
    dropout = Rate(0.0, "for the inputs, in training: one mask for a whole sequence")
    seed = Seed(None, "seed of the dropout masks")

    gates = 1

    @property
    def width(self):
        """How many columns `kernel` has."""
        return self.gates * self.units

    @property
    def output_size(self):
        """`units`, unless the class says something else."""
        return getattr(self, "_output_size", None) or self.units

    @output_size.setter
    def output_size(self, size):
        self._output_size = size

    def build(self, input_shape):
        self.features = input_shape[-1]
        if self.features is None:
            raise ValueError(
                f"The number of features, the last axis of the input of {type(self).__name__}, must be known. "
                f"Received: input_shape={tuple(input_shape)}. Give it in the model's `Input`."
            )
        super().build(input_shape)
        self.input_spec = keras.InputSpec(min_ndim=2, axes={-1: input_shape[-1]})

    def project(self, inputs, weights, noise):
        projected = product(inputs, weights["kernel"], noise.get("inputs"))
        return projected + weights["bias"] if "bias" in weights else projected


class KernelCell(ProjectedCell, abstract=True):
    """Abstract: the states enter through `recurrent_kernel` as well.

    A subclass writes `recur`. One that says the place of its `forget_gate` among the gates has the argument
    `unit_forget_bias`.
    """

    activation = Activation("tanh", "$\\phi$")
    recurrent_kernel = Weight(lambda cell: cell.recurrence.shape(cell), initializer="orthogonal")
    recurrent_dropout = Rate(
        0.0, "for the states on their way into the product, in training: one mask for a whole sequence"
    )
    recurrent_dropconnect: Any = Rate(
        0.0,
        "for the entries of `recurrent_kernel`, in training: one mask for all rows and steps of a call (DropConnect, "
        "as in the weight-dropped LSTM of Merity et al. 2018, arXiv 1708.02182)",
        sparse=True,
    )
    recurrence: StateProduct = Dense()
    forget_gate: int | None = None
    unit_forget_bias: Any = False

    # How many columns, in units, `recurrent_kernel` has; None: as many as `kernel`.
    recurrent_gates: int | None = None

    def __init_subclass__(cls, **options):
        if "forget_gate" in vars(cls):
            words = "whether the bias of the forget gate starts at one"
            cls.unit_forget_bias = Flag(True, words, after="bias_initializer")
        if vars(cls).get("recurrent_kernel", cls) is None:
            # Taken back, and with it what is about it alone.
            cls.recurrent_dropconnect = 0.0
        super().__init_subclass__(**options)

    @property
    def projected_width(self):
        """How many columns `project` gives: as many as `kernel` has, unless the class overrides `project`."""
        return self.width

    @property
    def recurrent_width(self):
        """How many columns the product of the states has."""
        return (self.gates if self.recurrent_gates is None else self.recurrent_gates) * self.units

    def initializer_of(self, name):
        if name == "bias" and self.unit_forget_bias:
            return self._with_forget_bias
        return super().initializer_of(name)

    def _with_forget_bias(self, shape, dtype=None, **kwargs):
        # The parts beside the forget gate each ask the initializer for their own shape, as Keras does.
        sizes = [self.forget_gate * self.units, shape[-1] - (self.forget_gate + 1) * self.units]
        before, behind = (self.bias_initializer((size,), dtype=dtype, **kwargs) if size else None for size in sizes)
        parts = [before, ops.ones((self.units,), dtype=dtype), behind]
        return ops.concatenate([part for part in parts if part is not None])

    def entering(self, states):
        """What the product of the states is made of: the first of them, or those that it reads, side by side."""
        values = [states[place] for place in self.recurrence.places(self)]
        # A state may be wider than what a step computes in.
        return ops.cast(values[0] if len(values) == 1 else ops.concatenate(values, axis=-1), self.compute_dtype)


class GatedCell(KernelCell, abstract=True):
    """Abstract: a step is one product of the states with `recurrent_kernel`, and behind it nothing but `gate`.

    The output is the first state. A subclass sets `gates`, the number of columns in units, and `states`, and writes
    `gate`. `recurrence` says how the states enter: `Dense()`, `Diagonal()`, `Heads("heads")`, `LowRank(...)`.
    """

    kind = "gated"

    # `gate` reads `projected` and `recurrent` as their sum alone, which the engine then keeps in their place.
    summed = False

    # `project` and `recurrent` read the kernels through `product` alone, which takes them in parts as well.
    takes_kernels_in_parts = True

    def take(self, arguments):
        super().take(arguments)
        # One mask per gate, as in Keras, where asked for or where there is recurrent dropout.
        if self.recurrent_dropout and hasattr(self, "implementation"):
            self.implementation = 1

    @property
    def is_gated(self):
        """Whether a step is `gate` of the two products."""
        return self.kind == "gated" and holds(type(self), "kind", ("call", "step", "recur"))

    @property
    def is_summed(self):
        """Whether the class claims that for its `gate`."""
        return self.summed and holds(type(self), "summed", ("gate",))

    @property
    def dropout_mask_count(self):
        # Asked anew at each call: a rate may be changed between two.
        per_gate = self.recurrent_dropout or getattr(self, "implementation", 2) == 1
        return self.gates if per_gate and hasattr(self, "implementation") and self.recurrence.takes_parts else None

    def ready(self, weights, noise):
        in_parts = self.takes_kernels_in_parts and holds(
            type(self), "takes_kernels_in_parts", ("project", "recurrent", "recur", "step")
        )
        if not (self.is_gated and in_parts):
            return weights, noise
        weights = self.recurrence.ready(weights)
        masks = {"kernel": noise.get("inputs"), "recurrent_kernel": noise.get("recurrent")}
        parts = {name: per_gate(weights[name], mask) for name, mask in masks.items()}
        return {**weights, **parts}, {
            **noise,
            **{name: listed_by_gate(noise[name]) for name in ("inputs", "recurrent") if name in noise},
        }

    def recurrent(self, entering, weights, noise):
        """What the states add before the gates: `(..., batch, gates * units)`."""
        return self.recurrence.multiply(entering, weights, noise.get("recurrent"))

    def transposed(self, weights):
        """What `gradient_to_hidden` reads of the weights."""
        return self.recurrence.transposed(weights)

    def gradient_to_hidden(self, gradient, transposed, noise):
        """The gradient of what enters from that of `recurrent`."""
        return self.recurrence.back(gradient, transposed, noise.get("recurrent"))

    def recur(self, projected, states, weights, noise):
        recurrent = self.recurrent(self.entering(states), weights, noise)
        return self.gate(projected, recurrent, states, weights)

    def gate(self, projected, recurrent, states, weights):
        """The elementwise part of a step: `(output, new states)`."""
        raise NotImplementedError(f"{type(self).__name__} must define `gate(projected, recurrent, states, weights)`.")
