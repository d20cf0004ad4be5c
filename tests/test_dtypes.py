"""Dtype policies: the dtypes of weights, outputs and states, the numbers, and finite gradients."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_rnn_ext
from keras_rnn_ext import MyBidirectional, MyGRUCell, MyLSTMCell, MyRNN
from tests.helpers import BACKEND, assert_close, precision, to_numpy, values_and_gradients

NAMES = ["SimpleRNN", "LSTM", "GRU"]
POLICIES = ["float64", "float32", "mixed_bfloat16", "mixed_float16", "bfloat16"]
SEQUENCES = np.random.default_rng(0).normal(size=(2, 5, 3))
MASK = np.array([[True, True, False, True, False], [False, True, True, True, True]])

# Half precision against the same weights in float32: a few units in the last place, 8 or 11 bits, for each of 5 steps.
HALF = {"bfloat16": 5 * 2**-7, "float16": 5 * 2**-10}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mask", [None, MASK], ids=["unmasked", "masked"])
def test_layers_under_every_policy(name, policy, mask):
    with precision(policy):
        options = {"dtype": policy, "return_sequences": True, "return_state": True}
        # Keras cannot make orthogonal weights in bfloat16 on TensorFlow, nor run SimpleRNN in float64 on JAX.
        possible = {"recurrent_initializer": "glorot_uniform"}
        if BACKEND == "jax" and policy == "float64":
            possible["dtype"] = "float32"
        theirs = getattr(keras.layers, name)(4, **{**options, **possible})
        theirs.build(SEQUENCES.shape)
        layer = getattr(keras_rnn_ext, f"My{name}")(4, **options)
        layer.build(SEQUENCES.shape)
        layer.set_weights(theirs.get_weights())
        inputs = ops.cast(ops.convert_to_tensor(SEQUENCES), layer.compute_dtype)
        outputs = layer(inputs, mask=mask)
        for tensor in keras.tree.flatten(outputs):
            assert keras.backend.standardize_dtype(tensor.dtype) == layer.compute_dtype
        assert {weight.dtype for weight in layer.weights} == {layer.variable_dtype}
        assert layer.cell.dtype_policy == layer.dtype_policy

        rtol = HALF.get(layer.compute_dtype, 1e-6)
        expected = to_numpy(theirs(inputs, mask=mask))
        actual = [value.astype("float64") for value in to_numpy(outputs)]
        assert_close(actual, [value.astype("float64") for value in expected], rtol)

        _, gradients = values_and_gradients(lambda x: layer(x, mask=mask), [inputs], layer.trainable_variables)
        for gradient in gradients:
            assert np.isfinite(gradient.astype("float64")).all()
            assert gradient.astype("float64").any()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_training_under_mixed_precision(policy):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5, 3))
    sequence = keras_rnn_ext.MyLSTM(8, dtype=policy, return_sequences=True, dropout=0.1, recurrent_dropout=0.1)(inputs)
    model = keras.Model(inputs, keras_rnn_ext.MyDense(1)(keras_rnn_ext.MyGRU(8, dtype=policy)(sequence)))
    model.compile(keras.optimizers.Adam(0.02), "mse")
    generator = np.random.default_rng(0)
    sequences = generator.normal(size=(64, 5, 3))
    losses = model.fit(sequences, sequences[:, 0, :1], epochs=10, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("dtype", ["int32", "float64", "bool"])
def test_inputs_of_another_type(dtype):
    inputs = np.ones((2, 5, 3), dtype)
    for name in NAMES:
        layer = getattr(keras_rnn_ext, f"My{name}")(4)
        output = layer(ops.convert_to_tensor(inputs))
        assert keras.backend.standardize_dtype(output.dtype) == "float32"
        assert_close(to_numpy(output), to_numpy(layer(np.ones((2, 5, 3), "float32"))), 1e-6)


@pytest.mark.parametrize("mask", [None, MASK], ids=["unmasked", "masked"])
def test_a_cell_with_a_policy_of_its_own(mask):
    layer = MyRNN([MyLSTMCell(4, dtype="mixed_bfloat16"), MyGRUCell(3)], return_state=True)
    output, *states = layer(SEQUENCES.astype("float32"), mask=mask)
    for tensor in keras.tree.flatten([output, states]):
        assert keras.backend.standardize_dtype(tensor.dtype) == "float32"
    plain = MyRNN([MyLSTMCell(4), MyGRUCell(3)])
    plain.build(SEQUENCES.shape)
    plain.set_weights(layer.get_weights())
    assert_close(to_numpy(output), to_numpy(plain(SEQUENCES.astype("float32"), mask=mask)), HALF["bfloat16"])


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float32"])
def test_states_are_carried_in_the_variable_dtype(policy):
    layer = MyBidirectional(keras_rnn_ext.MyLSTM(4, stateful=True, dtype=policy))
    layer(SEQUENCES.astype("float32"))
    assert {variable.dtype for variable in layer.states} == {"float32"}
    layer(SEQUENCES.astype("float32"))
    assert all(np.isfinite(state).all() for state in layer.get_state())
