"""The models of examples/penn_treebank.py: sizes, first weights, gradients and evaluation."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_rnn_ext.text import Vocabulary
from tests.examples import load_example


@pytest.fixture(scope="module")
def models():
    return load_example("penn_treebank_model")


# Configurations


def test_configurations_are_those_of_the_article_and_the_paper(models):
    names = ("epochs", "units", "steps", "scale", "dropout", "clip", "batch")
    sizes = {name: tuple(getattr(config, each) for each in names) for name, config in models.CONFIGS.items()}
    assert models.LAYERS == 2
    assert sizes == {
        "article": (39, 650, 35, 0.05, 0.5, 5, 20),
        "small": (13, 200, 20, 0.1, 0, 5, 20),
        "medium": (39, 650, 35, 0.05, 0.5, 5, 20),
        "large": (55, 1500, 35, 0.04, 0.65, 10, 20),
    }


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("article", {0: 1, 9: 1, 10: 0.93, 12: 0.93**3}),
        ("small", {0: 1, 3: 1, 4: 0.5, 12: 0.5**9}),
        ("medium", {5: 1, 6: 1 / 1.2, 38: 1.2**-33}),
        ("large", {13: 1, 14: 1 / 1.15, 54: 1.15**-41}),
    ],
)
def test_learning_rates(models, name, rates):
    for updates in (1, 7):
        schedule = models.CONFIGS[name].schedule(updates)
        found = {epoch: float(schedule(epoch * updates)) for epoch in rates}
        assert found == pytest.approx(rates, rel=1e-4)


@pytest.mark.parametrize("name", ["article", "small"])
def test_first_weights(models, name):
    config = dataclasses.replace(models.CONFIGS[name], units=40)
    model = models.build_model(Vocabulary(map(str, range(30)), name="vocabulary"), config, 2)
    assert [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)] == [config.dropout] * 3
    weights = {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.trainable_variables}
    assert len(weights) == 9
    for path, values in weights.items():
        if name == "article" and "lstm" in path and "bias" in path:
            np.testing.assert_array_equal(values, np.repeat([0, 1, 0, 0], 40))
        else:
            assert 0.8 * config.scale < np.abs(values).max() <= config.scale
            assert abs(values.mean()) < 0.5 * config.scale


# The gradient


def one_update(models, clip):
    """What one update changes in each weight, and logits and targets from before, at learning rate 1."""
    keras.utils.set_random_seed(1)
    words = Vocabulary(map(str, range(6)), name="vocabulary")
    config = dataclasses.replace(models.CONFIGS["small"], units=3, steps=4, batch=2, clip=clip)
    trainer = models.make_trainer(words, config, 1)
    ids = np.array([[0, 1, 1, 1, 2], [1, 1, 3, 1, 5]])  # one word many times
    before = [keras.ops.convert_to_numpy(each).copy() for each in trainer.trainable_variables]
    logits = trainer.predict(ids[:, :-1], verbose=0)
    loss = trainer.fit(ids[:, :-1], ids[:, 1:], verbose=0).history["loss"][0]
    changes = [
        keras.ops.convert_to_numpy(each) - old for each, old in zip(trainer.trainable_variables, before, strict=True)
    ]
    return changes, logits, ids[:, 1:], loss


def test_cost_is_the_sum_over_steps_of_the_mean_over_the_batch(models):
    changes, logits, targets, loss = one_update(models, clip=1e9)
    odds = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    truth = np.eye(6)[targets]
    assert loss == pytest.approx(-np.log((odds * truth).sum(-1)).mean(0).sum(), rel=1e-5)
    # The last weight is the bias of the logits.
    np.testing.assert_allclose(changes[-1], -(odds - truth).mean(0).sum(0), rtol=1e-4, atol=1e-6)


def test_gradients_are_clipped_by_the_norm_of_all_of_them(models):
    free, *_ = one_update(models, clip=1e9)
    norm = np.sqrt(sum((change**2).sum() for change in free))
    clipped, *_ = one_update(models, clip=norm / 10)
    for small, large in zip(clipped, free, strict=True):
        np.testing.assert_allclose(small, large / 10, rtol=1e-3, atol=1e-7)


# Evaluation


@pytest.mark.parametrize("words", [2, 8, 30])
def test_every_word_but_the_first_counts(models, monkeypatch, words):
    monkeypatch.setattr(models, "EVALUATION_WINDOW", 7)
    keras.utils.set_random_seed(2)
    config = dataclasses.replace(models.CONFIGS["medium"], units=5, scale=2.0)
    model = models.build_model(Vocabulary(map(str, range(9)), name="vocabulary"), config, 1)
    ids = np.random.default_rng(0).integers(0, 9, words, "int32")
    tester = models.make_tester(model)
    found = [models.evaluate(tester, ids) for _ in range(2)]
    assert found[0] == found[1]
    logits = keras.ops.convert_to_numpy(model(ids[None, :-1], training=False))[0].astype("float64")
    odds = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert found[0]["perplexity"] == pytest.approx(np.exp(-np.log(odds[range(words - 1), ids[1:]]).mean()), rel=1e-5)
    assert found[0]["accuracy"] == pytest.approx((odds.argmax(-1) == ids[1:]).mean(), rel=1e-6)
