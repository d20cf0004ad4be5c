"""Models step by step give what they give for the whole sequence, whatever they are made of."""

import threading

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

from keras_rnn_ext import (
    MyBidirectional,
    MyConvLSTM2D,
    MyDense,
    MyGRU,
    MyGRUCell,
    MyLSTM,
    MyLSTMCell,
    MyRNN,
    MySimpleRNN,
    ResidualWrapper,
    get_states,
)
from keras_rnn_ext.registry import get, list_cells
from keras_rnn_ext.streaming import Stream, step_model
from keras_rnn_ext.streaming.programs import blocks
from keras_rnn_ext.streaming.step import input_structure
from tests.helpers import assert_close, to_numpy

STEPS = 11


def sequential(*parts, shape=(None, 3), **options):
    return keras.Sequential([keras.Input(shape, **options), *parts])


def normalized():
    """Normalisation layers that have seen data."""
    seen = layers.Normalization()
    seen.adapt(np.random.default_rng(1).normal(2, 3, (5, 4, 3)))
    parts = [seen, MyLSTM(4, return_sequences=True), layers.LayerNormalization(), layers.BatchNormalization()]
    model = sequential(*parts, MyDense(2))
    statistics = np.random.default_rng(2).uniform(0.5, 2, (2, 4))
    model.layers[3].moving_mean.assign(statistics[0])
    model.layers[3].moving_variance.assign(statistics[1])
    return model


def with_inputs_and_outputs_by_name():
    inputs = {"left": keras.Input((None, 3), name="left"), "right": keras.Input((None, 2), name="right")}
    both = layers.Concatenate()([inputs["left"], inputs["right"]])
    hidden, h, c = MyLSTM(4, return_sequences=True, return_state=True)(both)
    outputs = {"each": MyDense(2)(hidden), "last": MyDense(3)(MyGRU(3)(hidden)), "state": ops.concatenate([h, c])}
    return keras.Model(inputs, outputs)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.convolution = layers.Conv1D(4, 3, padding="causal", activation="relu")
        self.gru, self.head = MyGRU(4, return_sequences=True), MyDense(2)

    def call(self, inputs):
        return self.head(self.gru(self.convolution(inputs)) + ops.tanh(inputs[..., :1]))


def subclassed():
    model = Subclassed()
    model(np.zeros((1, 4, 3), "float32"))
    return model


def encoder_and_decoder():
    """What comes behind the last output reads no steps of the input, though it is recurrent."""
    inputs = keras.Input((None, 3))
    repeated = layers.RepeatVector(4)(MyGRU(4)(inputs))
    return keras.Model(inputs, MyBidirectional(MyGRU(3, return_sequences=True))(repeated))


def time_major():
    inputs = keras.Input((None, 3))
    turned = ops.transpose(inputs, (1, 0, 2))
    return keras.Model(inputs, ops.transpose(MyGRU(4, return_sequences=True, time_major=True)(turned), (1, 0, 2)))


MODELS = {
    "two layers": lambda: sequential(MyLSTM(5, return_sequences=True), MyGRU(4, return_sequences=True), MyDense(2)),
    "the last output": lambda: sequential(MyLSTM(5, return_sequences=True), MyGRU(4), MyDense(2)),
    "a fixed number of steps": lambda: sequential(MySimpleRNN(4, return_sequences=True), shape=(STEPS, 3)),
    "normalisation": normalized,
    "convolutions": lambda: sequential(
        layers.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="relu"),
        MyLSTM(4, return_sequences=True),
        layers.Conv1D(2, 2, padding="causal", groups=2),
    ),
    "convolutions alone": lambda: sequential(*(layers.Conv1D(4, 2, padding="causal", dilation_rate=d) for d in (1, 4))),
    "a head for each step": lambda: sequential(
        MyGRU(4, return_sequences=True), layers.TimeDistributed(keras.Sequential([MyDense(4), MyDense(2)]))
    ),
    "a model of sequences at each step": lambda: sequential(
        layers.TimeDistributed(MyGRU(4)), MyGRU(3, return_sequences=True), shape=(STEPS, 6, 3)
    ),
    "noise": lambda: sequential(
        layers.GaussianNoise(1.0), MyLSTM(4, return_sequences=True, dropout=0.5), layers.SpatialDropout1D(0.5)
    ),
    "images": lambda: sequential(MyConvLSTM2D(2, 3, return_sequences=True), shape=(None, 5, 5, 1)),
    "cells on top of each other": lambda: sequential(
        MyRNN([ResidualWrapper(MyLSTMCell(3)), layers.GRUCell(4)], return_sequences=True)
    ),
    "Keras's own layers": lambda: sequential(
        layers.LSTM(4, return_sequences=True), layers.RNN(MyGRUCell(4), return_sequences=True), layers.Dense(2)
    ),
    "masked steps": lambda: sequential(
        layers.Masking(9.0), MyLSTM(4, return_sequences=True), MyDense(3), MyGRU(4, return_sequences=True)
    ),
    "masked steps and the last output": lambda: sequential(layers.Masking(9.0), layers.LSTM(4), MyDense(3)),
    "masked steps with outputs of zeros": lambda: sequential(
        layers.Masking(9.0), MyLSTM(4, return_sequences=True, zero_output_for_mask=True)
    ),
    "names": with_inputs_and_outputs_by_name,
    "subclassed": subclassed,
    "encoder and decoder": encoder_and_decoder,
    "time first": time_major,
    "half precision": lambda: sequential(
        MyLSTM(4, return_sequences=True, dtype="mixed_bfloat16"), MyDense(2, dtype="mixed_bfloat16")
    ),
}


def sequences_for(model, batch=2, steps=STEPS):
    """Inputs with some masked steps, for the models that know of masks."""
    random = np.random.default_rng(0)

    def values(tensor):
        shape = (batch, steps, *tensor.shape[2:])
        array = random.normal(size=shape).astype("float32")
        masked = random.random(shape[:2]) < 0.3
        masked[0, :3] = True
        array[masked] = 9.0
        return array

    return keras.tree.map_structure(values, input_structure(model))


def at(inputs, where):
    return keras.tree.map_structure(lambda array: array[:, where], inputs)


@pytest.fixture(scope="module")
def made():
    """Each model once, with a stream."""
    found = {}

    def get(name):
        if name not in found:
            keras.utils.set_random_seed(3)
            model = MODELS[name]()
            found[name] = model, Stream(model, 2)
        found[name][1].reset()
        return found[name]

    return get


def expected_of(model, inputs):
    return keras.tree.map_structure(to_numpy, model(inputs, training=False))


def stacked(outputs, expected):
    """What steps gave, in the form of what the whole sequence gives."""
    return keras.tree.map_structure(
        lambda whole, *each: np.stack(each, axis=1) if whole.ndim > each[0].ndim else each[-1], expected, *outputs
    )


@pytest.mark.parametrize("name", MODELS)
def test_step_by_step_is_the_whole_sequence(made, name):
    model, stream = made(name)
    inputs = sequences_for(model)
    expected = expected_of(model, inputs)
    outputs = [stream.step(at(inputs, time)) for time in range(STEPS)]
    tolerance = 0.02 if name == "half precision" else 1e-6
    assert_close(stacked(outputs, expected), expected, tolerance)
    ended = stream.state
    stream.reset()
    first, rest = stream.steps(at(inputs, slice(0, 4))), stream.steps(at(inputs, slice(4, None)))
    joined = keras.tree.map_structure(
        lambda whole, *each: np.concatenate(each, axis=1) if whole.shape[1:2] == (STEPS,) else each[-1],
        expected,
        first,
        rest,
    )
    assert_close(joined, expected, tolerance)
    assert_close(keras.tree.flatten(stream.state), keras.tree.flatten(ended), tolerance)


@pytest.mark.parametrize("name", list_cells())
def test_every_cell_goes_step_by_step(name):
    layer = get(name).layer(4, return_sequences=True)
    model = sequential(layer)
    inputs = sequences_for(model)
    whole = model(inputs)
    step = step_model(model)
    states = [np.concatenate([to_numpy(state)] * 2) for state in keras.tree.flatten(layer.get_initial_state(1))]
    outputs = []
    for time in range(STEPS):
        output, *states = to_numpy(step([inputs[:, time : time + 1], *states], training=False))
        outputs.append(output[:, 0])
    assert_close(np.stack(outputs, axis=1), to_numpy(whole), 1e-5)


# Rows


@settings(max_examples=10)
@given(st.data())
def test_rows_join_and_leave(made, data):
    model, stream = made("two layers")
    inputs = sequences_for(model, steps=30)
    lengths, begin = [0, 0], [0, 0]
    for _ in range(data.draw(st.integers(1, 5))):
        row = data.draw(st.integers(0, 1))
        if data.draw(st.booleans()):
            stream.reset(rows=[row])
            begin[row] = lengths[row]
        count = data.draw(st.integers(1, 4))
        rows = data.draw(st.sampled_from([[row], [1, 0], np.array([row == 0, row == 1])]))
        which = [row] if isinstance(rows, np.ndarray) else rows
        block = np.stack([inputs[each, lengths[each] : lengths[each] + count] for each in which])
        found = stream.steps(block, rows=rows)
        for place, each in enumerate(which):
            lengths[each] += count
            sequence = inputs[each : each + 1, begin[each] : lengths[each]]
            assert_close(found[place], expected_of(model, sequence)[0, -count:], 1e-5)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([2], "`rows` must be a list of row numbers from 0 to 1"),
        ([0, 0], r"`rows` must name each row once. Received: rows=\[0, 0\]"),
        ([True], r"`rows`, where it is a mask, must have the shape \(2,\)"),
    ],
)
def test_rows_that_are_none(made, rows, message):
    with pytest.raises(ValueError, match=message):
        made("two layers")[1].step(np.zeros((len(rows), 3)), rows=rows)


# States


def test_states_are_read_set_saved_and_restored(made, tmp_path):
    model, stream = made("masked steps")
    inputs = sequences_for(model)
    stream.steps(inputs[:, :6])
    before, path = stream.state, tmp_path / "states.npz"
    assert [[array.shape for array in arrays] for arrays in before.values()] == [[(2, 4)] * 3, [(2, 4)] * 2]
    stream.save(path)
    expected = stream.steps(inputs[:, 6:])
    stream.state = before
    assert_close(stream.steps(inputs[:, 6:]), expected, 0)
    other = Stream(model, 2)
    other.restore(path)
    assert_close(other.steps(inputs[:, 6:]), expected, 0)
    assert [each.name for each in tmp_path.iterdir()] == ["states.npz"]


def test_states_of_stateful_layers_go_on_in_a_stream():
    model = keras.Sequential(
        [keras.Input(batch_shape=(2, None, 3)), MyLSTM(4, stateful=True, return_sequences=True), MyDense(1)]
    )
    inputs = sequences_for(model)
    model(inputs[:, :6])
    stream = Stream(model, 2)
    stream.state = get_states(model)
    kept = get_states(model)
    found = stream.steps(inputs[:, 6:])
    assert_close(get_states(model), kept, 0)
    assert_close(found, to_numpy(model(inputs[:, 6:])), 1e-6)
    assert_close(stream.state, get_states(model), 1e-6)


def test_states_that_do_not_fit(made, tmp_path):
    _, stream = made("two layers")
    (name, lstm), (other, gru) = stream.state.items()
    kept = stream.state
    for wrong, message in (
        ({name: lstm}, "`state` must be a dict as `Stream.state` gives it"),
        ({name: lstm, other: [array[:1] for array in gru]}, r"arrays of the shape \(2, 4\) for .* shape \(1, 4\)"),
        (3, "Received: 3"),
    ):
        with pytest.raises(ValueError, match=message):
            stream.state = wrong
    path = tmp_path / "states.npz"
    with pytest.raises(FileNotFoundError):
        stream.restore(path)
    path.write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match="`path` must be a file that `Stream.save` wrote"):
        stream.restore(path)
    made("masked steps")[1].save(path)
    with pytest.raises(ValueError, match="`path` must be a file with the states"):
        stream.restore(path)
    stream.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="`path` must be a file that `Stream.save` wrote"):
        stream.restore(path)
    assert_close(stream.state, kept, 0)


def test_a_file_is_whole_or_the_old_one(made, tmp_path, monkeypatch):
    _, stream = made("two layers")
    stream.save(tmp_path / "states.npz")
    before = (tmp_path / "states.npz").read_bytes()

    def full(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        stream.save(tmp_path / "states.npz")
    assert (tmp_path / "states.npz").read_bytes() == before


# The model


def test_a_stream_uses_the_weights_of_now(made):
    model, stream = made("two layers")
    inputs = sequences_for(model)
    before = stream.steps(inputs)
    weights = model.get_weights()
    model.set_weights([1.5 * weight for weight in weights])
    stream.reset()
    after = stream.steps(inputs)
    assert_close(after, expected_of(model, inputs), 1e-6)
    assert abs(after - before).max() > 1e-3
    model.set_weights(weights)


def test_the_model_stays_as_it_is(made):
    model, stream = made("convolutions")
    config, weights = model.get_config(), model.get_weights()
    stream.steps(sequences_for(model))
    assert model.get_config() == config
    assert_close(model.get_weights(), weights, 0)
    model.compile("sgd", "mse")
    inputs = sequences_for(model)
    assert np.isfinite(model.train_on_batch(inputs, expected_of(model, inputs)))


def test_threads_share_a_stream(made):
    model, stream = made("two layers")
    inputs = sequences_for(model, steps=40)
    stream.step(inputs[:, 0])
    stream.reset()
    found = [None] * 4

    def work(place):
        found[place] = [stream.step(inputs[:, 0]) for _ in range(10)]

    threads = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = expected_of(model, np.repeat(inputs[:, :1], 40, axis=1))
    each = sorted(np.stack([output for outputs in found for output in outputs]).tolist())
    assert_close(np.array(each), np.array(sorted(expected.swapaxes(0, 1).tolist())), 1e-6)


class Choosing(layers.Layer):
    """Asks for values, as code for PyTorch may."""

    def call(self, inputs):
        return inputs if isinstance(inputs, keras.KerasTensor) or float(ops.sum(inputs)) > 0 else -inputs


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="the others compile layers, which then have no values")
def test_code_that_asks_for_values_is_not_recorded():
    stream = Stream(sequential(MyGRU(3), Choosing()), 1)
    outputs = np.stack([stream.step(np.full((1, 3), value)) for value in (1.0, -1.0, 2.0, -3.0)])
    assert (outputs.sum(axis=-1) > 0).all()


# What cannot be


class Summed(layers.Layer):
    def call(self, inputs):
        return ops.cumsum(inputs, axis=1)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: sequential(MyBidirectional(MyGRU(3))), "MyBidirectional.* cannot run step by step: it reads"),
        (lambda: sequential(layers.Bidirectional(layers.GRU(3))), r"\(Bidirectional\) cannot run step by step"),
        (lambda: sequential(MyGRU(3), layers.RepeatVector(3), MyGRU(3)), None),
        (lambda: sequential(layers.Conv1D(3, 2), MyGRU(3)), r"\(Conv1D\) cannot run step by step"),
        (
            lambda: sequential(layers.Conv1D(3, 2, padding="same"), MyGRU(3)),
            "all steps at once it gives something else",
        ),
        (lambda: sequential(layers.Conv1D(3, 2, strides=2, padding="causal"), MyGRU(3)), r"\(Conv1D\) cannot run"),
        (
            lambda: sequential(MyGRU(3, return_sequences=True), layers.GlobalAveragePooling1D()),
            "GlobalAveragePooling1D",
        ),
        (lambda: sequential(MyGRU(3, return_sequences=True), layers.MaxPooling1D(2)), r"\(MaxPooling1D\) cannot run"),
        (
            lambda: sequential(MyGRU(3, return_sequences=True), layers.Flatten(), MyDense(1), shape=(4, 3)),
            r"\(Flatten\)",
        ),
        (
            lambda: sequential(MyGRU(3, return_sequences=True), Summed()),
            r"'summed.*' \(Summed\) cannot run step by step",
        ),
        (lambda: sequential(MyGRU(3, return_sequences=True, go_backwards=True)), r"go_backwards=True"),
        (lambda: sequential(MyDense(3)), "has no recurrent layer and no causal convolution"),
        (lambda: keras.Sequential([MyGRU(3)]), "has no weights yet"),
        (lambda: attending(), r"\(MultiHeadAttention\) cannot run step by step"),
    ],
)
def test_models_that_look_ahead_are_refused_by_name(model, message):
    if message is None:
        Stream(model())
        return
    with pytest.raises(ValueError, match=message):
        Stream(model())


def attending():
    inputs = keras.Input((None, 4))
    hidden = MyGRU(4, return_sequences=True)(inputs)
    return keras.Model(inputs, layers.MultiHeadAttention(2, 2)(hidden, hidden, use_causal_mask=True))


def test_arguments_that_do_not_fit(made):
    model, stream = made("two layers")
    for batch_size in (0, True, "a"):
        with pytest.raises(ValueError, match="`batch_size` must be an int from 1"):
            Stream(model, batch_size)
    with pytest.raises(TypeError, match="`model` must be a Keras model"):
        Stream(model.layers[0])
    with pytest.raises(ValueError, match=r"must have the shape \(2, 3\) for .* Received: shape \(2, 1, 3\)"):
        stream.step(np.zeros((2, 1, 3)))
    with pytest.raises(ValueError, match=r"must have the shape \(2, steps, 3\) for .* Received: shape \(2, 3\)"):
        stream.steps(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="must have at least one step"):
        stream.steps(np.zeros((2, 0, 3)))
    _, named = made("names")
    with pytest.raises(ValueError, match="must have the structure of the model's inputs, {'left': 'left'"):
        named.step(np.zeros((2, 3)))


def test_ids_do_not_lose_their_decimals():
    model = keras.Sequential([keras.Input((None,), dtype="int32"), layers.Embedding(9, 2), MyGRU(2)])
    stream = Stream(model)
    with pytest.raises(ValueError, match="must hold values of the type int32 for .* Received: float64"):
        stream.step(np.array([2.5]))
    expected = stream.step(np.array([2]))
    stream.reset()
    assert_close(stream.step(np.array([2.0])), expected, 0)


@given(st.integers(1, 5000))
def test_blocks_are_few_programs(steps):
    assert sum(blocks(steps)) == steps
    assert set(blocks(steps)) <= {1 << bit for bit in range(9)}
