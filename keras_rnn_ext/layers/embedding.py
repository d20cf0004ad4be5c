"""The embedding layer: keras.layers.Embedding, from scratch, with ids that are looked at."""

import warnings

import keras
from keras import ops

from keras_rnn_ext.core.arguments import Configured
from keras_rnn_ext.core.compat import values_are_known
from keras_rnn_ext.core.registration import register
from keras_rnn_ext.layers.lora import LowRankAdapted


@register
class MyEmbedding(LowRankAdapted, Configured, keras.layers.Layer):
    r"""Turns ids into vectors: a drop-in for `keras.layers.Embedding` that looks at its ids.

    $$ y = E_{x, :} $$

    with the weight `embeddings` \(E\) of shape `(input_dim, output_dim)`. With LoRA (Hu et al., 2021,
    arXiv:2106.09685, equation 3) \(E\) is frozen and

    $$ y = E_{x, :} + \frac{\alpha}{r} A_{x, :} B $$

    with the trainable `lora_embeddings_a` \(A\) of shape `(input_dim, r)` and `lora_embeddings_b` \(B\) of shape
    `(r, output_dim)`.

    Args:
        input_dim: positive integer, the number of ids: the largest id + 1.
        output_dim: positive integer, the length of a vector.
        embeddings_initializer: initializer of `embeddings`. Defaults to `"uniform"`, from -0.05 to 0.05.
        embeddings_regularizer: regularizer of `embeddings`, and of `A` and `B`. Defaults to `None`.
        embeddings_constraint: constraint on `embeddings`; excludes LoRA. Defaults to `None`.
        mask_zero: whether the id 0 is padding and is masked in the layers that follow. Defaults to `False`.
        weights: initial value of `embeddings`: a matrix of shape `(input_dim, output_dim)` or a list with one. It
            builds the layer. Defaults to `None`.
        lora_rank: the rank \(r\) of LoRA, a positive integer. Defaults to `None`: no LoRA. `enable_lora` adds it to a
            layer that is built.
        lora_alpha: the number \(\alpha\). Defaults to `lora_rank`.
        quantization_config: must be `None`: for quantization use `keras.layers.Embedding`.
        **kwargs: `name`, `dtype`, `trainable` and the other arguments of every Keras layer; `input_length`, as in
            Keras, is ignored with a warning.

    Call arguments:
        inputs: ids of any shape, as a rule `(batch, steps)`. Floats are cast to int32 first. A sparse tensor
            (TensorFlow, JAX) has the id 0 where it has no entry; a ragged one (TensorFlow) gives a ragged output.

    Returns:
        Tensor of shape `(*inputs.shape, output_dim)` in the compute dtype. With `mask_zero` its mask is `inputs != 0`.

    Raises:
        ValueError: if `input_dim` or `output_dim` is no positive integer, if `weights` has another shape, if
            quantization is asked for, or if an id is outside of `[0, input_dim)` in an eager call.
        TypeError: if the ids are strings.

    An id outside of `[0, input_dim)` raises a ValueError wherever the ids have values when the layer is called: in
    every eager call, and on PyTorch in `fit`, `evaluate` and `predict` too. Inside a compiled function no layer can see
    them, and the backend decides, as it does for `keras.layers.Embedding`: ids from `-input_dim` to -1 are rows counted
    from the end, everywhere, and any other gives

    | compiled by | result |
    | --- | --- |
    | TensorFlow, graph | InvalidArgumentError on a CPU; zeros on a GPU, says the documentation of `tf.gather` |
    | TensorFlow, XLA (`jit_compile=True`) | the nearest row, which gets no gradient from it |
    | JAX, `jit` | NaN |
    | PyTorch, `torch.compile` | IndexError or RuntimeError |

    Differences from Keras 3.15.1: the check of ids (eager Keras takes negative ids as rows from the end on every
    backend, and gives NaN for too large ones on JAX), and those under `MyDense`. With LoRA, only the rows that the ids
    ask for are computed, not the whole adapted matrix.

    Example:
        >>> import numpy as np
        >>> from keras import ops
        >>> from keras_rnn_ext import MyEmbedding
        >>> layer = MyEmbedding(3, 2, weights=np.array([[0, 0], [1, 2], [3, 4]]))
        >>> ops.convert_to_numpy(layer(np.array([[2, 1, 0]])))
        array([[[3., 4.],
                [1., 2.],
                [0., 0.]]], dtype=float32)
        >>> layer(np.array([[3]]))
        Traceback (most recent call last):
        ValueError: ...must lie in [0, input_dim) = [0, 3). Received: ids from 3 to 3...
    """

    adapted = "embeddings"
    saved = ("_embeddings",)
    transient = ("weights",)

    def __init__(
        self,
        input_dim,
        output_dim,
        embeddings_initializer="uniform",
        embeddings_regularizer=None,
        embeddings_constraint=None,
        mask_zero=False,
        weights=None,
        lora_rank=None,
        lora_alpha=None,
        quantization_config=None,
        **kwargs,
    ):
        if kwargs.pop("input_length", None) is not None:
            warnings.warn("Argument `input_length` is deprecated. Just remove it.", stacklevel=2)
        super().__init__(**kwargs)
        self.take(locals())
        self.supports_masking = mask_zero
        # Ids are no numbers to be rounded to the compute dtype.
        self.autocast = False
        if weights is not None:
            self._start_from(weights)

    def _start_from(self, weights):
        matrix = ops.convert_to_tensor(weights[0] if isinstance(weights, list) and len(weights) == 1 else weights)
        expected = (self.input_dim, self.output_dim)
        received = tuple(matrix.shape)
        if received != expected:
            raise ValueError(
                f"Argument `weights` must be a matrix of the shape (input_dim, output_dim) = {expected}, or a list "
                f"with one. Received: a shape of {received}"
            )
        self.build()
        self._embeddings.assign(matrix)

    def build(self, input_shape=None):
        # `weights` builds the layer before its first call does.
        if self.built:
            return
        self._refuse_quantization()
        self._embeddings = self.add_weight(
            name="embeddings",
            shape=(self.input_dim, self.output_dim),
            initializer=self.embeddings_initializer,
            regularizer=self.embeddings_regularizer,
            constraint=self.embeddings_constraint,
        )
        self._enable_requested_lora()

    @property
    def embeddings(self):
        """The variable, or with LoRA the adapted matrix as a tensor in the compute dtype."""
        return self._effective(self.compute_dtype)

    def call(self, inputs):
        dtype = keras.backend.standardize_dtype(inputs.dtype)
        if dtype == "string":
            raise TypeError(
                f"The inputs of {type(self).__name__} must be ids, integers in [0, {self.input_dim}). Received: "
                "strings, of which keras.layers.StringLookup makes ids."
            )
        if values_are_known(inputs):
            self._check_ids(ops.convert_to_numpy(inputs))
        if dtype not in ("int32", "int64"):
            inputs = ops.cast(inputs, "int32")
        outputs = ops.take(self._embeddings, inputs, axis=0)
        if self.lora_enabled:
            # The rows that are asked for, not the whole matrix; the factors are float32 whatever the policy.
            wide = "float64" if self._embeddings.dtype == "float64" else "float32"
            factor_a, factor_b = self._factors
            rows = ops.cast(ops.take(factor_a, inputs, axis=0), wide)
            delta = ops.matmul(rows, ops.cast(factor_b, wide))
            outputs = ops.cast(outputs, wide) + (self.lora_alpha / self.lora_rank) * delta
        return ops.cast(outputs, self.compute_dtype)

    def _check_ids(self, ids):
        # Also False for NaN; -0.5 is cast to 0.
        if ids.size and not (ids.min() > -1 and ids.max() < self.input_dim):
            raise ValueError(
                f"The ids in the inputs of {type(self).__name__} must lie in [0, input_dim) = [0, {self.input_dim}). "
                f"Received: ids from {ids.min()} to {ids.max()}. Set `input_dim` to the largest id + 1."
            )

    def compute_mask(self, inputs, mask=None):
        return ops.not_equal(inputs, 0) if self.mask_zero else None

    def compute_output_shape(self, input_shape):
        return (*input_shape, self.output_dim)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(
            self.compute_output_shape(inputs.shape), dtype=self.compute_dtype, ragged=getattr(inputs, "ragged", False)
        )
