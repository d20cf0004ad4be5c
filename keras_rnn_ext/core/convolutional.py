"""Cells over images: a convolution in the place of both products of a gated cell."""

import dataclasses
import numbers

import keras
from keras import ops

from keras_rnn_ext.core.argument_kinds import Argument, Choice, Integer
from keras_rnn_ext.core.declare import Weight
from keras_rnn_ext.core.kernel_cell import GatedCell

_OWN = ("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate")
_PER_AXIS = ("kernel_size", "strides", "dilation_rate")

# What the axes of an image are called, by their number.
AXES = {1: ("length",), 2: ("rows", "columns"), 3: ("rows", "columns", "depth")}


class PerAxis(Argument):
    """An int above zero, or one for each axis of an image."""

    annotation = "int | tuple[int, ...]"
    range = "int above zero, or a tuple with one for each axis of an image; "

    def check_rank(self, name, value, rank):
        """The value for images of `rank` axes: a tuple."""
        values = (value,) * rank if isinstance(value, numbers.Integral) else value
        if (
            isinstance(values, (tuple, list))
            and len(values) == rank
            and all(isinstance(each, numbers.Integral) and not isinstance(each, bool) and each > 0 for each in values)
        ):
            return tuple(int(each) for each in values)
        raise ValueError(
            f"Argument `{name}` must be an int above zero, or a tuple of {rank}, one for each axis of an image. "
            f"Received: {name}={value!r}"
        )


class Word(Choice):
    """One of a few strings, in small or capital letters."""

    def check(self, name, value):
        return super().check(name, value.lower() if isinstance(value, str) else value)


class DataFormat(Word):
    """Where the channels stand, or None: where Keras's configuration says."""

    def __init__(self, sentence):
        super().__init__(None, ("channels_last", "channels_first"), sentence)
        self.annotation += " | None"

    def check(self, name, value):
        return super().check(name, keras.config.image_data_format() if value is None else value)


class ConvolutionalCell(GatedCell, abstract=True):
    r"""Abstract: stands before a gated cell among the bases, and makes both of its products convolutions.

    class ConvCoupledLSTM2DCell(ConvolutionalCell, CoupledLSTMCell):
        rank = 2
        pure = True

    The cell needs no more than its `gate`, which gets tensors with the channels on the last axis and the axes of an
    image in front of them. `rank` is the number of these. Every state of `units` becomes an image of `filters`
    channels, as large as the convolved input, and the convolution of the states keeps that size.
    """

    rank: int
    # A step is convolutions, not products, so that no loop made for these serves.
    kind = "cell"
    implementation = None

    filters = Integer(sentence="the number of channels of the state and of the output")
    kernel_size = PerAxis(sentence="the size of both convolutions' windows")
    strides = PerAxis(1, "the strides of the convolution of the inputs")
    padding = Word(
        "valid",
        ("valid", "same"),
        "whether only whole windows of an input are convolved, or zeros around it keep its size",
    )
    data_format = DataFormat("whether the channels are the last axis of an image or the first; None: as Keras is set")
    dilation_rate = PerAxis(1, "the distance of a window's entries in the convolution of the inputs")

    kernel = Weight(lambda cell: (*cell.kernel_size, cell.features, cell.width))
    recurrent_kernel = Weight(
        lambda cell: (*cell.kernel_size, len(cell.recurrence.places(cell)) * cell.filters, cell.recurrent_width),
        initializer="orthogonal",
    )

    # Without the batch, in the cell's own format; None: not built.
    input_image: tuple | None = None

    # Arguments

    @classmethod
    def declared_arguments(cls):
        declared = super().declared_arguments()
        return {name: declared[name] for name in (*_OWN, *declared)}

    @classmethod
    def by_name_only(cls):
        return super().by_name_only() - set(_OWN)

    def check_argument(self, owner, name, value):
        value = super().check_argument(owner, name, value)
        return type(self).declared_arguments()[name].check_rank(name, value, self.rank) if name in _PER_AXIS else value

    def check(self):
        super().check()
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                "Argument `dilation_rate` must be 1 where `strides` is above 1. Received: "
                f"strides={self.strides}, dilation_rate={self.dilation_rate}"
            )

    @property
    def units(self):
        """What a cell of vectors calls `filters`."""
        return self.filters

    @property
    def dropout_mask_count(self):
        """One mask per gate, as in Keras."""
        return self.gates

    # Shapes

    @property
    def _channel_axis(self):
        return -1 if self.data_format == "channels_last" else -1 - self.rank

    def split_image(self, image):
        """`(size, channels)` of the shape of an image."""
        image = list(image)
        channels = image.pop(self._channel_axis)
        return tuple(image), channels

    def convolved_shape(self, image):
        """The shape of the output, from that of an input image, both without the batch."""
        sizes, _ = self.split_image(image)
        convolved = []
        for size, window, stride, dilation in zip(
            sizes, self.kernel_size, self.strides, self.dilation_rate, strict=True
        ):
            inside = 0 if size is None or self.padding == "same" else (window - 1) * dilation
            convolved.append(None if size is None else -(-(size - inside) // stride))
        if any(size is not None and size < 1 for size in convolved):
            raise ValueError(
                f"Argument `kernel_size` must leave something of the images with `padding='valid'`. Received: "
                f"kernel_size={self.kernel_size}, dilation_rate={self.dilation_rate}, images of the size {sizes}. Use "
                "a smaller window, or `padding='same'`."
            )
        return (*convolved, self.filters) if self._channel_axis == -1 else (self.filters, *convolved)

    @property  # type: ignore[misc]
    def output_size(self):
        """The shape of the output without the batch; before the cell is built its size is unknown."""
        return self.convolved_shape(self.input_image or (None,) * (self.rank + 1))

    @classmethod
    def declared_states(cls):
        return [
            dataclasses.replace(state, shape=lambda cell: cell.output_size) if state.shape == "units" else state
            for state in super().declared_states()
        ]

    def get_initial_state(self, batch_size=None):
        if self.input_image is None:
            raise ValueError(
                f"{type(self).__name__} must be built before it has an initial state, whose size is that of the "
                "images. Call the layer once, or `build(input_shape)`."
            )
        return super().get_initial_state(batch_size)

    def compute_output_shape(self, input_shape, states_shape=None):
        output = (input_shape[0], *self.convolved_shape(input_shape[1:]))
        return output, [output for _ in self.declared_states()]

    def build(self, input_shape, states_shape=None):
        image = tuple(input_shape[1:])
        if len(image) != self.rank + 1 or None in image:
            last = self._channel_axis == -1
            axes = (*AXES[self.rank], "channels") if last else ("channels", *AXES[self.rank])
            raise ValueError(
                f"{type(self).__name__} needs steps of the shape ({', '.join(('batch', *axes))}), known but for "
                f"the batch. Received: input_shape={tuple(input_shape)}. Give the size of the images in the model's "
                "`Input`."
            )
        self.input_image = image
        size, channels = self.split_image(image)
        super().build((input_shape[0], *size, channels))
        # Said of vectors; what comes here is seen in `project`.
        self.features = None
        self.input_spec = keras.InputSpec(shape=(None, *image))

    # The mathematics: inside of `recur` the channels are last

    def inward(self, images):
        return images if self._channel_axis == -1 else ops.moveaxis(images, self._channel_axis, -1)

    def outward(self, images):
        return images if self._channel_axis == -1 else ops.moveaxis(images, -1, self._channel_axis)

    def convolve(self, images, kernel, masks=None, **options):
        """The convolution, channels last, of images in the cell's own format.

        Args:
            images: `(..., batch, *image)`.
            kernel: `(*kernel_size, channels, parts * filters)`, or a list of the parts.
            masks: None, or a dropout mask `(batch, *image)` for each part.
            options: for `keras.ops.conv`.
        """
        if masks is not None:
            kernels = kernel if isinstance(kernel, list) else self._parts(kernel)
            masks = masks if isinstance(masks, list) else ops.unstack(masks, axis=0)
            parts = [self.convolve(images * mask, part, **options) for mask, part in zip(masks, kernels, strict=True)]
            return ops.concatenate(parts, axis=-1)
        images = self.inward(images)
        # Any axes in front become part of the batch.
        leading = ops.shape(images)[: -1 - self.rank]
        if len(leading) > 1:
            images = ops.reshape(images, (-1, *images.shape[len(leading) :]))
        convolved = ops.conv(images, kernel, data_format="channels_last", **options)
        return convolved if len(leading) == 1 else ops.reshape(convolved, (*leading, *convolved.shape[1:]))

    def _parts(self, kernel):
        return list(ops.split(kernel, kernel.shape[-1] // self.filters, axis=-1))

    def ready(self, weights, noise):
        # What each step would take apart is taken apart once.
        masks = {"kernel": noise.get("inputs"), "recurrent_kernel": noise.get("recurrent")}
        parts = {name: self._parts(weights[name]) for name, mask in masks.items() if mask is not None}
        listed = {name: list(ops.unstack(noise[name], axis=0)) for name in ("inputs", "recurrent") if name in noise}
        return {**weights, **parts}, {**noise, **listed}

    def project(self, inputs, weights, noise):
        image = tuple(inputs.shape)[-1 - self.rank :]
        if any(None not in pair and pair[0] != pair[1] for pair in zip(image, self.input_image, strict=True)):
            raise ValueError(
                f"{type(self).__name__} must get images of the shape that it was built for, {self.input_image}. "
                f"Received: shape {tuple(inputs.shape)}."
            )
        options = {"strides": self.strides, "padding": self.padding, "dilation_rate": self.dilation_rate}
        projected = self.convolve(inputs, weights["kernel"], noise.get("inputs"), **options)
        return projected + weights["bias"] if "bias" in weights else projected

    def entering(self, states):
        values = [states[place] for place in self.recurrence.places(self)]
        joined = values[0] if len(values) == 1 else ops.concatenate(values, axis=self._channel_axis)
        return ops.cast(joined, self.compute_dtype)

    def recurrent(self, entering, weights, noise):
        recurrent = self.convolve(entering, weights["recurrent_kernel"], noise.get("recurrent"), padding="same")
        return recurrent + weights["recurrent_bias"] if "recurrent_bias" in weights else recurrent

    def recur(self, projected, states, weights, noise):
        recurrent = self.recurrent(self.entering(states), weights, noise)
        return self.with_gate(projected, recurrent, states, weights)

    def with_gate(self, projected, recurrent, states, weights):
        """`gate` of two convolutions, channels last, and of states in the cell's own format."""
        output, new = self.gate(projected, recurrent, [self.inward(state) for state in states], weights)
        new_states = [self.outward(state) for state in new]
        return (new_states[0] if output is new[0] else self.outward(output)), new_states
