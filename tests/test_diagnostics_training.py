"""The callback that measures in the course of a training, and the pictures."""

import builtins
import csv

import keras
import numpy as np
import pytest

from keras_rnn_ext import MyDense, MyGRU, MyLSTM
from keras_rnn_ext.diagnostics import (
    RecurrentDiagnostics,
    Saturation,
    gate_saturation,
    gradient_norms,
    lyapunov_exponents,
    plot_eigenvalues,
    plot_gradient_norms,
    plot_saturation,
    state_jacobians,
)
from keras_rnn_ext.training import TruncatedBPTT
from tests.helpers import assert_close

RTOL = 1e-5


def data(rows=8):
    random = np.random.default_rng(0)
    return random.normal(size=(rows, 5, 2)).astype("float32"), random.normal(size=(rows, 1)).astype("float32")


def compiled():
    model = keras.Sequential([keras.Input((5, 2)), MyLSTM(3, name="lstm"), MyDense(1)])
    model.compile(keras.optimizers.Adam(0.1), "mse")
    return model


def test_the_last_record_is_that_of_the_trained_model(tmp_path):
    x, y = data()
    model = compiled()
    diagnostics = RecurrentDiagnostics(x[:4], y[:4], measures=("gradients", "saturation", "spectrum"))
    callbacks = [diagnostics, keras.callbacks.CSVLogger(tmp_path / "log.csv")]
    history = model.fit(x, y, batch_size=4, epochs=3, callbacks=callbacks, verbose=0).history
    last = diagnostics.records[-1]
    norms = gradient_norms(model, x[:4], y[:4])
    assert_close(last["gradients"], norms, RTOL)
    gates = gate_saturation(model, x[:4])
    assert_close(last["saturation"], gates, 0)
    exponents = lyapunov_exponents(state_jacobians(model, x[:4])["lstm"])
    assert_close(last["spectrum"]["lstm"], exponents, 1e-4)
    expected = {
        "lstm/gradient_lag_0": norms["lstm"][0, 0],
        "lstm/gradient_lag_4": norms["lstm"][0, 4],
        "lstm/saturated_forget_gate": (gates["lstm"]["forget_gate"].left + gates["lstm"]["forget_gate"].right).mean(),
        "lstm/lyapunov": exponents[:, 0].mean(),
    }
    for name, value in expected.items():
        assert len(history[name]) == 3
        assert history[name][-1] == pytest.approx(value, rel=1e-4, abs=1e-6)
    # The weights go on, and so do the numbers.
    assert len(set(history["lstm/gradient_lag_4"])) == 3
    with open(tmp_path / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["lstm/lyapunov"]) == pytest.approx(history["lstm/lyapunov"][-1])


def test_every_second_epoch():
    x, y = data()
    diagnostics = RecurrentDiagnostics(x, y, every=2, measures="saturation")
    history = compiled().fit(x, y, epochs=4, callbacks=[diagnostics], verbose=0).history
    assert [record["epoch"] for record in diagnostics.records] == [0, 2]
    assert len(history["lstm/saturated_candidate"]) == 2
    assert not any("gradient" in name for name in history)


def test_measuring_does_not_change_the_training():
    x, y = data()

    def weights(callbacks):
        keras.utils.set_random_seed(3)
        model = compiled()
        model.fit(x, y, batch_size=4, epochs=2, callbacks=callbacks, verbose=0)
        return model.get_weights()

    both = RecurrentDiagnostics(x, y, measures=("gradients", "saturation", "spectrum"))
    assert_close(weights([both]), weights([]), 0)


def test_the_model_in_a_trainer():
    series = np.sin(np.arange(2 * 41) / 3).reshape(2, 41, 1).astype("float32")
    gru = MyGRU(4, stateful=True, return_sequences=True, name="gru")
    trainer = TruncatedBPTT(keras.Sequential([keras.Input(batch_shape=(2, None, 1)), gru, MyDense(1)]), 10)
    trainer.compile("adam", "mse")
    diagnostics = RecurrentDiagnostics(series[:, :10], series[:, 1:11], model=trainer.model)
    history = trainer.fit(series[:, :-1], series[:, 1:], epochs=2, callbacks=[diagnostics], verbose=0).history
    assert len(set(history["gru/gradient_lag_9"])) == 2
    norms = gradient_norms(trainer.model, series[:, :10], series[:, 1:11], "mse")
    assert_close(diagnostics.records[-1]["gradients"], norms, RTOL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "`every` must be an integer above zero"),
        ({"every": True}, "`every` must be an integer above zero"),
        ({"measures": ()}, "`measures` must hold some of"),
        ({"measures": ("gradient",)}, "`measures` must hold some of"),
    ],
)
def test_wrong_arguments_are_told(options, message):
    with pytest.raises(ValueError, match=message):
        RecurrentDiagnostics(*data(), **options)


# Pictures


@pytest.fixture
def matplotlib():
    return pytest.importorskip("matplotlib")


def test_norms_are_drawn_by_layer_and_state(matplotlib):
    norms = {"lstm": np.array([[1.0, 0.5], [0.0, 0.2]]), "gru": np.array([[2.0, 1.0]])}
    axes = plot_gradient_norms(norms)
    assert [line.get_label() for line in axes.lines] == ["lstm", "gru"]
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), [2.0, 1.0])
    again = plot_gradient_norms(norms, axes, state=1)
    assert again is axes
    # Zero has no place on a logarithmic axis.
    np.testing.assert_array_equal(axes.lines[2].get_ydata(), [np.nan, 0.2])
    with pytest.raises(ValueError, match="`state` must be the number of a state. Received: state=2"):
        plot_gradient_norms(norms, state=2)


def test_units_are_drawn_at_their_shares(matplotlib):
    gates = {"forget_gate": Saturation(np.array([0.1, 0.3]), np.array([0.6, 0.5]))}
    axes = plot_saturation(gates)
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), [[0.1, 0.6], [0.3, 0.5]])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["forget gate"]
    with pytest.raises(ValueError, match="must hold a gate"):
        plot_saturation({}, axes)


def test_eigenvalues_are_drawn_in_the_plane(matplotlib):
    rotation = np.array([[0.0, -2.0], [2.0, 0.0]])
    axes = plot_eigenvalues(np.stack([rotation, np.eye(2)]), label="rnn")
    points = np.asarray(axes.collections[0].get_offsets())
    np.testing.assert_allclose(sorted(map(tuple, points.round(6))), [(0, -2), (0, 2), (1, 0), (1, 0)])
    assert plot_eigenvalues(rotation, axes) is axes
    with pytest.raises(ValueError, match="`jacobians` must be an array"):
        plot_eigenvalues(np.zeros((2, 3)))


def test_matplotlib_that_is_missing_is_told(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="need matplotlib: python -m pip install matplotlib"):
        plot_eigenvalues(np.eye(2))
