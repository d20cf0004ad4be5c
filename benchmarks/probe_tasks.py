"""The tasks of `python -m benchmarks probes`: what is asked, how it is scored, and when it counts as solved."""

import dataclasses
import functools
import math
import re
from collections.abc import Callable

import numpy as np

ROWS = 32  # of a batch
HELD_OUT_ROWS = 256
IGNORED = -1  # a step that nothing is asked of
SYMBOLS, RECALLED, BLANK, DELIMITER = 8, 10, 8, 9  # of copy memory: ids 0 to 7 are the symbols
LAG, NOISE = 10, 0.5  # of the noisy echo
HELD_OUT_TEXT = 0.05  # the end of the text, never trained on

Data = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Task:
    """A task, and how long a cell may train on it.

    Args:
        name: as `--tasks` takes it.
        title: as the page calls it.
        definition: one sentence for the page.
        length: time steps of a sequence.
        limit: training steps, at most.
        features: of a step; with `ids`, how many different ids there are.
        outputs: of the model at a step.
        make: rows and a generator -> inputs and answers. Inputs are numbers `(rows, length, features)` or ids `(rows,
            length)`; answers are numbers `(rows, 1)` after the last step, or classes `(rows, length)`.
        metric: "squared error", "accuracy" or "bits".
        chance: what the metric is without memory.
        threshold: what it must reach for the task to be solved; None: there is no such thing.
        scored: the last so many steps are; None: all of them.
    """

    name: str
    title: str
    definition: str
    length: int
    limit: int
    features: int
    outputs: int
    make: Callable[[int, np.random.Generator], Data]
    metric: str
    chance: float
    threshold: float | None
    ids: bool = False
    scored: int | None = None

    @property
    def last(self) -> bool:
        """Whether only the last step is asked for."""
        return self.metric == "squared error"

    def better(self, one: float, other: float) -> bool:
        """Whether one value of the metric is better than the other."""
        return one > other if self.metric == "accuracy" else one < other

    def solves(self, value: float) -> bool:
        """Whether a value of the metric reaches the threshold."""
        return self.threshold is not None and not self.better(self.threshold, value) and math.isfinite(value)

    def score(self, outputs: np.ndarray, answers: np.ndarray) -> float:
        """The metric of what a model says: numbers `(rows, 1)`, or logits `(rows, length, outputs)`."""
        if self.last:
            return float(np.square(outputs - answers).mean())
        first = 0 if self.scored is None else self.length - self.scored
        outputs, answers = outputs[:, first:], answers[:, first:]
        asked = answers != IGNORED
        if self.metric == "accuracy":
            return float((outputs.argmax(-1) == answers)[asked].mean())
        outputs = outputs.astype("float64")
        logits = outputs - outputs.max(-1, keepdims=True)
        chances = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        return float(-np.take_along_axis(chances, answers[..., None], axis=-1)[..., 0][asked].mean() / math.log(2))

    def batches(self, seed: int) -> Callable[[int], Data]:
        """A function that gives so many new batches at a time, the same for every cell."""
        random = np.random.default_rng([seed, *self.name.encode()])

        def some(count: int) -> Data:
            inputs, answers = self.make(count * ROWS, random)
            return (
                inputs.reshape(count, ROWS, *inputs.shape[1:]),
                answers.reshape(count, ROWS, *answers.shape[1:]),
            )

        return some

    def held_out(self) -> Data:
        """Sequences to score with, the same for every cell and seed."""
        if self.name == "characters":
            return windows(text_parts()[1], HELD_OUT_ROWS, self.length, np.random.default_rng(0))
        return self.make(HELD_OUT_ROWS, np.random.default_rng([10**6, *self.name.encode()]))


def adding(rows: int, random: np.random.Generator, length: int) -> Data:
    """Numbers and marks, one mark in each half; the sum of the two marked numbers is wanted at the end."""
    marks = np.zeros((rows, length), "float32")
    marks[np.arange(rows), random.integers(0, length // 2, rows)] = 1
    marks[np.arange(rows), random.integers(length // 2, length, rows)] = 1
    numbers = random.random((rows, length), dtype="float32")
    return np.stack([numbers, marks], axis=-1), (numbers * marks).sum(1, keepdims=True)


def copy_memory(rows: int, random: np.random.Generator, delay: int) -> Data:
    """Ten symbols, `delay` - 1 blanks, the delimiter, ten blanks; the symbols are wanted at the last ten steps."""
    symbols = random.integers(0, SYMBOLS, (rows, RECALLED), dtype="int32")
    inputs = np.full((rows, delay + 2 * RECALLED), BLANK, "int32")
    answers = inputs.copy()
    inputs[:, :RECALLED] = answers[:, -RECALLED:] = symbols
    inputs[:, delay + RECALLED - 1] = DELIMITER
    return inputs, answers


def parity(rows: int, random: np.random.Generator, length: int) -> Data:
    """Random bits; at each step, whether the number of ones so far is odd."""
    bits = random.integers(0, 2, (rows, length), dtype="int32")
    return bits[..., None].astype("float32"), bits.cumsum(1, dtype="int32") % 2


def noisy_echo(rows: int, random: np.random.Generator, length: int, lag: int = LAG) -> Data:
    """Bits as -1 and 1 in Gaussian noise; at each step the bit, without noise, of `lag` steps before."""
    bits = random.integers(0, 2, (rows, length), dtype="int32")
    noise = random.standard_normal((rows, length), dtype="float32")
    answers = np.full((rows, length), IGNORED, "int32")
    answers[:, lag:] = bits[:, :-lag]
    return (2 * bits - 1 + NOISE * noise).astype("float32")[..., None], answers


@functools.cache
def python_prose() -> str:
    """The text of `examples/char_generation.py`: plain English in Python's own help topics, a paragraph a line."""
    from pydoc_data.topics import topics  # half a megabyte, only read where it is used

    plain = str.maketrans("\u2018\u2019\u2013\u2014", "''--", '"*\u201c\u201d')
    prose = re.compile(r"[A-Z][A-Za-z0-9_ .,;:'()?!-]{60,}\.")
    paragraphs = (
        " ".join(paragraph.translate(plain).split())
        for topic in topics.values()
        for paragraph in re.split(r"\n\s*\n", topic)
    )
    return "\n".join(dict.fromkeys(filter(prose.fullmatch, paragraphs)))


@functools.cache
def text_ids() -> tuple[np.ndarray, int]:
    """The text as ids, and how many different characters it has."""
    characters, ids = np.unique(list(python_prose()), return_inverse=True)
    return ids.astype("int32"), len(characters)


def text_parts() -> tuple[np.ndarray, np.ndarray]:
    """What is trained on, and what is held out."""
    ids, _ = text_ids()
    cut = int(len(ids) * (1 - HELD_OUT_TEXT))
    return ids[:cut], ids[cut:]


def windows(ids: np.ndarray, rows: int, length: int, random: np.random.Generator) -> Data:
    """Stretches from anywhere in a text, and the same one character later."""
    starts = random.integers(0, len(ids) - length, (rows, 1))
    cut = ids[starts + np.arange(length + 1)]
    return cut[:, :-1], cut[:, 1:]


def pair_entropy() -> float:
    """Bits a character of the held-out text for one who knows the character before, from counts in the rest."""
    _, count = text_ids()
    train, held_out = text_parts()
    pairs = np.full((count, count), 0.1)
    np.add.at(pairs, (train[:-1], train[1:]), 1)
    chances = pairs / pairs.sum(1, keepdims=True)
    return float(-np.log2(chances[held_out[:-1], held_out[1:]]).mean())


@functools.cache
def tasks() -> dict[str, Task]:
    """All of them, by name."""
    characters = text_ids()[1]
    found = (
        Task(
            "adding", "Adding", "200 numbers from 0 to 1, two of them marked, one in each half; their sum is wanted at "
            "the end (Hochreiter, Schmidhuber 1997, in the form of Arjovsky, Shah, Bengio 2016, arXiv 1511.06464). "
            "Solved: mean squared error of at most 0.01; always answering 1 gives 0.167.",
            200, 3_000, 2, 1, functools.partial(adding, length=200), "squared error", 1 / 6, 0.01,
        ),
        Task(
            "copy", "Copy memory", "ten of eight symbols, 99 blanks, a delimiter, ten blanks; the symbols are wanted "
            "at the last ten steps, in order (the same paper, T = 100). Solved: 99 % of the recalled symbols are "
            "right; without memory 12.5 %.",
            120, 4_000, 10, 9, functools.partial(copy_memory, delay=100), "accuracy", 1 / SYMBOLS, 0.99, True, RECALLED,
        ),
        Task(
            "parity", "Parity", "50 random bits; at each step, whether the number of ones so far is odd. Solved: 99 % "
            "of all answers are right; guessing 50 %.",
            50, 4_000, 1, 2, functools.partial(parity, length=50), "accuracy", 0.5, 0.99,
        ),
        Task(
            "echo", "Noisy echo", f"60 random bits, -1 and 1, in Gaussian noise of deviation {NOISE}; at each step the "
            f"bit of {LAG} steps before. Solved: 96 % right; 97.7 % is all that the noise allows, guessing 50 %.",
            60, 2_000, 1, 2, functools.partial(noisy_echo, length=60), "accuracy", 0.5, 0.96,
        ),
        Task(
            "characters", "Characters", "the next character, in windows of 64 from Python's own help topics; bits a "
            f"character on the last {100 * HELD_OUT_TEXT:.0f} % of the text, never trained on. No threshold: "
            "every cell trains for all steps.",
            64, 2_000, characters, characters, lambda rows, random: windows(text_parts()[0], rows, 64, random), "bits",
            pair_entropy(), None, True,
        ),
    )  # fmt: skip
    return {task.name: task for task in found}
