"""The dense layer: keras.layers.Dense, from scratch."""

import keras
from keras import ops

from keras_rnn_ext.core.arguments import Configured
from keras_rnn_ext.core.registration import register
from keras_rnn_ext.layers.lora import LowRankAdapted


@register
class MyDense(LowRankAdapted, Configured, keras.layers.Layer):
    r"""Densely connected layer: a drop-in for `keras.layers.Dense`.

    $$ y = \operatorname{activation}(x W + b) $$

    with the weights `kernel` \(W\) of shape `(features, units)` and `bias` \(b\) of shape `(units,)`. The product runs
    over the last axis of the inputs, whatever their rank. With LoRA (Hu et al., 2021, arXiv:2106.09685, equation 3)
    \(W\) is frozen and

    $$ y = \operatorname{activation}\left(x \left(W + \frac{\alpha}{r} A B\right) + b\right) $$

    with the trainable `lora_kernel_a` \(A\) of shape `(features, r)` and `lora_kernel_b` \(B\) of shape `(r, units)`.

    Args:
        units: positive integer, the length of the last axis of the outputs.
        activation: name, callable or config of an activation. Defaults to `None`: linear.
        use_bias: whether there is a bias. Defaults to `True`.
        kernel_initializer: initializer of `kernel`. Defaults to `"glorot_uniform"`.
        bias_initializer: initializer of `bias`. Defaults to `"zeros"`.
        kernel_regularizer: regularizer of `kernel`, and of `A` and `B`. Defaults to `None`.
        bias_regularizer: regularizer of `bias`. Defaults to `None`.
        activity_regularizer: regularizer of the outputs. Defaults to `None`.
        kernel_constraint: constraint on `kernel`; excludes LoRA. Defaults to `None`.
        bias_constraint: constraint on `bias`. Defaults to `None`.
        lora_rank: the rank \(r\) of LoRA, a positive integer. Defaults to `None`: no LoRA. `enable_lora` adds it to a
            layer that is built.
        lora_alpha: the number \(\alpha\). Defaults to `lora_rank`.
        quantization_config: must be `None`: for quantization use `keras.layers.Dense`.
        **kwargs: `name`, `dtype`, `trainable` and the other arguments of every Keras layer.

    Call arguments:
        inputs: tensor of shape `(batch, ..., features)`, on TensorFlow and JAX also a sparse one.
        training: without effect.

    Returns:
        Tensor of shape `(batch, ..., units)` in the compute dtype.

    Raises:
        ValueError: if `units` is no positive integer, if the inputs have fewer than two axes or another number of
            features than the layer was built for, or if quantization is asked for.

    Differences from Keras 3.15.1, all of them about LoRA:

    - `lora_alpha` keeps its value: when Keras builds a layer with `lora_rank`, it sets `lora_alpha` to `lora_rank`.
    - Loading weights into a layer with LoRA sets `B` to zero and leaves `A`. Keras sets both to zero, and no training
      moves them from there: the gradient of each is a product with the other.
    - Saving with LoRA keeps the precision of the variables. Keras rounds `kernel` to the compute dtype, with
      `mixed_bfloat16` to 8 bits.

    Example:
        >>> import numpy as np
        >>> from keras import ops
        >>> from keras_rnn_ext import MyDense
        >>> layer = MyDense(2, activation="relu")
        >>> layer.build((None, 3))
        >>> layer.set_weights([np.array([[1, 0], [0, 1], [1, -1]]), np.array([0.5, 0])])
        >>> ops.convert_to_numpy(layer(np.array([[1, 2, 3]], dtype="float32")))
        array([[4.5, 0. ]], dtype=float32)
        >>> layer.enable_lora(rank=1)
        >>> [weight.name for weight in layer.trainable_weights]
        ['bias', 'lora_kernel_a', 'lora_kernel_b']
    """

    adapted = "kernel"
    saved = ("_kernel", "bias")

    def __init__(
        self,
        units,
        activation=None,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        lora_rank=None,
        lora_alpha=None,
        quantization_config=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.take(locals())
        self.supports_masking = True
        self.input_spec = keras.InputSpec(min_ndim=2)

    def build(self, input_shape):
        self._refuse_quantization()
        features = input_shape[-1]
        if features is None:
            raise ValueError(
                f"The last axis of the inputs of {type(self).__name__} must have a known length: `kernel` gets one row "
                f"for each. Received: input_shape={tuple(input_shape)}"
            )
        self._kernel = self.add_weight(
            name="kernel",
            shape=(features, self.units),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias",
                shape=(self.units,),
                initializer=self.bias_initializer,
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )
        self.input_spec = keras.InputSpec(min_ndim=2, axes={-1: features})
        self._enable_requested_lora()

    @property
    def kernel(self):
        """The variable, or with LoRA the adapted matrix as a tensor in the compute dtype."""
        return self._effective(self.compute_dtype)

    def call(self, inputs, training=None):
        outputs = ops.matmul(inputs, self.kernel)
        if self.bias is not None:
            outputs = ops.add(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)
