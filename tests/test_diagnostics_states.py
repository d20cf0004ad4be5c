"""Gate saturation, Jacobians of the state, their spectra and Lyapunov exponents."""

import re

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_rnn_ext import MyBidirectional, MyDense, MyGRU, MyGRUCell, MyLSTM, MyLSTMCell, MyRNN, MySimpleRNN
from keras_rnn_ext.diagnostics import gate_saturation, lyapunov_exponents, spectrum, state_jacobians
from tests.helpers import assert_close, to_numpy

STEPS, FEATURES, ROWS, UNITS = 6, 3, 4, 5
RTOL = 1e-5


def data(rows=ROWS, seed=0):
    return 3 * np.random.default_rng(seed).normal(size=(rows, STEPS, FEATURES)).astype("float32")


def sequential(*layers):
    return keras.Sequential([keras.Input((STEPS, FEATURES)), *layers])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# Gates, against NumPy


def columns(layer, x, gates):
    """The gates' inputs `(rows, steps, units)` in the order of the kernel's columns, and the recurrent parts alone."""
    whole = MyRNN(layer.cell, return_sequences=True)
    outputs = to_numpy(whole(x))
    before = np.concatenate([np.zeros_like(outputs[:, :1]), outputs[:, :-1]], axis=1)
    kernel, recurrent, bias = to_numpy(layer.cell.get_weights())
    bias = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
    inputs, states = x @ kernel + bias[0], before @ recurrent + bias[1]
    return np.split(inputs, gates, axis=-1), np.split(states, gates, axis=-1)


def lstm_gates(layer, x):
    inputs, states = columns(layer, x, 4)
    i, f, g, o = (a + b for a, b in zip(inputs, states, strict=True))
    carry, carries = np.zeros_like(i[:, 0]), []
    for step in range(STEPS):
        carry = sigmoid(f[:, step]) * carry + sigmoid(i[:, step]) * np.tanh(g[:, step])
        carries.append(np.tanh(carry))
    return {
        "input_gate": (sigmoid(i), 0),
        "forget_gate": (sigmoid(f), 0),
        "candidate": (np.tanh(g), -1),
        "output_gate": (sigmoid(o), 0),
        "squashed_carry": (np.stack(carries, axis=1), -1),
    }


def gru_gates(layer, x):
    inputs, states = columns(layer, x, 3)
    reset = sigmoid(inputs[1] + states[1])
    candidate = np.tanh(inputs[2] + reset * states[2])
    return {
        "update_gate": (sigmoid(inputs[0] + states[0]), 0),
        "reset_gate": (reset, 0),
        "candidate": (candidate, -1),
    }


def simple_gates(layer, x):
    inputs, states = columns(layer, x, 1)
    return {"output": (np.tanh(inputs[0] + states[0]), -1)}


@pytest.mark.parametrize(
    ("kind", "gates"),
    [
        (MyLSTM, lstm_gates),
        (MyGRU, gru_gates),
        (MySimpleRNN, simple_gates),
        (keras.layers.LSTM, lstm_gates),
        (keras.layers.GRU, gru_gates),
        (keras.layers.SimpleRNN, simple_gates),
    ],
)
def test_gates_have_their_names_and_shares(kind, gates):
    layer, near = kind(UNITS, bias_initializer="random_normal", name="layer"), 0.2
    shares = gate_saturation(sequential(layer), data(), near)["layer"]
    expected = gates(layer, data())
    assert shares.keys() == expected.keys()
    for name, (values, lower) in expected.items():
        margin = near * (1 - lower)
        assert_close(shares[name].left, (values < lower + margin).mean((0, 1)), 0, name)
        assert_close(shares[name].right, (values > 1 - margin).mean((0, 1)), 0, name)
        assert 0 < shares[name].left.mean() + shares[name].right.mean() < 1, name


def test_masked_steps_do_not_count():
    model = sequential(keras.layers.Masking(), MyGRU(UNITS, name="gru"))
    x = data(1)
    short = gate_saturation(model, x[:, :4])
    x[:, 4:] = 0
    assert_close(gate_saturation(model, x)["gru"], short["gru"], 0)


class Leaky(keras.layers.Layer):
    """A cell of somebody's own, with an activation called twice, and one that has no upper limit."""

    def __init__(self, **options):
        super().__init__(**options)
        self.state_size = FEATURES
        self.gate_activation = keras.activations.sigmoid
        self.activation = keras.activations.relu

    def call(self, inputs, states, training=False):
        gate = self.gate_activation(inputs)
        new = gate * states[0] + (1 - gate) * self.activation(inputs) + self.gate_activation(states[0])
        return new, [new]


def test_activations_of_other_cells_are_numbered_and_those_without_limits_left_out():
    x = data()
    shares = gate_saturation(sequential(MyRNN(Leaky(), name="own")), x)["own"]
    assert list(shares) == ["gate_activation", "gate_activation_2"]
    assert_close(shares["gate_activation"].right, (sigmoid(x) > 0.9).mean((0, 1)), 0)


def test_a_variant_of_a_cell_is_not_misnamed():
    class Variant(MyGRUCell):
        def gate(self, projected, recurrent, states, weights):
            output, states = super().gate(projected, recurrent, states, weights)
            return self.activation(output), states

    names = list(gate_saturation(sequential(MyRNN(Variant(2), name="own")), data())["own"])
    assert names == ["recurrent_activation", "recurrent_activation_2", "activation", "activation_2"]


def test_the_cell_is_what_it_was_also_with_layers_as_activations():
    leaky = keras.layers.Activation("tanh")
    cell = MyLSTMCell(2, activation=leaky)
    model = sequential(MyRNN(cell, name="rnn"))
    before = to_numpy(model(data()))
    assert len(gate_saturation(model, data())["rnn"]) == 5
    assert cell.activation is leaky
    assert cell.recurrent_activation is keras.activations.sigmoid
    assert_close(model(data()), before, 0)


@pytest.mark.parametrize("near", [0, 0.5, True, "0.1", float("nan")])
def test_a_wrong_margin_is_told(near):
    with pytest.raises(ValueError, match="`near` must be a number above 0 and below 0.5"):
        gate_saturation(sequential(MyGRU(2)), data(), near)


# Jacobians


def test_of_a_linear_recurrence_it_is_the_kernel():
    rnn = MySimpleRNN(UNITS, activation="linear", name="rnn", recurrent_initializer="glorot_normal")
    jacobians = state_jacobians(sequential(rnn), data())["rnn"]
    kernel = to_numpy(rnn.cell.recurrent_kernel)
    assert_close(jacobians, np.broadcast_to(kernel.T, (STEPS, ROWS, UNITS, UNITS)), RTOL)
    values, eigenvalues = spectrum(jacobians)
    assert_close(values[2, 1], np.linalg.svd(kernel.astype("float64"), compute_uv=False), RTOL)
    expected = np.linalg.eigvals(kernel.astype("float64"))
    assert_close(np.abs(eigenvalues[0, 0]), np.sort(np.abs(expected))[::-1], RTOL)
    assert_close(eigenvalues[0, 0].sum().real, np.trace(kernel), RTOL)


def test_of_tanh_it_is_the_slope_times_the_kernel():
    rnn = MySimpleRNN(UNITS, return_sequences=True, name="rnn")
    model = sequential(rnn)
    slope = 1 - to_numpy(model(data())) ** 2
    expected = slope[..., None] * to_numpy(rnn.cell.recurrent_kernel).T
    assert_close(state_jacobians(model, data())["rnn"], expected.swapaxes(0, 1), 1e-4)


@pytest.mark.parametrize("cell", [MyLSTMCell, MyGRUCell, keras.layers.LSTMCell, keras.layers.GRUCell])
def test_it_is_the_finite_difference_of_the_cell(cell):
    layer = MyRNN(cell(2), return_state=True, name="rnn")
    inputs = keras.Input((STEPS, FEATURES))
    model = keras.Model(inputs, layer(inputs))
    x, step, small = data(), 3, 1e-2
    jacobian = state_jacobians(model, x, [step])["rnn"][0]
    states = to_numpy(list(layer(x[:, :step])[1:]))

    def after(entry, change):
        flat = np.concatenate(states, axis=-1)
        flat[:, entry] += change
        parts = [ops.convert_to_tensor(part) for part in np.split(flat, len(states), axis=-1)]
        return np.concatenate(to_numpy(list(layer.cell(ops.convert_to_tensor(x[:, step]), parts)[1])), axis=-1)

    slopes = [(after(entry, small) - after(entry, -small)) / (2 * small) for entry in range(2 * len(states))]
    # In float32: the error of the difference, and rounding over a small change.
    assert_close(jacobian, np.stack(slopes, axis=-1), 1e-3)


def test_at_a_masked_step_nothing_changes():
    model = sequential(keras.layers.Masking(), MySimpleRNN(UNITS, activation="linear", name="rnn"))
    x = data()
    x[1, :2] = 0
    jacobians = state_jacobians(model, x, [0, -1])["rnn"]
    kernel = to_numpy(model.layers[-1].cell.recurrent_kernel).T
    assert_close(jacobians[0, 1], np.eye(UNITS), 0)
    assert_close(jacobians[[0, 1, 1], [0, 0, 1]], np.stack([kernel] * 3), RTOL)


def test_before_the_first_valid_step_stands_the_initial_state():
    gru = MyGRU(2, learned_initial_state=True, name="gru")
    model = sequential(keras.layers.Masking(), gru)
    next(weight for weight in gru.weights if weight.name.startswith("initial_state")).assign([0.5, -1.0])
    x = data(1)
    x[:, :3] = 0
    whole, short = (state_jacobians(model, each)["gru"] for each in (x, x[:, 3:]))
    assert_close(whole[3:], short, RTOL)


def test_each_direction_and_each_layer_has_its_own():
    model = sequential(MyBidirectional(MyGRU(2, return_sequences=True, name="gru")), MyLSTM(3, name="lstm"), MyDense(1))
    shapes = {name: each.shape for name, each in state_jacobians(model, data(), [1, 2]).items()}
    assert shapes == {
        "forward_gru": (2, ROWS, 2, 2),
        "backward_gru": (2, ROWS, 2, 2),
        "lstm": (2, ROWS, 6, 6),
    }


@pytest.mark.parametrize("steps", [[STEPS], [-STEPS - 1], [0.5]])
def test_a_step_out_of_range_is_told(steps):
    with pytest.raises(ValueError, match=re.escape("`steps` must be a list of integers from -6 to 5")):
        state_jacobians(sequential(MyGRU(2)), data(), steps)


# Spectra

MATRICES = st.builds(
    lambda seed, steps, rows, size: np.random.default_rng(seed).normal(size=(steps, rows, size, size)),
    st.integers(0, 999),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(1, 4),
)


@given(MATRICES, st.integers(1, 5))
def test_a_product_takes_the_later_step_from_the_left(matrices, product):
    if product > len(matrices):
        with pytest.raises(ValueError, match="`product` must be an integer from 1 to the number of steps"):
            spectrum(matrices, product)
        return
    whole = matrices[0]
    for later in matrices[1:product]:
        whole = later @ whole
    values = spectrum(matrices, product).singular_values
    assert values.shape == (len(matrices) - product + 1, *matrices.shape[1:-1])
    assert_close(values[0], np.linalg.svd(whole, compute_uv=False), 1e-9)


@given(MATRICES)
def test_lyapunov_exponents_add_up_to_the_mean_log_determinant(matrices):
    expected = np.log(np.abs(np.linalg.det(matrices))).mean(0)
    assert_close(lyapunov_exponents(matrices).sum(-1), expected, 1e-9, scale=1.0)


def test_lyapunov_exponents_of_a_scaled_rotation_are_the_log_of_its_factor():
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    assert_close(lyapunov_exponents(np.stack([0.9 * rotation] * 7)), np.full(4, np.log(0.9)), 1e-12)


def test_the_first_lyapunov_exponent_is_the_log_of_the_spectral_radius_in_the_long_run():
    matrix = np.random.default_rng(1).normal(size=(4, 4))
    exponents = lyapunov_exponents(np.stack([matrix] * 4000))
    expected = np.sort(np.log(np.abs(np.linalg.eigvals(matrix))))[::-1]
    assert_close(exponents, expected, 1e-2)


def test_a_lost_direction_is_minus_infinity():
    assert lyapunov_exponents(np.zeros((3, 2, 2))).tolist() == [-np.inf, -np.inf]


@pytest.mark.parametrize("shape", [(2, 2), (3, 2, 4), (4,)])
def test_what_is_no_jacobian_is_told(shape):
    for function in (spectrum, lyapunov_exponents):
        with pytest.raises(ValueError, match="`jacobians` must be an array"):
            function(np.zeros(shape))
    with pytest.raises(ValueError, match="at least one step"):
        lyapunov_exponents(np.zeros((0, 2, 2)))
