"""The loop of few rows that XLA compiles inside a graph."""

import itertools

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf

from keras_rnn_ext import (
    LRU,
    MLSTM,
    QRNN,
    MinGRU,
    MyBidirectional,
    MyDense,
    MyGRU,
    MyGRUCell,
    MyLSTM,
    MyLSTMCell,
    MyRNN,
    MySimpleRNN,
)
from keras_rnn_ext.core import strategy
from keras_rnn_ext.engine.tensorflow import fused
from tests.helpers import assert_close

SEQUENCES = tf.random.stateless_normal((2, 20, 3), (0, 0))
MASK = tf.random.stateless_uniform((2, 20), (0, 1)) < 0.6


@pytest.fixture
def runs(monkeypatch):
    """Counts how often the fused loop is put into a graph."""
    found, run = [], fused.FusedLoop.run
    monkeypatch.setattr(fused.FusedLoop, "run", lambda *arguments: found.append(1) or run(*arguments))
    return found


def in_graph(layer, *arguments, signature=None, **options):
    specs = signature or [tf.TensorSpec(each.shape, each.dtype) for each in arguments]
    return tf.function(lambda *given: layer(*given, **options), input_signature=specs, autograph=False)(*arguments)


@pytest.mark.parametrize(
    ("layer", "loops"),
    [
        (MySimpleRNN(4, return_sequences=True, return_state=True), 1),
        (MyLSTM(4, return_state=True), 1),
        (MyGRU(4, reset_after=False, go_backwards=True), 1),
        (MyRNN([MyLSTMCell(4), MyGRUCell(3)], return_sequences=True), 2),
        (MyBidirectional(MyLSTM(4, return_sequences=True)), 2),
    ],
)
@pytest.mark.parametrize("masked", [False, True])
def test_gives_what_an_eager_call_gives(layer, loops, masked, runs):
    mask = {"mask": MASK} if masked else {}
    expected = layer(SEQUENCES, training=False, **mask)
    assert not runs
    assert_close(in_graph(layer, SEQUENCES, **mask), expected, 1e-6)
    assert len(runs) == loops


def test_a_stateful_model_carries_its_state(runs):
    model = keras.Sequential([keras.Input(batch_shape=(2, 20, 3)), MyLSTM(4, stateful=True), MyDense(1)])
    expected = [model(SEQUENCES), model(SEQUENCES)]
    model.layers[0].reset_state()
    run = tf.function(model)
    for each in expected:
        assert_close(run(SEQUENCES), each, 1e-6)
    assert runs


def test_where_it_does_not_run(runs):
    layer = MyGRU(4)
    layer.build((None, None, 3))

    def gradient(sequences):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(sequences))
        return tape.gradient(loss, layer.trainable_variables)

    tf.function(gradient)(SEQUENCES)
    in_graph(layer, SEQUENCES[:, :7])
    in_graph(layer, tf.tile(SEQUENCES, (5, 1, 1)))
    in_graph(layer, SEQUENCES, signature=[tf.TensorSpec((None, 20, 3))])
    in_graph(layer, SEQUENCES, signature=[tf.TensorSpec((2, None, 3))])
    assert not runs


def test_gradient_through_a_graph_that_was_made_without_a_tape(runs):
    layer = MyLSTM(4)
    run = tf.function(layer)
    run(SEQUENCES)
    assert runs
    found = []
    for call in (run, layer):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(call(SEQUENCES) ** 2)
        found.append(tape.gradient(loss, layer.trainable_variables))
    assert_close(*found, 1e-5)


def test_not_where_xla_does_not_compile(monkeypatch):
    layer = MyLSTM(4)
    layer.build((2, 20, 3))
    monkeypatch.setattr(fused, "compiles", lambda: False)
    assert "fused loop: not used: XLA does not compile for this device" in layer.explain(batch=2, steps=20)


def test_explain():
    layer = MyLSTM(4)
    layer.build((2, 20, 3))
    assert layer.explain(batch=1, steps=80).startswith("backend tensorflow: fused loop")
    assert "these are unknown" in layer.explain(batch=1)
    exported = layer.explain(batch=1, steps=80, exported=True)
    assert exported.startswith("backend tensorflow: block loop")
    assert "fused loop: not used: the model is being exported" in exported
    assert "  exported: without the gradient of its own" in exported
    row = next(row for row in strategy.engine().strategies if row.name == "fused loop")
    assert isinstance(row, fused.FusedLoop)


def test_a_model_with_it_is_saved(tmp_path, runs):
    model = keras.Sequential([keras.Input(batch_shape=(2, 20, 3)), MyLSTM(4)])
    module = tf.Module()
    module.model, module.serve = model, tf.function(model, input_signature=[tf.TensorSpec((2, 20, 3))])
    tf.saved_model.save(module, tmp_path)
    assert runs
    loaded = tf.saved_model.load(tmp_path)
    assert_close(loaded.serve(SEQUENCES), np.asarray(model(SEQUENCES)), 1e-6)


def in_onnx(model, folder, sequences, **options):
    """What the model gives for the sequences, exported and run by onnxruntime."""
    path = (folder / "model.onnx").as_posix()
    model.export(path, format="onnx", verbose=False, **options)
    session = onnxruntime.InferenceSession(path)
    return session.run(None, {session.get_inputs()[0].name: np.asarray(sequences)})[0]


# What tf2onnx brings along is older than NumPy and protobuf.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_exporters_get_a_graph_without_it(tmp_path, runs):
    model = keras.Sequential([keras.Input((None, 3)), MyLSTM(4, return_sequences=True), MyGRU(4)])
    expected = np.asarray(model(SEQUENCES))
    outputs = in_onnx(model, tmp_path, SEQUENCES, input_signature=[tf.TensorSpec(SEQUENCES.shape)])
    assert_close(outputs, expected, 1e-5)
    assert not runs


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("layer", "steps", "return_sequences"),
    [
        *itertools.product((MySimpleRNN, MyLSTM, MyGRU), (None, 13), (False, True)),
        # A loop with an empty list, and complex numbers, are what ONNX does not take.
        *((layer, None, True) for layer in (MinGRU, QRNN, LRU)),
    ],
)
def test_onnx(layer, steps, return_sequences, tmp_path):
    model = keras.Sequential([keras.Input((steps, 3)), layer(4, return_sequences=return_sequences)])
    sequences = SEQUENCES[:, :13]
    expected = model(sequences)
    assert_close(in_onnx(model, tmp_path, sequences), expected, 1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_onnx_of_chunks(tmp_path):
    model = keras.Sequential([keras.Input((None, 3)), MLSTM(4, heads=2, return_sequences=True)])
    sequences = tf.random.stateless_normal((2, 70, 3), (0, 0))
    expected = model(sequences)
    assert "chunks" in model.layers[0].explain(exported=True).splitlines()[0]
    assert_close(in_onnx(model, tmp_path, sequences), expected, 1e-5)
