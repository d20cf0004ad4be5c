"""cuDNN's layers, without a GPU: when they are chosen, what they are given, and what is made of what they give.

In the place of the kernel stands one of a few lines, with cuDNN's conventions.
"""

import importlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_rnn_ext
from keras_rnn_ext import MyBidirectional, MyGRU, MyLSTM, MyRNN, MySimpleRNN
from keras_rnn_ext.core import strategy
from keras_rnn_ext.engine.tensorflow import cudnn
from tests.helpers import assert_close

LAYERS = [MySimpleRNN, MyLSTM, MyGRU]
SEQUENCES = np.random.default_rng(0).normal(size=(3, 6, 2)).astype("float32")
# Whole, with holes, and without a valid step.
MASK = np.array([[1, 1, 1, 1, 1, 1], [0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]], bool)


def fake_kernel(
    input, input_h, input_c, params, is_training, rnn_mode, sequence_lengths, time_major
):  # the op's own names
    """`CudnnRNNV3`: parameters one after the other, gates in cuDNN's order, zeros behind the end of a row."""
    assert is_training
    if not time_major:
        input, input_h = tf.transpose(input, [1, 0, 2]), tf.transpose(input_h, [1, 0, 2])
        input_c = tf.transpose(input_c, [1, 0, 2]) if rnn_mode == "lstm" else input_c
    gates = {"lstm": 4, "gru": 3}.get(rnn_mode, 1)
    features, units = input.shape[-1], input_h.shape[-1]
    sizes = [gates * units * features, gates * units * units, gates * units, gates * units]
    kernel, recurrent_kernel, bias, recurrent_bias = tf.split(params, sizes)
    kernel = tf.transpose(tf.reshape(kernel, (gates * units, features)))
    recurrent_kernel = tf.transpose(tf.reshape(recurrent_kernel, (gates * units, units)))
    hidden, cell, outputs = input_h[0], input_c[0] if rnn_mode == "lstm" else input_c, []
    for time in range(input.shape[0]):
        left = tf.split(input[time] @ kernel + bias, gates, axis=1)
        right = tf.split(hidden @ recurrent_kernel + recurrent_bias, gates, axis=1)
        new_cell = cell
        if rnn_mode == "lstm":
            i, f, g, o = (one + other for one, other in zip(left, right, strict=True))
            new_cell = tf.sigmoid(f) * cell + tf.sigmoid(i) * tf.tanh(g)
            new = tf.sigmoid(o) * tf.tanh(new_cell)
        elif rnn_mode == "gru":
            r, z = (tf.sigmoid(left[place] + right[place]) for place in (0, 1))
            new = (1 - z) * tf.tanh(left[2] + r * right[2]) + z * hidden
        else:
            new = {"rnn_tanh": tf.tanh, "rnn_relu": tf.nn.relu}[rnn_mode](left[0] + right[0])
        runs = (time < sequence_lengths)[:, None]
        outputs.append(tf.where(runs, new, tf.zeros_like(new)))
        hidden = tf.where(runs, new, hidden)
        cell = tf.where(runs, new_cell, cell) if rnn_mode == "lstm" else cell
    outputs, hidden = tf.stack(outputs), hidden[None]
    cell = cell[None] if rnn_mode == "lstm" else tf.zeros((0,))
    if not time_major:
        outputs, hidden = tf.transpose(outputs, [1, 0, 2]), tf.transpose(hidden, [1, 0, 2])
        cell = tf.transpose(cell, [1, 0, 2]) if rnn_mode == "lstm" else cell
    return outputs, hidden, cell, tf.zeros((0,)), tf.zeros((0,), tf.int8)


@pytest.fixture
def calls(monkeypatch):
    """A machine with a GPU, as far as anybody asks; the arguments of the kernel's calls."""
    calls = []

    def kernel(**arguments):
        calls.append(arguments)
        return fake_kernel(**arguments)

    monkeypatch.setattr(cudnn, "has_gpu", lambda: True)
    monkeypatch.setattr(tf.raw_ops, "CudnnRNNV3", kernel)
    return calls


def row(name):
    return next(each for each in strategy.engine().strategies if each.name == name)


def prepared(layer, mask=None, training=True):
    layer.build(SEQUENCES.shape)
    for variable in layer.trainable_variables:
        variable.assign(tf.random.stateless_normal(variable.shape, (1, len(variable.shape))))
    states = [tf.random.stateless_normal((3, 4), (2, place)) for place in range(len(layer.cell.state_sizes))]
    _, plan, feed, _ = layer.prepare(SEQUENCES, states, None if mask is None else tf.constant(mask), training)
    return plan, feed


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize(
    ("layer", "options"),
    [
        *((layer, {}) for layer in LAYERS),
        *((layer, {"use_bias": False}) for layer in LAYERS),
        *((layer, {"dropout": 0.5, "seed": 1}) for layer in LAYERS),
        (MySimpleRNN, {"activation": "relu"}),
        (MyLSTM, {"go_backwards": True}),
    ],
)
def test_values_and_gradients_are_those_of_the_loop(calls, layer, options, return_sequences, masked):
    plan, feed = prepared(layer(4, return_sequences=return_sequences, **options), MASK if masked else None)
    assert strategy.choose(plan) is row("cuDNN layer")
    tensors = [feed.inputs, *feed.states, *feed.weights.values()]
    found = []
    for name in ("cuDNN layer", "loop"):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            outputs, states = row(name).run(plan, feed)
            loss = sum(tf.reduce_sum(tf.sin(each)) for each in (outputs, *states))
        found.append([outputs, *states, *tape.gradient(loss, tensors)])
    assert_close(*found, 1e-5)
    assert len(calls) == 1


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_the_kernel_gets_what_keras_gives_it(calls, name, monkeypatch):
    keras_rnn = importlib.import_module("keras.src.backend.tensorflow.rnn")
    monkeypatch.setattr(keras_rnn, "_is_gpu_available", lambda: True)
    theirs, ours = getattr(keras.layers, name)(4), getattr(keras_rnn_ext, f"My{name}")(4)
    for layer in (theirs, ours):
        layer.build(SEQUENCES.shape)
        layer.set_weights([np.random.default_rng(place).normal(size=weight.shape)
                           for place, weight in enumerate(layer.get_weights())])  # fmt: skip
    right_padded = np.arange(6) < np.array([[6], [2], [4]])
    _, plan, feed, _ = ours.prepare(SEQUENCES, mask=tf.constant(right_padded))
    assert_close(row("cuDNN layer").run(plan, feed)[0], theirs(SEQUENCES, mask=right_padded), 1e-6)
    own, given = calls
    assert own["rnn_mode"] == given["rnn_mode"]
    assert own["is_training"] == given["is_training"]
    assert own["sequence_lengths"].numpy().tolist() == given["sequence_lengths"].numpy().tolist() == [6, 2, 4]
    assert_close(own["input_h"], tf.transpose(given["input_h"], [1, 0, 2]), 0)
    # The sum of the two biases is what counts in an LSTM; a GRU has them apart.
    biases = 2 * 4 * (4 if name == "LSTM" else 3)
    assert_close(own["params"][:-biases], given["params"][:-biases], 0)
    parts = [tf.reshape(each["params"][-biases:], (2, -1)) for each in (own, given)]
    assert_close(*(tf.reduce_sum(part, 0) if name == "LSTM" else part for part in parts), 0)


@pytest.mark.parametrize(
    ("layer", "facts", "reason"),
    [
        (MyLSTM(4), {}, None),
        (MyLSTM(4), {"training": True, "masked": True}, None),
        (MyLSTM(4, recurrent_dropout=0.5), {}, None),
        (MyLSTM(4, recurrent_dropout=0.5), {"training": True}, "cuDNN's layers have no recurrent dropout"),
        (MyLSTM(4, activation="softsign"), {}, "cuDNN has no layer for this cell with these activations"),
        (MyGRU(4, reset_after=False), {}, "cuDNN has no layer for this cell with these activations"),
        (MyGRU(4, use_cudnn=False), {}, "`use_cudnn=False`"),
        (MyGRU(4, unroll=True), {}, "`unroll=True`"),
        (MyGRU(4, recompute=True), {}, "`recompute=True`, and cuDNN keeps what it needs"),
        (MyGRU(4), {"steps": 0}, "there are no steps"),
    ],
)
def test_when_it_runs(calls, layer, facts, reason):
    text = layer.explain(**facts)
    if reason is None:
        assert text.startswith("backend tensorflow: cuDNN layer")
    else:
        assert f"cuDNN layer: not used: {reason} " in text
        assert not text.startswith("backend tensorflow: cuDNN layer")


def test_without_a_gpu():
    assert "cuDNN layer: not used: TensorFlow sees no GPU with CUDA " in MyLSTM(4).explain()
    assert MyLSTM(4).supports_jit


@pytest.mark.parametrize(
    ("layer", "supports"),
    [
        (lambda: MyLSTM(4), False),
        # At inference it has no dropout.
        (lambda: MyLSTM(4, recurrent_dropout=0.5), False),
        (lambda: MyRNN([MyLSTM(4).cell, MyGRU(4).cell]), False),
        (lambda: MyLSTM(4, use_cudnn=False), True),
        (lambda: MyGRU(4, reset_after=False), True),
    ],
)
def test_xla_is_not_asked_for_what_it_does_not_know(calls, layer, supports):
    assert layer().supports_jit is supports
    for wrap in (lambda made: [made], lambda made: [MyBidirectional(made)]):
        if isinstance(layer(), (MyLSTM, MyGRU)):
            model = keras.Sequential([keras.Input((6, 2)), *wrap(layer())])
            model.compile("sgd", "mse", jit_compile="auto")
            model.build()
            assert all(each.supports_jit for each in model._flatten_layers()) is supports


def test_use_cudnn_true(calls):
    MyLSTM(4, use_cudnn=True)(SEQUENCES)
    assert len(calls) == 1
    with pytest.raises(ValueError, match="use_cudnn=True was specified, but cuDNN does not serve"):
        MyLSTM(4, use_cudnn=True, activation="relu")(SEQUENCES)


def test_fit_and_predict(calls):
    model = keras.Sequential([keras.Input((6, 2)), MyLSTM(4, return_sequences=True), MyGRU(4), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.05), "mse")
    targets = SEQUENCES[:, 0, :1]
    losses = model.fit(SEQUENCES, targets, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert model.predict(SEQUENCES, verbose=0).shape == (3, 1)
    assert {each["rnn_mode"] for each in calls} == {"lstm", "gru"}
