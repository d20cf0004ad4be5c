"""Numbers of our layers against Keras's: values, states, and gradients of inputs, states and weights."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_rnn_ext
from tests.helpers import BACKEND, RTOL, WIDEST, assert_close, precision, to_numpy, values_and_gradients

TWINS = ["SimpleRNN", "LSTM", "GRU"]
MASKS = ["none", "right", "left", "random", "all"]


@st.composite
def problems(draw, name):
    """Arguments of a layer, and the call to make."""
    options = {
        "units": draw(st.integers(1, 5)),
        "activation": draw(st.sampled_from(["tanh", "softsign", None])),
        "use_bias": draw(st.booleans()),
        "go_backwards": draw(st.booleans()),
        "return_sequences": draw(st.booleans()),
        "unroll": draw(st.booleans()),
    }
    if name != "SimpleRNN":
        options["recurrent_activation"] = draw(st.sampled_from(["sigmoid", "hard_sigmoid"]))
        options["implementation"] = draw(st.sampled_from([1, 2]))
    if name == "GRU":
        options["reset_after"] = draw(st.booleans())
    if name == "LSTM":
        options["unit_forget_bias"] = draw(st.booleans())
    mask = draw(st.sampled_from(MASKS))
    starts = draw(st.booleans())
    if BACKEND == "jax" and starts and mask != "none":
        starts = False  # G5: Keras on JAX gives the initial state at masked steps before the first valid one.
    if BACKEND == "torch" and options["go_backwards"] and options["unroll"]:
        mask = "none"  # Keras on PyTorch fails: it flips the unbound mask, a tuple.
    if options["return_sequences"]:
        # G12 else. Unrolled, Keras on JAX forgets it (G6), and elsewhere goes backwards with the mask unturned.
        wrong = options["unroll"] and (BACKEND == "jax" or options["go_backwards"])
        options["zero_output_for_mask"] = draw(st.booleans()) and not wrong
    sizes = {name: draw(st.integers(1, top)) for name, top in (("batch", 4), ("steps", 6), ("features", 4))}
    return options, sizes, mask, starts, draw(st.integers(0, 10_000))


def make_mask(kind, batch, steps, generator):
    lengths = generator.integers(0, steps + 1, (batch, 1))
    places = np.arange(steps)[None]
    return {
        "none": None,
        "right": places < lengths,
        "left": places >= steps - lengths,
        "random": generator.random((batch, steps)) < 0.5,
        "all": np.zeros((batch, steps), bool),
    }[kind]


@pytest.mark.parametrize("dtype", sorted({WIDEST, "float32"}))
@pytest.mark.parametrize("name", TWINS)
def test_layer_has_the_numbers_of_the_built_in(name, dtype):
    @settings(max_examples=2 * settings().max_examples)
    @given(problem=problems(name))
    def holds(problem):
        options, sizes, mask_kind, starts, seed = problem
        generator = np.random.default_rng(seed)
        options = {**options, "return_state": True, "dtype": dtype}
        theirs = getattr(keras.layers, name)(**options)
        ours = getattr(keras_rnn_ext, f"My{name}")(**options)
        inputs = generator.normal(size=(sizes["batch"], sizes["steps"], sizes["features"])).astype(dtype)
        theirs.build(inputs.shape)
        ours.build(inputs.shape)
        weights = [generator.normal(size=weight.shape).astype(dtype) for weight in theirs.weights]
        theirs.set_weights(weights)
        ours.set_weights(theirs.get_weights())
        mask = make_mask(mask_kind, sizes["batch"], sizes["steps"], generator)
        states = []
        if starts:
            states = [generator.normal(size=(sizes["batch"], options["units"])).astype(dtype) for _ in ours.state_size]

        def call(layer):
            return lambda inputs, *states: layer(inputs, initial_state=list(states) or None, mask=mask)

        expected, expected_gradients = values_and_gradients(call(theirs), [inputs, *states], theirs.trainable_variables)
        actual, actual_gradients = values_and_gradients(call(ours), [inputs, *states], ours.trainable_variables)
        assert_close(actual, expected, RTOL[dtype])
        # Gradients are sums over all steps, taken in another order: ours adds up one large product, Keras one
        # small product per step. Their rounding is that of the largest term, not of the sum.
        assert_close(actual_gradients, expected_gradients, 10 * RTOL[dtype], name="gradient")

    with precision(dtype):
        holds()


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("merge_mode", ["concat", "sum", "mul", "ave", None])
def test_bidirectional_has_the_numbers_of_the_built_in(name, merge_mode):
    @settings(max_examples=max(1, settings().max_examples // 3))
    @given(
        units=st.integers(1, 4),
        return_sequences=st.booleans(),
        return_state=st.booleans(),
        mask_kind=st.sampled_from(MASKS),
        starts=st.booleans(),
        seed=st.integers(0, 1000),
    )
    def holds(units, return_sequences, return_state, mask_kind, starts, seed):
        generator = np.random.default_rng(seed)
        starts = starts and (BACKEND != "jax" or mask_kind == "none")  # G5
        # G12: a Bidirectional of Keras zeroes masked outputs of sequences only, as ours does.
        options = {"units": units, "return_sequences": return_sequences, "return_state": return_state}
        theirs = keras.layers.Bidirectional(getattr(keras.layers, name)(**options), merge_mode=merge_mode)
        ours = keras_rnn_ext.MyBidirectional(getattr(keras_rnn_ext, f"My{name}")(**options), merge_mode=merge_mode)
        inputs = generator.normal(size=(3, 4, 2)).astype("float32")
        mask = make_mask(mask_kind, 3, 4, generator)
        theirs.build(inputs.shape)
        ours.build(inputs.shape)
        ours.set_weights(theirs.get_weights())
        count = len(ours.forward_layer.state_size) + len(ours.backward_layer.state_size)
        states = [generator.normal(size=(3, units)).astype("float32") for _ in range(count)] if starts else None
        expected = theirs(inputs, initial_state=states, mask=mask)
        assert_close(to_numpy(ours(inputs, initial_state=states, mask=mask)), to_numpy(expected), RTOL["float32"])
        assert ours.compute_output_shape(inputs.shape) == theirs.compute_output_shape(inputs.shape)

    holds()


@pytest.mark.parametrize("name", TWINS)
def test_cell_has_the_numbers_of_the_built_in(name):
    @given(
        units=st.integers(1, 5),
        listed=st.booleans(),
        batch=st.integers(1, 4),
        features=st.integers(1, 4),
        seed=st.integers(0, 1000),
    )
    def holds(units, listed, batch, features, seed):
        generator = np.random.default_rng(seed)
        theirs = getattr(keras.layers, f"{name}Cell")(units)
        ours = getattr(keras_rnn_ext, f"My{name}Cell")(units)
        inputs = generator.normal(size=(batch, features)).astype("float32")
        states = [keras.ops.convert_to_tensor(generator.normal(size=(batch, units)).astype("float32")) for _ in "hc"]
        states = states if name == "LSTM" else states[:1]
        given_states = states if listed or name == "LSTM" else states[0]
        expected = theirs(inputs, given_states)
        ours.build(inputs.shape)
        ours.set_weights(theirs.get_weights())
        assert_close(to_numpy(ours(inputs, given_states)), to_numpy(expected), RTOL["float32"])

    holds()


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("initializer", ["random_normal", "glorot_uniform"])
def test_weights_start_as_those_of_the_built_in(name, initializer):
    options = {
        "units": 3,
        "kernel_initializer": keras.initializers.GlorotUniform(seed=1),
        "recurrent_initializer": keras.initializers.Orthogonal(seed=2),
        "bias_initializer": keras.initializers.RandomNormal(seed=3),
    }
    theirs = getattr(keras.layers, name)(**options)
    ours = getattr(keras_rnn_ext, f"My{name}")(**options)
    for layer in (theirs, ours):
        layer.build((2, 4, 5))
    for left, right in zip(ours.weights, theirs.weights, strict=True):
        assert left.name == right.name
        np.testing.assert_array_equal(to_numpy(left), to_numpy(right))


@pytest.mark.parametrize("name", TWINS)
def test_dropout_is_one_mask_per_sequence_and_keeps_the_mean(name):
    layer = getattr(keras_rnn_ext, f"My{name}")(
        1, dropout=0.4, seed=1, activation=None, kernel_initializer="ones", recurrent_initializer="zeros"
    )
    cell = layer.cell
    noise = cell.draw_noise(keras.ops.ones((4000, 3)), [keras.ops.ones((4000, 1))], True)
    mask = to_numpy(noise["inputs"])
    np.testing.assert_allclose(sorted(set(mask.ravel())), [0.0, 1 / 0.6], rtol=1e-6)
    # 12,000 draws: the mean of 1 has a standard deviation of 0.0075.
    assert abs(mask.mean() - 1.0) < 0.04
    inputs = np.ones((5, 4, 3), "float32")
    if name == "SimpleRNN":
        layer.return_sequences = True
        outputs = to_numpy(layer(inputs, training=True))
        np.testing.assert_array_equal(outputs, np.repeat(outputs[:, :1], 4, axis=1))
    assert not cell.draw_noise(keras.ops.ones((4, 3)), [keras.ops.ones((4, 1))], False)
