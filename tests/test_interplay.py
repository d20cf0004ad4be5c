"""With Keras's own wrappers, layers and cells, in every kind of model, both ways."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_rnn_ext
from keras_rnn_ext import (
    MyDense,
    MyEmbedding,
    MyGRU,
    MyGRUCell,
    MyLSTM,
    MyLSTMCell,
    MyRNN,
    MySimpleRNN,
    MySimpleRNNCell,
)
from tests.helpers import BACKEND, assert_close, to_numpy

NAMES = ["SimpleRNN", "LSTM", "GRU"]
SEQUENCES = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
MASK = np.array([[True, True, False, True, False], [True, True, True, False, False]])


def twins(name):
    return getattr(keras_rnn_ext, f"My{name}"), getattr(layers, name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mask", [None, MASK], ids=["unmasked", "masked"])
def test_our_cell_in_their_rnn_and_theirs_in_ours(name, mask):
    ours, theirs = twins(f"{name}Cell")
    reference = layers.RNN(theirs(4), return_sequences=True, return_state=True)
    reference.build(SEQUENCES.shape)
    expected = to_numpy(reference(SEQUENCES, mask=mask))
    for layer in (
        layers.RNN(ours(4), return_sequences=True, return_state=True),
        MyRNN(theirs(4), return_sequences=True, return_state=True),
        MyRNN(ours(4), return_sequences=True, return_state=True),
    ):
        layer.build(SEQUENCES.shape)
        layer.set_weights(reference.get_weights())
        assert_close(to_numpy(layer(SEQUENCES, mask=mask)), expected, 1e-6)


@pytest.mark.parametrize("stack", [layers.StackedRNNCells, keras_rnn_ext.MyStackedRNNCells])
@pytest.mark.parametrize("loop", [layers.RNN, MyRNN])
def test_stacks_of_both(stack, loop):
    def build(cells):
        layer = loop(stack(cells), return_sequences=True)
        layer.build(SEQUENCES.shape)
        return layer

    mixed = build([MyLSTMCell(4), layers.GRUCell(3), MySimpleRNNCell(2)])
    pure = build([layers.LSTMCell(4), layers.GRUCell(3), layers.SimpleRNNCell(2)])
    mixed.set_weights(pure.get_weights())
    assert_close(to_numpy(mixed(SEQUENCES)), to_numpy(pure(SEQUENCES)), 1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("loop", [layers.RNN, MyRNN])
def test_dropout_of_cells_in_either_loop(name, loop):
    for cell in twins(f"{name}Cell"):
        layer = loop(cell(4, dropout=0.5, recurrent_dropout=0.5, seed=1), return_sequences=True)
        outputs = [to_numpy(layer(SEQUENCES, training=True)) for _ in range(2)]
        assert not np.array_equal(*outputs)
        np.testing.assert_array_equal(to_numpy(layer(SEQUENCES)), to_numpy(layer(SEQUENCES, training=False)))


@pytest.mark.parametrize("name", NAMES)
def test_our_layers_in_their_wrappers(name):
    ours, theirs = twins(name)
    inputs = np.random.default_rng(1).normal(size=(2, 3, 5, 3)).astype("float32")
    for wrapper, sequences in (
        (lambda layer: layers.Bidirectional(layer), SEQUENCES),
        (lambda layer: layers.TimeDistributed(layer), inputs),
    ):
        left, right = wrapper(ours(4, return_sequences=True)), wrapper(theirs(4, return_sequences=True))
        left.build(sequences.shape)
        right.build(sequences.shape)
        left.set_weights(right.get_weights())
        assert_close(to_numpy(left(sequences)), to_numpy(right(sequences)), 1e-6)
    masked_left = layers.Bidirectional(ours(4, return_sequences=True))
    masked_right = layers.Bidirectional(theirs(4, return_sequences=True))
    for layer in (masked_left, masked_right):
        layer.build(SEQUENCES.shape)
    masked_left.set_weights(masked_right.get_weights())
    assert_close(to_numpy(masked_left(SEQUENCES, mask=MASK)), to_numpy(masked_right(SEQUENCES, mask=MASK)), 1e-6)


def test_is_a_keras_rnn():
    for layer in (MySimpleRNN(2), MyLSTM(2), MyGRU(2), MyRNN(MyGRUCell(2))):
        assert isinstance(layer, layers.RNN)
    assert isinstance(keras_rnn_ext.MyBidirectional(MyGRU(2)), layers.Bidirectional)
    assert isinstance(keras_rnn_ext.MyStackedRNNCells([MyGRUCell(2)]), layers.StackedRNNCells)


WORDS = np.random.default_rng(0).integers(0, 9, (32, 6))
LABELS = (WORDS[:, :1] > 4).astype("float32")


def sequential():
    return keras.Sequential([MyEmbedding(9, 4, mask_zero=True), MyLSTM(6, return_sequences=True), MyGRU(5), MyDense(1)])


def functional():
    words = keras.Input((None,), dtype="int32")
    sequence, *states = MyLSTM(5, return_sequences=True, return_state=True)(MyEmbedding(9, 4, mask_zero=True)(words))
    # An encoder's states start a decoder.
    return keras.Model(words, MyDense(1)(MyLSTM(5)(sequence, initial_state=states)))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.embedding = MyEmbedding(9, 4)
        self.recurrent = MySimpleRNN(6)
        self.head = MyDense(1)

    def call(self, words, training=False):
        return self.head(self.recurrent(self.embedding(words), training=training))


class Unrolled(keras.Model):
    """Cells, by hand, as in many tutorials."""

    def __init__(self):
        super().__init__()
        self.embedding = MyEmbedding(9, 4)
        self.cells = [MyGRUCell(5, dropout=0.2, seed=1), MyLSTMCell(4)]
        self.head = MyDense(1)

    def call(self, words, training=False):
        sequence = self.embedding(words)
        states = [cell.get_initial_state(ops.shape(words)[0]) for cell in self.cells]
        for step in range(words.shape[1]):
            output = sequence[:, step]
            for number, cell in enumerate(self.cells):
                output, states[number] = cell(output, states[number], training=training)
        for cell in self.cells:
            cell.reset_dropout_mask()
            cell.reset_recurrent_dropout_mask()
        return self.head(output)


@pytest.mark.parametrize("build", [sequential, functional, Subclassed, Unrolled])
def test_models_train_evaluate_and_predict(build):
    keras.utils.set_random_seed(1)
    model = build()
    model.compile(keras.optimizers.Adam(0.02), keras.losses.BinaryCrossentropy(from_logits=True))
    before = model.evaluate(WORDS, LABELS, verbose=0)
    # The last batch is smaller.
    model.fit(WORDS, LABELS, epochs=8, batch_size=12, verbose=0)
    assert model.evaluate(WORDS, LABELS, verbose=0) < 0.9 * before
    assert model.predict(WORDS, verbose=0).shape == (32, 1)
    loss = model.train_on_batch(WORDS, LABELS)
    assert np.isfinite(loss)


@pytest.mark.parametrize("steps", [None, 6])
@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize("name", NAMES)
def test_symbolic_shapes(name, batch, steps):
    ours, theirs = twins(name)
    for options in (
        {},
        {"return_sequences": True},
        {"return_state": True},
        {"return_sequences": True, "return_state": True},
    ):
        inputs = keras.Input((steps, 3), batch_size=batch)
        left, right = ours(4, **options)(inputs), theirs(4, **options)(inputs)
        shapes = [[tuple(tensor.shape) for tensor in keras.tree.flatten(side)] for side in (left, right)]
        assert shapes[0] == shapes[1]
        assert (
            tuple(ours(4, **options).compute_output_shape((batch, steps, 3)))[:1]
            == tuple(theirs(4, **options).compute_output_shape((batch, steps, 3)))[:1]
        )


@pytest.mark.parametrize("shape", [(1, 5, 3), (2, 1, 3), (2, 5, 1), (1, 1, 1)])
@pytest.mark.parametrize("name", NAMES)
def test_ones(name, shape):
    ours, theirs = twins(name)
    left, right = ours(1, return_sequences=True), theirs(1, return_sequences=True)
    left.build(shape)
    right.build(shape)
    left.set_weights(right.get_weights())
    inputs = np.ones(shape, "float32")
    assert_close(to_numpy(left(inputs)), to_numpy(right(inputs)), 1e-6)


def test_an_activation_with_weights_of_its_own():
    """A step then depends on more than its arguments, so it must not be compiled once and for all."""
    layer = MySimpleRNN(4, activation=layers.PReLU(alpha_initializer="zeros"))
    before = to_numpy(layer(SEQUENCES))
    layer.cell.activation.set_weights([np.ones((4,))])
    after = to_numpy(layer(SEQUENCES))
    assert not np.allclose(before, after)
    assert "runs uncompiled" in layer.explain(eager=True) or BACKEND == "torch"
    assert len(layer.trainable_variables) == 4


def test_a_frozen_layer_does_not_move():
    model = keras.Sequential([MyEmbedding(9, 4), MyGRU(5), MyDense(1)])
    model.compile("sgd", "mse")
    model(WORDS)
    model.layers[1].trainable = False
    before = model.layers[1].get_weights()
    model.fit(WORDS, LABELS, verbose=0)
    assert_close(model.layers[1].get_weights(), before, 0)


def test_regularizers_and_constraints_act():
    layer = MyLSTM(3, kernel_regularizer="l2", recurrent_regularizer="l1", bias_constraint="non_neg")
    layer(SEQUENCES)
    kernel, recurrent_kernel, _ = layer.get_weights()
    expected = [0.01 * np.sum(kernel**2), 0.01 * np.abs(recurrent_kernel).sum()]
    np.testing.assert_allclose(to_numpy(layer.losses), expected, rtol=1e-5)
    assert layer.cell.bias.constraint is layer.bias_constraint


def test_explain_says_what_runs_and_why_not_the_rest():
    text = MyRNN([MyLSTMCell(2), layers.GRUCell(2)]).explain()
    assert text.startswith(f"backend {BACKEND}: cell by cell\n  cell by cell: runs")
    text = MyRNN(layers.GRUCell(2)).explain(eager=True)
    assert "projected loop: not used: only a cell of this package splits its step" in text
    assert "\n  loop: runs" in text or "\n  loop with variables: runs" in text
    both = keras_rnn_ext.MyBidirectional(MyGRU(2, reset_after=False)).explain(masked=True)
    assert both.count(f"backend {BACKEND}: projected loop") == 2
