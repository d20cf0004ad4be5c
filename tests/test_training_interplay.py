"""The trainer with Keras's callbacks, files and layers, and its errors."""

import keras
import numpy as np
import pytest

from keras_rnn_ext import MyDense, MyGRU
from keras_rnn_ext.training import SeriesWindows, TruncatedBPTT
from tests.helpers import BACKEND, assert_close
from tests.training_nets import FEATURES, OUTPUTS, ROWS, RTOL, Batches, Net, data

# Callbacks, files, other layers


def test_callbacks_of_keras_work(tmp_path):
    net, (x, y) = Net(), data(12)
    trainer = TruncatedBPTT(net.model, 3, windows_per_call=2)
    trainer.compile(keras.optimizers.Adam(0.01), "mse")
    calls = []
    callbacks = [
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True),
        keras.callbacks.EarlyStopping(patience=1, restore_best_weights=True),
        keras.callbacks.LearningRateScheduler(lambda epoch: 0.01 / (epoch + 1)),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: calls.append(logs["loss"])),
    ]
    trainer.fit(x, y, epochs=3, validation_data=(x, y), callbacks=callbacks, verbose=0)
    assert len(calls) == 3 * 2
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4
    best = keras.models.load_model(tmp_path / "best.keras")
    assert best.evaluate(x, y, verbose=0) == pytest.approx(trainer.evaluate(x, y, verbose=0), rel=RTOL)


def test_loaded_trainer_goes_on_as_the_saved_one(tmp_path):
    (x, y), net = data(12), Net()
    trainer = TruncatedBPTT(net.model, 3, length=4, windows_per_call=2, reset="epoch", name="trainer")
    trainer.compile("adam", "mse")
    trainer.fit(x, y, verbose=0)
    trainer.save(tmp_path / "trainer.keras")
    loaded = keras.models.load_model(tmp_path / "trainer.keras")
    for name in ("window", "length", "windows_per_call", "reset", "name"):
        assert getattr(loaded, name) == getattr(trainer, name)
    for each in (trainer, loaded):
        each.fit(x, y, verbose=0)
    assert_close(loaded.get_weights(), trainer.get_weights(), RTOL)
    assert len(trainer.weights) == len(net.model.weights)


@pytest.mark.skipif(BACKEND == "jax", reason="Keras's own layers forget their states on JAX")
def test_layers_of_keras_carry_their_states_too():
    x, y = data(12)
    models = []
    for layer in (MyGRU, keras.layers.GRU):
        keras.utils.set_random_seed(0)
        recurrent = layer(4, stateful=True, return_sequences=True)
        model = keras.Sequential([keras.Input(batch_shape=(ROWS, None, FEATURES)), recurrent, MyDense(OUTPUTS)])
        models.append(model)
    models[1].set_weights(models[0].get_weights())
    for model in models:
        trainer = TruncatedBPTT(model, 3)
        trainer.compile("adam", "mse")
        trainer.fit(x, y, verbose=0)
    assert_close(models[1].get_weights(), models[0].get_weights(), RTOL)


# Errors


def sequential(*layers, batch=ROWS):
    return keras.Sequential([keras.Input(batch_shape=(batch, None, FEATURES)), *layers])


def stateful(**options):
    return MyGRU(4, stateful=True, return_sequences=True, **options)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: TruncatedBPTT("model", 3), TypeError, "must be a Keras model. Received: 'model'"),
        (lambda: TruncatedBPTT(sequential(MyDense(2)), 3), ValueError, "made with `stateful=True`"),
        (lambda: TruncatedBPTT(keras.Sequential([stateful()]), 3), ValueError, "built, with a known batch size"),
        (
            lambda: TruncatedBPTT(sequential(stateful(), MyGRU(4, return_sequences=True, name="forgets")), 3),
            ValueError,
            r"would forget their state at the end of each window: \['forgets'\]",
        ),
        (
            lambda: TruncatedBPTT(sequential(stateful(go_backwards=True, name="back")), 3),
            ValueError,
            r"go backwards.*\['back'\]",
        ),
        (lambda: TruncatedBPTT(sequential(stateful()), 0), ValueError, "`window` must be .* Received: window=0"),
        (lambda: TruncatedBPTT(sequential(stateful()), 3, 2), ValueError, "Received: length=2, window=3"),
        (lambda: TruncatedBPTT(sequential(stateful()), 3, reset="no"), ValueError, "Received: reset='no'"),
        (
            lambda: TruncatedBPTT(sequential(stateful()), 3, windows_per_call=1.5),
            ValueError,
            "Received: windows_per_call=1.5",
        ),
    ],
)
def test_errors_of_the_constructor(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


@pytest.mark.skipif(BACKEND != "jax", reason="elsewhere Keras's own layers keep their states")
def test_layers_that_forget_on_jax_are_refused():
    layer = keras.layers.GRU(4, stateful=True, return_sequences=True, name="forgets")
    with pytest.raises(ValueError, match=r"Keras forgets on JAX: \['forgets'\]. Use their twins"):
        TruncatedBPTT(sequential(layer), 3)


X, Y = np.zeros((ROWS, 6, FEATURES), "float32"), np.zeros((ROWS, 6, 4), "float32")


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ({"shuffle": True}, {}, "`shuffle` is not for series in order"),
        ({"validation_split": 0.1}, {}, "`validation_split` is not for series in order"),
        ({"batch_size": 2}, {}, f"the model's own, {ROWS}. Received: batch_size=2"),
        ({"y": Y[:, 1:]}, {}, "Argument `y` must have as many series as `x`"),
        ({"x": SeriesWindows(X, Y, rows=ROWS, window=2), "y": None}, {}, r"\(3, 3, 3\). Received: \(3, 2, 2\)"),
        ({"x": SeriesWindows(X, Y, rows=2, window=3), "y": None}, {}, r"\(3, 3, 3\). Received: \(2, 3, 3\)"),
        (
            {"x": SeriesWindows(X, Y, rows=ROWS, window=3), "y": None},
            {"length": 4},
            r"\(3, 3, 4\). Received: \(3, 3, 3\)",
        ),
        ({"x": Batches((X, Y)), "y": None}, {"length": 4, "reset": "epoch"}, "the steps before each batch are needed"),
        ({"x": Batches((X, Y[:, 0])), "y": None}, {}, "a target for each step"),
    ],
)
def test_errors_of_fit(arguments, options, message):
    trainer = TruncatedBPTT(sequential(stateful()), 3, **options)
    trainer.compile("sgd", "mse")
    with pytest.raises(ValueError, match=message):
        trainer.fit(**{"x": X, "y": Y, "verbose": 0, **arguments})


def test_model_without_an_output_for_each_step_is_refused():
    trainer = TruncatedBPTT(sequential(stateful(), MyGRU(4, stateful=True)), 3)
    trainer.compile("sgd", "mse")
    with pytest.raises(ValueError, match="Is `return_sequences=True` missing"):
        trainer.fit(X, Y, verbose=0)


def test_half_precision_needs_a_scaled_loss():
    model = sequential(stateful())
    model.dtype_policy = "mixed_float16"
    trainer = TruncatedBPTT(model, 3)
    trainer.compile("sgd", "mse")
    with pytest.raises(ValueError, match="Received: optimizer SGD"):
        trainer.fit(X, Y, verbose=0)
