"""Files that are no texts, vectors, checkpoints or archives, given to everything that reads a file."""

import gzip
import os
import signal
import tracemalloc

import keras
import numpy as np
import pytest

from keras_rnn_ext import MyGRU, convert, verify_file
from keras_rnn_ext.streaming import Stream
from keras_rnn_ext.text import pretrained_embedding, read_text, read_vectors
from keras_rnn_ext.text.vectors import LONGEST_LINE
from keras_rnn_ext.training import Checkpoint, ResumeTraining
from tests.helpers import BACKEND


@pytest.fixture(scope="module")
def model():
    model = keras.Sequential([keras.Input((None, 2)), MyGRU(2, return_sequences=True)])
    model.compile("sgd", "mse")
    return model


@pytest.fixture(scope="module")
def stream(model):
    return Stream(model)


@pytest.fixture(autouse=True)
def no_waiting():
    """A pipe that is waited for fails its test instead of stopping all of them."""

    def over(*_):
        raise TimeoutError("not done after 30 s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def resume(path, model):
    data = np.zeros((2, 3, 2), "float32")
    model.fit(data, data, shuffle=False, callbacks=[ResumeTraining(path, verbose=False)], verbose=0)


READERS = {
    "read_text": lambda path, model, stream: read_text(path),
    "read_vectors": lambda path, model, stream: list(read_vectors(path)),
    "pretrained_embedding": lambda path, model, stream: pretrained_embedding(path, ["a"]),
    "Checkpoint": lambda path, model, stream: Checkpoint(path, model).restore(),
    "ResumeTraining": lambda path, model, stream: resume(path, model),
    "Stream": lambda path, model, stream: stream.restore(path),
    "verify_file": lambda path, model, stream: verify_file(path),
    # Importing TensorFlow takes long where nobody needs it.
    **({"from_tf1": lambda path, model, stream: convert.from_tf1(path, "GRUCell")} if BACKEND == "tensorflow" else {}),
}
TEXTS = ("read_text", "read_vectors", "pretrained_embedding")


def _empty(path):
    path.write_bytes(b"")


def _folder(path):
    path.mkdir()


def _pipe(path):
    os.mkfifo(path)


def _device_without_end(path):
    path.symlink_to("/dev/zero")


def _link_to_itself(path):
    path.symlink_to(path)


def _nul_bytes(path):
    path.write_bytes(b"\0" * 100)


def _utf16(path):
    path.write_bytes("a 1 2\n".encode("utf-16"))


def _utf16_without_mark(path):
    path.write_bytes("a 1 2\n".encode("utf-16-le"))


def _latin1(path):
    path.write_bytes("é 1 2\n".encode("latin-1"))


def _one_array(path):
    with path.open("wb") as file:
        np.save(file, np.ones(3))


def _truncated_gzip(path):
    path.write_bytes(gzip.compress(b"a 1 2\n" * 100)[:-9])


def _torn_archive(path):
    path.write_bytes(b"PK\x03\x04\xff\0")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "make",
    [
        _empty,
        _folder,
        _pipe,
        _device_without_end,
        _link_to_itself,
        _nul_bytes,
        _utf16,
        _utf16_without_mark,
        _latin1,
        _one_array,
        _truncated_gzip,
        _torn_archive,
    ],
    ids=lambda make: make.__name__.strip("_"),
)
def test_no_file_of_that_kind(reader, make, model, stream, tmp_path):
    """An error at once that names the file, and the model is as it was."""
    path = tmp_path / "given"
    make(path)
    before = model.get_weights(), stream.state
    with pytest.raises(ValueError, match="given") as error:
        READERS[reader](path, model, stream)
    kind = {_pipe: "a named pipe", _device_without_end: "a device", _folder: "directory"}.get(make)
    if kind is not None and reader != "from_tf1":
        assert kind in str(error.value)
    assert "allow_pickle" not in str(error.value)
    assert len(str(error.value)) < 1000
    for one, other in zip(
        keras.tree.flatten(before), keras.tree.flatten((model.get_weights(), stream.state)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ["none", "no\0name"])
def test_no_file_at_all(reader, name, model, stream, tmp_path):
    path = f"{tmp_path}/{name}"
    if reader == "ResumeTraining" and name == "none":
        return
    with pytest.raises((FileNotFoundError, ValueError), match=r"No such file|null (byte|character)|Failed to find"):
        READERS[reader](path, model, stream)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("path", [None, 3, 2.5], ids=str)
def test_no_path(reader, path, model, stream):
    with pytest.raises(TypeError, match=r"path.*(Received|not): ?.*|PathLike"):
        READERS[reader](path, model, stream)


# Texts


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"one\ntwo\0\n", "expected text, got NUL bytes in .*Convert it to UTF-8 first. The first one is in line 2"),
        ("a 1 2\n".encode("utf-16-le"), "expected text, got NUL bytes"),
        (b"\xef\xbb\xbf", "expected at least 1 character, got 0"),
        (b"a\xed\xa0\x80", "expected UTF-8.*The first one is 0xed in line 1"),
        (gzip.compress(b"a\n") + b"more", "expected a whole gzip file.*damaged"),
        (gzip.compress(gzip.compress(b"a\n")), "expected UTF-8.*The first one is 0x8b in line 1"),
    ],
    ids=["NUL", "UTF-16", "mark alone", "half a character", "gzip and more", "gzip twice"],
)
def test_broken_text(content, message, tmp_path):
    (tmp_path / "text").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_text(tmp_path / "text")


def test_text_in_one_long_line(tmp_path):
    (tmp_path / "text").write_bytes(gzip.compress(b"ab " * 10**6))
    assert read_text(tmp_path / "text") == "ab " * 10**6


# Vectors


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a 1 2\n\0b 1 2\n", r"line 2: expected a word, got one with NUL bytes in it: b'\\x00b'"),
        (b"a 1 2\nb 1 2\0\n", r"line 2: expected a number"),
        (b"a 1 2\nb\xff" + b"c" * 1000 + b" 1 2\n", r"line 2: expected a word in UTF-8, got b'b\\xffc{58}'\.$"),
        (b"a 1 2\nb inf 2\n", "line 2: expected a finite number that float32 can hold, got 'inf'"),
        (b"99999999999999999999 2\na 1 2\n", "expected 99999999999999999999 words"),
        (b"1 99999999999999999999\na 1 2\n", "line 2: expected a word and 99999999999999999999 numbers"),
        (b"1 0\na\n", "line 2: expected a word and its numbers"),
    ],
)
def test_broken_vectors(content, message, tmp_path):
    (tmp_path / "vectors").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(read_vectors(tmp_path / "vectors"))


def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path):
    (tmp_path / "vectors").write_bytes("\ufeffa 1 2\n\ufeffb 3 4\n".encode())
    assert [word for word, _ in read_vectors(tmp_path / "vectors")] == ["a", "\ufeffb"]


@pytest.mark.parametrize("is_gzip", [False, True], ids=["plain", "gzip"])
def test_a_file_without_line_ends_is_not_read_as_one_line(is_gzip, tmp_path):
    path, size = tmp_path / "vectors", 200 * 2**20
    with path.open("wb") as file:
        if is_gzip:
            # A small file that is large when it is unpacked.
            file.write(gzip.compress(b"a 1 2\n"))
            file.write(gzip.compress(bytes(2**22), 1) * 8)
        else:
            file.write(b"a 1 2\n")
            file.truncate(size)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"line 2: expected a word and its numbers in up to \d+ bytes, got a long"):
            list(read_vectors(path))
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def test_the_longest_line_is_read(tmp_path):
    numbers = b" 0.125" * 1000
    line = b"a" * (LONGEST_LINE - len(numbers) - 1) + numbers + b"\n"
    (tmp_path / "vectors").write_bytes(line)
    ((word, vector),) = read_vectors(tmp_path / "vectors")
    assert (len(word), vector.tolist()) == (LONGEST_LINE - len(numbers) - 1, [0.125] * 1000)
    (tmp_path / "vectors").write_bytes(b"a" + line)
    with pytest.raises(ValueError, match="line 1: .* got a longer line, which begins with 'a{60}...'"):
        list(read_vectors(tmp_path / "vectors"))


# States of a stream


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda array: array.astype("U8"), "must hold arrays of numbers for .* Received: <U8"),
        (lambda array: array.astype("complex64"), "must hold arrays of numbers for .* Received: complex64"),
        (lambda array: array[:, :1], r"arrays of the shape \(1, 2\)"),
        (lambda array: np.array([{}], object), "must be a file that `Stream.save` wrote"),
    ],
)
def test_states_that_somebody_made(change, message, stream, tmp_path):
    stream.step(np.ones((1, 2), "float32"))
    before, path = stream.state, tmp_path / "states.npz"
    stream.save(path)
    with np.load(path) as archive:
        arrays = {name: change(archive[name]) for name in archive.files}
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=message):
        stream.restore(path)
    for one, other in zip(keras.tree.flatten(before), keras.tree.flatten(stream.state), strict=True):
        np.testing.assert_array_equal(one, other)


# A checkpoint of TensorFlow 1


@pytest.mark.skipif(BACKEND != "tensorflow", reason="importing TensorFlow takes long")
@pytest.mark.parametrize("part", [".index", ".data-00000-of-00001"])
@pytest.mark.parametrize("make", [_empty, _pipe, _nul_bytes], ids=lambda make: make.__name__.strip("_"))
def test_parts_of_a_checkpoint_of_tensorflow(part, make, tmp_path):
    import tensorflow

    arrays = {"gru_cell/gates/kernel": np.ones((5, 4)), "gru_cell/gates/bias": np.ones(4)}
    arrays |= {"gru_cell/candidate/kernel": np.ones((5, 2)), "gru_cell/candidate/bias": np.ones(2)}
    path = tmp_path / "given"
    tensorflow.raw_ops.SaveV2(
        prefix=str(path), tensor_names=list(arrays), shape_and_slices=[""] * 4, tensors=list(arrays.values())
    )
    assert convert.from_tf1(path, "GRUCell").units == 2
    os.remove(f"{path}{part}")
    make(tmp_path / f"given{part}")
    with pytest.raises(ValueError, match="`arrays` must be the path of a whole checkpoint of TensorFlow.*given"):
        convert.from_tf1(path, "GRUCell")
