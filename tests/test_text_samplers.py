"""How tokens are chosen: by each sampler itself, on logits made by the tests, and in the loop that writes."""

import itertools

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_rnn_ext.text import Beam, Greedy, Temperature, TopK, TopP, generate
from tests.helpers import to_numpy
from tests.text_models import TOKENS, simple_model

LARGEST = np.nextafter(np.float32(1), np.float32(0))
logit_lists = st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=9)


def choose(sampler, logits, uniform):
    """Tokens for many random numbers and the same logits `(tokens,)`."""
    uniform = np.asarray(uniform, "float32")
    logits = np.tile(np.asarray(logits, "float32"), (len(uniform), 1, 1))
    scores = np.zeros((len(uniform), 1), "float32")
    arguments = map(ops.convert_to_tensor, (logits, uniform, scores, np.zeros(scores.shape, bool)))
    tokens, parents, new_scores = map(to_numpy, sampler.choose(*arguments))
    assert tokens.dtype == parents.dtype == np.int32
    assert not parents.any()
    assert (new_scores == scores).all()
    return tokens[:, 0]


def shares(sampler, logits, draws=2_000):
    """How often each token comes if the random numbers are spread evenly."""
    tokens = choose(sampler, logits, (np.arange(draws) + 0.5) / draws)
    return np.bincount(tokens, minlength=len(logits)) / draws


def softmax(logits):
    weights = np.exp(np.asarray(logits, "float64") - np.max(logits))
    return weights / weights.sum()


@given(logit_lists)
def test_greedy_takes_the_largest(logits):
    assert np.asarray(logits)[choose(Greedy(), logits, [0.3])] == max(logits)


@given(logit_lists, st.sampled_from([0.3, 1.0, 2.5]))
def test_temperature_draws_from_the_softmax(logits, temperature):
    found = shares(Temperature(temperature), logits)
    np.testing.assert_allclose(found, softmax(np.asarray(logits) / temperature), atol=1.5e-3)


@given(st.lists(st.integers(-32, 32), min_size=2, max_size=9, unique=True), st.integers(1, 10))
def test_top_k_draws_from_the_softmax_of_the_k_largest(quarters, k):
    logits = np.array(quarters) / 4
    kept = np.argsort(-logits)[:k]
    expected = np.zeros(len(logits))
    expected[kept] = softmax(logits[kept])
    np.testing.assert_allclose(shares(TopK(k), logits), expected, atol=1.5e-3)


def test_top_k_keeps_k_also_of_equals():
    assert (shares(TopK(2), [1.0, 1.0, 1.0, 0.0]) > 0).sum() == 2


@given(
    st.lists(st.integers(-32, 32), min_size=2, max_size=9, unique=True), st.floats(0.05, 1), st.sampled_from([1.0, 2.0])
)
def test_top_p_draws_from_the_fewest_that_have_the_probability(quarters, p, temperature):
    logits = np.array(quarters) / 4
    probabilities = softmax(logits / temperature)
    order = np.argsort(-probabilities)
    together = np.cumsum(probabilities[order])
    # Rounding may decide where a sum meets p.
    if np.abs(together[:-1] - p).min(initial=1) < 1e-5:
        return
    kept = order[: int(np.searchsorted(together, p)) + 1]
    expected = np.zeros(len(logits))
    expected[kept] = softmax(logits[kept] / temperature)
    np.testing.assert_allclose(shares(TopP(p, temperature), logits), expected, atol=1.5e-3)


@given(
    st.lists(st.one_of(st.floats(-50, 50, width=32), st.just(-np.inf)), min_size=2, max_size=40),
    st.one_of(st.floats(0, float(LARGEST), width=32), st.just(float(LARGEST)), st.just(0.0)),
    st.sampled_from([Greedy(), Temperature(), Temperature(1e-6), TopK(3), TopP(0.7), TopP(1.0)]),
)
def test_what_is_excluded_never_comes(logits, uniform, sampler):
    if np.isneginf(logits).all():
        return
    (token,) = choose(sampler, logits, [uniform])
    assert np.isfinite(logits[token])


def test_top_p_keeps_one_more_where_the_sum_passes_it():
    kept = [
        (shares(TopP(p), np.log([0.4, 0.1, 0.3, 0.2])) > 0).sum() for p in (0.39, 0.41, 0.69, 0.71, 0.89, 0.91, 1.0)
    ]
    assert kept == [1, 2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize("bump", [1e-3, -1e-3])
@pytest.mark.parametrize("uniform", [0.0, 0.5, float(LARGEST)])
def test_a_sum_that_is_rounded_up_and_down_gives_no_excluded_token(monkeypatch, bump, uniform):
    """Sums taken in parallel need not grow from place to place: here they jump where a token is excluded."""
    logits = np.array([-np.inf, 0.0, -np.inf, 0.0, -np.inf], "float32")
    jumps = ops.convert_to_tensor(np.where(np.isneginf(logits), bump, 0.0).astype("float32"))
    exact = ops.cumsum
    monkeypatch.setattr("keras_rnn_ext.text.samplers.ops.cumsum", lambda values, axis: exact(values, axis) + jumps)
    assert choose(Temperature(), logits, [uniform])[0] in (1, 3)


@pytest.mark.parametrize("sampler", [Temperature(1e-6), TopK(1), TopP(1e-6)], ids=repr)
def test_limits_are_greedy(sampler):
    assert set(choose(sampler, [0.5, 2.0, 1.0], np.linspace(0, LARGEST, 50))) == {1}


def test_each_prompt_has_its_own_logits_and_number():
    logits = np.log(np.array([[[0.9, 0.1]], [[0.1, 0.9]], [[0.1, 0.9]]], "float32"))
    arguments = (logits, np.array([0.5, 0.5, 0.05], "float32"), np.zeros((3, 1), "float32"), np.zeros((3, 1), bool))
    tokens, _, _ = Temperature().choose(*map(ops.convert_to_tensor, arguments))
    assert to_numpy(tokens).tolist() == [[0], [1], [0]]


# Beam: a table of logits by the last token stands for a model.


def beam_search(sampler, table, steps, stop=None):
    """Follows the beams from the token 0: texts, log-probabilities, and which have ended."""
    width, count = sampler.width, len(table)
    texts, last = [[] for _ in range(width)], np.zeros(width, int)
    scores = np.where(np.arange(width) == 0, 0.0, -np.inf).astype("float32")[None]
    ended = np.zeros((1, width), bool)
    for _ in range(steps):
        logits = table[last].astype("float32")[None]
        arguments = (logits, np.zeros(1, "float32"), scores, ended)
        tokens, parents, scores = map(to_numpy, sampler.choose(*map(ops.convert_to_tensor, arguments)))
        texts = [[*texts[parent], int(token)] for token, parent in zip(tokens[0], parents[0], strict=True)]
        last = tokens[0]
        ended = ended[:, parents[0]] | (tokens == (count if stop is None else stop))
    return texts, scores[0], ended[0]


def all_texts(table, steps):
    """Every text and its log-probability."""
    logs = np.log(np.array([softmax(row) for row in table]))
    texts = itertools.product(range(len(table)), repeat=steps)
    return {text: sum(logs[old, new] for old, new in itertools.pairwise([0, *text])) for text in texts}


@given(st.integers(0, 2**32 - 1))
def test_beams_for_all_texts_find_the_most_probable_ones(seed):
    table = np.random.default_rng(seed).normal(size=(3, 3)) * 2
    texts, scores, _ = beam_search(Beam(27), table, 4)
    expected = sorted(all_texts(table, 4).items(), key=lambda item: -item[1])
    assert tuple(texts[0]) == expected[0][0]
    np.testing.assert_allclose(scores, [score for _, score in expected[:27]], rtol=1e-4)


@given(st.integers(0, 2**32 - 1))
def test_one_beam_is_greedy(seed):
    table = np.random.default_rng(seed).normal(size=(4, 4))
    (text,), (score,), _ = beam_search(Beam(1), table, 5)
    last, greedy = 0, []
    for _ in range(5):
        last = int(table[last].argmax())
        greedy.append(last)
    assert text == greedy
    np.testing.assert_allclose(score, all_texts(table, 5)[tuple(greedy)], rtol=1e-4)


def test_a_beam_that_has_ended_keeps_its_score_and_goes_on_alone():
    # From 0, the token 2 ends the text with probability 0.6; afterwards all is equally probable.
    table = np.log(np.array([[0.2, 0.2, 0.6], [0.4, 0.3, 0.3], [1 / 3, 1 / 3, 1 / 3]]))
    texts, scores, ended = beam_search(Beam(2), table, 3, stop=2)
    assert texts[0][:2] == [2, 0]
    assert ended[0]
    np.testing.assert_allclose(scores[0], np.log(0.6), rtol=1e-5)


def test_length_power_weighs_long_texts():
    scores, lengths = np.array([[-2.0, -3.0]]), np.array([[2, 6]])
    assert Beam(2).quality(scores, lengths).argmax() == 0
    assert Beam(2, length_power=1.0).quality(scores, lengths).tolist() == [[-1.0, -0.5]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Temperature(0),
            "`temperature` of Temperature must be a number from 1e-6 to 1e6. Received: temperature=0",
        ),
        (lambda: Temperature(float("nan")), "Received: temperature=nan"),
        (lambda: Temperature(True), "Received: temperature=True"),
        (lambda: TopK(0), "`k` of TopK must be an integer from 1. Received: k=0"),
        (lambda: TopK(2.0), "Received: k=2.0"),
        (lambda: TopK(2, temperature="hot"), "`temperature` of TopK .* Received: temperature='hot'"),
        (lambda: TopP(0), "`p` of TopP must be a number above 0 and up to 1. Received: p=0"),
        (lambda: TopP(1.1), "Received: p=1.1"),
        (lambda: Beam(0), "`beams` of Beam must be an integer from 1. Received: beams=0"),
        (lambda: Beam(2, length_power=-1), "`length_power` of Beam .* Received: length_power=-1"),
    ],
)
def test_unusable_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_choices_are_the_same_in_a_compiled_loop():
    """Samplers are made of operations that every backend can compile: the choices in a loop are those by hand."""
    logits = np.random.default_rng(0).normal(size=(2, 1, 6)).astype("float32")
    numbers = np.random.default_rng(1).random((5, 2)).astype("float32")
    for sampler in (Greedy(), Temperature(0.7), TopK(3), TopP(0.8)):

        def turn(time, tokens, sampler=sampler):
            chosen, _, _ = sampler.choose(
                ops.convert_to_tensor(logits),
                ops.take(ops.convert_to_tensor(numbers), time, axis=0),
                ops.zeros((2, 1)),
                ops.zeros((2, 1), dtype="bool"),
            )
            return time + 1, ops.where(ops.arange(5)[:, None] == time, chosen[:, 0], tokens)

        start = (ops.zeros((), dtype="int32"), ops.zeros((5, 2), dtype="int32"))
        _, looped = ops.while_loop(lambda time, tokens: time < 5, turn, start)
        zeros = ops.zeros((2, 1)), ops.zeros((2, 1), dtype="bool")
        by_hand = [
            to_numpy(sampler.choose(ops.convert_to_tensor(logits), ops.convert_to_tensor(row), *zeros)[0])[:, 0]
            for row in numbers
        ]
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(looped), by_hand)


# Samplers within the loop


@pytest.fixture(scope="module")
def simple():
    return simple_model()


@pytest.fixture(scope="module")
def flat():
    """A model whose tokens are nearly equally probable, so that much depends on which beams are kept."""
    model = simple_model()
    model.layers[-1].kernel.assign(0.2 * model.layers[-1].kernel)
    return model


def log_probability(model, prompt, text):
    logits = to_numpy(model(np.array([text[:-1]])))[0].astype("float64")
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return sum(logs[place - 1, text[place]] for place in range(len(prompt), len(text)))


def test_beams_find_the_most_probable_text(simple):
    length = 3
    for prompt in ([1], [4, 2]):
        found = generate(simple, prompt, length, Beam(TOKENS**2)).tolist()
        texts = [[*prompt, *chosen] for chosen in np.ndindex(*(TOKENS,) * length)]
        best = max(texts, key=lambda text: log_probability(simple, prompt, text))
        assert found == best


def beams_by_hand(model, prompt, length, width, stop=None):
    """The best text, each one read from its start."""
    beams = [(0.0, prompt)]
    for _ in range(length):
        longer = [beam for beam in beams if beam[1][len(prompt) :][-1:] == [stop]]
        for score, text in beams:
            if text[len(prompt) :][-1:] != [stop]:
                logits = to_numpy(model(np.array([text])))[0, -1].astype("float64")
                logs = logits - np.log(np.exp(logits).sum())
                longer += [(score + logs[token], [*text, token]) for token in range(TOKENS)]
        beams = sorted(longer, key=lambda beam: -beam[0])[:width]
    return beams[0][1]


@pytest.mark.parametrize("stop", [None, 0, 5])
def test_beams_carry_the_state_of_the_text_they_continue(flat, stop):
    prompts = [[5], [2, 6, 1], [4, 4], [0, 3, 0, 3, 1], [1, 1, 1, 1], [6]]
    texts = generate(flat, prompts, 9, Beam(3), stop=() if stop is None else stop)
    assert [text.tolist() for text in texts] == [beams_by_hand(flat, prompt, 9, 3, stop) for prompt in prompts]
