"""Forecasts: a model run on with its own outputs is the model on the series with these outputs behind it."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_rnn_ext import MyDense, MyGRU, MyLSTM
from keras_rnn_ext.streaming import forecast
from tests.helpers import assert_close, to_numpy


def make(features=2, outputs=2, return_sequences=True):
    keras.utils.set_random_seed(4)
    spread = keras.initializers.RandomNormal(stddev=0.8)
    recurrent = MyLSTM(6, return_sequences=return_sequences, kernel_initializer=spread)
    return keras.Sequential([keras.Input((None, features)), recurrent, MyDense(outputs, kernel_initializer=spread)])


@pytest.fixture(scope="module")
def model():
    return make()


def series(batch=3, steps=9, features=2):
    return np.random.default_rng(0).normal(size=(batch, steps, features)).astype("float32")


def by_hand(model, history, steps, feedback=lambda values, time: values):
    """Each value from the whole series read again."""
    history, values = np.array(history), []
    for time in range(steps):
        outputs = to_numpy(model(history, training=False))
        values.append(outputs[:, -1] if outputs.ndim == 3 else outputs)
        history = np.concatenate([history, feedback(values[-1], time)[:, None]], axis=1)
    return np.stack(values, axis=1)


@pytest.mark.parametrize("steps", [1, 7])
def test_outputs_are_the_next_inputs(model, steps):
    assert_close(forecast(model, series(), steps), by_hand(model, series(), steps), 1e-5)


def test_a_model_of_the_last_output_alone():
    model = make(return_sequences=False)
    assert_close(forecast(model, series(), 5), by_hand(model, series(), 5), 1e-5)


def test_one_series_and_series_of_different_lengths(model):
    whole = series()
    rows = [whole[0, :4], whole[1], whole[2, :1], whole[0, :4]]
    expected = [by_hand(model, row[None], 6)[0] for row in rows]
    assert_close(forecast(model, rows, 6), np.stack(expected), 1e-5)
    assert_close(forecast(model, rows[0], 6), expected[0], 1e-5)
    assert_close(forecast(model, [rows[0]], 6), expected[0][None], 1e-5)


def test_covariates_follow_the_values():
    model = make(features=3, outputs=2)
    known = np.random.default_rng(1).normal(size=(3, 6, 1)).astype("float32")
    expected = by_hand(
        model, series(features=3), 6, lambda values, time: np.concatenate([values, known[:, time]], axis=-1)
    )
    found = forecast(model, series(features=3), 6, covariates=known)
    assert_close(found, expected, 1e-5)
    one = forecast(model, series(features=3)[0], 6, covariates=known[0])
    assert_close(one, expected[0], 1e-5)


def test_feedback_of_ones_own():
    """The model gives differences, and reads the last value and a known feature."""
    model = make(features=2, outputs=1)
    known = np.random.default_rng(1).normal(size=(3, 5, 1)).astype("float32")

    def feedback(values, covariates):
        return ops.concatenate([ops.tanh(values), 2 * covariates], axis=-1)

    expected = by_hand(
        model, series(), 5, lambda values, time: np.concatenate([np.tanh(values), 2 * known[:, time]], axis=-1)
    )
    assert_close(forecast(model, series(), 5, feedback, known), expected, 1e-5)


def test_long_forecasts_are_made_of_blocks(model):
    long = forecast(model, series(1), 300)
    assert long.shape == (1, 300, 2)
    assert_close(forecast(model, series(1), 67), long[:, :67], 1e-6)


# Samples


def normal(outputs, seed):
    return outputs + 0.3 * keras.random.normal(ops.shape(outputs), seed=seed)


def test_the_same_seed_gives_the_same_samples(model):
    first, again, other = (
        forecast(model, series(), 5, samples=4, seed=seed, distribution=normal) for seed in (1, 1, 2)
    )
    assert first.shape == (4, 3, 5, 2)
    assert_close(first, again, 0)
    assert abs(first - other).max() > 0.01
    # Each course and each step is drawn anew.
    assert len(np.unique(first[:, 0, 0, 0])) == 4
    keras.utils.set_random_seed(1)
    unseeded = [forecast(model, series(), 5, samples=4, distribution=normal) for _ in range(2)]
    assert abs(unseeded[0] - unseeded[1]).max() > 0.01
    assert forecast(model, series(), 5, seed=1, distribution=normal).shape == (3, 5, 2)


def test_a_seed_may_have_any_size(model):
    found = [forecast(model, series(), 2, seed=seed, distribution=normal) for seed in (7, 2**32 + 7, 2**70 + 7)]
    assert abs(found[0] - found[1]).max() > 0.01
    assert abs(found[1] - found[2]).max() > 0.01


def test_no_draw_comes_twice():
    """Also where a step draws more often than there are steps."""

    def many(outputs, seed):
        draws = [keras.random.normal(ops.shape(outputs), seed=seed) for _ in range(70)]
        return ops.concatenate(draws, axis=-1)

    model = keras.Sequential([keras.Input((None, 70)), MyGRU(2, return_sequences=True), MyDense(1)])
    drawn = forecast(model, np.zeros((5, 70), "float32"), 3, seed=1, distribution=many)
    assert drawn.shape == (3, 70)
    assert len(np.unique(drawn)) == drawn.size


def test_samples_have_the_distribution_that_was_asked_for():
    """A model that hands its input on: a random walk, whose variance grows by as much at each step."""
    gru = MyGRU(1, return_sequences=True, activation="linear", reset_after=False)
    model = keras.Sequential([keras.Input((None, 1)), gru, MyDense(1, kernel_initializer="ones")])
    # The update gate is shut: the candidate, the input, is the state.
    gru.set_weights([np.array([[0, 0, 1.0]]), np.zeros((1, 3)), np.array([-50.0, 0, 0])])
    walks = forecast(model, np.full((4, 1), 2.0), 16, samples=4000, seed=3, distribution=normal)
    variance = walks[..., 0].var(axis=0)
    # Of a sample variance of 4,000 numbers, the deviation is 2.2 %.
    assert np.all(np.abs(variance / (0.09 * np.arange(1, 17)) - 1) < 0.12)
    assert np.all(np.abs(walks.mean(axis=0)[:, 0] - 2.0) < 5 * np.sqrt(variance / 4000))
    increments = np.diff(walks[..., 0], axis=1)
    assert abs(np.corrcoef(increments[:, 3], increments[:, 4])[0, 1]) < 0.08
    low, high = np.quantile(walks[:, 3, 0], [0.05, 0.95])
    assert abs(high - low - 2 * 1.645 * 0.6) < 0.15


def test_each_sample_is_fed_back_its_own_values(model):
    courses = forecast(model, series(2), 4, samples=3, seed=5, distribution=normal)
    for course in courses:
        # Without noise from the second step on, the model on the history and this course's values gives the outputs.
        outputs = to_numpy(model(np.concatenate([series(2), course[:, :3]], axis=1), training=False))[:, -4:]
        assert np.all(np.abs(course - outputs) < 0.3 * 5)
        assert np.all(np.abs(course - outputs).max(axis=(0, 2)) > 1e-3)


# What does not fit


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "`steps` must be an int from 1. Received: steps=0"),
        ({"samples": 3}, "`samples` needs a `distribution`"),
        ({"samples": 2.5, "distribution": normal}, "`samples` must be an int from 1"),
        ({"seed": -1}, "`seed` must be an int from 0"),
        ({"history": np.zeros(5)}, "`history` must be an array"),
        ({"history": []}, "`history` must be an array"),
        ({"history": [np.zeros((3, 2)), np.zeros((0, 2))]}, "with at least one step each"),
        ({"history": np.zeros((1, 4, 3))}, r"must have the shape \(1, steps, 2\)"),
        ({"covariates": np.zeros((3, 4, 1))}, r"`covariates` must have the shape \(3, 5, known features\)"),
    ],
)
def test_arguments_that_do_not_fit(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        forecast(model, **{"history": series(), "steps": 5, **arguments})


def test_feedback_that_does_not_fit():
    with pytest.raises(
        ValueError, match=r"`feedback` must give inputs of the shape \(3, 3\).* Received: shape \(3, 2\)"
    ):
        forecast(make(features=3), series(features=3), 5)


def test_models_that_do_not_fit():
    left, right = keras.Input((None, 1)), keras.Input((None, 1))
    both = keras.Model([left, right], MyGRU(2, return_sequences=True)(ops.concatenate([left, right], axis=-1)))
    with pytest.raises(ValueError, match="must have one input and one output"):
        forecast(both, series(), 3)
