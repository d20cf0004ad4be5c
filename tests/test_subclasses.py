"""Cells and layers that users change: what they override is what runs."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_rnn_ext import (
    MyBidirectional,
    MyDense,
    MyGRU,
    MyGRUCell,
    MyLSTM,
    MyLSTMCell,
    MyRNN,
    MyStackedRNNCells,
    get_states,
    reset_states,
    set_states,
)
from tests.helpers import BACKEND, assert_close, to_numpy, values_and_gradients

SEQUENCES = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")


def in_both(cell, weights=None):
    """The cell in Keras's loop, which calls it, and in ours."""
    theirs, ours = layers.RNN(cell(), return_sequences=True), MyRNN(cell(), return_sequences=True)
    theirs.build(SEQUENCES.shape)
    ours.build(SEQUENCES.shape)
    ours.set_weights(theirs.get_weights())
    return to_numpy(ours(SEQUENCES)), to_numpy(theirs(SEQUENCES))


class Doubled(MyLSTMCell):
    def call(self, inputs, states, training=False):
        output, states = super().call(inputs, states, training=training)
        return 2 * output, states


class OtherGate(MyLSTMCell):
    def gate(self, projected, recurrent, states, weights):
        output, (hidden, carry) = super().gate(projected, recurrent, states, weights)
        return output + 1, [hidden + 1, carry]


class Residual(MyStackedRNNCells):
    def call(self, inputs, states, training=False):
        output, states = super().call(inputs, states, training=training)
        return output + inputs, states


class TheirResidual(layers.StackedRNNCells):
    def call(self, inputs, states, training=False, **kwargs):
        output, states = super().call(inputs, states, training=training, **kwargs)
        return output + inputs, states


@pytest.mark.parametrize(
    "cell",
    [
        lambda: Doubled(4),
        lambda: OtherGate(4),
        lambda: Residual([MyGRUCell(3), MyLSTMCell(3)]),
        lambda: TheirResidual([layers.GRUCell(3), MyGRUCell(3)]),
    ],
    ids=["call", "gate", "stack", "their stack"],
)
def test_what_a_subclass_overrides_runs(cell):
    assert_close(*in_both(cell), 1e-6)


class Scaled(MyGRUCell):
    """Has a weight that it reads by itself."""

    def build(self, input_shape):
        super().build(input_shape)
        self.scale = self.add_weight(name="scale", shape=(self.units,), initializer="ones")

    def gate(self, projected, recurrent, states, weights):
        hidden, _ = super().gate(projected, recurrent, states, weights)
        return hidden * self.scale, [hidden * self.scale]


def test_a_weight_of_a_subclass_is_read_at_each_call():
    layer = MyRNN(Scaled(4))
    before = to_numpy(layer(SEQUENCES))
    _, gradients = values_and_gradients(layer, [SEQUENCES], layer.trainable_variables)
    assert all(gradient.any() for gradient in gradients)
    layer.set_weights([2 * weight for weight in layer.get_weights()])
    assert not np.allclose(before, to_numpy(layer(SEQUENCES)))


def test_a_changed_argument_of_a_cell_is_seen():
    layer = MyLSTM(4)
    before = to_numpy(layer(SEQUENCES))
    layer.cell.activation = keras.activations.relu
    assert not np.allclose(before, to_numpy(layer(SEQUENCES)))
    layer = MyGRU(4, reset_after=False, seed=1)
    layer(SEQUENCES, training=True)
    layer.cell.recurrent_dropout = 0.5
    assert np.isfinite(to_numpy(layer(SEQUENCES, training=True))).all()


def tanh(value):
    return 1.7159 * ops.tanh(2 / 3 * value)


def test_an_activation_that_is_called_like_another():
    ours, theirs = MyLSTM(4, activation=tanh), layers.LSTM(4, activation=tanh)
    for layer in (ours, theirs):
        layer.build(SEQUENCES.shape)
    ours.set_weights(theirs.get_weights())
    assert_close(to_numpy(ours(SEQUENCES)), to_numpy(theirs(SEQUENCES)), 1e-6)


class MyOwnLayer(MyLSTM):
    def __init__(self, units, extra=1, **kwargs):
        super().__init__(units, **kwargs)
        self.extra = extra

    def get_initial_state(self, batch_size):
        return [ops.ones((batch_size, self.units)) for _ in "hc"]


def test_a_subclass_of_a_layer():
    layer = MyOwnLayer(4, extra=2, use_cudnn=False)
    assert layer.use_cudnn is False
    plain = MyLSTM(4)
    plain.build(SEQUENCES.shape)
    layer.build(SEQUENCES.shape)
    plain.set_weights(layer.get_weights())
    start = [np.ones((2, 4), "float32")] * 2
    assert_close(to_numpy(layer(SEQUENCES)), to_numpy(plain(SEQUENCES, initial_state=start)), 1e-6)


@pytest.mark.parametrize("features", [1, 2, 7, 50])
@pytest.mark.parametrize("make", [lambda: MyRNN(MyLSTMCell(4)), lambda: MyRNN([MyGRUCell(4), layers.GRUCell(2)])])
def test_wrong_feature_size_of_the_cell(make, features):
    layer = make()
    layer(SEQUENCES)
    with pytest.raises(ValueError, match=r"`sequences` of layer .* must have 3 axes and 3 features.*Received: shape"):
        layer(np.ones((2, 5, features), "float32"))
    with pytest.raises(ValueError, match="must have 3 axes"):
        layer(np.ones((2, 5, 3, 3), "float32"))


def test_unknown_feature_size():
    with pytest.raises(ValueError, match=r"number of features.*must be known.*Received: input_shape"):
        MyGRU(4)(keras.Input((5, None)))


@pytest.mark.parametrize("rows", [1, 3])
def test_a_stateful_layer_and_a_batch_of_another_size(rows):
    model = keras.Sequential([keras.Input(batch_shape=(2, 5, 3)), MyGRU(4, stateful=True)])
    before = model.layers[0].get_state()
    error = Exception if BACKEND == "tensorflow" else ValueError
    with pytest.raises(error, match=r"is stateful, so the batch size must stay|Incompatible|expected shape"):
        model.predict(np.concatenate([SEQUENCES, SEQUENCES])[:rows], batch_size=rows, verbose=0)
    # After an error in `predict`, Keras on JAX leaves a model without its variables.
    if BACKEND != "jax":
        assert_close(model.layers[0].get_state(), before, 0)


class TwoEncoders(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = MyGRU(4, stateful=True, name="rnn")
        self.second = MyGRU(4, stateful=True, name="rnn")

    def call(self, sequences):
        return self.first(sequences) + self.second(sequences)


def test_states_of_layers_of_the_same_name():
    model = TwoEncoders()
    model(SEQUENCES)
    states = get_states(model)
    assert len(states) == 2
    reset_states(model)
    set_states(model, states)
    assert_close(get_states(model), states, 0)


def test_states_can_be_reset_between_batches_of_fit():
    model = keras.Sequential([keras.Input(batch_shape=(2, 5, 3)), MyGRU(4, stateful=True)])
    model.compile("sgd", "mse")

    class Reset(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            reset_states(self.model)

    model.fit(np.concatenate([SEQUENCES] * 3), np.zeros((6, 4)), batch_size=2, verbose=0, callbacks=[Reset()])
    assert not model.layers[0].get_state()[0].any()


def test_learned_and_carried_states_exclude_each_other():
    with pytest.raises(ValueError, match="`learned_initial_state` cannot be True with `stateful=True`"):
        MyGRU(4, stateful=True, learned_initial_state=True)
    with pytest.raises(ValueError, match="`save_states=True` needs `stateful=True`"):
        MyGRU(4, save_states=True)


class Ones(layers.Layer):
    state_size = 3

    def get_initial_state(self, batch_size=None):
        return [ops.ones((batch_size, 3))]

    def call(self, inputs, states):
        return states[0] + inputs, [states[0] + inputs]


def test_a_learned_state_starts_where_the_cell_starts():
    learned = MyRNN(Ones(), learned_initial_state=True)
    assert_close(to_numpy(learned(SEQUENCES)), to_numpy(MyRNN(Ones())(SEQUENCES)), 1e-6)


def test_saved_states_of_another_batch_size_are_left_out(tmp_path):
    def build(batch):
        layer = MyGRU(4, stateful=True, save_states=True)
        return keras.Sequential([keras.Input(batch_shape=(batch, 5, 3)), layer, MyDense(1)])

    model, one = build(2), build(1)
    model(SEQUENCES)
    model.save_weights(tmp_path / "model.weights.h5")
    with pytest.warns(UserWarning, match=r"keeps its present states: those in the file have the shapes \[\(2, 4\)\]"):
        one.load_weights(tmp_path / "model.weights.h5")
    assert_close(one.get_weights(), model.get_weights(), 0)


def test_initial_weights_of_both_directions():
    first = MyBidirectional(MyGRU(4))
    first.build(SEQUENCES.shape)
    second = MyBidirectional(MyGRU(4), weights=first.get_weights())
    assert_close(to_numpy(second(SEQUENCES)), to_numpy(first(SEQUENCES)), 1e-6)


def test_both_directions_of_what_is_not_recurrent():
    with pytest.raises(ValueError, match=r"Argument `layer` must be a recurrent layer.*which lacks \['go_backwards'"):
        MyBidirectional(MyDense(3))
    with pytest.raises(ValueError, match=r"`initial_state` must be a list whose first half"):
        MyBidirectional(MyGRU(4))(SEQUENCES, initial_state=ops.zeros((2, 4)))


def test_the_mask_of_a_forward_layer_that_goes_backwards():
    options = {"return_sequences": True}
    layer = MyBidirectional(MyGRU(4, go_backwards=True, **options), backward_layer=MyGRU(4, **options))
    mask = ops.convert_to_tensor(np.array([[True, True, True, False, False]] * 2))
    np.testing.assert_array_equal(to_numpy(layer.compute_mask(None, mask)), to_numpy(mask)[:, ::-1])


class Normalising(layers.Layer):
    """Has no derivative at zero."""

    state_size = 3

    def build(self, input_shape):
        self.scale = self.add_weight(name="scale", shape=(3,), initializer="ones")

    def call(self, inputs, states):
        scaled = inputs * self.scale
        output = scaled / ops.sqrt(ops.sum(scaled**2, axis=-1, keepdims=True))
        return output, [states[0] + output]


def test_a_mask_brings_no_nan_into_the_gradients_of_a_foreign_cell():
    layer = MyRNN(Normalising())
    layer.build(SEQUENCES.shape)
    mask = np.array([[True, True, True, False, False]] * 2)
    _, gradients = values_and_gradients(lambda x: layer(x, mask=mask), [SEQUENCES], layer.trainable_variables)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_a_stack_takes_its_input_in_the_dtype_of_the_first_cell():
    layer = MyRNN([MyLSTMCell(4, dtype="float32"), MyGRUCell(3, dtype="mixed_float16")])
    assert np.isfinite(to_numpy(layer(1e6 * SEQUENCES))).all()


class WithConstants(layers.Layer):
    state_size = 3

    def call(self, inputs, states, constants=None):
        return states[0] + inputs * constants, [states[0] + inputs * constants]


@pytest.mark.parametrize("loop", [MyRNN, layers.RNN])
def test_constants_reach_the_cells_of_a_stack_that_take_them(loop):
    cell = MyStackedRNNCells([WithConstants(), MyGRUCell(4)])
    if loop is MyRNN:
        assert tuple(MyRNN(cell)(SEQUENCES, constants=np.ones((2, 3), "float32")).shape) == (2, 4)
    else:
        output, _ = cell(SEQUENCES[:, 0], cell.get_initial_state(2), constants=ops.ones((2, 3)))
        assert tuple(output.shape) == (2, 4)


class TooMany(layers.Layer):
    state_size = 3

    def call(self, inputs, states):
        return states[0], [states[0], states[0]]


class Growing(layers.Layer):
    state_size = 3

    def call(self, inputs, states):
        return inputs, [ops.concatenate([states[0], inputs], axis=-1)]


class OtherOutput(layers.Layer):
    state_size, output_size = 3, 7

    def call(self, inputs, states):
        return inputs, states


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (TooMany, r"TooMany must return as many states as its `state_size` says, 1\. Received: 2"),
        (Growing, r"Growing must return tensors of the sizes that its `state_size` says: expected shape \(2, 3\)"),
        (
            OtherOutput,
            r"OtherOutput must return .* `output_size` says: expected shape \(2, 7\)\. Received: shape \(2, 3\)",
        ),
    ],
)
def test_cells_that_do_not_keep_their_word(cell, message):
    with pytest.raises(ValueError, match=message):
        MyRNN(cell())(SEQUENCES)


class Wrapper(layers.Layer):
    """Holds a cell with dropout."""

    def __init__(self, cell, **kwargs):
        super().__init__(**kwargs)
        self.cell = cell
        self.state_size = cell.state_size

    def build(self, input_shape):
        self.cell.build(input_shape)

    def get_initial_state(self, batch_size=None):
        return self.cell.get_initial_state(batch_size)

    def call(self, inputs, states, training=False):
        return self.cell(inputs, states, training=training)


@pytest.mark.parametrize("cell", [MyLSTMCell, layers.LSTMCell])
def test_dropout_of_a_cell_inside_a_cell_is_drawn_anew(cell):
    layer = MyRNN(Wrapper(cell(4, dropout=0.5, seed=1)))
    outputs = [to_numpy(layer(SEQUENCES, training=True)) for _ in range(3)]
    assert not np.allclose(outputs[0], outputs[1])
    assert not np.allclose(outputs[1], outputs[2])
