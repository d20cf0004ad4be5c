"""Norms of gradients against the lag: closed forms, finite differences, masks, directions, stacks."""

import re

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_rnn_ext import (
    MyBidirectional,
    MyDense,
    MyGRU,
    MyGRUCell,
    MyLSTM,
    MyLSTMCell,
    MyRNN,
    MySimpleRNN,
)
from keras_rnn_ext.diagnostics import gradient_norms
from keras_rnn_ext.diagnostics.watch import Watch
from tests.helpers import WIDEST, assert_close, gradients, to_numpy

STEPS, FEATURES, ROWS = 7, 3, 4
RTOL = 1e-5


def data(steps=STEPS, rows=ROWS, seed=0, dtype="float32"):
    return np.random.default_rng(seed).normal(size=(rows, steps, FEATURES)).astype(dtype)


def weighted(weights):
    """A loss whose gradient by the output is `weights`, whatever the output is."""
    return lambda targets, outputs: ops.sum(outputs * ops.convert_to_tensor(weights, dtype=outputs.dtype), axis=-1)


def no_targets(*shape):
    return np.zeros(shape, "float32")


def linear(recurrent, layer=MySimpleRNN):
    """A linear recurrence h_t = x_t W + h_{t-1} U with the given U."""
    rnn = layer(len(recurrent), activation="linear", name="rnn")
    model = keras.Sequential([keras.Input((None, FEATURES)), rnn])
    rnn.cell.recurrent_kernel.assign(recurrent)
    return model


def orthogonal(units, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(units, units)))[0]


# Closed forms


@given(
    layer=st.sampled_from([MySimpleRNN, keras.layers.SimpleRNN]),
    units=st.integers(1, 5),
    steps=st.integers(1, 6),
    rows=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_of_a_linear_recurrence_it_is_the_power_of_its_kernel(layer, units, steps, rows, seed):
    random = np.random.default_rng(seed)
    recurrent, weights = random.normal(size=(units, units)), random.normal(size=units)
    norms = gradient_norms(linear(recurrent, layer), data(steps, rows), no_targets(rows, units), weighted(weights))
    # h_t = h_{t-k} U^k + ..., so the gradient of h_t w by h_{t-k} is U^k w.
    expected = [np.linalg.norm(np.linalg.matrix_power(recurrent, lag) @ weights) for lag in range(steps)]
    assert_close(norms, {"rnn": np.array([expected])}, RTOL)


@pytest.mark.parametrize("factor", [1.0, 0.9, 1.2])
def test_an_orthogonal_kernel_keeps_the_norm_and_a_scaled_one_makes_a_geometric_series(factor):
    weights = np.arange(1.0, 6.0)
    model = linear(factor * orthogonal(5))
    norms = gradient_norms(model, data(30), no_targets(ROWS, 5), weighted(weights))["rnn"][0]
    assert_close(norms, np.linalg.norm(weights) * factor ** np.arange(30), RTOL)


def test_steps_of_the_loss_are_averaged_by_lag():
    recurrent, weights = np.random.default_rng(1).normal(size=(3, 3)), np.arange(3.0)
    rnn = MySimpleRNN(3, activation="linear", return_sequences=True, name="rnn")
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), rnn])
    rnn.cell.recurrent_kernel.assign(recurrent)
    expected = np.array([[np.linalg.norm(np.linalg.matrix_power(recurrent, lag) @ weights) for lag in range(STEPS)]])
    for steps, lags in (([2], 3), ([0, 3, 3], 4), ([-1, 1], STEPS), (None, STEPS)):
        norms = gradient_norms(model, data(), no_targets(ROWS, STEPS, 3), weighted(weights), steps)
        assert_close(norms["rnn"], expected[:, :lags], RTOL, str(steps))


def test_losses_of_keras_take_their_targets_at_their_step():
    dense = MyDense(2)
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), MyGRU(3, return_sequences=True, name="gru"), dense])
    targets = np.random.default_rng(3).integers(0, 2, (ROWS, STEPS))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    norms = gradient_norms(model, data(), targets, loss, steps=[4])["gru"][0, 0]
    # Softmax minus target is the gradient by the logits.
    probabilities = to_numpy(ops.softmax(model(data())))[:, 4]
    by_logits = probabilities - np.eye(2)[targets[:, 4]]
    expected = np.linalg.norm(by_logits @ to_numpy(dense.kernel).T, axis=-1).mean()
    assert norms == pytest.approx(expected, rel=RTOL)


# Against other ways to the same numbers


def two_layers(lower, upper, dtype=None):
    """A lower layer that gives all outputs and an upper one that gives its last, and the model of both."""
    inputs = keras.Input((STEPS, FEATURES), dtype=dtype)
    return keras.Model(inputs, upper(lower(inputs)))


def from_the_state_on(lower, upper, x, states, step):
    """The upper layer's last output, with the lower layer's states as they leave `step` given."""
    before = lower(x[:, :step])
    after = lower(x[:, step + 1 :], initial_state=states)
    return upper(ops.concatenate([before, states[0][:, None], after], axis=1))


@pytest.mark.parametrize("kinds", [(MyLSTM, MyGRU), (keras.layers.LSTM, keras.layers.GRU), (MyGRU, MyLSTM)])
def test_it_is_the_gradient_of_what_follows_the_state(kinds):
    lower, upper = kinds[0](4, return_sequences=True, name="lower"), kinds[1](2, name="upper")
    model, x, weights = two_layers(lower, upper), data(), np.array([1.0, -2.0], "float32")
    norms = gradient_norms(model, x, no_targets(ROWS, 2), weighted(weights))["lower"]
    for lag in (1, STEPS - 2):
        step = STEPS - 1 - lag
        with_states = MyRNN(lower.cell, return_state=True)
        states = to_numpy(list(with_states(x[:, : step + 1])[1:]))

        def loss(*states, step=step):
            return ops.sum(from_the_state_on(lower, upper, x, list(states), step) * ops.convert_to_tensor(weights))

        # The helper weighs a single number with an eighth.
        found = [8 * each for each in gradients(loss, states)]
        assert_close(norms[:, lag], np.array([np.linalg.norm(each, axis=-1).mean() for each in found]), RTOL)


@pytest.mark.skipif(WIDEST != "float64", reason="Keras computes in float64 on TensorFlow only")
@pytest.mark.parametrize("kinds", [(MyLSTM, MyGRU), (MyGRU, MyLSTM)])
def test_it_is_the_finite_difference(kinds):
    lower = kinds[0](3, return_sequences=True, name="lower", dtype="float64")
    upper = kinds[1](2, name="upper", dtype="float64")
    model, x = two_layers(lower, upper, "float64"), data(rows=1, dtype="float64")
    weights = np.array([1.0, -2.0])
    norms = gradient_norms(model, x, no_targets(1, 2), weighted(weights))["lower"]
    step, small = 3, 1e-5
    states = to_numpy(list(MyRNN(lower.cell, return_state=True, dtype="float64")(x[:, : step + 1])[1:]))

    def loss(place, entry, change):
        changed = [state.copy() for state in states]
        changed[place][0, entry] += change
        return float(to_numpy(from_the_state_on(lower, upper, x, changed, step))[0] @ weights)

    slopes = [
        [(loss(place, entry, small) - loss(place, entry, -small)) / (2 * small) for entry in range(3)]
        for place in range(len(states))
    ]
    assert_close(norms[:, STEPS - 1 - step], np.linalg.norm(slopes, axis=-1), 1e-8)


# Masks, directions, stacks


@pytest.mark.parametrize("side", ["left", "right"])
def test_masked_steps_are_no_steps(side):
    model = keras.Sequential([keras.Input((None, FEATURES)), keras.layers.Masking(), MyLSTM(4, name="lstm")])
    x, weights = data(), np.arange(4.0)
    short = x[:1, :4]
    padding = np.zeros((1, 3, FEATURES), "float32")
    padded = np.concatenate([padding, short] if side == "left" else [short, padding], axis=1)
    alone = gradient_norms(model, short, no_targets(1, 4), weighted(weights))["lstm"]
    assert_close(gradient_norms(model, padded, no_targets(1, 4), weighted(weights))["lstm"], alone, RTOL)
    # Beside a whole row, short lags are a mean of both, long ones are the whole row's.
    whole = gradient_norms(model, x[1:2], no_targets(1, 4), weighted(weights))["lstm"]
    both = gradient_norms(model, np.concatenate([padded, x[1:2]]), no_targets(2, 4), weighted(weights))["lstm"]
    assert_close(both, np.concatenate([(alone + whole[:, :4]) / 2, whole[:, 4:]], axis=1), RTOL)


def test_a_row_that_is_masked_where_the_loss_is_has_none():
    layers = [keras.layers.Masking(), MyGRU(4, return_sequences=True, name="gru")]
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), *layers])
    x = data(rows=2)
    x[0, 5:] = 0
    both = gradient_norms(model, x, no_targets(2, STEPS, 4), weighted(np.ones(4)))
    assert_close(both, gradient_norms(model, x[1:], no_targets(1, STEPS, 4), weighted(np.ones(4))), RTOL)


def test_a_row_without_a_step_counts_nowhere():
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), keras.layers.Masking(), MyGRU(4, name="gru")])
    x = data(rows=2)
    alone = gradient_norms(model, x[1:], no_targets(1, 4), weighted(np.ones(4)))
    x[0] = 0
    assert_close(gradient_norms(model, x, no_targets(2, 4), weighted(np.ones(4))), alone, RTOL)


@pytest.mark.parametrize("wrapper", [MyBidirectional, keras.layers.Bidirectional])
def test_a_backward_layer_counts_lags_in_its_own_order(wrapper):
    gru = MyGRU(4, name="gru")
    both = wrapper(gru, merge_mode="sum")
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), both])
    alone = keras.Sequential([keras.Input((STEPS, FEATURES)), gru])
    norms = gradient_norms(model, data(), no_targets(ROWS, 4), weighted(np.arange(4.0)))
    assert list(norms) == ["forward_gru", "backward_gru"]
    for layer, x in ((both.forward_layer, data()), (both.backward_layer, data()[:, ::-1])):
        gru.set_weights(layer.get_weights())
        expected = gradient_norms(alone, x, no_targets(ROWS, 4), weighted(np.arange(4.0)))["gru"]
        assert_close(norms[layer.name], expected, RTOL)


def test_a_stack_of_cells_is_the_same_as_layers():
    cells = [MyLSTMCell(3, name="first"), MyGRUCell(2, name="second")]
    stack = keras.Sequential([keras.Input((STEPS, FEATURES)), MyRNN(cells, name="stack")])
    layers = keras.Sequential(
        [
            keras.Input((STEPS, FEATURES)),
            MyRNN(cells[0], return_sequences=True, name="one"),
            MyRNN(cells[1], name="two"),
        ]
    )
    norms = [gradient_norms(model, data(), no_targets(ROWS, 2), weighted(np.ones(2))) for model in (stack, layers)]
    assert list(norms[0]) == ["stack/first", "stack/second"]
    assert_close(list(norms[0].values()), list(norms[1].values()), RTOL)


def test_an_encoder_counts_lags_from_its_own_end():
    inputs = keras.Input((STEPS, FEATURES))
    code = MySimpleRNN(3, activation="linear", name="encoder", recurrent_initializer="identity")(inputs)
    decoded = MyGRU(2, return_sequences=True, name="decoder")(keras.layers.RepeatVector(5)(code))
    model = keras.Model(inputs, decoded)
    norms = gradient_norms(model, data(), no_targets(ROWS, 5, 2), weighted(np.ones(2)))
    assert {name: each.shape for name, each in norms.items()} == {"encoder": (1, STEPS), "decoder": (1, 5)}
    # Its kernel is the identity: what reaches its end reaches its beginning.
    assert norms["encoder"].min() == pytest.approx(norms["encoder"].max(), rel=RTOL) != 0


def test_layers_of_nested_models_may_have_the_same_name():
    parts = [
        keras.Sequential(
            [keras.Input((STEPS, FEATURES)), MyGRU(FEATURES, return_sequences=True, name="gru")], name=name
        )
        for name in ("one", "two")
    ]
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), *parts])
    norms = gradient_norms(model, data(), no_targets(ROWS, STEPS, FEATURES), weighted(np.ones(FEATURES)))
    assert len(norms) == 2
    assert next(iter(norms)) == "gru"


# The model is what it was


def models():
    """Models with all that the stand-in has to do as the layer does it."""
    inputs = keras.Input((STEPS, FEATURES))
    masked = keras.layers.Masking()(inputs)
    whole = {"return_sequences": True}
    yield "zeros", keras.Model(inputs, MyGRU(3, zero_output_for_mask=True, **whole)(masked))
    yield "mask", keras.Model(inputs, MyLSTM(3, **whole)(masked))
    yield "backward", keras.Model(inputs, MyLSTM(3, go_backwards=True, **whole)(masked))
    yield "directions", keras.Model(inputs, MyBidirectional(MyGRU(3, **whole))(masked))
    yield "state", keras.Model(inputs, MyLSTM(3, return_state=True)(inputs))
    stack = MyRNN([MyLSTMCell(3), MyGRUCell(2)], return_state=True)(inputs)
    yield "stack", keras.Model(inputs, keras.tree.flatten(stack))
    encoded, *states = MyLSTM(3, return_state=True, **whole)(inputs)
    yield "initial state", keras.Model(inputs, MyLSTM(3)(encoded, initial_state=states))
    yield "learned", keras.Model(inputs, MyGRU(3, learned_initial_state=True)(inputs))
    swapped = keras.layers.Permute((2, 1))(inputs)
    yield "time first", keras.Model(inputs, MyGRU(3, time_major=True, **whole)(swapped))
    theirs = keras.layers.Bidirectional(keras.layers.LSTM(3, dropout=0.5, **whole))(inputs)
    yield "theirs", keras.Model(inputs, keras.layers.GRU(3, reset_after=False)(theirs))


@pytest.mark.parametrize(("name", "model"), list(models()), ids=lambda value: value if isinstance(value, str) else "")
def test_the_opened_model_computes_the_same(name, model):
    x = data()
    x[0, 4:] = x[1, :2] = 0
    before, weights = model(x), to_numpy(model.get_weights())
    outputs, _ = Watch(model).trace(ops.convert_to_tensor(x))
    assert_close(keras.tree.flatten(outputs), keras.tree.flatten(before), RTOL)
    assert_close(keras.tree.flatten(model(x)), keras.tree.flatten(before), 0)
    assert_close(model.get_weights(), weights, 0)


def test_what_a_stateful_layer_carries_is_neither_read_nor_changed():
    gru = MyGRU(4, stateful=True, name="gru")
    model = keras.Sequential([keras.Input(batch_shape=(ROWS, None, FEATURES)), gru])
    fresh = gradient_norms(model, data(), no_targets(ROWS, 4), weighted(np.ones(4)))
    model(data(seed=5))
    carried = gru.get_state()
    assert_close(gradient_norms(model, data(), no_targets(ROWS, 4), weighted(np.ones(4))), fresh, 0)
    assert_close(gru.get_state(), carried, 0)


def test_new_weights_give_new_numbers_from_the_same_program():
    from keras_rnn_ext.diagnostics.gradients import GradientNorms

    model, weights = linear(orthogonal(3)), np.arange(3.0)
    norms = GradientNorms(model, weighted(weights))
    before = norms.measure(data(), no_targets(ROWS, 3))["rnn"]
    model.layers[0].cell.recurrent_kernel.assign(orthogonal(3) / 2)
    assert_close(norms.measure(data(), no_targets(ROWS, 3))["rnn"], before * 0.5 ** np.arange(STEPS), RTOL)


# What cannot be measured


class OwnCall(MyGRU):
    def call(self, sequences, initial_state=None, mask=None, training=False):
        return super().call(sequences, initial_state, mask, training) + 1


def shared():
    inputs = keras.Input((STEPS, FEATURES))
    gru = MyGRU(FEATURES, return_sequences=True)
    return keras.Model(inputs, gru(gru(inputs)))


def sequential(*layers):
    return keras.Sequential([keras.Input((STEPS, FEATURES)), *layers])


def whole_gru(**options):
    return sequential(MyGRU(2, return_sequences=True, **options))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda: sequential(MyDense(2)), {}, "must have a recurrent layer"),
        (lambda: sequential(OwnCall(2)), {}, "a `call` of their own, which cannot be opened: ['own_call"),
        (shared, {}, "is called more than once"),
        (lambda: whole_gru(go_backwards=True), {}, "read backward and give all outputs"),
        (lambda: sequential(MyBidirectional(MyGRU(2, return_sequences=True))), {}, "read backward"),
        (whole_gru, {"steps": [STEPS]}, "`steps` must be a list of integers from -7 to 6. Received: steps=[7]"),
        (whole_gru, {"steps": []}, "`steps` must be a list of integers"),
        (whole_gru, {"y": np.zeros((ROWS, 2))}, "`y` must begin with the axes (4, 7)"),
        (whole_gru, {"loss": None}, "`loss` must be given"),
        (whole_gru, {"loss": lambda targets, outputs: ops.sum(outputs)}, "must give a number for each row"),
        (lambda: sequential(MyGRU(2)), {"steps": [1], "y": np.zeros((ROWS, 2))}, "`steps` is for outputs"),
        (
            lambda: sequential(MyGRU(2, return_sequences=True), keras.layers.AveragePooling1D(2)),
            {"y": np.zeros((ROWS, 3, 2))},
            "reads 7 steps, and the model's output has 3",
        ),
        (lambda: sequential(MyGRU(2, return_sequences=True, return_state=True)), {}, "must have one output"),
    ],
)
def test_what_cannot_be_measured_is_told(make, options, message):
    model = make()
    arguments = {"y": np.zeros((ROWS, STEPS, 2)), "loss": "mse", **options}
    with pytest.raises(ValueError, match=re.escape(message)):
        gradient_norms(model, data(), **arguments)
    assert not any("call" in vars(layer) for layer in model.layers)


def test_what_is_no_model_is_told():
    with pytest.raises(TypeError, match="`model` must be a Keras model. Received: 3"):
        gradient_norms(3, data(), data())
