"""Trains a character model with `MyGRU`, saves it, loads it back and lets the loaded model write.

    python examples/char_generation.py                      # the prose that every CPython carries
    python examples/char_generation.py --text my_file.txt   # a text of your own

The output folder gets `model.keras`, `sample.txt`, `loss.png` and `results.json`.
It runs on every backend: set `KERAS_BACKEND` to tensorflow, jax or torch.
"""

import argparse
import contextlib
import json
import math
import os
import pathlib
import re
import sys
import time
from collections.abc import Callable, Sequence

import keras
import matplotlib
import numpy as np

from keras_rnn_ext import MyDense, MyEmbedding, MyGRU

matplotlib.use("Agg")  # pictures go to files; no screen is needed
import matplotlib.pyplot as plt

BATCH = 64
WINDOW = 80  # characters that the gradient looks back
STEPS_PER_EPOCH = 100
HELD_OUT = 0.05  # the end of the text, never trained on
MINIMUM = 2_000  # characters: both parts then hold at least one window
LEARNING_RATE = 5e-3


class InputError(ValueError):
    """Something that the user gave cannot be used."""


def python_prose() -> str:
    """The paragraphs of plain English in Python's own help topics, each once, one a line."""
    from pydoc_data.topics import topics  # half a megabyte, only read where it is used

    plain = str.maketrans("\u2018\u2019\u2013\u2014", "''--", '"*\u201c\u201d')  # curly quotes, dashes, markup
    prose = re.compile(r"[A-Z][A-Za-z0-9_ .,;:'()?!-]{60,}\.")
    paragraphs = (
        " ".join(paragraph.translate(plain).split())
        for topic in topics.values()
        for paragraph in re.split(r"\n\s*\n", topic)
    )
    return "\n".join(dict.fromkeys(filter(prose.fullmatch, paragraphs)))


def read_text(path: pathlib.Path | None) -> str:
    """The text to learn: that of the file, or by default Python's own prose."""
    if path is None:
        return python_prose()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"--text: expected a readable file, got {str(path)!r}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"--text: expected UTF-8, got other bytes in {str(path)!r}. Convert it first.") from error
    length = len(text.strip())
    if length < MINIMUM:
        raise InputError(f"--text: expected at least {MINIMUM} characters, got {length}. Give a longer text.")
    return text


def encode(text: str, vocabulary: str) -> np.ndarray:
    """The places in `vocabulary`, a sorted string, of the characters of `text`."""
    return np.searchsorted(list(vocabulary), list(text)).astype("int32")


def check_prompt(prompt: str, vocabulary: str) -> None:
    """Raises an `InputError` for a prompt that the model could not read."""
    unknown = "".join(sorted(set(prompt) - set(vocabulary)))
    if unknown or not prompt:
        reason = f"{unknown!r} is not in the text" if unknown else "it is empty"
        raise InputError(f"--prompt: expected characters of the text, got {prompt!r}: {reason}. Give another one.")


def all_windows(ids: np.ndarray) -> np.ndarray:
    """Every stretch of `WINDOW` characters and the one that follows it: a view, not a copy."""
    return np.lib.stride_tricks.sliding_window_view(ids, WINDOW + 1)


def targets(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the model reads, and the same one character later, which it should say."""
    return windows[:, :-1], windows[:, 1:]


class RandomWindows(keras.utils.PyDataset):
    """Batches of windows from anywhere in the text."""

    def __init__(self, ids: np.ndarray, seed: int):
        super().__init__()
        self._windows = all_windows(ids)
        self._random = np.random.default_rng(seed)

    def __len__(self) -> int:
        return STEPS_PER_EPOCH

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return targets(self._windows[self._random.integers(len(self._windows), size=BATCH)])


def build_model(characters: int, units: int) -> keras.Model:
    """Ids of characters -> logits of the next ones."""
    ids = keras.Input((None,), dtype="int32")
    features = MyEmbedding(characters, 32, name="embedding")(ids)
    outputs, _ = MyGRU(units, return_sequences=True, return_state=True, name="gru")(features)
    outputs = keras.layers.Dropout(0.2)(outputs)
    return keras.Model(ids, MyDense(characters, name="logits")(outputs))


class Progress(keras.callbacks.Callback):
    """One line for the whole training: a bar, the loss, the time gone and the time left."""

    def __init__(self, total: int):
        super().__init__()
        self.total, self.done = total, 0
        self.interval, self.end = (0.5, "") if sys.stdout.isatty() else (10.0, "\n")

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.start = self.shown = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        self.done += 1
        now = time.monotonic()
        if now - self.shown < self.interval and self.done < self.total:
            return
        self.shown = now
        gone = now - self.start
        left = gone / self.done * (self.total - self.done)
        bar = "#" * (30 * self.done // self.total)
        line = f"[{bar:.<30}] step {self.done}/{self.total}  loss {logs['loss']:.3f}"
        end = "\n" if self.done == self.total else self.end
        print(f"\r{line}  {gone:.0f} s gone, {left:.0f} s left ", end=end, flush=True)


def train(ids: np.ndarray, model: keras.Model, epochs: int, seed: int) -> dict[str, list[float]]:
    """Trains `model` on all but the end of the text and gives the losses of each epoch."""
    cut = int(len(ids) * (1 - HELD_OUT))
    steps = epochs * STEPS_PER_EPOCH
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps), global_clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    history = model.fit(
        RandomWindows(ids[:cut], seed),
        epochs=epochs,
        validation_data=targets(all_windows(ids[cut:])[::WINDOW]),
        callbacks=[Progress(steps)],
        verbose=0,
    )
    return {name: [float(value) for value in values] for name, values in history.history.items()}


def step_model(model: keras.Model) -> keras.Model:
    """One step of a trained model: (character, state) -> (logits of the next character, new state)."""
    gru = model.get_layer("gru")
    character = keras.Input((1,), dtype="int32")
    state = keras.Input((gru.units,))
    outputs, new_state = gru(model.get_layer("embedding")(character), initial_state=state)
    return keras.Model([character, state], [model.get_layer("logits")(outputs), new_state])


def draw(logits: np.ndarray, temperature: float, random: np.random.Generator) -> int:
    """An id drawn from the softmax of `logits / temperature`; at temperature 0 the most probable one."""
    if temperature == 0:
        return int(logits.argmax())
    scaled = logits.astype("float64") / temperature
    weights = np.exp(scaled - scaled.max())
    return int(random.choice(len(weights), p=weights / weights.sum()))


def generate(model: keras.Model, vocabulary: str, prompt: str, length: int, temperature: float, seed: int) -> str:
    """The prompt and `length` more characters; the state goes on from each character to the next."""
    step = step_model(model)
    random = np.random.default_rng(seed)
    state = np.zeros(step.inputs[1].shape[1:], "float32")[None]
    written = prompt
    for position in range(len(prompt) + length - 1):
        logits, state = step.predict_on_batch([encode(written[position], vocabulary)[None], state])
        if position >= len(prompt) - 1:
            written += vocabulary[draw(logits[0, 0], temperature, random)]
    return written


def known_words(sample: str, text: str) -> float:
    """The share of the words of `sample` that are words of `text`: noise has few."""
    words, known = (re.findall(r"\w+", each) for each in (sample, text))
    return float(np.isin(words, known).mean()) if words else 0.0


def write_whole(path: pathlib.Path, write: Callable[[pathlib.Path], object]) -> None:
    """Calls `write` with a name beside `path`, and only a finished file takes the place of an older one."""
    partial = path.with_name(f"partial-{path.name}")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def draw_losses(history: dict[str, list[float]], path: pathlib.Path) -> None:
    """A picture of the losses of each epoch."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, label in (("loss", "training (with dropout)"), ("val_loss", "held-out end of the text")):
        axes.plot(range(1, len(history[name]) + 1), history[name], marker="o", label=label)
    axes.set(xlabel=f"epoch of {STEPS_PER_EPOCH} steps", ylabel="cross-entropy of a character, nats")
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def number(kind: type, least: float) -> Callable[[str], float]:
    """An argparse type: a finite number of this kind that is not below `least`."""

    def convert(given: str) -> float:
        value = math.nan
        with contextlib.suppress(ValueError):
            value = kind(given)
        if not least <= value < math.inf:
            raise argparse.ArgumentTypeError(f"expected {kind.__name__} from {least}, got {given!r}")
        return value

    return convert


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, kind, default, text in (
        ("--text", pathlib.Path, None, "UTF-8 file to learn; without it, Python's own help topics"),
        ("--output", pathlib.Path, pathlib.Path("char_generation_output"), "folder for the results"),
        ("--epochs", number(int, 1), 10, f"times {STEPS_PER_EPOCH} steps of training"),
        ("--units", number(int, 1), 256, "width of the GRU"),
        ("--seed", number(int, 0), 0, "of weights, windows and sample"),
        ("--length", number(int, 1), 600, "characters to generate"),
        ("--temperature", number(float, 0), 0.5, "0: the most probable character; 1: the model's own spread"),
        ("--prompt", str, None, "how the sample begins; without it, with the first word of the text"),
    ):
        note = "" if default is None else f" (default: {default})"
        parser.add_argument(flag, type=kind, default=default, help=text + note)
    return parser


def run(options: argparse.Namespace) -> None:
    """Trains, saves, loads, generates and writes the results."""
    start = time.monotonic()
    text = read_text(options.text)
    vocabulary = "".join(sorted(set(text)))
    prompt = text.split(maxsplit=1)[0] if options.prompt is None else options.prompt
    check_prompt(prompt, vocabulary)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output: expected a folder, got {str(options.output)!r}: {error.strerror}.") from error
    source = str(options.text or "Python's own help topics (pydoc_data.topics)")
    print(f"Text: {source}: {len(text):,} characters, {len(vocabulary)} distinct.", flush=True)

    keras.utils.set_random_seed(options.seed)
    model = build_model(len(vocabulary), options.units)
    history = train(encode(text, vocabulary), model, options.epochs, options.seed)
    write_whole(options.output / "model.keras", model.save)
    loaded = keras.models.load_model(options.output / "model.keras")
    sample = generate(loaded, vocabulary, prompt, options.length, options.temperature, options.seed)

    results = {
        "text": source,
        "vocabulary": vocabulary,
        "history": history,
        "known_words": known_words(sample, text),
        "seconds": round(time.monotonic() - start, 1),
    }
    write_whole(options.output / "loss.png", lambda path: draw_losses(history, path))
    write_whole(options.output / "sample.txt", lambda path: path.write_text(sample + "\n", encoding="utf-8"))
    write_whole(options.output / "results.json", lambda path: path.write_text(json.dumps(results, indent=1)))
    print(
        f"\n{sample}\n\nLoss {history['loss'][-1]:.3f}, on the held-out end {history['val_loss'][-1]:.3f}. "
        f"{results['known_words']:.0%} of the sample's words are words of the text. {results['seconds']:.0f} s. "
        f"Results are in {options.output}."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; what the user can mend ends as a message without a traceback."""
    parser = make_parser()
    try:
        run(parser.parse_args(arguments))
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
