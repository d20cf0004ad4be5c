"""What is known of single cells: where one is another in disguise, where it starts, and what it refuses."""

import inspect

import keras
import numpy as np
import pytest
from keras import ops

import keras_rnn_ext as ext
from keras_rnn_ext.registry import ROWS, get
from tests.helpers import assert_close, gradients, to_numpy

RTOL = 1e-6
X = np.random.default_rng(0).normal(size=(3, 9, 4)).astype("float32")


def built(name, units=6, **options):
    layer = get(name).layer(units, return_sequences=True, **options)
    layer.build(X.shape)
    return layer


def weights_of(layer):
    return {variable.name: np.array(ops.convert_to_numpy(variable)) for variable in layer.cell.weights}


def set_weights(layer, **values):
    for variable in layer.cell.weights:
        if variable.name in values:
            variable.assign(values[variable.name])


def assert_same_layers(left, right):
    assert_close(to_numpy(left(X)), to_numpy(right(X)), RTOL)
    inputs = [gradients(lambda x, layer=layer: layer(x, training=True), [X])[0] for layer in (left, right)]
    assert_close(*inputs, 10 * RTOL)


def test_peepholes_of_zero_are_none():
    peephole, plain = built("peephole_lstm", peephole_initializer="zeros"), built("lstm")
    set_weights(plain, **weights_of(peephole))
    assert_same_layers(peephole, plain)


def test_coupled_gates_are_an_lstm_with_opposite_ones():
    coupled = built("coupled_lstm", use_peepholes=False, bias_initializer="random_normal")
    plain = built("lstm")
    own = weights_of(coupled)

    def both(weight):
        input_gate, candidate, output_gate = np.split(weight, 3, axis=-1)
        return np.concatenate([input_gate, -input_gate, candidate, output_gate], axis=-1)

    set_weights(plain, **{name: both(weight) for name, weight in own.items()})
    assert_same_layers(coupled, plain)


def test_independent_units_are_a_diagonal_kernel():
    independent, plain = built("ind_rnn", activation="tanh"), built("simple_rnn")
    own = weights_of(independent)
    set_weights(plain, **own | {"recurrent_kernel": np.diag(own["recurrent_kernel"][0])})
    assert_same_layers(independent, plain)


def test_an_echo_state_network_without_a_leak_is_a_simple_one():
    echo, plain = built("esn", connectivity=1.0), built("simple_rnn")
    set_weights(plain, **weights_of(echo))
    assert_same_layers(echo, plain)


def test_heads_are_blocks_of_a_dense_kernel():
    one, two = built("slstm"), built("slstm", heads=2)
    own = weights_of(two)
    dense = np.zeros((6, 4, 6), "float32")
    for head, block in enumerate(own["recurrent_kernel"]):
        place = slice(3 * head, 3 * head + 3)
        dense[place, :, place] = block.reshape(3, 4, 3)
    set_weights(one, **own | {"recurrent_kernel": dense.reshape(1, 6, 24)})
    assert_same_layers(one, two)


def test_slstm_survives_what_its_exponentials_would_not():
    layer = built("slstm", exponential_forget_gate=True)
    values = to_numpy(layer(1e3 * X))
    assert np.isfinite(values).all()
    (gradient,) = gradients(lambda x: layer(x, training=True), [1e3 * X])
    assert np.isfinite(gradient).all()
    # Gates so small that the first step would be 0 / 0, were the stabiliser to start at zero.
    kernel = np.zeros((4, 24), "float32")
    bias = np.concatenate([np.full(6, -300.0), np.zeros(6), np.ones(12)]).astype("float32")
    set_weights(layer, kernel=kernel, bias=bias, recurrent_kernel=np.zeros((1, 6, 24), "float32"))
    assert_close(to_numpy(layer(X)), np.full((3, 9, 6), np.tanh(1) / (1 + np.exp(-1)), "float32"), RTOL)


@pytest.mark.parametrize("name", ["min_gru", "min_lstm"])
def test_extreme_gates_of_linear_cells(name):
    layer = built(name)
    values = to_numpy(layer(1e4 * X))
    assert np.isfinite(values).all()
    (gradient,) = gradients(lambda x: layer(x, training=True), [1e4 * X])
    assert np.isfinite(gradient).all()


def test_lru_starts_in_its_ring():
    layer = built("lru", units=200, r_min=0.6, r_max=0.9, max_phase=0.5)
    own = weights_of(layer)
    radius = np.exp(-np.exp(own["nu_log"]))
    assert 0.6 <= radius.min() < 0.65
    assert 0.85 < radius.max() <= 0.9
    assert np.exp(own["theta_log"]).max() <= 0.5
    assert_close(np.exp(own["gamma_log"]) ** 2, 1 - radius**2, 1e-5)


def test_an_echo_state_network_has_its_spectral_radius_and_trains_nothing():
    layer = built("esn", units=60, spectral_radius=0.7, connectivity=0.2)
    kernel = weights_of(layer)["recurrent_kernel"]
    assert abs(np.abs(np.linalg.eigvals(kernel.astype("float64"))).max() - 0.7) < 1e-5
    assert 0.1 < np.mean(kernel != 0) < 0.3
    assert not layer.trainable_variables


def test_the_bound_of_independent_units():
    constraint = ext.MaxAbsolute(0.5)
    layer = built("ind_rnn", recurrent_constraint=constraint)
    again = keras.constraints.deserialize(keras.constraints.serialize(constraint))
    assert again.limit == layer.cell.recurrent_constraint.limit == 0.5
    assert_close(to_numpy(again(np.array([-2.0, 0.1], "float32"))), np.array([-0.5, 0.1], "float32"), RTOL)
    with pytest.raises(ValueError, match="`limit` must be a number > 0"):
        ext.MaxAbsolute(0)


WRONG = [
    ("co_rnn", {"dt": 0}, "`dt` must be a number > 0"),
    ("co_rnn", {"gamma": "a"}, r"`gamma` must be a number > 0. Received: gamma='a' \(of type str\)"),
    ("co_rnn", {"epsilon": float("nan")}, "`epsilon` must be a number >= 0"),
    ("coupled_lstm", {"use_peepholes": "no"}, "`use_peepholes` must be True or False"),
    ("esn", {"connectivity": 1.5}, "`connectivity` must be a number > 0 and <= 1"),
    ("layer_norm_lstm", {"epsilon": -1}, "`epsilon` must be a number > 0"),
    ("lru", {"state_units": -1}, "`state_units` must be a positive integer"),
    ("lru", {"r_min": 0.9, "r_max": 0.5}, "`r_min` must be less than `r_max`. Received: r_min=0.9, r_max=0.5"),
    ("slstm", {"heads": 4}, "`heads` must divide `units`. Received: heads=4, units=6"),
    ("slstm", {"heads": 0}, "`heads` must be a positive integer"),
]


@pytest.mark.parametrize(("name", "options", "message"), WRONG)
def test_own_arguments_are_checked(name, options, message):
    for make in (get(name).cell, get(name).layer):
        with pytest.raises(ValueError, match=message):
            make(6, **options)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_cell(row):
    """Its texts, its config, what it says of a wrong `units`, `activation` or argument, and a subclass."""
    for cls in (row.cell, row.layer):
        text = inspect.getdoc(cls)
        for part in ("Args:", "Call arguments:", "Returns:", "Raises:", "Source:", ">>> ", "$$"):
            assert part in text, f"{cls.__name__} has no {part}"
        assert max(map(len, text.splitlines())) <= 120
        assert keras.saving.get_registered_name(cls) == f"keras_rnn_ext>{cls.__name__}"
        for units in (0, -3, 2.5, True, "8"):
            with pytest.raises(ValueError, match="`units` must be a positive integer"):
                cls(units)
        with pytest.raises(ValueError, match="`seed` must be an int, or None. Received: seed=1.5"):
            cls(4, seed=1.5)
        with pytest.raises(TypeError, match="kernel_initializer"):
            cls(4, kernel_initializer=3)
        with pytest.raises((TypeError, ValueError), match="actvation"):
            cls(4, actvation="tanh")
        for variant in row.variants:
            config = cls(4, **variant, name="again").get_config()
            assert cls.from_config(config).get_config() == config
    cell = type("Renamed", (row.cell,), {})(4, name="own")
    assert isinstance(ext.MyRNN(cell).cell, row.cell)
    assert cell.is_pure


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_cell_in_sixteen_bits_and_in_keras(row):
    """Numbers beside those of `keras.layers.RNN`; under `mixed_bfloat16` they are near."""
    layer = row.layer(4, return_sequences=True)
    expected = to_numpy(layer(X))
    theirs = keras.layers.RNN(row.cell.from_config(layer.cell.get_config()), return_sequences=True)
    theirs.build(X.shape)
    for new, old in zip(theirs.cell.weights, layer.cell.weights, strict=True):
        new.assign(old)
    assert_close(to_numpy(theirs(X)), expected, 10 * RTOL)
    mixed = row.layer(4, return_sequences=True, dtype="mixed_bfloat16")
    mixed.build(X.shape)
    mixed.set_weights(layer.get_weights())
    outputs = mixed(X)
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
    assert_close(to_numpy(ops.cast(outputs, "float32")), expected, 0.1)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_cell_learns(row):
    """A few steps of training, with dropout where there is any, lower the loss."""
    own = {name: 0.1 for name in ("dropout", "recurrent_dropout") if name in row.cell.declared_arguments()}
    model = keras.Sequential([keras.Input((None, 4)), row.layer(8, **own), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.02), "mse")
    y = X.mean(axis=(1, 2))
    before = model.evaluate(X, y, verbose=0)
    model.fit(X, y, epochs=25, verbose=0)
    assert model.evaluate(X, y, verbose=0) < before
