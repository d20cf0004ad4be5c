"""Text files and vocabularies."""

import gzip
import os
import pathlib
import re

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_rnn_ext.text import ContiguousWindows, Vocabulary, read_text
from tests.helpers import to_numpy

DATA = os.environ.get("KERAS_RNN_EXT_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="KERAS_RNN_EXT_DATA names no folder")

# Files


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_text_is_read(tmp_path, pack):
    path = tmp_path / "text"
    path.write_bytes(pack("\ufeffTwo\r\nlines é\n".encode()))
    assert read_text(path) == "Two\nlines é\n"


GOOD_GZIP = gzip.compress(b"some text " * 50, mtime=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected a readable file, got '{path}': No such file or directory."),
        (b"", "expected at least 1 character, got 0. Give a longer text. File: '{path}'."),
        (b" \n\t", "expected at least 1 character, got 0. Give a longer text. File: '{path}'."),
        (
            b"one\ntwo \xff",
            "expected UTF-8, got other bytes in '{path}'. Convert it first. The first one is 0xff in line 2.",
        ),
        ("é".encode("utf-16"), "expected UTF-8, got other bytes in '{path}'."),
        (GOOD_GZIP[:-10], "expected a whole gzip file, got '{path}', which is truncated. Copy or download it again."),
        (GOOD_GZIP[:20] + b"\x00" + GOOD_GZIP[21:], "expected a whole gzip file, got '{path}', which is damaged ("),
        (b"\x1f\x8bnot gzip at all", "expected a whole gzip file, got '{path}', which is damaged ("),
    ],
    ids=["missing", "empty", "blank", "latin-1", "utf-16", "truncated", "damaged", "no gzip"],
)
def test_unusable_file(tmp_path, content, message):
    path = tmp_path / "text"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="^" + re.escape(message.format(path=path))):
        read_text(path)


def test_folder_is_no_file(tmp_path):
    with pytest.raises(ValueError, match="expected a readable file, got .*: Is a directory"):
        read_text(tmp_path)


def test_text_that_is_too_short(tmp_path):
    path = tmp_path / "text"
    path.write_text("short\n")
    assert read_text(path, minimum=5) == "short\n"
    with pytest.raises(ValueError, match=r"^expected at least 6 characters, got 5\. Give a longer text\."):
        read_text(path, minimum=6)


# Vocabularies

words = st.text("abcde", min_size=1, max_size=3)
lines = st.lists(st.lists(words, max_size=4), min_size=1, max_size=4)


@given(lines)
def test_words_come_back_as_they_were(content):
    text = "\n".join(" ".join(line) for line in content)
    if not text.strip(" "):
        return
    vocabulary = Vocabulary.of_words(text)
    ids = vocabulary.encode("  " + text.replace(" ", " \t"))
    assert ids.dtype == np.int32
    assert vocabulary.decode(ids) == text
    assert len(ids) == sum(map(len, content)) + len(content) - 1


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_characters_come_back_as_they_were(text):
    vocabulary = Vocabulary.of_characters(text)
    assert vocabulary.decode(vocabulary.encode(text)) == text
    assert vocabulary.tokens == tuple(sorted(set(text)))


@given(lines)
def test_words_stand_by_frequency_then_code_point(content):
    text = "\n".join(" ".join(line) for line in content) + "\n"
    vocabulary = Vocabulary.of_words(text, padding="<pad>")
    assert vocabulary.tokens[:2] == ("<pad>", "<unk>")
    count = {token: text.split().count(token) for token in vocabulary.tokens} | {"<eos>": text.count("\n")}
    assert list(vocabulary.tokens[2:]) == sorted(vocabulary.tokens[2:], key=lambda token: (-count[token], token))
    assert set(vocabulary.tokens) == {"<pad>", "<unk>", "<eos>", *text.split()}


def test_size_keeps_the_most_frequent_and_the_special_ones():
    vocabulary = Vocabulary.of_words("c c c b b a d", size=4)
    assert vocabulary.tokens == ("<unk>", "c", "b", "<eos>")
    assert vocabulary.decode(vocabulary.encode("a b c d\n")) == "<unk> b c <unk>\n"
    assert Vocabulary.of_words("h g f e d c b a", size=5).tokens == ("<unk>", "a", "b", "c", "<eos>")


def test_unknown_in_the_text_is_the_unknown_token():
    assert Vocabulary.of_words("<unk> a <unk>", line_end=None).tokens == ("<unk>", "a")


def test_without_a_line_end_lines_are_white_space():
    vocabulary = Vocabulary.of_words("b a\nb", line_end=None)
    assert vocabulary.decode(vocabulary.encode("a\nb\n")) == "a b"


def test_unknown_character_stands_for_all_others():
    vocabulary = Vocabulary.of_characters("abc", unknown="�")
    assert vocabulary.decode(vocabulary.encode("axb")) == "a�b"


def test_padding_is_not_shown():
    vocabulary = Vocabulary.of_characters("ab", padding="<pad>")
    assert vocabulary.decode([0, 1, 0, 2]) == "ab"


@pytest.mark.parametrize("special", [{}, {"padding": ""}, {"unknown": None}, {"unknown": None, "padding": ""}])
def test_ids_are_those_of_string_lookup(special):
    vocabulary = Vocabulary.of_words("the cat sat on the mat", line_end=None, **special)
    known = ["mat", "cat", "the"] + ([] if vocabulary.unknown is None else ["dog"])
    lookup = vocabulary.lookup()
    np.testing.assert_array_equal(to_numpy(lookup(known)), vocabulary.encode(" ".join(known)))
    again = Vocabulary.of_lookup(lookup)
    assert (again.tokens, again.unknown, again.padding) == (vocabulary.tokens, vocabulary.unknown, vocabulary.padding)


@pytest.mark.parametrize(("split", "level"), [("whitespace", "word"), ("character", "character")])
def test_ids_are_those_of_text_vectorization(split, level):
    layer = keras.layers.TextVectorization(standardize=None, split=split)
    layer.adapt(["the cat sat", "the mat"])
    vocabulary = Vocabulary.of_lookup(layer)
    assert (vocabulary.level, vocabulary.padding, vocabulary.unknown) == (level, "", "[UNK]")
    np.testing.assert_array_equal(to_numpy(layer("the cat ran")), vocabulary.encode("the cat ran"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: keras.layers.TextVectorization(vocabulary=["a"]), "`standardize` None.*Received: standardize='lower"),
        (
            lambda: keras.layers.TextVectorization(vocabulary=["a"], standardize=None, ngrams=2),
            "`ngrams` None.*Received: ngrams=2",
        ),
        (
            lambda: keras.layers.StringLookup(vocabulary=["a"], num_oov_indices=2),
            "`num_oov_indices` 0 or 1.*Received: num_oov_indices=2",
        ),
        (
            lambda: keras.layers.StringLookup(vocabulary=["a"], output_mode="multi_hot"),
            "`output_mode` 'int'.*Received: output_mode='multi_hot'",
        ),
    ],
)
def test_lookup_that_reads_in_another_way(make, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary.of_lookup(make())


def test_lookup_that_is_none():
    with pytest.raises(TypeError, match="must be a keras.layers.StringLookup or .*Received: 3"):
        Vocabulary.of_lookup(3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"tokens": []}, ValueError, "`tokens` must hold strings. Received: none"),
        ({"tokens": ["a", 3]}, TypeError, r"`tokens` must hold strings. Received: 3 \(of type int\)"),
        ({"tokens": ["a", "b", "a"]}, ValueError, "each token once. Received more than once: 'a'"),
        ({"tokens": ["a b"]}, ValueError, "words without white space.*Received: 'a b'"),
        ({"tokens": ["ab"], "level": "character"}, ValueError, "single characters.*Received: 'ab'"),
        ({"tokens": ["a"], "level": "sentence"}, ValueError, "`level` must be 'word' or 'character'"),
        ({"tokens": ["a"], "unknown": "u"}, ValueError, "`unknown` must be one of `tokens`. Received: unknown='u'"),
        ({"tokens": ["a", "p"], "padding": "p"}, ValueError, "`padding` must be the first of `tokens`"),
        ({"tokens": ["a"], "level": "character", "line_end": "a"}, ValueError, "`line_end` is for words"),
    ],
)
def test_unusable_tokens(arguments, error, message):
    with pytest.raises(error, match=message):
        Vocabulary(**arguments)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Vocabulary.of_words(" \t"), "at least one word"),
        (lambda: Vocabulary.of_characters(""), "at least one character"),
        (lambda: Vocabulary.of_words("a b", size=2), "`size` must leave room for a word: 3 or more. Received: size=2"),
        (lambda: Vocabulary.of_characters("ab").encode("bäb"), "that the vocabulary lacks: 'ä'. Leave them out"),
        (lambda: Vocabulary.of_characters("ab").decode([2]), "hold ids from 0 to 1. Received: ids from 2 to 2"),
        (lambda: Vocabulary.of_characters("ab").decode([[0]]), r"one dimension.*Received: a shape of \(1, 1\)"),
        (lambda: Vocabulary(["a", "u"], unknown="u").lookup(), "has `padding` and `unknown` first"),
    ],
)
def test_unusable_text(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_text_must_be_a_string():
    with pytest.raises(TypeError, match="`text` must be a string. Received: b'a'"):
        Vocabulary.of_characters("a").encode(b"a")


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_vocabulary_is_saved_with_the_model_and_changes_no_ids(tmp_path, dtype):
    vocabulary = Vocabulary([f"w{number}" for number in range(300)] + ["<unk>"], unknown="<unk>", dtype=dtype)
    ids = keras.Input((None,))
    model = keras.Model(ids, vocabulary(ids))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for each in (model, loaded, keras.models.clone_model(model)):
        # In bfloat16, 257 would be 256.
        np.testing.assert_array_equal(to_numpy(each(np.array([[257.0, 299.0]], "float32"))), [[257.0, 299.0]])
        assert each.layers[1].tokens == vocabulary.tokens
        assert each.layers[1].encode("w7 x").tolist() == [7, 300]


def test_vocabulary_hands_on_dtype_and_shape():
    outputs = Vocabulary(["a"])(keras.Input((5,), dtype="int32"))
    assert (outputs.shape, outputs.dtype) == ((None, 5), "int32")


# Real data


@needs_data
def test_penn_treebank_is_the_one_of_the_literature():
    folder = pathlib.Path(DATA)
    train, valid, test = (read_text(folder / f"ptb.{part}.txt.gz") for part in ("train", "valid", "test"))
    vocabulary = Vocabulary.of_words(train)
    assert len(vocabulary) == 10_000
    assert vocabulary.tokens[:5] == ("<unk>", "the", "<eos>", "N", "of")
    streams = [vocabulary.encode(text) for text in (train, valid, test)]
    assert [len(ids) for ids in streams] == [929_589, 73_760, 82_430]
    # Its authors put <unk> into all three.
    assert [int((ids == 0).sum()) for ids in streams] == [text.split().count("<unk>") for text in (train, valid, test)]
    assert len(ContiguousWindows(streams[0], 20, 35)) == 1_327


@needs_data
def test_shakespeare_has_65_characters():
    text = read_text(pathlib.Path(DATA, "tinyshakespeare.txt"))
    vocabulary = Vocabulary.of_characters(text)
    assert len(vocabulary) == 65
    assert vocabulary.decode(vocabulary.encode(text)) == text
