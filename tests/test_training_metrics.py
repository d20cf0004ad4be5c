"""Perplexity against its definition, and the schedule against the published one."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_rnn_ext import MyDense, MyEmbedding, MyGRU, MySimpleRNN
from keras_rnn_ext.training import HoldThenDecay, Perplexity, TruncatedBPTT

CLASSES = 5


def batch(rows, steps, seed):
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(rows, steps, CLASSES)).astype("float32")
    return generator.integers(0, CLASSES, (rows, steps)), logits, generator.uniform(0.5, 2, (rows, steps))


def by_definition(batches, weights=None):
    """exp of the weighted mean of -log softmax(logits)[target], in float64."""
    total = count = 0.0
    for place, (targets, logits, _) in enumerate(batches):
        logits = logits.astype("float64")
        logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        losses = -np.take_along_axis(logs, targets[..., None], axis=-1)[..., 0]
        weight = np.ones(losses.shape) if weights is None else weights[place]
        total, count = total + (losses * weight).sum(), count + weight.sum()
    return np.exp(total / count)


SIZES = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 6)), min_size=1, max_size=4)


@given(sizes=SIZES)
def test_perplexity_is_exact_over_batches_of_different_sizes(sizes):
    batches = [batch(*size, seed) for seed, size in enumerate(sizes)]
    metric = Perplexity(from_logits=True)
    for targets, logits, _ in batches:
        metric.update_state(targets, logits)
    assert float(metric.result()) == pytest.approx(by_definition(batches), rel=1e-5)


@given(sizes=SIZES)
def test_perplexity_with_sample_weights(sizes):
    batches = [batch(*size, seed) for seed, size in enumerate(sizes)]
    metric = Perplexity(from_logits=True)
    for targets, logits, weights in batches:
        metric.update_state(targets, logits, sample_weight=weights)
    expected = by_definition(batches, [weights for _, _, weights in batches])
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


def test_weights_of_whole_rows_stand_for_their_steps():
    targets, logits, _ = batch(3, 4, 0)
    metric = Perplexity(from_logits=True)
    metric.update_state(targets, logits, sample_weight=[0.0, 1.0, 3.0])
    expected = by_definition([(targets, logits, None)], [np.repeat([[0.0], [1.0], [3.0]], 4, axis=1)])
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


def test_probabilities_give_what_logits_give():
    targets, logits, _ = batch(3, 4, 0)
    results = []
    for metric, predictions in (
        (Perplexity(from_logits=True), logits),
        (Perplexity(), np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)),
    ):
        metric.update_state(targets, predictions)
        results.append(float(metric.result()))
    assert results[0] == pytest.approx(results[1], rel=1e-5)


def test_ignored_class_does_not_count_even_if_it_is_no_class():
    targets, logits, _ = batch(2, 6, 0)
    targets[0, :3] = -1
    logits[0, 1] = np.nan
    metric = Perplexity(from_logits=True, ignore_class=-1)
    metric.update_state(targets, logits)
    kept = [(targets[:1, 3:], logits[:1, 3:], None), (targets[1:], logits[1:], None)]
    assert float(metric.result()) == pytest.approx(by_definition(kept), rel=1e-5)


def test_mask_of_the_predictions_counts():
    targets, logits, _ = batch(2, 6, 0)
    logits[:, 4:] = 0
    masked = keras.layers.Masking(0.0)(ops.convert_to_tensor(logits))
    metric = Perplexity(from_logits=True)
    metric.update_state(targets, masked)
    expected = by_definition([(targets[:, :4], logits[:, :4], None)])
    assert float(metric.result()) == pytest.approx(expected, rel=1e-5)


def test_reset_forgets_and_nothing_seen_is_one():
    metric = Perplexity(from_logits=True)
    assert float(metric.result()) == 1.0
    metric.update_state(*batch(2, 3, 0)[:2])
    metric.reset_state()
    assert float(metric.result()) == 1.0


def test_weights_and_a_window_that_is_partly_filled():
    # The loss comes first; on PyTorch Keras multiplies the weights in place there, so that the metric got others.
    keras.utils.set_random_seed(0)
    layers = [MySimpleRNN(3, stateful=True, return_sequences=True), MyDense(4)]
    model = keras.Sequential([keras.Input(batch_shape=(2, None, 1)), *layers])
    trainer = TruncatedBPTT(model, window=4)
    trainer.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[Perplexity(from_logits=True)],
    )
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 6, 1)).astype("float32"), random.integers(0, 4, (2, 6))
    weights = random.uniform(0.5, 3, (2, 6)).astype("float32")
    logits = trainer.predict(x, verbose=0).astype("float64")
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    losses = -np.take_along_axis(logs, y[..., None], -1)[..., 0]
    expected = np.exp((losses * weights).sum() / weights.sum())
    found = trainer.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)["perplexity"]
    assert found == pytest.approx(expected, rel=1e-5)


def test_perplexity_goes_through_its_config():
    metric = Perplexity(from_logits=True, ignore_class=3, name="held_out")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert again.get_config() == metric.get_config()
    assert keras.saving.get_registered_name(Perplexity) == "keras_rnn_ext>Perplexity"


def test_perplexity_in_fit_and_after_loading(tmp_path):
    keras.utils.set_random_seed(0)
    layers = [MyEmbedding(CLASSES, 3), MyGRU(4, return_sequences=True), MyDense(CLASSES)]
    model = keras.Sequential([keras.Input((None,), dtype="int32"), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=[Perplexity(from_logits=True)])
    ids = np.random.default_rng(0).integers(0, CLASSES, (10, 7))
    model.fit(ids, ids, batch_size=4, verbose=0)
    logs = model.evaluate(ids, ids, batch_size=4, return_dict=True, verbose=0)
    assert logs["perplexity"] == pytest.approx(np.exp(logs["loss"]), rel=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(ids, ids, return_dict=True, verbose=0)["perplexity"] == pytest.approx(logs["perplexity"])


# The schedule


def test_rates_of_zaremba_s_small_model():
    schedule = HoldThenDecay(1.0, hold_epochs=4, decay=0.5)
    rates = [float(schedule(epoch)) for epoch in range(13)]
    assert rates == [1.0] * 4 + [2.0**-power for power in range(1, 10)]


def test_steps_are_counted_in_epochs_beyond_what_float32_can_count():
    schedule = HoldThenDecay(2.0, hold_epochs=1, decay=0.5, steps_per_epoch=2**25 - 1)
    assert float(schedule(2**25 - 2)) == 2.0
    assert float(schedule(2**25 - 1)) == 1.0


def trained_with(rate, callbacks=()):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), MyDense(1)])
    model.compile(keras.optimizers.SGD(rate), "mse")
    x = np.random.default_rng(0).normal(size=(6, 2))
    model.fit(x, x[:, :1], batch_size=2, epochs=4, shuffle=False, callbacks=list(callbacks), verbose=0)
    return model.get_weights()


def test_schedule_by_step_and_by_epoch_train_alike():
    by_step = trained_with(HoldThenDecay(0.5, 1, 0.3, steps_per_epoch=3))
    by_epoch = HoldThenDecay(0.5, 1, 0.3)
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch: float(by_epoch(epoch)))
    for actual, expected in zip(trained_with(0.5, [scheduler]), by_step, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_schedule_goes_through_its_config():
    schedule = HoldThenDecay(1.0, 10, 0.93, steps_per_epoch=7, name="own")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert again.get_config() == schedule.get_config()
    assert float(again(80)) == float(schedule(80)) == pytest.approx(0.93**2)
    assert keras.saving.get_registered_name(HoldThenDecay) == "keras_rnn_ext>HoldThenDecay"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 1, 0.5), "`initial_learning_rate` must be above 0. Received: initial_learning_rate=0.0"),
        ((1.0, -1, 0.5), "`hold_epochs` must be an integer, at least 0. Received: hold_epochs=-1"),
        ((1.0, 1, -0.5), "`decay` must be above 0. Received: decay=-0.5"),
        ((1.0, 1, 0.5, 0), "`steps_per_epoch` must be an integer, at least 1. Received: steps_per_epoch=0"),
    ],
)
def test_errors_name_the_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        HoldThenDecay(*arguments)
