"""Word vectors from GloVe and word2vec files."""

import gzip
import re

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_rnn_ext import MyDense
from keras_rnn_ext.text import Coverage, Vocabulary, pretrained_embedding, read_vectors
from tests.helpers import to_numpy

TABLE = {"the": [0.5, -1.5, 2.0], "cat": [1.0, 0.0, 3e-5], "naïve": [-0.25, 4.0, 5.5]}
PLAIN = "".join(f"{word} {' '.join(map(str, vector))}\n" for word, vector in TABLE.items()).encode()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "vectors.txt"


def read(path, content, **options):
    path.write_bytes(content)
    return {word: vector.tolist() for word, vector in read_vectors(path, **options)}


def as_float32(table):
    return {word: np.array(vector, "float32").tolist() for word, vector in table.items()}


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    "content",
    [PLAIN, b"3 3\n" + PLAIN, PLAIN.replace(b"\n", b" \n"), PLAIN.replace(b"\n", b"\r\n"), PLAIN.rstrip(b"\n")],
    ids=["glove", "word2vec", "space at line end", "windows", "no last line end"],
)
def test_each_format_is_read(path, content, pack):
    assert read(path, pack(content)) == as_float32(TABLE)


@given(
    st.integers(1, 6).flatmap(
        lambda dimensions: st.dictionaries(
            st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=5),
            st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=dimensions, max_size=dimensions),
            min_size=1,
            max_size=6,
        )
    ),
    st.booleans(),
)
def test_what_was_written_is_read(tmp_path_factory, table, header):
    if not header and len(next(iter(table.values()))) == 1:
        # A line with a number as word and one more number looks like a header.
        header = True
    lines = [f"{word} {' '.join(map(repr, vector))}" for word, vector in table.items()]
    lines = [f"{len(table)} {len(next(iter(table.values())))}"] * header + lines
    path = tmp_path_factory.mktemp("vectors") / "file"
    assert read(path, "\n".join(lines).encode()) == table


def test_only_the_asked_words_are_given_and_their_numbers_read(path):
    content = PLAIN + b"odd 1 2 zebra\n"
    assert read(path, content, words={"cat", "dog"}) == as_float32({"cat": TABLE["cat"]})


def test_words_with_spaces_as_in_the_largest_glove_file(path):
    assert read(path, PLAIN + b". . . 1 2 3\nat name@domain.com 4 5 6\n") == as_float32(
        {**TABLE, ". . .": [1, 2, 3], "at name@domain.com": [4, 5, 6]}
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected word vectors, got an empty file: '{path}'."),
        (b"2 3\n", "expected word vectors, got an empty file: '{path}'."),
        (PLAIN + b"dog 1 2\n", "'{path}', line 4: expected a word and 3 numbers, got 3 fields: 'dog 1 2'."),
        (PLAIN + b"dog 1 2 3 4\n", "'{path}', line 4: expected a word and 3 numbers, got 5 fields: 'dog 1 2 3 4'."),
        (PLAIN + b"\n", "'{path}', line 4: expected a word and 3 numbers, got 1 fields: ''."),
        (PLAIN + b" 1 2 3\n", "'{path}', line 4: expected a word and 3 numbers, got 4 fields: ' 1 2 3'."),
        (PLAIN + b"dog 1 two 3\n", "'{path}', line 4: expected a number, got 'two'."),
        (PLAIN + b"dog 1 nan 3\n", "'{path}', line 4: expected a finite number that float32 can hold, got 'nan'."),
        (PLAIN + b"dog 1 2 1e39\n", "'{path}', line 4: expected a finite number that float32 can hold, got '1e39'."),
        (PLAIN + b"d\xff 1 2 3\n", "'{path}', line 4: expected a word in UTF-8, got b'd\\xff'."),
        (b"only words here\n", "'{path}', line 1: expected a word and its numbers, got 'only words here'."),
        (b"9 3\n" + PLAIN, "expected 9 words in '{path}', as its first line says, got 3. Copy or download it again."),
        (b"2 4\n" + PLAIN, "'{path}', line 2: expected a word and 4 numbers, got 4 fields: 'the 0.5 -1.5 2.0'."),
        (gzip.compress(PLAIN, mtime=0)[:-9], "expected a whole gzip file, got '{path}', which is truncated."),
        (None, "expected a readable file, got '{path}': No such file or directory."),
    ],
)
def test_unusable_file(path, content, message):
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="^" + re.escape(message.format(path=path))):
        list(read_vectors(path))


def test_a_long_line_is_cut_in_the_error(path):
    path.write_bytes(PLAIN + b"x" * 1000)
    with pytest.raises(ValueError, match="x{60}[.]{3}'[.]$"):
        list(read_vectors(path))


def test_progress_tells_the_share_and_the_time_left(path):
    path.write_bytes(b"".join(b"w%d 1 2\n" % number for number in range(1000)))
    told = []
    for _ in read_vectors(path, progress=lambda share, left: told.append((share, left))):
        pass
    assert told[-1] == (1.0, 0.0)


def test_progress_is_printed(path, capsys):
    path.write_bytes(PLAIN)
    list(read_vectors(path, progress=True))
    assert capsys.readouterr().err == "vectors.txt: 100% read, 0 s left \n"


def test_progress_on_the_way(path, monkeypatch):
    """Half a second passes at each look at the clock, a look comes every 256 lines: 4 of them, and the end."""
    clock = iter(range(1000))
    monkeypatch.setattr("keras_rnn_ext.text.vectors.time.monotonic", lambda: next(clock) / 2)
    path.write_bytes(b"".join(b"w%d %s\n" % (number, b"1.25 " * 99 + b"1") for number in range(1100)))
    told = []
    for _ in read_vectors(path, progress=lambda share, left: told.append((share, left))):
        pass
    assert len(told) == 5
    for look, (share, left) in enumerate(told[:4], start=1):
        # The share is that of what is read ahead, in blocks.
        assert abs(share - 256 * look / 1100) < 0.3
        assert left == pytest.approx(look / 2 * (1 - share) / share)


# The embedding


@pytest.mark.parametrize("trainable", [False, True])
def test_embedding_has_the_vectors_of_the_words(path, trainable):
    path.write_bytes(PLAIN)
    vocabulary = Vocabulary.of_words("the cat the dog naïve", padding="<pad>")
    embedding, coverage = pretrained_embedding(path, vocabulary, trainable=trainable, mask_zero=True, name="words")
    vectors = to_numpy(embedding(vocabulary.encode("the dog cat naïve")))
    np.testing.assert_array_equal(vectors, np.array([TABLE["the"], [0, 0, 0], TABLE["cat"], TABLE["naïve"]], "float32"))
    assert (embedding.name, embedding.mask_zero) == ("words", True)
    assert len(embedding.trainable_weights) == trainable
    assert coverage.found == 3
    assert coverage.missing == ("<pad>", "<unk>", "dog", "<eos>")
    assert coverage.share == 3 / 7


@pytest.mark.parametrize("trainable", [False, True])
def test_training_changes_the_vectors_only_where_asked(path, trainable):
    path.write_bytes(PLAIN)
    embedding, _ = pretrained_embedding(path, ["the", "cat"], trainable=trainable)
    model = keras.Sequential([keras.Input((2,), dtype="int32"), embedding, MyDense(1)])
    model.compile("sgd", "mse")
    before = embedding.get_weights()[0].copy()
    model.fit(np.array([[0, 1]]), np.ones((1, 2, 1)), verbose=0)
    assert (embedding.get_weights()[0] == before).all() == (not trainable)


def test_unknown_words_can_be_random_and_padding_stays_zero(path):
    path.write_bytes(PLAIN)
    vocabulary = Vocabulary(["<pad>", "dog", "cat"], padding="<pad>")
    initializer = keras.initializers.RandomNormal(stddev=0.4, seed=3)
    matrices = [pretrained_embedding(path, vocabulary, unknown=initializer)[0].get_weights()[0] for _ in range(2)]
    np.testing.assert_array_equal(*matrices)
    padding, dog, cat = matrices[0]
    assert not padding.any()
    assert dog.all()
    np.testing.assert_array_equal(cat, np.array(TABLE["cat"], "float32"))


def test_the_first_vector_of_a_word_counts(path):
    path.write_bytes(PLAIN + b"cat 9 9 9\n")
    assert pretrained_embedding(path, ["cat"])[0].get_weights()[0].tolist() == [as_float32(TABLE)["cat"]]


def test_coverage_reads_as_a_sentence():
    assert str(Coverage(2, ())) == "2 of 2 words found (100.0 %)."
    missing = tuple(f"w{number}" for number in range(12))
    shown = ", ".join(f"'w{number}'" for number in range(10))
    assert str(Coverage(4, missing)) == f"4 of 16 words found (25.0 %). Missing, by id: {shown} and 2 more."


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ([], r"`vocabulary` must hold words. Received: \[\]"),
        ([1, 2], r"`vocabulary` must hold words. Received: \[1, 2\]"),
        (["dog"], "expected some of the vocabulary's 1 words in '.*', got none of them."),
    ],
)
def test_unusable_vocabulary(path, vocabulary, message):
    path.write_bytes(PLAIN)
    with pytest.raises(ValueError, match=message):
        pretrained_embedding(path, vocabulary)
