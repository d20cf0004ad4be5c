"""Pre-trained word vectors from the text files of GloVe and word2vec."""

import codecs
import dataclasses
import functools
import os
import sys
import time

import keras
import numpy as np

from keras_rnn_ext import MyEmbedding
from keras_rnn_ext.text.files import open_bytes
from keras_rnn_ext.text.vocabulary import Vocabulary

# Bytes of a line. A file without line ends must not be read into memory as one.
LONGEST_LINE = 2**20


def read_vectors(path, words=None, progress=None):
    """Reads a file of word vectors line by line; it need not fit into memory.

    A line holds a word and its numbers, with single spaces between them: the format of GloVe, and of word2vec and
    fastText in text form, whose first line gives the number of words and of dimensions. A word may contain spaces, as
    in GloVe's largest files, if what follows its first space is no number. A line has up to 1 MiB, which is enough for
    some 50,000 numbers.

    Args:
        path: the file, plain or gzip.
        words: a set, or anything with `in`, of the words to give. The numbers of other lines are counted, but not
            read. Default None: all.
        progress: True to print on stderr how much is read and how long the rest takes, or a function that is called
            about twice a second and at the end with the share that is read, from 0 to 1, and the seconds left.
            Default None.

    Yields:
        `(word, vector)`: a string and a float32 array `(dimensions,)`, in the order of the file.

    Raises:
        TypeError: if `path` is no path.
        ValueError: naming the file, and the line if it is one: the file cannot be read, is a folder, pipe or device, a
            damaged or truncated gzip file or empty, a line is too long, no UTF-8, has a word with a NUL in it, another
            number of numbers than the first, or something that is no finite number, or the file ends before the number
            of words that its first line gives.

    Source:
        Pennington, Socher, Manning 2014, GloVe: Global vectors for word representation, doi 10.3115/v1/D14-1162.
        Mikolov, Chen, Corrado, Dean 2013, Efficient estimation of word representations in vector space, arXiv
        1301.3781.

    >>> import pathlib, tempfile
    >>> from keras_rnn_ext.text import read_vectors
    >>> path = pathlib.Path(tempfile.mkdtemp(), "vectors.txt")
    >>> _ = path.write_text("the 0.5 1.5\\ncat -1 2e-1\\n")
    >>> [(word, vector.tolist()) for word, vector in read_vectors(path, {"the"})]
    [('the', [0.5, 1.5])]
    """
    with open_bytes(path) as (lines, raw):
        report = _Report(path, raw, progress)
        count = dimensions = None
        number = 0
        for number, line in enumerate(iter(functools.partial(lines.readline, LONGEST_LINE + 1), b""), start=1):
            report.line(number)
            if len(line) > LONGEST_LINE:
                raise ValueError(
                    f"{str(path)!r}, line {number}: expected a word and its numbers in up to {LONGEST_LINE} bytes, got "
                    f"a longer line, which begins with {_shown([line[:61]])}."
                )
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            fields = line.rstrip(b" \r\n").split(b" ")
            if number == 1 and len(fields) == 2 and all(field.isdigit() for field in fields):
                count, dimensions = map(int, fields)
                continue
            with _located(path, number):
                dimensions = dimensions or _count_numbers(fields)
                word = _word(fields, dimensions)
                if words is None or word in words:
                    yield word, _vector(fields[-dimensions:])
        report.end()
    lines_of_vectors = number if count is None else number - 1
    if not lines_of_vectors:
        raise ValueError(f"expected word vectors, got an empty file: {str(path)!r}.")
    if count is not None and lines_of_vectors != count:
        raise ValueError(
            f"expected {count} words in {str(path)!r}, as its first line says, got {lines_of_vectors}. "
            "Copy or download it again."
        )


class _located:
    """A context that puts file and line before the error of a line."""

    def __init__(self, path, number):
        self.place = f"{str(path)!r}, line {number}"

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, UnicodeDecodeError):
            raise ValueError(f"{self.place}: expected a word in UTF-8, got {error.object[:60]!r}.") from error
        if isinstance(error, ValueError):
            raise ValueError(f"{self.place}: {error}") from error


def _is_number(field):
    try:
        float(field)
    except ValueError:
        return False
    return True


def _count_numbers(fields):
    """How many numbers stand at the end of the first line, behind at least one field for the word."""
    count = 0
    while count < len(fields) - 1 and _is_number(fields[-1 - count]):
        count += 1
    if not count:
        raise ValueError(f"expected a word and its numbers, got {_shown(fields)}.")
    return count


def _word(fields, dimensions):
    extra = fields[1:-dimensions]
    if len(fields) <= dimensions or not fields[0] or (extra and all(map(_is_number, extra))):
        raise ValueError(f"expected a word and {dimensions} numbers, got {len(fields)} fields: {_shown(fields)}.")
    word = b" ".join(fields[:-dimensions])
    if b"\0" in word:
        raise ValueError(f"expected a word, got one with NUL bytes in it: {word[:60]!r}. Is the file damaged?")
    return word.decode("utf-8")


def _vector(fields):
    try:
        numbers = np.array(list(map(float, fields)))
    except ValueError:
        wrong = next(field for field in fields if not _is_number(field))
        raise ValueError(f"expected a number, got {_shown([wrong])}.") from None
    with np.errstate(over="ignore"):
        vector = numbers.astype("float32")
    if not np.isfinite(vector).all():
        wrong = fields[int(np.isfinite(vector).argmin())]
        raise ValueError(f"expected a finite number that float32 can hold, got {_shown([wrong])}.")
    return vector


def _shown(fields, most=60):
    text = b" ".join(fields).decode("utf-8", "backslashreplace")
    return repr(text if len(text) <= most else text[:most] + "...")


class _Report:
    """Tells how far a file is read, twice a second; every ten seconds where there is no screen."""

    def __init__(self, path, raw, progress):
        self.name, self.raw = os.path.basename(os.fspath(path)), raw
        self.total = max(1, os.fstat(raw.fileno()).st_size)
        self.tell = self._print if progress is True else (progress or None)
        self.interval = 10.0 if progress is True and not sys.stderr.isatty() else 0.5
        self.start = self.told = time.monotonic()

    def line(self, number):
        # The clock is not asked at every line.
        if self.tell is None or number % 256:
            return
        now = time.monotonic()
        if now - self.told < self.interval:
            return
        self.told = now
        share = min(self.raw.tell() / self.total, 1.0)
        self.tell(share, (now - self.start) * (1 - share) / max(share, 1e-6))

    def end(self):
        if self.tell is not None:
            self.tell(1.0, 0.0)

    def _print(self, share, left):
        ahead, behind = ("\r", "" if share < 1 else "\n") if sys.stderr.isatty() else ("", "\n")
        print(f"{ahead}{self.name}: {share:.0%} read, {left:.0f} s left ", end=behind, file=sys.stderr, flush=True)


@dataclasses.dataclass(frozen=True)
class Coverage:
    """Which words of a vocabulary a file of vectors has.

    Args:
        found: how many.
        missing: the words that it lacks, in the order of their ids: with a vocabulary by frequency, the most
            frequent first.

    >>> from keras_rnn_ext.text import Coverage
    >>> print(Coverage(found=3, missing=("<unk>",)))
    3 of 4 words found (75.0 %). Missing, by id: '<unk>'.
    """

    found: int
    missing: tuple[str, ...]

    @property
    def share(self):
        """The part of the words that was found, from 0 to 1."""
        return self.found / (self.found + len(self.missing))

    def __str__(self):
        total = self.found + len(self.missing)
        text = f"{self.found} of {total} words found ({self.share:.1%})".replace("%", " %")
        if not self.missing:
            return f"{text}."
        more = f" and {len(self.missing) - 10} more" if len(self.missing) > 10 else ""
        return f"{text}. Missing, by id: {', '.join(map(repr, self.missing[:10]))}{more}."


def pretrained_embedding(path, vocabulary, trainable=False, unknown="zeros", progress=None, **kwargs):
    """An embedding for a vocabulary, filled from a file of word vectors.

    Args:
        path: the file, as for `read_vectors`. Of a word that comes more than once, the first vector counts.
        vocabulary: a `Vocabulary`, or the words in the order of their ids.
        trainable: whether training changes the vectors. Default False.
        unknown: what the rows of words get that the file lacks: `"zeros"`, or a Keras initializer or its name, such as
            `keras.initializers.RandomNormal(stddev=0.4, seed=1)`. The row of the vocabulary's padding is zeros.
            Default `"zeros"`.
        progress: as for `read_vectors`. Default None.
        **kwargs: `mask_zero`, `name` and other arguments of `MyEmbedding`.

    Returns:
        `(embedding, coverage)`: a built `MyEmbedding` with as many vectors as there are words, and a `Coverage`.

    Raises:
        ValueError: as for `read_vectors`; or if the vocabulary is empty, or the file has none of its words.

    >>> import pathlib, tempfile
    >>> from keras_rnn_ext.text import pretrained_embedding
    >>> path = pathlib.Path(tempfile.mkdtemp(), "vectors.txt")
    >>> _ = path.write_text("the 0.5 1.5\\ncat -1 2e-1\\n")
    >>> embedding, coverage = pretrained_embedding(path, ["<unk>", "the"])
    >>> embedding.get_weights()[0].tolist()
    [[0.0, 0.0], [0.5, 1.5]]
    >>> coverage
    Coverage(found=1, missing=('<unk>',))
    """
    is_vocabulary = isinstance(vocabulary, Vocabulary)
    words = vocabulary.tokens if is_vocabulary else tuple(vocabulary)
    if not words or not all(isinstance(word, str) for word in words):
        raise ValueError(f"Argument `vocabulary` must hold words. Received: {vocabulary!r}")
    wanted = set(words)
    vectors = {}
    for word, vector in read_vectors(path, wanted, progress):
        vectors.setdefault(word, vector)
    if not vectors:
        raise ValueError(f"expected some of the vocabulary's {len(wanted)} words in {str(path)!r}, got none of them.")
    dimensions = len(next(iter(vectors.values())))
    matrix = keras.ops.convert_to_numpy(keras.initializers.get(unknown)((len(words), dimensions), dtype="float32"))
    matrix = np.array(matrix)
    for row, word in enumerate(words):
        if word in vectors:
            matrix[row] = vectors[word]
    if is_vocabulary and vocabulary.padding is not None:
        matrix[0] = 0
    missing = tuple(word for word in dict.fromkeys(words) if word not in vectors)
    embedding = MyEmbedding(len(words), dimensions, weights=matrix, trainable=trainable, **kwargs)
    return embedding, Coverage(len(wanted) - len(missing), missing)
