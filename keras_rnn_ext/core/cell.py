r"""The cell contract: Keras's own, and beneath it the split by what depends on time.

    project(inputs, weights, noise)            no state in it: done for all steps at once
    recur(projected, states, weights, noise)   one step: only what must be sequential
    call(inputs, states)                       recur(project(inputs), states)

Both are pure: weights come in as tensors in the compute dtype and random masks are drawn beforehand,
so the engine may run them in any loop, compile them, or take their gradients itself.
"""

import functools
import inspect
from typing import Any

import keras
from keras import ops

from keras_rnn_ext.core.arguments import parameters
from keras_rnn_ext.core.claims import holds
from keras_rnn_ext.core.compat import DropoutRNNCell
from keras_rnn_ext.core.declare import Declared, State, stem
from keras_rnn_ext.core.noise import draw_mask, still_usable
from keras_rnn_ext.core.registration import PACKAGE
from keras_rnn_ext.core.state import listed


def is_function(activation, name):
    """Whether an activation is Keras's own function of that name, and not another one called so."""
    return activation in (getattr(keras.activations, name), getattr(keras.ops, name))


class RecurrentCell(Declared, DropoutRNNCell, keras.layers.Layer, abstract=True):
    """Abstract: a recurrence with named weights and two dropout rates.

    A subclass declares arguments, weights and states, and writes `project` and `recur`; or it has an `__init__` of its
    own, which sets `state_size` and `output_size`.
    """

    # A `State` for each, or its name alone where it is a vector of `units` zeros.
    states: tuple = ()

    kind = "cell"

    # What a class may claim of its mathematics. A claim is lost where a subclass overrides that: see `claims`.

    # A step depends on its arguments alone, so that it may be compiled once and for all.
    pure = False

    # The name under which the frameworks' own libraries (cuDNN, torch) know this recurrence, if they do.
    library_name: str | None = None

    # Whether a step is known to be two products and `gate`, and whether to be linear in the state.
    is_gated = False
    is_linear = False

    # How many dropout masks a cell with one mask per gate has; None: one mask for all gates.
    dropout_mask_count: int | None = None

    # How many features the cell was built for; None: not built, or inputs of another kind.
    features: int | None = None

    # Of the class a declaration, of a cell a number.
    dropout: Any = 0.0
    recurrent_dropout: Any = 0.0
    recurrent_dropconnect: Any = 0.0

    def take(self, arguments):
        super().take(arguments)
        if "seed" in arguments or not hasattr(self, "seed_generator"):
            self.seed_generator = keras.random.SeedGenerator(arguments.get("seed"))
        self._weight_names: tuple[str, ...] = ()

    # States

    @classmethod
    def declared_states(cls):
        """The states as the class declares them."""
        return [State(state) if isinstance(state, str) else state for state in cls.states]

    def own_states(self):
        """The declared states that this cell has."""
        return [state for state in self.declared_states() if state.when is None or getattr(self, state.when)]

    @property
    def state_size(self):
        """The size of the state, or a list of those of all states: by default what is declared."""
        if getattr(self, "_state_size", None) is not None:
            return self._state_size
        sizes = [self.dimensions(state.shape) for state in self.own_states()]
        if not sizes:
            raise AttributeError(f"{type(self).__name__} must declare `states`, or set `state_size` in `__init__`.")
        # A tuple that stands alone would be taken for several states.
        return sizes[0] if len(sizes) == 1 and isinstance(sizes[0], int) else sizes

    @state_size.setter
    def state_size(self, size):
        self._state_size = size

    @property
    def output_size(self):
        """The size of the output: by default that of the first state."""
        return getattr(self, "_output_size", None) or self.state_sizes[0]

    @output_size.setter
    def output_size(self, size):
        self._output_size = size

    @property
    def state_names(self):
        """What the equations call the states."""
        declared = [state.name for state in self.own_states()]
        return declared or [f"state_{place}" for place in range(len(self.state_sizes))]

    # Weights

    def build(self, input_shape):
        """Adds the weights that the class declares."""
        self.check()
        for name, weight in self.declared_weights().items():
            there = weight.when is None or getattr(self, weight.when)
            made = self.add(name, self.dimensions(weight.shape), trainable=weight.trainable) if there else None
            setattr(self, name, made)

    def initializer_of(self, name):
        """The function that makes the weight `name`, by default that of the argument of its name."""
        given = getattr(self, f"{stem(name)}_initializer", None)
        return keras.initializers.get(self.declared_weights()[name].initializer) if given is None else given

    def add(self, name, shape, trainable=True):
        """Adds the weight `name`, with the initializer, regularizer and constraint of that name."""
        weight = self.add_weight(
            name=name,
            shape=shape,
            initializer=_drawn_in_float32(self.initializer_of(name)),
            regularizer=getattr(self, f"{stem(name)}_regularizer", None),
            constraint=getattr(self, f"{stem(name)}_constraint", None),
            trainable=trainable,
        )
        self._weight_names += (name,)
        return weight

    def gather_weights(self, noise=None):
        """The weights by name, as tensors in the compute dtype, with the masks that `noise` has for them."""
        weights = {name: ops.cast(getattr(self, name), self.compute_dtype) for name in self._weight_names}
        for name, mask in (noise or {}).get("weights", {}).items():
            weights[name] = weights[name] * mask
        weights = self.derive(weights)
        by_row = [name for name, weight in self.declared_weights().items() if weight.by_row and name in weights]
        return {**weights, **{name: ops.unstack(weights[name], axis=0) for name in by_row}}

    def derive(self, weights):
        """The weights as the mathematics read them: what is made of weights alone is made here, once for a sequence.

        Args:
            weights: dict of tensors by name.

        Returns:
            Such a dict, with more, fewer, or other tensors.
        """
        return weights

    # Randomness: drawn before the loop, handed to every step

    @property
    def noisy(self):
        """Whether training draws random numbers."""
        return bool(self.dropout or self.recurrent_dropout or self.recurrent_dropconnect)

    @property
    def splits(self):
        """Whether `call` is `recur(project(inputs))`: a subclass may have overridden it."""
        return type(self).call is RecurrentCell.call and type(self).step is RecurrentCell.step

    @property
    def is_pure(self):
        """Whether the class claims to be pure, and each activation is known: others may have variables."""
        if not (self.pure and holds(type(self), "pure")):
            return False
        values = [getattr(self, name) for owner in self._owners for name in _activations_of(owner)]
        return all(
            getattr(value, "__module__", "").partition(".")[0] in ("keras", PACKAGE) and inspect.isfunction(value)
            for value in values
        )

    @property
    def library(self):
        """The library's name for this recurrence, if the class claims one."""
        return self.library_name if holds(type(self), "library_name") else None

    def program_key(self):
        """What a compiled step is compiled for, beside shapes and types."""
        names = [name for owner in self._owners for name in parameters(owner) if name not in self.transient]
        return (self, *(_hashable(getattr(self, name)) for name in names))

    def draw_noise(self, inputs, states, training, steps=None):
        """The random masks for a batch of sequences: a dict, with `inputs`, `recurrent` and `weights` (these by name)
        where there is dropout of them."""
        noise = {}
        if training and self.dropout:
            noise["inputs"] = self._draw(inputs, self.dropout)
        if training and self.recurrent_dropout:
            noise["recurrent"] = self._draw(self.entering(states), self.recurrent_dropout)
        if training and self.recurrent_dropconnect:
            noise["weights"] = {"recurrent_kernel": self._draw_of_kernel()}
        return noise

    def entering(self, states):
        """Of the states, what recurrent dropout acts on."""
        return states[0]

    def release_noise(self):
        """Nothing is kept: what `draw_noise` gave went through the arguments."""

    def _draw(self, values, rate):
        return draw_mask(values, rate, self.dropout_mask_count, self.seed_generator, self.compute_dtype)

    def _draw_of_kernel(self):
        kernel, rate = self.recurrent_kernel, self.recurrent_dropconnect
        return draw_mask(kernel, rate, None, self.seed_generator, self.compute_dtype)

    def ready(self, weights, noise):
        """Weights and masks as a loop wants them: what each step would do to them alone is done here, once."""
        return weights, noise

    # Keras's contract for a cell whose masks a layer draws: `keras.layers.RNN` primes, then resets them.

    def get_dropout_mask(self, step_input):
        return self._cached_mask("_dropout_mask", step_input, self.dropout)

    def get_recurrent_dropout_mask(self, step_input):
        self._cached_kernel_mask()
        return self._cached_mask("_recurrent_dropout_mask", step_input, self.recurrent_dropout)

    def reset_recurrent_dropout_mask(self):
        self._recurrent_kernel_mask = None
        super().reset_recurrent_dropout_mask()

    def _cached_mask(self, attribute, values, rate):
        mask = getattr(self, attribute, None)
        if rate and not still_usable(mask, values):
            mask = self._draw(values, rate)
            setattr(self, attribute, mask)
        return mask

    def _cached_kernel_mask(self):
        mask = getattr(self, "_recurrent_kernel_mask", None)
        if self.recurrent_dropconnect and not still_usable(mask, self.recurrent_kernel):
            mask = self._recurrent_kernel_mask = self._draw_of_kernel()
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
            noise["recurrent"] = self.get_recurrent_dropout_mask(self.entering(state_list))
        if training and self.recurrent_dropconnect:
            noise["weights"] = {"recurrent_kernel": self._cached_kernel_mask()}
        output, new_states = self.step(inputs, state_list, self.gather_weights(noise), noise)
        return output, (new_states if listed else new_states[0])

    @property
    def state_sizes(self):
        """`state_size` as a list."""
        return list(self.state_size) if isinstance(self.state_size, (list, tuple)) else [self.state_size]

    def get_initial_state(self, batch_size=None):
        """A list with a tensor `(batch_size, size)`, or `(batch_size, *shape)`, for each state."""
        declared = self.own_states() or [State("")] * len(self.state_sizes)
        return [
            ops.full((batch_size, *listed(size)), state.initial, dtype=self._state_dtype(state))
            for size, state in zip(self.state_sizes, declared, strict=True)
        ]

    def _state_dtype(self, state):
        return "float32" if state.wide and self.compute_dtype in ("float16", "bfloat16") else self.compute_dtype


@functools.cache
def _activations_of(owner):
    return [name for name in parameters(owner) if name.endswith("activation")]


def _hashable(value):
    return value if getattr(value, "__hash__", None) else repr(value)


def _drawn_in_float32(initializer):
    """`initializer`, with 16-bit weights drawn in float32 and rounded: the QR of `"orthogonal"` knows no bfloat16."""

    def initialize(shape, dtype=None, **kwargs):
        if dtype not in ("float16", "bfloat16"):
            return initializer(shape, dtype=dtype, **kwargs)
        return ops.cast(initializer(shape, dtype="float32", **kwargs), dtype)

    return initialize
