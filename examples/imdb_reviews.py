"""Reviews for `imdb_sentiment.py`: from a file or from Keras, as batches, as words again, and the model's mistakes."""

import json
import os
import pathlib
import textwrap
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras
import matplotlib
import numpy as np
from example_tools import InputError

from keras_rnn_ext.text import read_text

matplotlib.use("Agg")  # pictures go to files; no screen is needed
import matplotlib.pyplot as plt

FILE = "imdb_small.npz"
SPECIAL = {0: "<pad>", 1: "<start>", 2: "<unk>", 3: "<unused>"}  # Keras's own codes; the words follow
UNKNOWN = 2
HELD_OUT = 0.2  # of the training reviews: the last ones, as in Keras
LEAST = 5  # training reviews: both parts then hold one
SHOWN_WORDS = 60  # of a review, its last ones, which the network reads last


class Part(NamedTuple):
    """Reviews of one length, with zeros before the shorter ones."""

    ids: np.ndarray  # (reviews, steps), int32
    labels: np.ndarray  # (reviews, 1), float32: 1 for a good review


class Reviews(NamedTuple):
    """What to train on, what to choose by, and what to report."""

    train: Part
    validation: Part
    test: Part
    source: str


def load_reviews(path: pathlib.Path | None, words: int, steps: int) -> Reviews:
    """The reviews of a file or folder, of the folder in `KERAS_RNN_EXT_DATA`, or the ones that Keras downloads.

    Codes from `words` on become the unknown word. Of a review longer than `steps` the end stays.
    """
    folder = os.environ.get("KERAS_RNN_EXT_DATA")
    if path is None and folder and pathlib.Path(folder, FILE).exists():
        path = pathlib.Path(folder)
    if path is None:
        source, parts = "keras.datasets.imdb", _download(words)
    else:
        path = path / FILE if path.is_dir() else path
        source, parts = str(path), _read(path)
    (ids, labels), test = (_padded(reviews, labels, words, steps) for reviews, labels in parts)
    cut = len(ids) - int(len(ids) * HELD_OUT)
    return Reviews(Part(ids[:cut], labels[:cut]), Part(ids[cut:], labels[cut:]), test, source)


def _padded(reviews: Sequence, labels: np.ndarray, words: int, steps: int) -> Part:
    ids = keras.utils.pad_sequences(reviews, maxlen=steps)
    return Part(np.where(ids < words, ids, UNKNOWN), labels.astype("float32")[:, None])


def _download(words: int) -> Sequence[tuple[Sequence, np.ndarray]]:
    try:
        return keras.datasets.imdb.load_data(num_words=words)
    except Exception as error:  # what Keras raises without a network is a plain Exception
        raise InputError(
            f"--data: expected a network to download the IMDB reviews, got: {error}. Give --data FILE, or set "
            f"KERAS_RNN_EXT_DATA to a folder with {FILE}."
        ) from error


def _read(path: pathlib.Path) -> list[tuple[list[np.ndarray], np.ndarray]]:
    """The two parts of a file: flat codes, the length of each review, and the labels."""
    try:
        # Opened here: NumPy leaves a broken file open.
        with path.open("rb") as file:
            arrays = np.load(file, allow_pickle=False)
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise ValueError("a single array")
            return [_reviews(arrays, part) for part in ("train", "test")]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error).strip("'\"")
        raise InputError(
            f"--data: expected a whole .npz file with x_*_tokens, x_*_lengths and y_* for train and test, got "
            f"{str(path)!r}: {reason.rstrip('.')}. Copy or make it again."
        ) from error


def _reviews(arrays: Mapping[str, np.ndarray], part: str) -> tuple[list[np.ndarray], np.ndarray]:
    names = f"x_{part}_tokens", f"x_{part}_lengths", f"y_{part}"
    tokens, lengths, labels = (arrays[name] for name in names)
    for name, array in zip(names, (tokens, lengths, labels), strict=True):
        if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
            raise ValueError(f"{name} has the shape {array.shape} and the type {array.dtype}, not a row of integers")
    # Not in their own type, where a sum could wrap around.
    ends = np.cumsum(lengths, dtype="int64")
    least = LEAST if part == "train" else 1
    if len(labels) < least or len(labels) != len(lengths):
        raise ValueError(f"{part} has {len(labels)} labels and {len(lengths)} lengths, not {least} or more of each")
    if lengths.min() < 0 or ends[-1] != len(tokens):
        raise ValueError(f"the lengths of {part} do not add up to its {len(tokens)} tokens")
    if not np.isin(labels, (0, 1)).all() or (len(tokens) and tokens.min() < 1):
        raise ValueError(f"{part} has labels other than 0 and 1, or tokens below 1")
    return np.split(tokens, ends[:-1]), labels


class Batches(keras.utils.PyDataset):
    """Full batches in a new order for each epoch, which depends on the seed and the epoch's number only."""

    def __init__(self, part: Part, batch: int, seed: int):
        super().__init__()
        self._part, self._batch, self._seed, self.epoch = part, min(batch, len(part.ids)), seed, 0

    def __len__(self) -> int:
        return len(self._part.ids) // self._batch

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        order = np.random.default_rng([self._seed, self.epoch]).permutation(len(self._part.ids))
        chosen = order[index * self._batch : (index + 1) * self._batch]
        return self._part.ids[chosen], self._part.labels[chosen]

    def on_epoch_end(self) -> None:
        self.epoch += 1


def load_words(path: pathlib.Path | None) -> tuple[dict[int, str], str | None]:
    """The word of each code, and what to tell the user where there is no word index and so no word.

    Asked before the training, so that what is missing is told then.
    """
    if path is not None:
        return _codes(_read_index(path)), None
    try:
        return _codes(keras.datasets.imdb.get_word_index()), None
    except Exception as error:  # what Keras raises without a network is a plain Exception
        note = f"The word index cannot be had ({error}), so words are shown as numbers. --word-index FILE gives it."
        return dict(SPECIAL), note


def _codes(index: Mapping[str, int]) -> dict[int, str]:
    return {**{place + len(SPECIAL) - 1: word for word, place in index.items()}, **SPECIAL}


def _read_index(path: pathlib.Path) -> dict[str, int]:
    try:
        index = json.loads(read_text(path))
    except ValueError as error:
        raise InputError(f"--word-index: expected Keras's imdb_word_index.json, got {str(path)!r}: {error}") from error
    places = list(index.values()) if isinstance(index, dict) else []
    # bool is an int too, and no place.
    if not places or any(type(place) is not int or place < 1 for place in places):
        raise InputError(f"--word-index: expected words with numbers from 1 in {str(path)!r}, got other content.")
    if len(set(places)) < len(places):
        raise InputError(f"--word-index: expected a number of its own for each word in {str(path)!r}, got equal ones.")
    return index


def word_of(code: int, words: Mapping[int, str]) -> str:
    """The word, or the number where it is not known, in a form that no file of word vectors has."""
    return words.get(code, f"<{code}>")


def decode(codes: np.ndarray, words: Mapping[int, str]) -> str:
    """A review as text, without the padding."""
    return " ".join(word_of(code, words) for code in codes.tolist() if code)


def worst(probabilities: np.ndarray, labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Which bad reviews the model is surest to be good, and which good ones to be bad: places, the surest first."""
    order = np.argsort(probabilities, kind="stable")
    high, low = order[probabilities[order] >= 0.5][::-1], order[probabilities[order] < 0.5]
    return high[labels[high] == 0][:count], low[labels[low] == 1][:count]


def describe_mistakes(probabilities: np.ndarray, part: Part, words: Mapping[int, str], count: int) -> str:
    """The surest mistakes, as text: probability, label, and the end of the review."""
    labels = part.labels.ravel()
    lines = []
    for title, places in zip(
        ("Bad reviews taken for good:", "Good reviews taken for bad:"),
        worst(probabilities, labels, count),
        strict=True,
    ):
        lines.append(title)
        for place in places:
            codes = part.ids[place][part.ids[place] > 0]
            text = ("... " if len(codes) > SHOWN_WORDS else "") + decode(codes[-SHOWN_WORDS:], words)
            lines.append(
                f"  test review {place}: probability of good {probabilities[place]:.4f}, label {int(labels[place])}"
            )
            lines.append(textwrap.fill(text, 110, initial_indent="    ", subsequent_indent="    "))
        if not len(places):
            lines.append("  none")
    return "\n".join(lines)


def draw(
    history: Mapping[str, list[float]], best: int, probabilities: np.ndarray, labels: np.ndarray, path: pathlib.Path
) -> None:
    """The curves of the training, and how the probabilities of the two classes are spread."""
    figure, (loss, accuracy, spread) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    epochs = range(1, len(history["loss"]) + 1)
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        axes.plot(epochs, history[name], label="training")
        axes.plot(epochs, history[f"val_{name}"], label="validation")
        axes.axvline(best, color="gray", linestyle=":", label=f"kept: epoch {best}")
        axes.set(xlabel="epoch", title="cross-entropy, nats" if name == "loss" else name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend()
    for label, name, color in ((0, "bad", "tab:red"), (1, "good", "tab:green")):
        spread.hist(
            probabilities[labels == label], np.linspace(0, 1, 21), alpha=0.5, color=color, label=f"{name} reviews"
        )
    spread.axvline(0.5, color="gray", linestyle=":")
    spread.set(xlabel="probability of a good review", ylabel="reviews", title="test reviews")
    spread.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
