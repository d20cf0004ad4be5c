r"""The cell contract: Keras's own, and beneath it the split by what depends on time.

    project(inputs, weights, noise)            no state in it: done for all steps at once
    recur(projected, states, weights, noise)   one step: only what must be sequential
    call(inputs, states)                       recur(project(inputs), states)

Both are pure: weights come in as tensors in the compute dtype and random masks are drawn beforehand,
so the engine may run them in any loop, compile them, or take their gradients itself.
"""

import functools
import inspect

import keras
from keras import ops

from keras_rnn_ext.core.arguments import Configured, parameters
from keras_rnn_ext.core.claims import holds
from keras_rnn_ext.core.compat import DropoutRNNCell
from keras_rnn_ext.core.noise import draw_mask, still_usable
from keras_rnn_ext.core.products import gradient_through, listed_by_gate, per_gate, product
from keras_rnn_ext.core.state import listed


def is_function(activation, name):
    """Whether an activation is Keras's own function of that name, and not another one called so."""
    return activation in (getattr(keras.activations, name), getattr(keras.ops, name))


class RecurrentCell(Configured, DropoutRNNCell, keras.layers.Layer):
    """Abstract: a recurrence with named weights and two dropout rates.

    A subclass sets `state_size` and `output_size`, writes `build` with `add`, `project` and `recur`.
    """

    kind = "cell"

    # What a class may claim of its mathematics. A claim is lost where a subclass overrides that: see `claims`.

    # A step depends on its arguments alone, so that it may be compiled once and for all.
    pure = False

    # The name under which the frameworks' own libraries (cuDNN, torch) know this recurrence, if they do.
    library_name: str | None = None

    # Whether a step is known to be two products and `gate`.
    is_gated = False

    # How many dropout masks a cell with one mask per gate has; None: one mask for all gates.
    dropout_mask_count: int | None = None

    # How many features the cell was built for; None: not built, or inputs of another kind.
    features: int | None = None

    dropout = 0.0
    recurrent_dropout = 0.0

    def take(self, arguments):
        super().take(arguments)
        self.seed_generator = keras.random.SeedGenerator(arguments.get("seed"))
        self._weight_names: tuple[str, ...] = ()

    # Weights

    def add(self, name, shape, initializer=None):
        """Adds the weight `name`, with the initializer, regularizer and constraint of that name."""
        stem = name.removesuffix("_kernel")
        weight = self.add_weight(
            name=name,
            shape=shape,
            initializer=_drawn_in_float32(initializer or getattr(self, f"{stem}_initializer")),
            regularizer=getattr(self, f"{stem}_regularizer"),
            constraint=getattr(self, f"{stem}_constraint"),
        )
        self._weight_names += (name,)
        return weight

    def gather_weights(self):
        """The weights by name, as tensors in the compute dtype."""
        return {name: ops.cast(getattr(self, name), self.compute_dtype) for name in self._weight_names}

    # Randomness: drawn before the loop, handed to every step

    @property
    def noisy(self):
        """Whether training draws random numbers."""
        return bool(self.dropout or self.recurrent_dropout)

    @property
    def splits(self):
        """Whether `call` is `recur(project(inputs))`: a subclass may have overridden it."""
        return type(self).call is RecurrentCell.call and type(self).step is RecurrentCell.step

    @property
    def is_pure(self):
        """Whether the class claims to be pure, and no activation is from elsewhere: it may have variables."""
        if not (self.pure and holds(type(self), "pure")):
            return False
        values = [getattr(self, name) for owner in self._owners for name in _activations_of(owner)]
        return all(
            getattr(value, "__module__", "").partition(".")[0] == "keras" and inspect.isfunction(value)
            for value in values
        )

    @property
    def library(self):
        """The library's name for this recurrence, if the class claims one."""
        return self.library_name if holds(type(self), "library_name") else None

    def program_key(self):
        """What a compiled step is compiled for, beside shapes and types."""
        names = [name for owner in self._owners for name in parameters(owner) if name not in self.transient]
        return (self, *(getattr(self, name) for name in names))

    def draw_noise(self, inputs, states, training):
        """The dropout masks for a batch of sequences: a dict with `inputs` and `recurrent`, where there is dropout."""
        noise = {}
        if training and self.dropout:
            noise["inputs"] = self._draw(inputs, self.dropout)
        if training and self.recurrent_dropout:
            noise["recurrent"] = self._draw(states[0], self.recurrent_dropout)
        return noise

    def release_noise(self):
        """Nothing is kept: what `draw_noise` gave went through the arguments."""

    def _draw(self, values, rate):
        return draw_mask(values, rate, self.dropout_mask_count, self.seed_generator, self.compute_dtype)

    def ready(self, weights, noise):
        """Weights and masks as a loop wants them: what each step would do to them alone is done here, once."""
        return weights, noise

    # Keras's contract for a cell whose masks a layer draws: `keras.layers.RNN` primes, then resets them.

    def get_dropout_mask(self, step_input):
        return self._cached_mask("_dropout_mask", step_input, self.dropout)

    def get_recurrent_dropout_mask(self, step_input):
        return self._cached_mask("_recurrent_dropout_mask", step_input, self.recurrent_dropout)

    def _cached_mask(self, attribute, values, rate):
        mask = getattr(self, attribute, None)
        if rate and not still_usable(mask, values):
            mask = self._draw(values, rate)
            setattr(self, attribute, mask)
        return mask

    # The mathematics

    def project(self, inputs, weights, noise):
        raise NotImplementedError(f"{type(self).__name__} must define `project(inputs, weights, noise)`.")

    def recur(self, projected, states, weights, noise):
        raise NotImplementedError(f"{type(self).__name__} must define `recur(projected, states, weights, noise)`.")

    def step(self, inputs, states, weights, noise):
        """One step: `(output, new states)` from lists of states."""
        return self.recur(self.project(inputs, weights, noise), states, weights, noise)

    # Keras's cell contract

    def call(self, inputs, states, training=False):
        listed = isinstance(states, (list, tuple))
        state_list = list(states) if listed else [states]
        sizes = self.state_sizes
        if len(state_list) != len(sizes):
            raise ValueError(
                f"Argument `states` of {type(self).__name__} must hold {len(sizes)} tensor(s), one for each of "
                f"state_size={sizes}. Received: {len(state_list)} tensor(s). "
                "`cell.get_initial_state(batch_size)` gives a list of the right form."
            )
        noise = {}
        if training and self.dropout:
            noise["inputs"] = self.get_dropout_mask(inputs)
        if training and self.recurrent_dropout:
            noise["recurrent"] = self.get_recurrent_dropout_mask(state_list[0])
        output, new_states = self.step(inputs, state_list, self.gather_weights(), noise)
        return output, (new_states if listed else new_states[0])

    @property
    def state_sizes(self):
        """`state_size` as a list."""
        return list(self.state_size) if isinstance(self.state_size, (list, tuple)) else [self.state_size]

    def get_initial_state(self, batch_size=None):
        """A list of zeros: for each state a tensor `(batch_size, size)`, or `(batch_size, *shape)`."""
        return [ops.zeros((batch_size, *listed(size)), dtype=self.compute_dtype) for size in self.state_sizes]


@functools.cache
def _activations_of(owner):
    return [name for name in parameters(owner) if name.endswith("activation")]


def _drawn_in_float32(initializer):
    """`initializer`, with 16-bit weights drawn in float32 and rounded: the QR of `"orthogonal"` knows no bfloat16."""

    def initialize(shape, dtype=None, **kwargs):
        if dtype not in ("float16", "bfloat16"):
            return initializer(shape, dtype=dtype, **kwargs)
        return ops.cast(initializer(shape, dtype="float32", **kwargs), dtype)

    return initialize


class GatedCell(RecurrentCell):
    """Abstract: the state enters through one product `h @ recurrent_kernel`; the rest is elementwise.

    The output is the first state. A subclass sets `gates`, the number of gate columns, and writes `gate`.
    """

    kind = "gated"
    gates = 1

    # `gate` reads `projected` and `recurrent` as their sum alone, which the engine then keeps in their place.
    summed = False

    # `project` and `recurrent` read the kernels through `product` alone, which takes them in parts as well.
    takes_kernels_in_parts = True

    def take(self, arguments):
        super().take(arguments)
        self.output_size = self.units
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
        return self.gates if per_gate and hasattr(self, "implementation") else None

    @property
    def bias_shape(self):
        return (self.gates * self.units,)

    def initialize_bias(self, shape, dtype=None, **kwargs):
        return self.bias_initializer(shape, dtype=dtype, **kwargs)

    def build(self, input_shape):
        self.features = input_shape[-1]
        if self.features is None:
            raise ValueError(
                f"The number of features, the last axis of the input of {type(self).__name__}, must be known. "
                f"Received: input_shape={tuple(input_shape)}. Give it in the model's `Input`."
            )
        width = self.gates * self.units
        self.kernel = self.add("kernel", (input_shape[-1], width))
        self.recurrent_kernel = self.add("recurrent_kernel", (self.units, width))
        self.bias = self.add("bias", self.bias_shape, self.initialize_bias) if self.use_bias else None
        self.input_spec = keras.InputSpec(min_ndim=2, axes={-1: input_shape[-1]})

    def ready(self, weights, noise):
        in_parts = self.takes_kernels_in_parts and holds(
            type(self), "takes_kernels_in_parts", ("project", "recurrent", "recur", "step")
        )
        if not (self.is_gated and in_parts):
            return weights, noise
        masks = {"kernel": noise.get("inputs"), "recurrent_kernel": noise.get("recurrent")}
        parts = {name: per_gate(weights[name], mask) for name, mask in masks.items()}
        return {**weights, **parts}, {name: listed_by_gate(mask) for name, mask in noise.items()}

    def project(self, inputs, weights, noise):
        projected = product(inputs, weights["kernel"], noise.get("inputs"))
        return projected + weights["bias"] if self.use_bias else projected

    def recurrent(self, hidden, weights, noise):
        """What the state adds before the gates: `(..., batch, gates * units)`."""
        return product(hidden, weights["recurrent_kernel"], noise.get("recurrent"))

    def gradient_to_hidden(self, gradient, transposed, noise):
        """The gradient of `hidden` from that of `recurrent`, given the transpose of `recurrent_kernel`."""
        return gradient_through(gradient, transposed, noise.get("recurrent"))

    def recur(self, projected, states, weights, noise):
        return self.gate(projected, self.recurrent(states[0], weights, noise), states, weights)

    def gate(self, projected, recurrent, states, weights):
        """The elementwise part of a step: `(output, new states)`."""
        raise NotImplementedError(f"{type(self).__name__} must define `gate(projected, recurrent, states, weights)`.")
