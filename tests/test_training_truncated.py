"""Training in windows, against Keras's own step for each; masks, resets, callbacks, files."""

import keras
import numpy as np
import pytest

from keras_rnn_ext import MyDense, MyEmbedding, MyGRU, MyLSTM, MySimpleRNN, get_states
from keras_rnn_ext.training import Perplexity, TruncatedBPTT
from tests.helpers import assert_close, to_numpy
from tests.training_nets import FEATURES, OUTPUTS, ROWS, RTOL, Net, Recorder, data, squared_error

# Training, against Keras's own step for each window


def by_train_on_batch(model, x, y, window):
    """The losses of a stateful model, trained window by window."""
    starts = range(0, x.shape[1], window)
    return [model.train_on_batch(x[:, start : start + window], y[:, start : start + window]) for start in starts]


def regularized():
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input(batch_shape=(ROWS, None, FEATURES)),
            MyGRU(4, stateful=True, return_sequences=True, kernel_regularizer="l2", activity_regularizer="l2"),
            keras.layers.BatchNormalization(momentum=0.5),
            MyDense(OUTPUTS),
        ]
    )


@pytest.mark.parametrize("windows_per_call", [2, 64])
def test_training_is_that_of_a_stateful_model_window_by_window(windows_per_call):
    x, y = data(12)
    plain, model = regularized(), regularized()
    plain.compile("adam", "mse")
    losses = by_train_on_batch(plain, x, y, 3)
    trainer = TruncatedBPTT(model, 3, windows_per_call=windows_per_call)
    trainer.compile("adam", "mse")
    history = trainer.fit(x, y, verbose=0).history
    # Weights, and the moving averages of the normalization.
    assert_close(model.get_weights(), plain.get_weights(), RTOL)
    assert_close(list(get_states(model).values()), list(get_states(plain).values()), RTOL)
    assert_close(trainer.window_losses, np.array(losses, "float32")[-windows_per_call:], RTOL)
    assert_close(np.array(history["loss"]), np.array([np.mean(losses)]), RTOL)
    assert trainer.windows_trained == int(trainer.optimizer.iterations.numpy()) == 4


def test_window_losses_are_the_last_ones_in_order():
    x, y = data(15)
    losses = []
    for capacity in (64, 3):
        trainer = TruncatedBPTT(regularized(), 3, windows_per_call=capacity)
        trainer.compile("sgd", "mse")
        assert trainer.window_losses.shape == (0,)
        trainer.fit(x, y, verbose=0)
        losses.append(trainer.window_losses)
    assert losses[0].shape == (5,)
    assert_close(losses[1], losses[0][2:], RTOL)


def test_dropout_draws_anew_for_each_window():
    net = keras.Sequential([keras.Input(batch_shape=(1, None, 1)), MyLSTM(8, stateful=True, return_sequences=True)])
    net.add(keras.layers.Dropout(0.5, seed=1))
    trainer = TruncatedBPTT(net, 2)
    trainer.compile(keras.optimizers.SGD(0.0), "mae")
    trainer.fit(np.zeros((1, 12, 1)), np.ones((1, 12, 8)), verbose=0)
    trainer.fit(np.ones((1, 12, 1)), np.zeros((1, 12, 8)), verbose=0)
    assert len(np.unique(trainer.window_losses[6:])) == 6


@pytest.mark.parametrize("options", [{}, {"length": 5}])
def test_states_of_a_mixed_model_are_not_rounded(options):
    keras.utils.set_random_seed(0)
    layers = [MyGRU(4, stateful=True, return_sequences=True), MyDense(OUTPUTS)]
    for layer in layers:
        layer.dtype_policy = "mixed_bfloat16"
    model = keras.Sequential([keras.Input(batch_shape=(ROWS, None, FEATURES)), *layers])
    trainer = TruncatedBPTT(model, 3, **options)
    trainer.compile("sgd", "mse")
    before = model.get_weights()
    trainer.fit(*data(6), verbose=0)
    assert {keras.backend.standardize_dtype(state.dtype) for state in model.layers[0].states} == {"float32"}
    changes = [np.abs(new - old).max() for new, old in zip(model.get_weights(), before, strict=True)]
    # Weights that had gone through bfloat16 would have changed by 1/256 of themselves or not at all.
    assert all(0 < change < 0.1 for change in changes)


# Masks, inputs and outputs of other forms


def words(mask_zero):
    keras.utils.set_random_seed(5)
    layers = [MyEmbedding(7, 3, mask_zero=mask_zero), MySimpleRNN(4, stateful=True, return_sequences=True), MyDense(7)]
    return keras.Sequential([keras.Input(batch_shape=(2, None), dtype="int32"), *layers])


def test_loss_and_metrics_count_the_steps_of_the_series_only():
    series = [np.array([1, 2, 3, 4, 5]), np.array([6, 5]), np.array([3])]
    trainer = TruncatedBPTT(words(False), 4)
    outputs = trainer.predict(series, verbose=0)
    # The steps of the second series are predicted rightly, the others are not.
    targets = [each.argmax(-1) for each in outputs]
    targets = [(each + (len(each) != 2)) % 7 for each in targets]
    accuracy = keras.metrics.SparseCategoricalAccuracy
    trainer.compile(
        keras.optimizers.SGD(0.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[accuracy(name="plain"), Perplexity(from_logits=True)],
        weighted_metrics=[accuracy(name="weighted")],
    )
    logs = trainer.fit(series, targets, verbose=0).history
    assert logs["plain"] == logs["weighted"] == [pytest.approx(2 / 8)]
    logits, targets = np.concatenate(outputs), np.concatenate(targets)
    likelihoods = logits[np.arange(8), targets] - np.log(np.exp(logits).sum(-1))
    assert logs["perplexity"] == [pytest.approx(np.exp(-likelihoods.mean()), rel=RTOL)]


def test_mask_of_the_model_s_own_counts_too():
    ids = np.array([[1, 2, 3, 0, 0, 0], [4, 5, 6, 1, 2, 0]])
    targets = np.where(ids, (ids + 1) % 7, 0)
    losses = {}
    for length in (3, 4):
        trainer = TruncatedBPTT(words(True), 3, length=length)
        trainer.compile(keras.optimizers.SGD(0.0), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        trainer.fit(ids, targets, verbose=0)
        losses[length] = trainer.window_losses
    outputs = trainer.predict(ids, verbose=0)
    logs = outputs - np.log(np.exp(outputs).sum(-1, keepdims=True))
    steps = -np.take_along_axis(logs, targets[..., None], axis=-1)[..., 0]
    expected = [steps[:, part][ids[:, part] > 0].mean() for part in (slice(0, 3), slice(3, 6))]
    assert_close(losses[3], np.array(expected, "float32"), RTOL)
    assert_close(losses[4], losses[3], RTOL)


def test_model_of_several_inputs_and_outputs():
    first, second = (
        keras.Input(batch_shape=(ROWS, None, 2), name="a"),
        keras.Input(batch_shape=(ROWS, None, 1), name="b"),
    )
    joined = keras.layers.Concatenate()([first, second])
    outputs = MyGRU(4, stateful=True, return_sequences=True)(joined)
    model = keras.Model(
        {"a": first, "b": second}, {"p": MyDense(2, name="p")(outputs), "q": MyDense(1, name="q")(outputs)}
    )
    trainer = TruncatedBPTT(model, 3, length=4)
    trainer.compile("adam", {"p": "mse", "q": "mae"})
    x, y = data(7)
    inputs, targets = {"a": x, "b": x[..., :1]}, {"p": y, "q": y[..., :1]}
    losses = trainer.fit(inputs, targets, epochs=30, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    predicted = trainer.predict(inputs, verbose=0)
    assert {name: each.shape for name, each in predicted.items()} == {"p": (ROWS, 7, 2), "q": (ROWS, 7, 1)}


def test_sample_weights_are_cut_along():
    net, (x, y) = Net(), data(6)
    weights = np.zeros((ROWS, 6), "float32")
    weights[:, 4] = 1
    trainer = TruncatedBPTT(net.model, 3)
    trainer.compile(Recorder(), "mse")
    trainer.fit(x, y, sample_weight=weights, verbose=0)
    outputs = net.run(x)[0][:, 4]
    expected = to_numpy(squared_error(outputs, y[:, 4])) / 3
    assert_close(trainer.window_losses, np.array([0.0, expected], "float32"), RTOL)


# When the state starts afresh


@pytest.mark.parametrize(("reset", "goes_on"), [("series", False), ("epoch", False), ("never", True)])
def test_epochs_start_afresh_unless_never(reset, goes_on):
    net, (x, y) = Net(), data(6)
    trainer = TruncatedBPTT(net.model, 3, reset=reset)
    trainer.compile(keras.optimizers.SGD(0.0), "mse")
    trainer.fit(x, y, epochs=2, verbose=0)
    expected = net.states_after(np.concatenate([x, x], axis=1) if goes_on else x)
    assert_close(list(get_states(net.model).values()), expected, RTOL)


@pytest.mark.parametrize(("reset", "goes_on"), [("series", False), ("epoch", True)])
def test_next_series_of_a_row_starts_afresh_or_goes_on(reset, goes_on):
    net, (x, y) = Net(), data(3, series=2 * ROWS)
    trainer = TruncatedBPTT(net.model, 3, reset=reset)
    trainer.compile(keras.optimizers.SGD(0.0), "mse")
    trainer.fit(x, y, verbose=0)
    expected = net.states_after(np.concatenate([x[:ROWS], x[ROWS:]], axis=1) if goes_on else x[ROWS:])
    assert_close(list(get_states(net.model).values()), expected, RTOL)


@pytest.mark.parametrize("reset", ["series", "epoch"])
def test_predictions_are_those_of_the_model_over_each_series_from_its_start(reset):
    net, (x, _) = Net(), data(20)
    trainer = TruncatedBPTT(net.model, 2, windows_per_call=3, reset=reset)
    expected, _ = net.run(x)
    for _ in range(2):
        assert_close(trainer.predict(x, verbose=0), to_numpy(expected), RTOL)


def test_evaluation_and_prediction_leave_the_state_of_the_training_alone():
    net, (x, y) = Net(), data(6)
    trainer = TruncatedBPTT(net.model, 3, reset="never")
    trainer.compile(keras.optimizers.SGD(0.0), "mse")
    validation = data(9, seed=7)
    trainer.fit(x, y, epochs=2, validation_data=tuple(validation), verbose=0)
    trainer.evaluate(*validation, verbose=0)
    trainer.predict(validation[0], verbose=0)
    expected = net.states_after(np.concatenate([x, x], axis=1))
    assert_close(list(get_states(net.model).values()), expected, RTOL)


def test_evaluation_is_the_mean_over_windows_and_the_same_in_fit():
    net, (x, y) = Net(), data(6)
    trainer = TruncatedBPTT(net.model, 3, length=4)
    trainer.compile(keras.optimizers.SGD(0.0), "mse")
    outputs, _ = net.run(x)
    expected = float(to_numpy(squared_error(outputs, y)))
    assert trainer.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=RTOL)
    history = trainer.fit(*data(9, seed=7), validation_data=(x, y), verbose=0).history
    assert history["val_loss"] == pytest.approx([expected], rel=RTOL)
