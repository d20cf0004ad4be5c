"""Low-rank adaptation (LoRA) of one matrix of a layer, and a clear refusal of quantization."""

import numbers
from typing import ClassVar

import keras
from keras import ops

from keras_rnn_ext.core.arguments import positive_integer
from keras_rnn_ext.core.compat import unlocked


class LowRankAdapted:
    r"""Mixin for layers: the matrix `W` becomes `W + (alpha / rank) A B`, and only `A` and `B` are trained.

    A subclass names the matrix in `adapted`: for `"kernel"` the variable is the attribute `_kernel`, its regularizer
    `kernel_regularizer`, and the new variables become `lora_kernel_a` and `lora_kernel_b`. `saved` names the
    attributes of all variables of the layer without LoRA in the order of a file, the matrix first.

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, arXiv:2106.09685, equation 3.
    """

    adapted: ClassVar[str]
    saved: ClassVar[tuple[str, ...]]

    def take(self, arguments):
        super().take(arguments)
        # Keras reads a rank of 0 as none.
        if self.lora_rank:
            self.lora_rank = positive_integer("lora_rank", self.lora_rank)
        self.lora_alpha = self.lora_rank if self.lora_alpha is None else _number("lora_alpha", self.lora_alpha)
        self.lora_enabled = False
        self._refuse_quantization()

    def is_sparse(self, owner, parameter):
        # Keras's layers before 3.13 have no such argument, and take no config with it.
        return parameter.name == "quantization_config" or super().is_sparse(owner, parameter)

    def _refuse_quantization(self):
        name = type(self).__name__
        cure = f"{name} offers no quantization: use keras.layers.{name.removeprefix('My')} for that."
        if self.quantization_config is not None:
            raise ValueError(
                f"Argument `quantization_config` must be None. "
                f"Received: quantization_config={self.quantization_config!r}. {cure}"
            )
        if self.quantization_mode is not None:
            raise ValueError(
                f"Argument `dtype` must be a policy without quantization. Received: {self.dtype_policy.name!r}. {cure}"
            )

    def quantize(self, mode=None, type_check=True, config=None):
        """Not offered.

        Raises:
            NotImplementedError: always.
        """
        name = type(self).__name__
        raise NotImplementedError(
            f"{name} offers no quantization: use keras.layers.{name.removeprefix('My')} for that. "
            f"Received: mode={mode!r}"
        )

    # The matrix

    @property
    def _matrix(self):
        return getattr(self, f"_{self.adapted}")

    @property
    def _factors(self):
        return getattr(self, f"lora_{self.adapted}_a"), getattr(self, f"lora_{self.adapted}_b")

    def _effective(self, dtype):
        """The variable itself, or with LoRA the adapted matrix as a tensor of `dtype`."""
        if not self.built:
            raise AttributeError(f"You must build the layer before accessing `{self.adapted}`.")
        if not self.lora_enabled:
            return self._matrix
        delta = ops.matmul(*self._factors)
        return ops.cast(ops.add(self._matrix, (self.lora_alpha / self.lora_rank) * delta), dtype)

    def _enable_requested_lora(self):
        """For the end of `build`: what the arguments of `__init__` ask for."""
        if self.lora_rank:
            self.built = True
            self.enable_lora(self.lora_rank, self.lora_alpha)

    def enable_lora(self, rank, lora_alpha=None, a_initializer="he_uniform", b_initializer="zeros"):
        """Freezes the matrix and adds a trainable delta of low rank to it.

        Args:
            rank: positive integer, the number of columns of `A` and of rows of `B`.
            lora_alpha: number; the delta is scaled by `lora_alpha / rank`. Defaults to `rank`.
            a_initializer: initializer of `A`. Defaults to `"he_uniform"`.
            b_initializer: initializer of `B`. Defaults to `"zeros"`: at first the delta is zero.

        Raises:
            ValueError: if the layer is not built, has LoRA already or has a constraint on the matrix, or if `rank`
                is no positive integer.
        """
        if getattr(self, f"{self.adapted}_constraint") is not None:
            raise ValueError(
                f"Lora is incompatible with {self.adapted.removesuffix('s')} constraints. In order to enable lora on "
                f"this layer, remove the `{self.adapted}_constraint` argument."
            )
        if not self.built:
            raise ValueError("Cannot enable lora on a layer that isn't yet built.")
        if self.lora_enabled:
            raise ValueError("lora is already enabled. This can only be done once per layer.")
        rank = positive_integer("rank", rank)
        rows, columns = self._matrix.shape
        shapes = {"a": (rows, rank), "b": (rank, columns)}
        initializers = {"a": a_initializer, "b": b_initializer}
        with unlocked(self):
            for factor, shape in shapes.items():
                name = f"lora_{self.adapted}_{factor}"
                # float32 whatever the policy, as in Keras: the steps of fine-tuning are small.
                weight = self.add_weight(
                    name=name,
                    shape=shape,
                    initializer=keras.initializers.get(initializers[factor]),
                    dtype="float32",
                    regularizer=getattr(self, f"{self.adapted}_regularizer"),
                )
                setattr(self, name, weight)
            self._matrix.trainable = False
        self.lora_enabled = True
        self.lora_rank = rank
        self.lora_alpha = rank if lora_alpha is None else _number("lora_alpha", lora_alpha)

    # Files: LoRA is merged into the matrix, so that a layer without it can read them

    def save_own_variables(self, store):
        """Writes the variables as a layer without LoRA has them: the delta is merged into the matrix."""
        if not self.lora_enabled:
            super().save_own_variables(store)
            return
        merged = self._effective(self._matrix.dtype)
        for index, variable in enumerate([merged, *self._plain_variables()[1:]]):
            store[str(index)] = variable

    def load_own_variables(self, store):
        """Reads the variables of a layer without LoRA, or of one saved with it merged.

        With LoRA the delta starts from zero again: `B` becomes zero. `A` stays as it is, as Keras's does not: with both
        at zero no gradient would reach either.
        """
        if not self.lora_enabled:
            super().load_own_variables(store)
            return
        variables = self._plain_variables()
        if len(store.keys()) != len(variables):
            raise ValueError(
                f"Layer '{self.name}' expected {len(variables)} variables, but received {len(store.keys())} variables "
                f"during loading. Expected: {[variable.name for variable in variables]}"
            )
        for index, variable in enumerate(variables):
            variable.assign(store[str(index)])
        _, factor_b = self._factors
        factor_b.assign(ops.zeros(factor_b.shape, dtype=factor_b.dtype))

    def _plain_variables(self):
        variables = [getattr(self, name) for name in self.saved]
        return [variable for variable in variables if variable is not None]


def _number(name, value):
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return value
    raise ValueError(f"`{name}` must be a number. Received: {name}={value!r} (of type {type(value).__name__}).")
