"""Convolutional cells and layers: Keras's numbers, those of dense cells whose kernels are the convolutions' matrices,
and the properties that every layer has."""

import dataclasses
import inspect
import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

import keras_rnn_ext
from keras_rnn_ext import MyBidirectional, MyRNN, ZoneoutWrapper
from keras_rnn_ext.core.arguments import parameters
from keras_rnn_ext.core.convolutional import ConvolutionalCell
from keras_rnn_ext.layers import convolutional
from keras_rnn_ext.testing import Case, contract
from tests.helpers import BACKEND, RTOL, WIDEST, assert_close, precision, to_numpy, values_and_gradients
from tests.test_parity import MASKS, make_mask

RANKS = (1, 2, 3)
SIZE = (6, 5, 4)
# The first part of each name, and the dense layer that has the same equations.
KINDS = {
    "MyConvLSTM": "MyLSTM",
    "ConvPeepholeLSTM": "PeepholeLSTM",
    "ConvGRU": "MyGRU",
    "ConvSimpleRNN": "MySimpleRNN",
}
NAMES = [f"{kind}{rank}D" for kind in KINDS for rank in RANKS]
# One of each kind.
SOME = ["MyConvLSTM2D", "ConvPeepholeLSTM1D", "ConvGRU2D", "ConvSimpleRNN3D"]


def layer_of(name, *arguments, **options):
    return getattr(convolutional, name)(*arguments, **options)


def images(rank, batch=3, steps=5, channels=2, data_format="channels_last", dtype="float32", seed=0):
    shape = (batch, steps, *SIZE[:rank], channels)
    values = np.random.default_rng(seed).normal(size=shape).astype(dtype)
    return values if data_format == "channels_last" else np.moveaxis(values, -1, 2)


def with_random_weights(layer, shape, seed=0):
    layer.build(shape)
    generator = np.random.default_rng(seed)
    # Kernels so that their sums are of the size of one, as all initializers have them.
    sizes = [np.prod(weight.shape[:-1]) if "kernel" in weight.name else 4 for weight in layer.weights]
    layer.set_weights(
        [
            generator.normal(size=weight.shape, scale=size**-0.5)
            for weight, size in zip(layer.weights, sizes, strict=True)
        ]
    )
    return layer


def some_states(layer, batch=3, seed=5):
    generator = np.random.default_rng(seed)
    shapes = [tuple(state.shape) for state in layer.get_initial_state(batch)]
    return [generator.normal(size=shape).astype("float32") for shape in shapes]


def convolutions(draw, rank):
    """Arguments of a convolution that Keras takes too."""
    per_axis = st.one_of(st.integers(1, 2), st.tuples(*[st.integers(1, 2)] * rank))
    options = {"kernel_size": draw(st.one_of(st.integers(1, 3), st.tuples(*[st.integers(1, 3)] * rank)))}
    kind = draw(st.sampled_from(["plain", "strides", "dilation_rate"]))
    if kind != "plain":
        options[kind] = draw(per_axis)
    # Three of SIZE with a distance of two need five.
    smallest = rank == 3 and kind == "dilation_rate"
    return options | {"padding": "same" if smallest else draw(st.sampled_from(["valid", "same", "SAME"]))}


# Beside Keras


@st.composite
def problems(draw, rank, dtype):
    formats = [None, "channels_last", "channels_first"]
    if BACKEND == "tensorflow" and dtype == "float64":
        formats.remove("channels_first")  # Keras fails on a CPU: "Conv2D only supports the NHWC tensor format".
    options = convolutions(draw, rank) | {
        "filters": draw(st.integers(1, 3)),
        "data_format": draw(st.sampled_from(formats)),
        "activation": draw(st.sampled_from(["tanh", "softsign", None])),
        "recurrent_activation": draw(st.sampled_from(["sigmoid", "hard_sigmoid"])),
        "use_bias": draw(st.booleans()),
        "unit_forget_bias": draw(st.booleans()),
        "go_backwards": draw(st.booleans()),
        "return_sequences": draw(st.booleans()),
        "unroll": draw(st.booleans()),
    }
    mask = draw(st.sampled_from(MASKS))
    starts = draw(st.booleans())
    if BACKEND == "jax":
        mask = "none"  # Keras fails: it does not bring a mask into the shape of images.
    # What Keras has wrong there: see `test_parity.problems`.
    if BACKEND == "torch" and options["go_backwards"] and options["unroll"]:
        mask = "none"
    return options, mask, starts, draw(st.integers(0, 1000))


@pytest.mark.parametrize(("rank", "dtype"), sorted({(1, WIDEST), (2, WIDEST), (2, "float32"), (3, WIDEST)}))
def test_layer_has_the_numbers_of_the_built_in(rank, dtype):
    # Each example is compiled, which takes most of the time.
    @settings(max_examples=max(3, settings().max_examples // 4))
    @given(problem=problems(rank, dtype))
    def holds(problem):
        options, mask_kind, starts, seed = problem
        options = {**options, "return_state": True, "dtype": dtype}
        theirs = getattr(keras.layers, f"ConvLSTM{rank}D")(**options)
        ours = layer_of(f"MyConvLSTM{rank}D", **options)
        inputs = images(rank, data_format=options["data_format"] or "channels_last", dtype=dtype, seed=seed)
        with_random_weights(theirs, inputs.shape, seed)
        ours.build(inputs.shape)
        ours.set_weights(theirs.get_weights())
        mask = make_mask(mask_kind, 3, 5, np.random.default_rng(seed))
        states = [state.astype(dtype) for state in some_states(ours)] if starts else []

        def call(layer):
            return lambda inputs, *states: layer(inputs, initial_state=list(states) or None, mask=mask)

        expected, expected_gradients = values_and_gradients(call(theirs), [inputs, *states], theirs.trainable_variables)
        actual, actual_gradients = values_and_gradients(call(ours), [inputs, *states], ours.trainable_variables)
        assert_close(actual, expected, RTOL[dtype])
        # Sums over steps and positions, in another order.
        assert_close(actual_gradients, expected_gradients, 10 * RTOL[dtype], name="gradient")
        assert ours.compute_output_shape(inputs.shape) == theirs.compute_output_shape(inputs.shape)

    with precision(dtype):
        holds()


@pytest.mark.parametrize("rank", RANKS)
def test_arguments_weights_and_config_of_the_built_in(rank):
    theirs, ours = getattr(keras.layers, f"ConvLSTM{rank}D"), getattr(convolutional, f"MyConvLSTM{rank}D")
    taken = parameters(ours)
    shared = {name: parameter.default for name, parameter in parameters(theirs).items()}
    assert list(taken)[: len(shared)] == list(shared)
    assert {name: taken[name].default for name in shared} == shared
    assert f"Drop-in for `keras.layers.{theirs.__name__}`" in ours.__doc__

    options = {
        "kernel_initializer": keras.initializers.GlorotUniform(seed=1),
        "recurrent_initializer": keras.initializers.Orthogonal(seed=2),
        "bias_initializer": keras.initializers.RandomNormal(seed=3),
    }
    theirs, ours = theirs(3, 2, **options), ours(3, 2, **options)
    for layer in (theirs, ours):
        layer.build(images(rank).shape)
    for left, right in zip(ours.weights, theirs.weights, strict=True):
        assert left.name == right.name
        np.testing.assert_array_equal(to_numpy(left), to_numpy(right))


@pytest.mark.parametrize("rank", RANKS)
def test_configs_in_both_directions(rank):
    theirs, ours = getattr(keras.layers, f"ConvLSTM{rank}D"), getattr(convolutional, f"MyConvLSTM{rank}D")
    options = {
        "strides": 2,
        "padding": "Same",
        "activation": "relu",
        "kernel_regularizer": "l2",
        "activity_regularizer": "l1",
        "dropout": 0.2,
        "seed": 3,
        "stateful": True,
        "unroll": True,
        "zero_output_for_mask": True,
        "name": "layer",
    }
    config, own_config = theirs(4, 3, **options).get_config(), ours(4, 3, **options).get_config()
    assert own_config == config
    assert ours.from_config(config).get_config() == config
    assert theirs.from_config(own_config).get_config() == config
    # What is ours alone stands in a config only where it is asked for.
    assert ours(4, 3, time_major=True, name="layer").get_config()["time_major"] is True


# Beside dense cells: a convolution is a product with a matrix


def as_matrix(kernel, size, filters, strides, padding, dilation):
    """The matrix of a convolution: `(positions * channels, parts * new positions * filters)`, and the new size."""
    *window, channels, columns = kernel.shape
    new_size, before = [], []
    for length, wide, stride, distance in zip(size, window, strides, dilation, strict=True):
        reach = (wide - 1) * distance + 1
        new = -(-length // stride) if padding == "same" else (length - reach) // stride + 1
        new_size.append(new)
        before.append(max((new - 1) * stride + reach - length, 0) // 2 if padding == "same" else 0)
    matrix = np.zeros((*size, channels, columns // filters, *new_size, filters))
    for place in np.ndindex(*new_size):
        for entry in np.ndindex(*window):
            steps = zip(place, strides, entry, dilation, before, strict=True)
            source = tuple(at * stride + inside * distance - pad for at, stride, inside, distance, pad in steps)
            if all(0 <= at < length for at, length in zip(source, size, strict=True)):
                parts = kernel[entry].reshape(channels, columns // filters, filters)
                matrix[(*source, slice(None), slice(None), *place)] += parts
    return matrix.reshape(np.prod(size) * channels, -1), tuple(new_size)


def dense_weights(layer, size):
    """The weights of the dense layer that does the same to flattened images."""
    cell, weights = layer.cell, {}
    for weight in layer.weights:
        value = to_numpy(weight).astype("float64")
        if weight.name == "kernel":
            value, new_size = as_matrix(value, size, cell.filters, cell.strides, cell.padding, cell.dilation_rate)
        elif weight.name == "recurrent_kernel":
            ones = (1,) * cell.rank
            value, _ = as_matrix(value, new_size, cell.filters, ones, "same", ones)
        elif weight.name == "bias":
            parts = value.reshape(*value.shape[:-1], -1, 1, cell.filters)
            value = np.broadcast_to(parts, (*parts.shape[:-2], np.prod(new_size), cell.filters))
            value = value.reshape(*weight.shape[:-1], -1)
        else:
            value = value.reshape(3, -1)
        weights[weight.name] = value.astype("float32")
    return list(weights.values())


@pytest.mark.parametrize("name", SOME)
def test_layer_is_the_dense_one_with_the_matrix_of_the_convolution(name):
    kind, rank = name[:-2], int(name[-2])

    @settings(max_examples=max(2, settings().max_examples // 5))
    @given(data=st.data())
    def holds(data):
        own = {"reset_after": data.draw(st.booleans())} if kind == "ConvGRU" else {}
        own["use_bias"] = data.draw(st.booleans())
        options = convolutions(data.draw, rank)
        data_format = data.draw(st.sampled_from(["channels_last", "channels_first"]))
        mask_kind, seed = data.draw(st.sampled_from(MASKS)), data.draw(st.integers(0, 1000))
        shared = {"return_sequences": True, "return_state": True}
        layer = layer_of(name, 2, **options, **own, **shared, data_format=data_format)
        inputs = images(rank, steps=4, data_format=data_format, seed=seed)
        with_random_weights(layer, inputs.shape, seed)
        mask = make_mask(mask_kind, 3, 4, np.random.default_rng(seed))
        states = some_states(layer)
        first = data_format == "channels_first"

        size = inputs.shape[3:] if first else inputs.shape[2:-1]
        units = int(np.prod(states[0].shape[1:]))
        dense = getattr(keras_rnn_ext, KINDS[kind])(units, **own, **shared)
        dense.build((3, 4, int(np.prod(inputs.shape[2:]))))
        dense.set_weights(dense_weights(layer, size))

        def flat(values, leading):
            values = ops.moveaxis(values, leading, -1) if first else values
            return ops.reshape(values, (*values.shape[:leading], -1))

        def run_dense(inputs, *states):
            given_states = [flat(state, 1) for state in states]
            return dense(flat(inputs, 2), initial_state=given_states, mask=mask)

        def run(inputs, *states):
            outputs, *new_states = layer(inputs, initial_state=list(states), mask=mask)
            return (flat(outputs, 2), *(flat(state, 1) for state in new_states))

        expected, expected_gradients = values_and_gradients(run_dense, [inputs, *states])
        actual, actual_gradients = values_and_gradients(run, [inputs, *states])
        assert_close(list(actual), list(expected), 1e-6)
        assert_close(actual_gradients, expected_gradients, 1e-5, name="gradient")

    holds()


def test_any_gated_cell_can_be_convolutional():
    class ConvCoupledLSTM1DCell(ConvolutionalCell, keras_rnn_ext.CoupledLSTMCell):
        rank = 1
        pure = True

    layer = MyRNN(ConvCoupledLSTM1DCell(2, 1), return_sequences=True)
    inputs = images(1)
    with_random_weights(layer, inputs.shape)
    dense = keras_rnn_ext.CoupledLSTM(2, return_sequences=True)
    dense.build((None, 5, 2))
    dense.set_weights(
        [to_numpy(weight).reshape(weight.shape[-2:] if "kernel" in weight.name else -1) for weight in layer.weights]
    )
    # Windows of one: each position is a sequence of its own.
    rows = np.moveaxis(inputs, 2, 1).reshape(-1, 5, 2)
    expected = to_numpy(dense(rows)).reshape(3, SIZE[0], 5, 2)
    assert_close(np.moveaxis(to_numpy(layer(inputs)), 2, 1), expected, 1e-6)


# What every layer does


@dataclasses.dataclass(frozen=True)
class Images(Case):
    """Sizes of a test on images."""

    rank: int = 2

    def sequences(self):
        return images(self.rank, self.batch, self.steps, self.features, seed=self.seed)


@pytest.mark.parametrize(("name", "return_sequences"), [("MyConvLSTM1D", True), ("ConvGRU1D", False)])
def test_strategies_agree_with_the_plain_loop(name, return_sequences):
    layer = layer_of(name, 2, 2, padding="same", dropout=0.4, recurrent_dropout=0.4, return_state=True, seed=1)
    layer.return_sequences = return_sequences
    case = Images(rank=layer.cell.rank)
    with_random_weights(layer, case.sequences().shape)
    for mask, training in ((None, False), (case.mask(), True)):
        contract._compare_strategies(layer, case, mask, training)
    assert layer.explain(training=False).startswith(f"backend {BACKEND}: projected loop\n")
    # TensorFlow's gradient of the loop is faster where each step makes its own input product.
    trained = "loop" if BACKEND == "tensorflow" else "projected loop"
    assert layer.explain(training=True).startswith(f"backend {BACKEND}: {trained}\n")


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_layer_is_cell_step_by_step_and_block_by_block(name, data_format):
    options = {"data_format": data_format, "return_sequences": True, "return_state": True}
    layer = layer_of(name, 2, 3, **options)
    inputs = images(layer.cell.rank, data_format=data_format)
    with_random_weights(layer, inputs.shape)
    start = [ops.convert_to_tensor(state) for state in some_states(layer)]
    expected, *last = layer(inputs, initial_state=start)
    states, outputs = start, []
    for step in range(5):
        output, states = layer.cell(ops.convert_to_tensor(inputs[:, step]), states)
        outputs.append(output)
    assert_close(ops.stack(outputs, axis=1), expected, 1e-6)
    assert_close(list(states), last, 1e-6)

    first, *between = layer(inputs[:, :2], initial_state=start)
    second, *end = layer(inputs[:, 2:], initial_state=between)
    assert_close(ops.concatenate([first, second], axis=1), expected, 1e-6)
    assert_close(end, last, 1e-6)
    nothing, *unmoved = layer(inputs[:, :0], initial_state=start)
    assert tuple(nothing.shape)[:2] == (3, 0)
    assert_close(unmoved, start, 0)


@pytest.mark.parametrize("name", ["MyConvLSTM2D", "ConvGRU1D"])
def test_masked_is_truncated(name):
    layer = layer_of(name, 2, 2, return_sequences=True, return_state=True)
    inputs, lengths, steps = images(layer.cell.rank), np.array([0, 3, 5]), np.arange(5)
    with_random_weights(layer, inputs.shape)
    right = to_numpy(layer(inputs, mask=steps[None] < lengths[:, None]))
    left = to_numpy(layer(inputs, mask=steps[None] >= 5 - lengths[:, None]))
    for row, length in enumerate(lengths):
        for (outputs, *states), part, place in (
            (right, inputs[row : row + 1, :length], slice(0, length)),
            (left, inputs[row : row + 1, 5 - length :], slice(5 - length, None)),
        ):
            expected, *expected_states = to_numpy(layer(part))
            assert_close(outputs[row : row + 1, place], expected, 1e-6)
            assert_close([state[row : row + 1] for state in states], expected_states, 1e-6)
        assert not left[0][row, : 5 - length].any()
        last = right[0][row, length - 1] if length else np.zeros_like(right[0][row, 0])
        np.testing.assert_array_equal(right[0][row, length:], np.broadcast_to(last, right[0][row, length:].shape))
    layer.zero_output_for_mask = True
    zeroed = to_numpy(layer(inputs, mask=steps[None] < lengths[:, None]))[0]
    assert not zeroed[1, 3:].any()
    np.testing.assert_array_equal(zeroed[1, :3], right[0][1, :3])


@pytest.mark.parametrize(
    ("name", "kind"), [("MyConvLSTM2D", "right"), ("MyConvLSTM1D", "left"), ("ConvGRU1D", "random")]
)
def test_nan_in_masked_steps_has_no_effect(name, kind):
    layer = layer_of(name, 2, 2, padding="same", return_sequences=True, return_state=True)
    clean = images(layer.cell.rank)
    with_random_weights(layer, clean.shape)
    mask = make_mask(kind, 3, 5, np.random.default_rng(1))
    assert not mask.all()
    dirty = clean.copy()
    dirty[~mask] = np.nan
    found = [
        values_and_gradients(lambda x: layer(x, mask=mask), [inputs], layer.trainable_variables)
        for inputs in (clean, dirty)
    ]
    assert_close(found[1], found[0], 0)


@pytest.mark.parametrize(
    ("name", "unroll", "masked"), [("MyConvLSTM2D", True, True), ("MyConvLSTM1D", 2, False), ("ConvGRU1D", 2, True)]
)
def test_unrolled_and_recomputed_are_the_loop(name, unroll, masked):
    options = {"padding": "same", "return_sequences": True, "return_state": True}
    layer = layer_of(name, 2, 3, **options)
    inputs = images(layer.cell.rank)
    with_random_weights(layer, inputs.shape)
    mask = make_mask("random", 3, 5, np.random.default_rng(3)) if masked else None
    expected = values_and_gradients(lambda x: layer(x, mask=mask), [inputs], layer.trainable_variables)
    for own in ({"unroll": unroll}, {"recompute": True}):
        other = layer_of(name, 2, 3, **options, **own)
        other.build(inputs.shape)
        other.set_weights(layer.get_weights())
        found = values_and_gradients(lambda x: other(x, mask=mask), [inputs], other.trainable_variables)  # noqa: B023
        assert_close(found[0], expected[0], 1e-6)
        assert_close(found[1], expected[1], 1e-5)


def test_go_backwards_and_time_major():
    inputs = images(2)
    layer = with_random_weights(layer_of("MyConvLSTM2D", 2, 3, return_sequences=True), inputs.shape)
    backward = with_random_weights(
        layer_of("MyConvLSTM2D", 2, 3, return_sequences=True, go_backwards=True), inputs.shape
    )
    assert_close(backward(inputs), layer(inputs[:, ::-1]), 1e-7)
    turned = layer_of("MyConvLSTM2D", 2, 3, return_sequences=True, time_major=True)
    swapped = np.swapaxes(inputs, 0, 1)
    with_random_weights(turned, swapped.shape)
    assert turned.compute_output_shape(swapped.shape) == (5, 3, 4, 3, 2)
    assert_close(ops.swapaxes(turned(swapped), 0, 1), layer(inputs), 1e-7)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_stateful_layer_goes_on(data_format):
    inputs = images(2, data_format=data_format)
    options = {"return_sequences": True, "data_format": data_format}
    plain = with_random_weights(layer_of("MyConvLSTM2D", 2, 3, **options), inputs.shape)
    layer = with_random_weights(
        layer_of("MyConvLSTM2D", 2, 3, stateful=True, save_states=True, **options), inputs.shape
    )
    expected = to_numpy(plain(inputs))
    for _ in range(2):
        both = [to_numpy(layer(part)) for part in (inputs[:, :2], inputs[:, 2:])]
        assert_close(np.concatenate(both, axis=1), expected, 1e-6)
        layer.reset_state()
    with pytest.raises(ValueError, match="Expected batch size: 3. Received batch size: 2"):
        layer(inputs[:2])


def test_learned_initial_state():
    inputs = images(2)
    learned, plain = (
        with_random_weights(layer_of("MyConvLSTM2D", 2, 3, learned_initial_state=own), inputs.shape)
        for own in (True, False)
    )
    starts = [np.repeat(to_numpy(weight)[None], 3, axis=0) for weight in learned.trainable_weights[:2]]
    assert all(start.shape == (3, 4, 3, 2) and start.any() for start in starts)
    plain.cell.set_weights(learned.cell.get_weights())
    assert_close(learned(inputs), plain(inputs, initial_state=starts), 1e-7)
    _, found = values_and_gradients(learned, [inputs], learned.trainable_variables)
    assert all(gradient.any() for gradient in found)


@pytest.mark.parametrize("name", SOME)
def test_unknown_batch_and_length(name):
    layer = layer_of(name, 2, 2, return_sequences=True, return_state=True)
    sequences = images(layer.cell.rank)
    inputs = keras.Input((None, *sequences.shape[2:]))
    outputs = layer(inputs)
    size = tuple(length - 1 for length in SIZE[: layer.cell.rank])
    assert tuple(outputs[0].shape) == (None, None, *size, 2)
    assert all(tuple(state.shape) == (None, *size, 2) for state in outputs[1:])
    model = keras.Model(inputs, outputs)
    for batch, steps in ((3, 5), (2, 3)):
        part = sequences[:batch, :steps]
        assert_close(list(model.predict(part, verbose=0)), to_numpy(list(layer(part))), 1e-6)


@pytest.mark.parametrize("name", SOME)
def test_saved_is_loaded(name, tmp_path):
    rank = int(name[-2])
    inputs = keras.Input((None, *SIZE[:rank], 2))
    layer = layer_of(name, 2, 3, padding="same", dropout=0.3, return_sequences=True)
    cell = getattr(convolutional, f"{name}Cell")(2, 2, strides=(2,) * rank)
    model = keras.Model(inputs, MyRNN(cell)(layer(inputs)))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(to_numpy(loaded(images(rank))), to_numpy(model(images(rank))))
    assert loaded.layers[1].get_config() == layer.get_config()


@pytest.mark.parametrize("name", SOME)
def test_sixteen_bits_are_close(name):
    options = {"padding": "same", "return_sequences": True, "return_state": True}
    layer = layer_of(name, 2, 3, **options)
    inputs = images(layer.cell.rank)
    layer.build(inputs.shape)
    mixed = layer_of(name, 2, 3, **options, dtype="mixed_bfloat16")
    mixed.build(inputs.shape)
    mixed.set_weights(layer.get_weights())
    assert {weight.dtype for weight in mixed.weights} == {"float32"}
    found, gradients = values_and_gradients(mixed, [inputs], mixed.trainable_variables)
    assert all(np.isfinite(gradient.astype("float32")).all() and gradient.any() for gradient in gradients)
    outputs = mixed(inputs)
    assert {keras.backend.standardize_dtype(output.dtype) for output in outputs} == {"bfloat16"}
    # A few units in the last of 8 places, for each of 5 steps.
    assert_close([value.astype("float32") for value in found], to_numpy(list(layer(inputs))), 5 * 2**-7)


def test_training_learns_with_masks_and_dropout():
    values = images(1, batch=64, steps=4, channels=1)
    targets = values[:, 0].mean(axis=(1, 2))
    valid = make_mask("right", 64, 4, np.random.default_rng(0)) | (np.arange(4) == 0)
    values[~valid] = np.nan
    inputs, mask = keras.Input((4, SIZE[0], 1)), keras.Input((4,), dtype="bool")
    outputs = layer_of("MyConvLSTM1D", 8, 3, padding="same", dropout=0.1, recurrent_dropout=0.1)(inputs, mask=mask)
    model = keras.Model([inputs, mask], keras.layers.Dense(1)(keras.layers.Flatten()(outputs)))
    model.compile(keras.optimizers.Adam(0.02), "mse")
    losses = model.fit([values, valid], targets, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]


# Dropout


@pytest.mark.parametrize("name", ["MyConvLSTM2D", "ConvGRU1D", "ConvSimpleRNN3D"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_dropout_has_a_mask_for_each_gate(name, data_format):
    layer = layer_of(name, 2, 2, dropout=0.4, recurrent_dropout=0.5, data_format=data_format, seed=1)
    inputs = images(layer.cell.rank, batch=200, steps=1, data_format=data_format)
    with_random_weights(layer, inputs.shape)
    cell, step = layer.cell, ops.convert_to_tensor(inputs[:, 0])
    states = [ops.convert_to_tensor(state) for state in some_states(layer, 200)]
    assert cell.draw_noise(step, states, False) == {}
    noise = cell.draw_noise(step, states, True)
    for key, rate, like in (("inputs", 0.4, step), ("recurrent", 0.5, states[0])):
        mask = to_numpy(noise[key])
        assert mask.shape == (cell.gates, *like.shape)
        np.testing.assert_allclose(sorted(set(mask.ravel())), [0.0, 1 / (1 - rate)], rtol=1e-6)
        # A thousand draws at least.
        assert abs(mask.mean() - 1) < 5 * np.sqrt(rate / (1 - rate) / mask.size)
        assert cell.gates == 1 or (mask[0] != mask[1]).any()
    weights = cell.gather_weights()
    made = np.split(to_numpy(cell.project(step, weights, noise)), cell.gates, axis=-1)
    for gate, mask in enumerate(to_numpy(noise["inputs"])):
        alone = to_numpy(cell.project(step * ops.convert_to_tensor(mask), weights, {}))
        assert_close(made[gate], np.split(alone, cell.gates, axis=-1)[gate], 1e-6)


@pytest.mark.parametrize("name", SOME)
def test_dropout_at_inference_and_of_everything(name):
    inputs = images(int(name[-2]))
    layers = {}
    for rates in itertools.product((0.0, 1.0), repeat=2):
        layer = layer_of(name, 2, 2, dropout=rates[0], recurrent_dropout=rates[1], return_sequences=True)
        layers[rates] = with_random_weights(layer, inputs.shape)
    plain = layers[0.0, 0.0]
    for layer in layers.values():
        np.testing.assert_array_equal(to_numpy(layer(inputs)), to_numpy(plain(inputs)))
    assert_close(layers[1.0, 0.0](inputs, training=True), plain(np.zeros_like(inputs)), 1e-6)
    forgetful = with_random_weights(layer_of(name, 2, 2, return_sequences=True), inputs.shape)
    forgetful.cell.recurrent_kernel.assign(np.zeros(forgetful.cell.recurrent_kernel.shape))
    assert_close(layers[0.0, 1.0](inputs, training=True), forgetful(inputs), 1e-6)


def test_dropout_in_training_differs_by_call_and_is_repeated_by_its_seed():
    inputs = images(2)
    layer, again = (
        with_random_weights(layer_of("MyConvLSTM2D", 2, 2, dropout=0.5, recurrent_dropout=0.5, seed=7), inputs.shape)
        for _ in range(2)
    )
    first, second = to_numpy(layer(inputs, training=True)), to_numpy(layer(inputs, training=True))
    assert (first != second).any()
    np.testing.assert_array_equal(to_numpy(again(inputs, training=True)), first)


# With others


@pytest.mark.parametrize("merge_mode", ["concat", "sum"])
def test_bidirectional_has_the_numbers_of_the_built_in(merge_mode):
    inputs = images(2)
    options = {"padding": "same", "return_sequences": True}
    theirs = keras.layers.Bidirectional(keras.layers.ConvLSTM2D(2, 3, **options), merge_mode=merge_mode)
    ours = MyBidirectional(layer_of("MyConvLSTM2D", 2, 3, **options), merge_mode=merge_mode)
    expected = theirs(inputs)
    ours.build(inputs.shape)
    ours.set_weights(theirs.get_weights())
    assert_close(ours(inputs), expected, 1e-6)


def test_zoneout_keeps_some():
    inputs = images(2)
    plain = with_random_weights(layer_of("MyConvLSTM2D", 2, 3, return_sequences=True), inputs.shape)
    zoned = MyRNN(ZoneoutWrapper(convolutional.MyConvLSTM2DCell(2, 3), 0.25, 0.5, seed=1), return_sequences=True)
    with_random_weights(zoned, inputs.shape)
    assert_close(zoned(inputs)[:, 0], 0.75 * plain(inputs)[:, 0], 1e-6)
    outputs = to_numpy(zoned(inputs, training=True))
    assert 0 < (outputs[:, 1:] == outputs[:, :-1]).mean() < 1


# What is documented, and what is refused


@pytest.mark.parametrize("name", [*NAMES, *(f"{name}Cell" for name in NAMES)])
def test_docstring_is_whole(name):
    public = getattr(convolutional, name)
    text = inspect.getdoc(public)
    assert keras.saving.get_registered_name(public) == f"keras_rnn_ext>{name}"
    for part in ("Args:", "Raises:", "Source:", ">>> import"):
        assert text.count(part) == 1
    assert "$$" in text
    entries = text.split("Args:")[1]
    for argument in parameters(public):
        assert f"    {argument}: " in entries


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filters": 0}, "`filters` must be"),
        ({"kernel_size": 0}, "Argument `kernel_size` must be an int above zero, or a tuple of 2.*kernel_size=0"),
        ({"kernel_size": (3, 3, 3)}, "Argument `kernel_size` .* tuple of 2"),
        ({"kernel_size": "3"}, "Argument `kernel_size`"),
        ({"kernel_size": True}, "Argument `kernel_size`"),
        ({"strides": (1, 0)}, "Argument `strides`"),
        ({"strides": 1.5}, "Argument `strides`"),
        ({"dilation_rate": -1}, "Argument `dilation_rate`"),
        ({"strides": 2, "dilation_rate": (1, 2)}, "`dilation_rate` must be 1 where `strides` is above 1"),
        ({"padding": "causal"}, "Argument `padding` must be one of .*'valid', 'same'"),
        ({"data_format": "last"}, "Argument `data_format` must be one of"),
        ({"dropout": "a"}, "argument `dropout`"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        layer_of("MyConvLSTM2D", **{"filters": 2, "kernel_size": 3, **options})


def test_bad_input():
    layer = layer_of("MyConvLSTM2D", 2, 3)
    with pytest.raises(ValueError, match="must be built before it has an initial state"):
        layer.get_initial_state(2)
    with pytest.raises(ValueError, match="expected ndim=5, found ndim=4"):
        layer(images(1))
    with pytest.raises(ValueError, match=r"steps of the shape \(batch, rows, columns, channels\), known but for the b"):
        layer_of("MyConvLSTM2D", 2, 3)(keras.Input((5, None, 4, 2)))
    with pytest.raises(ValueError, match=r"kernel_size=\(7, 7\).*images of the size \(6, 5\)"):
        layer_of("MyConvLSTM2D", 2, 7)(images(2))
    layer(images(2))
    # Twice as many channels would be convolved in two groups.
    with pytest.raises(ValueError, match="incompatible with the layer"):
        layer(images(2, channels=4))
    for wrong in (images(2, channels=4), images(2)[:, :, :1]):
        with pytest.raises(ValueError, match=r"must get images of the shape that it was built for, \(6, 5, 2\)"):
            MyRNN(layer.cell)(wrong)
    with pytest.raises(ValueError, match="Argument `initial_state`"):
        layer(images(2), initial_state=[np.zeros((3, 6, 5, 2), "float32")] * 2)
    with pytest.raises(TypeError, match=r"MyConvLSTM2D: .* unexpected|missing"):
        layer_of("MyConvLSTM2D", 2)


def test_a_stack_of_convolutional_cells():
    stack = [convolutional.MyConvLSTM2DCell(4, 3), convolutional.ConvGRU2DCell(2, 3)]
    assert tuple(MyRNN(stack)(np.zeros((2, 4, 6, 5, 3), "float32")).shape) == (2, 2, 1, 2)
