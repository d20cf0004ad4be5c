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


def test_light_grus_take_products_that_were_made_before():
    plain = built("li_gru", bias_initializer="random_normal")
    own = weights_of(plain)
    projected = get("li_gru").layer(6, return_sequences=True, projected_inputs=True)
    projected.build((3, 9, 12))
    set_weights(projected, **own)
    assert [variable.name for variable in projected.cell.weights] == ["recurrent_kernel", "bias"]
    assert_close(to_numpy(projected(X @ own["kernel"])), to_numpy(plain(X)), RTOL)
    with pytest.raises(ValueError, match=r"must have 2 \* units = 12 features. Received: 4 features"):
        built("li_gru", projected_inputs=True)


def test_forget_gates_of_janet_start_with_memories_of_all_lengths():
    bias = weights_of(built("janet", units=500, max_steps=100))["bias"]
    assert 0 <= bias[:500].min() < 1
    assert 4.5 < bias[:500].max() <= np.log(99)
    assert not bias[500:].any()
    assert not weights_of(built("janet", max_steps=None))["bias"].any()


def test_star_starts_with_memories_of_all_lengths():
    bias = weights_of(built("star", units=500, max_steps=100))["bias"]
    assert -np.log(99) <= bias[500:].min() < -4.5
    assert -1 < bias[500:].max() <= 0
    assert not bias[:500].any()


def test_an_lstm_that_projects_onto_itself_is_an_lstm():
    projected = built("projected_lstm", projection_initializer="identity", peepholes=False)
    plain = built("lstm")
    set_weights(plain, **weights_of(projected))
    assert_same_layers(projected, plain)


def test_low_ranks_are_products():
    low, full = built("fast_grnn", kernel_rank=2, recurrent_rank=3), built("fast_grnn")
    own = weights_of(low)
    whole = {name: own[name] @ own[f"second_{name}"] for name in ("kernel", "recurrent_kernel")}
    set_weights(full, **own | whole)
    assert_same_layers(low, full)


def test_the_first_input_alone_has_none_before_it():
    one, two = built("qrnn", window=1), built("qrnn", window=2)
    own = weights_of(one)
    set_weights(two, **own | {"kernel": np.concatenate([own["kernel"], np.zeros_like(own["kernel"])])})
    assert_same_layers(one, two)


def test_a_window_of_two_sees_the_valid_input_before():
    layer = built("qrnn", window=2)
    holes = np.array([[False, True, True, False, False, True, True, True, False]] * 3)
    dense = to_numpy(layer(X[:, holes[0]]))
    dirty = np.where(holes[..., None], X, np.nan).astype("float32")
    assert_close(to_numpy(layer(dirty, mask=holes))[:, holes[0]], dense, RTOL)


def test_antisymmetric_weights_only_turn():
    cell = built("antisymmetric_rnn", gamma=0.2).cell
    kernel = to_numpy(cell.gather_weights()["recurrent_kernel"])
    assert_close(kernel + kernel.T, -0.4 * np.eye(6, dtype="float32"), RTOL)


def test_decays_of_rglru_start_in_their_range():
    own = weights_of(built("rglru", units=300, min_radius=0.6, max_radius=0.8))
    decay = (1 / (1 + np.exp(-own["decay_log"].astype("float64")))) ** 8
    assert 0.6 - 1e-5 <= decay.min() < 0.62
    assert 0.78 < decay.max() <= 0.8 + 1e-5


def test_phases_rates_and_signs_start_in_their_ranges():
    own = weights_of(built("phased_lstm", units=200))
    assert 1 <= own["period"].min() < 2
    assert 500 < own["period"].max() <= 1000
    assert (own["phase"] >= 0).all()
    assert (own["phase"] <= own["period"]).all()
    assert_close(own["ratio"], np.full(200, 0.05, "float32"), RTOL)
    own = weights_of(built("ltc", units=30))
    softplus = {name: np.log1p(np.exp(own[name].astype("float64"))) for name in ("cm", "w")}
    assert 0.4 - 1e-6 <= softplus["cm"].min() <= softplus["cm"].max() <= 0.6 + 1e-6
    assert 0.001 - 1e-6 <= softplus["w"].min() <= softplus["w"].max() <= 1 + 1e-6
    assert set(np.unique(own["erev"])) == {-1.0, 1.0}


def test_layers_of_a_highway_start_closed_and_differ():
    own = weights_of(built("rhn", depth=2, recurrent_initializer=keras.initializers.Orthogonal(seed=3)))
    assert (own["bias"] == np.repeat([[0.0, -2.0]] * 2, 6, axis=1)).all()
    first, second = own["recurrent_kernel"]
    assert np.abs(first - second).max() > 0.1
    assert_close(first @ first.T, np.eye(6, dtype="float32"), 1e-5)


def test_a_legendre_memory_holds_the_last_steps():
    layer = get("lmu").layer(1, order=8, theta=50.0, return_state=True)
    layer.build((1, 200, 1))
    # The signal is the input.
    zeros = {name: np.zeros_like(value) for name, value in weights_of(layer).items()}
    set_weights(layer, **zeros | {"input_encoder": np.ones((1, 1), "float32")})
    signal = np.sin(np.arange(200) / 15).astype("float32")
    memory = to_numpy(layer(signal[None, :, None])[2])[0]
    for delay in (0, 10, 25, 49):
        decoder = [np.polynomial.Legendre.basis(degree)(2 * delay / 50 - 1) for degree in range(8)]
        assert abs(memory @ np.array(decoder) - signal[-1 - delay]) < 0.05


def test_no_time_leaves_a_liquid_network_as_it_is():
    layer = get("ltc").layer(5, timed=True, return_state=True)
    inputs = np.concatenate([X, np.zeros_like(X[..., :1])], axis=-1)
    start = np.random.default_rng(1).normal(size=(3, 5)).astype("float32")
    layer.build(inputs.shape)
    assert_close(to_numpy(layer(inputs, initial_state=[start])[1]), start, RTOL)


def test_phases_follow_the_clock():
    counted, timed = built("phased_lstm", ratio_on=0.5), get("phased_lstm").layer(6, timed=True, return_sequences=True)
    time = np.broadcast_to(np.arange(9, dtype="float32")[None, :, None], (3, 9, 1))
    inputs = np.concatenate([X, time], axis=-1)
    timed.build(inputs.shape)
    set_weights(timed, **weights_of(counted))
    assert_close(to_numpy(timed(inputs)), to_numpy(counted(X)), RTOL)


WRONG = [
    ("janet", {"max_steps": 2}, "`max_steps` must be at least 3"),
    ("qrnn", {"window": 3}, "`window` must be 1 or 2"),
    ("qrnn", {"pooling": "x"}, "`pooling` must be one of"),
    ("mlstm", {"heads": 4}, "`heads` must divide `units`"),
    ("star", {"max_steps": 2}, "`max_steps` must be None, or at least 3"),
    ("cfc", {"mode": "x"}, "`mode` must be one of"),
    ("lipschitz_rnn", {"beta_a": 1.5}, "`beta_a` must be a number >= 0 and <= 1"),
    ("phased_lstm", {"ratio_on": 0}, "`ratio_on` must be a number > 0"),
    ("lmu", {"theta": 0}, "`theta` must be a number > 0"),
    ("rglru", {"min_radius": 0.9, "max_radius": 0.5}, "`min_radius` must be less than `max_radius`"),
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
        initializer = next(name for name in row.cell.declared_arguments() if name.endswith("_initializer"))
        with pytest.raises(TypeError, match=initializer):
            cls(4, **{initializer: 3})
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
