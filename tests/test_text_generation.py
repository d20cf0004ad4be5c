"""Text from models: any model, any prompt, one loop."""

import dataclasses
import gc
import subprocess
import sys
import weakref

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_rnn_ext import MyDense, MyEmbedding, MyGRU
from keras_rnn_ext.streaming.programs import BLOCK
from keras_rnn_ext.text import Beam, Greedy, Sampler, Temperature, TopK, TopP, Vocabulary, generate
from keras_rnn_ext.text import generation as generation_module
from tests.helpers import BACKEND, to_numpy
from tests.text_models import MODELS, SPREAD, TOKENS, sequential, simple_model, text_model


@pytest.fixture(scope="module")
def simple():
    return simple_model()


# Seeds, prompts, lengths


def test_same_seed_same_text(simple):
    texts = [generate(simple, [1, 2], 40, "temperature", seed).tolist() for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_no_seed_is_the_seed_of_keras(simple):
    texts = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        texts.append(generate(simple, [1, 2], 40).tolist())
    assert texts[0] == texts[1] != texts[2]


prompts = st.lists(st.integers(0, TOKENS - 1), min_size=1, max_size=6)


@settings(max_examples=5)
@given(prompts, prompts, prompts, st.integers(1, 12), st.sampled_from([Temperature(), Beam(2)]))
def test_a_text_does_not_depend_on_the_other_prompts(simple, first, second, third, length, sampler):
    together = generate(simple, [first, second], length, sampler, seed=4)
    assert [len(text) for text in together] == [len(first) + length, len(second) + length]
    assert together[0].tolist()[: len(first)] == first
    assert together[1].tolist() == generate(simple, [third, second], length, sampler, seed=4)[1].tolist()
    assert together[0].tolist() == generate(simple, [first, third], length, sampler, seed=4)[0].tolist()


def test_prompts_of_one_text_give_different_ones(simple):
    first, second = generate(simple, [[1], [1]], 40, seed=4)
    assert first.tolist() != second.tolist()


def test_a_shorter_text_is_the_beginning_of_a_longer_one(simple):
    long = generate(simple, [1, 2, 3], 2 * BLOCK + 5, seed=4).tolist()
    for length in (1, 17, BLOCK - 2, BLOCK, BLOCK + 1):
        assert generate(simple, [1, 2, 3], length, seed=4).tolist() == long[: 3 + length]


def test_a_prompt_longer_than_a_block_is_read_to_its_end(simple):
    prompt = np.random.default_rng(0).integers(0, TOKENS, BLOCK + 10)
    text = generate(simple, prompt, 3, "greedy")
    last = to_numpy(simple(text[None, :-1]))[0, -3:].argmax(-1)
    assert text.tolist() == [*prompt.tolist(), *last.tolist()]


# The loop and the model


def test_names_of_samplers(simple):
    for name, sampler in (("top_k", TopK()), ("top_p", TopP()), ("beam", Beam()), ("greedy", Greedy())):
        assert generate(simple, [1], 9, name, 3).tolist() == generate(simple, [1], 9, sampler, 3).tolist()


CALLS = []


@dataclasses.dataclass(frozen=True)
class Counted(Sampler):
    """A sampler of somebody's own: the least probable token."""

    def choose(self, logits, uniform, scores, ended):
        CALLS.append(logits.shape)
        tokens = ops.cast(ops.argmin(logits, axis=-1), "int32")
        return tokens, ops.zeros_like(tokens), scores


def test_a_sampler_of_ones_own_and_one_program_for_all_prompts(simple):
    CALLS.clear()
    text = generate(simple, [1, 2], 5, Counted()).tolist()
    assert text[2] == int(to_numpy(simple(np.array([[1, 2]])))[0, -1].argmin())
    calls = len(CALLS)
    for prompt, length in (([3], 1), ([3, 4, 5, 6], 30), ([1], BLOCK + 1)):
        generate(simple, prompt, length, Counted(), stop=2, exclude=3)
    if BACKEND == "torch":
        assert len(CALLS) > calls
    else:
        assert len(CALLS) == calls


def test_new_weights_give_a_new_text():
    model = simple_model()
    before = generate(model, [1], 30, "greedy").tolist()
    logits = model.layers[-1]
    for token in (2, 4):
        logits.bias.assign(100.0 * (np.arange(TOKENS) == token))
        assert generate(model, [1], 30, "greedy").tolist() == [1] + [token] * 30 != before


def test_other_layers_make_another_loop():
    model = simple_model()
    generate(model, [1], 3)
    model.pop()
    model.add(MyDense(3, kernel_initializer=SPREAD))
    with pytest.raises(ValueError, match="`prompt` must hold ids from 0 to 2"):
        generate(model, [6], 3)


def test_loops_go_with_their_models():
    model = simple_model()
    generate(model, [1], 2)
    seen = weakref.ref(generation_module._LOOPS[model])
    assert len([each for each in generation_module._LOOPS if each is model]) == 1
    del model
    keras.backend.clear_session()
    gc.collect()
    assert seen() is None


# Stops, exclusions, pieces


@pytest.mark.parametrize("sampler", [Temperature(), Greedy()], ids=repr)
def test_a_text_ends_with_the_first_stop(simple, sampler):
    asked = [[3, 1], [2], [5, 5, 5]]
    free = [text.tolist() for text in generate(simple, asked, 60, sampler, seed=6)]
    for stop in (free[0][4], [free[0][9], free[1][4]]):
        stops = np.atleast_1d(stop)
        stopped = generate(simple, asked, 60, sampler, seed=6, stop=stop)
        for prompt, whole, text in zip(asked, free, stopped, strict=True):
            places = [place for place in range(len(prompt), len(whole)) if whole[place] in stops]
            assert text.tolist() == whole[: places[0] + 1 if places else None]
        assert len(stopped[0]) < len(free[0])


def test_a_beam_text_ends_with_the_first_stop(simple):
    for power in (0.0, 1.0):
        text = generate(simple, [1], 30, Beam(4, power), stop=[0, 3]).tolist()
        assert [place for place, token in enumerate(text) if token in (0, 3)] in ([], [len(text) - 1])


def test_excluded_tokens_never_come(simple):
    text = generate(simple, [1, 2], 300, Temperature(5.0), seed=1, exclude=[0, 4])
    assert set(text.tolist()) == {1, 2, 3, 5, 6}
    assert 0 not in generate(MODELS["padding"](), [1], 300, Temperature(5.0), seed=1)


@pytest.fixture(scope="module")
def writer():
    return text_model()


def test_strings_for_strings_and_ids_for_ids(writer):
    vocabulary = writer.layers[0]
    text = generate(writer, "b a", 20, seed=1)
    assert text.startswith("b a")
    ids = generate(writer, vocabulary.encode("b a"), 20, seed=1)
    assert (ids.dtype, vocabulary.decode(ids)) == (np.int32, text)
    assert generate(writer, ["b a"], 20, seed=1) == [text]
    assert [each.tolist() for each in generate(writer, [ids[:2]], 20, seed=1)] == [ids.tolist()]
    assert generate(writer, ops.convert_to_tensor(ids[:2]), 20, seed=1).tolist() == ids.tolist()
    assert generate(writer, ids[None, :2], 20, seed=1)[0].tolist() == ids.tolist()


@pytest.mark.parametrize("every", [1, 5, 200])
def test_pieces_make_up_the_text(writer, every):
    pieces = []
    text = generate(writer, "b a", 40, seed=1, callback=pieces.append, every=every)
    assert "b a" + "".join(pieces) == text == generate(writer, "b a", 40, seed=1)
    # The prompt's second word is given, and after the last piece nothing is left.
    assert len(pieces) == {1: 40, 5: 9, 200: 1}[every]


def test_pieces_of_several_texts_and_of_ids(writer):
    pieces = []
    texts = generate(writer, ["b", "a b c d"], 20, seed=1, callback=pieces.append, every=4, stop="e")
    assert [
        start + "".join(each) for start, each in zip(["b", "a b c d"], zip(*pieces, strict=True), strict=True)
    ] == texts
    pieces.clear()
    ids = generate(writer, [1, 2], 20, seed=1, callback=pieces.append)
    np.testing.assert_array_equal(np.concatenate([[1, 2], *pieces]), ids)


def test_beams_tell_their_text_once(writer):
    pieces = []
    text = generate(writer, "a", 40, Beam(3), callback=pieces.append, every=5)
    assert ["a" + piece for piece in pieces] == [text]


def test_words_as_stops_and_exclusions(writer):
    text = generate(writer, "a", 200, Temperature(3.0), 1, stop="c", exclude=["b", "\n"])
    assert text.endswith("c")
    assert not set(text.split()[1:-1]) - {"a", "d", "e"}
    assert "\n" not in text


def test_loaded_model_writes_the_same_in_a_new_process(writer, tmp_path):
    writer.save(tmp_path / "model.keras")
    code = (
        "import sys, keras; from keras_rnn_ext.text import generate; "
        "print(generate(keras.models.load_model(sys.argv[1]), 'b a', 20, seed=1), end='')"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model.keras")]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found == generate(writer, "b a", 20, seed=1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": "no model"}, TypeError, "`model` must be a Keras model. Received: 'no model'"),
        ({"prompt": ""}, ValueError, "`prompt` must hold at least one token. Received: ''"),
        ({"prompt": []}, ValueError, r"`prompt` must hold at least one token. Received: \[\]"),
        ({"prompt": [[1], []]}, ValueError, r"`prompt` must hold at least one token. Received: \[\]"),
        ({"prompt": "a z"}, ValueError, "has tokens that the vocabulary lacks: 'z'"),
        ({"prompt": ["a", 3]}, TypeError, "`text` must be a string. Received: 3"),
        ({"prompt": [1.5]}, TypeError, r"`prompt` must hold strings, or ids as integers. Received: \[1.5\]"),
        ({"prompt": 5}, TypeError, "`prompt` must hold strings, or ids as integers. Received: 5"),
        ({"prompt": [[[1]]]}, TypeError, "`prompt` must hold strings, or ids as integers"),
        ({"prompt": [6]}, ValueError, r"`prompt` must hold ids from 0 to 5. Received: \[6\]"),
        ({"prompt": [-1]}, ValueError, "`prompt` must hold ids from 0 to 5"),
        ({"length": 0}, ValueError, "`length` must be an integer from 1. Received: length=0"),
        ({"length": 2.0}, ValueError, "`length` must be an integer from 1. Received: length=2.0"),
        ({"every": BLOCK + 1}, ValueError, "`every` must be an integer from 1 to 256. Received: every=257"),
        ({"seed": -1}, ValueError, "`seed` must be an integer from 0. Received: seed=-1"),
        ({"sampler": "nucleus"}, ValueError, r"`sampler` must be a Sampler or one of \['beam', .*Received: 'nucleus'"),
        ({"stop": "z"}, ValueError, "`stop` must hold tokens of the vocabulary, or ids from 0 to 5. Received: 'z'"),
        ({"stop": "a b"}, ValueError, "`stop` must hold tokens of the vocabulary.*Received: 'a b'"),
        ({"stop": [9]}, ValueError, "`stop` must hold tokens of the vocabulary.*Received: 9"),
        ({"exclude": list("abcde\n")}, ValueError, "`exclude` must leave at least one token"),
        (
            {"vocabulary": Vocabulary.of_characters("abc")},
            ValueError,
            "6 outputs a step, and its vocabulary has 3 tokens",
        ),
    ],
    ids=str,
)
def test_unusable_arguments(writer, arguments, error, message):
    with pytest.raises(error, match=message):
        generate(**{"model": writer, "prompt": "a", "length": 3, **arguments})


def test_text_without_a_vocabulary(simple):
    with pytest.raises(ValueError, match="`prompt` is text, and the model has no Vocabulary in it. Give `vocabulary`"):
        generate(simple, "a", 3)
    letters = Vocabulary.of_characters("abcdefg")
    assert (
        letters.encode(generate(simple, "a", 5, "greedy", vocabulary=letters)).tolist()
        == generate(simple, [0], 5, "greedy").tolist()
    )


@pytest.mark.parametrize(("from_logits", "expected"), [(True, 4), (False, 2)])
def test_from_logits_says_what_the_outputs_are(from_logits, expected):
    """Tempered outputs 0.9 and 0.1: as probabilities they keep their ratio of 9, as logits they are nearly equal."""
    bias = keras.initializers.Constant([0.0, 0.9, 0.1])
    layers = [
        MyEmbedding(3, 2),
        MyGRU(2, return_sequences=True),
        MyDense(3, kernel_initializer="zeros", bias_initializer=bias),
    ]
    model = sequential(*layers, shape=(None,))
    text = generate(model, [1], 400, Temperature(1.0), seed=1, from_logits=from_logits, exclude=0)
    share = (text == 1).mean()
    assert abs(share - {4: 1 / (1 + np.exp(-0.8)), 2: 0.9}[expected]) < 0.06
