"""Trains a character model with `MyGRU`, saves it, loads it back and lets the loaded model write.

    python examples/char_generation.py                      # the prose that every CPython carries
    python examples/char_generation.py --text my_file.txt   # a text of your own
    python examples/char_generation.py --config article     # Shakespeare: 1,024 units, an hour or two on two cores

The output folder gets `model.keras`, `sample.txt`, `loss.png` and `results.json`; the model's file holds its vocabulary
too. With `--checkpoint-every` it also gets `checkpoint.npz`, from which `--resume` goes on exactly as if nothing had
happened.
`--config article` reads `--text`, or `tinyshakespeare.txt` in the folder that `KERAS_RNN_EXT_DATA` names.
It runs on every backend: set `KERAS_BACKEND` to tensorflow, jax or torch.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import time
from collections.abc import Sequence

import keras
import matplotlib
import numpy as np
from example_tools import (
    Checkpoint,
    InputError,
    Progress,
    make_folder,
    number,
    refuse_to_overwrite,
    run_command,
    write_whole,
)

from keras_rnn_ext import MyDense, MyEmbedding, MyGRU
from keras_rnn_ext.text import Greedy, Temperature, Vocabulary, generate, read_text

matplotlib.use("Agg")  # pictures go to files; no screen is needed
import matplotlib.pyplot as plt

BATCH = 64
STEPS_PER_EPOCH = 100  # of the small configuration
CHECKPOINT = "checkpoint.npz"
HELD_OUT = 0.05  # the end of the text, never trained on


@dataclasses.dataclass(frozen=True)
class Config:
    """What `--config` stands for. The first six are options as well, and may be given one by one."""

    epochs: int = 10
    units: int = 256
    length: int = 600
    temperature: float = 0.5
    prompt: str | None = None  # None: the first word of the text
    checkpoint_every: int = 0  # epochs; 0: never
    window: int = 80  # characters that the gradient looks back
    embedding: int = 32
    dropout: float = 0.2
    recurrent_initializer: str = "orthogonal"
    minimum: int = 2_000  # characters of a text: both parts then hold a batch
    passes: bool = False  # whether an epoch is a pass through the text instead of STEPS_PER_EPOCH random batches

    def optimizer(self, steps: int) -> keras.optimizers.Optimizer:
        """For training of so many steps."""
        if self.passes:
            return keras.optimizers.Adam(1e-3)
        return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(5e-3, steps), global_clipnorm=1.0)


CONFIGS = {
    "small": Config(),
    "article": Config(20, 1024, 1_000, 0.0, "Q", 5, 100, 256, 0.0, "glorot_uniform", 8_000, True),
}


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


def choose_text(path: pathlib.Path | None, config: Config) -> tuple[str, str]:
    """The text to learn and where it comes from: a file, or for the small configuration Python's own prose."""
    if path is None and not config.passes:
        return python_prose(), "Python's own help topics (pydoc_data.topics)"
    if path is None:
        folder = os.environ.get("KERAS_RNN_EXT_DATA")
        if not folder:
            raise InputError(
                "--config article: expected a text, got none. Give --text FILE, for instance of "
                "https://storage.googleapis.com/download.tensorflow.org/data/shakespeare.txt, or set "
                "KERAS_RNN_EXT_DATA to a folder with tinyshakespeare.txt."
            )
        path = pathlib.Path(folder, "tinyshakespeare.txt")
    try:
        return read_text(path, config.minimum), str(path)
    except ValueError as error:
        raise InputError(f"--text: {error}") from error


def check_prompt(prompt: str, vocabulary: Vocabulary) -> None:
    """Raises an `InputError` for a prompt that the model could not read."""
    unknown = "".join(sorted(set(prompt) - set(vocabulary.tokens)))
    if unknown or not prompt:
        reason = f"{unknown!r} is not in the text" if unknown else "it is empty"
        raise InputError(f"--prompt: expected characters of the text, got {prompt!r}: {reason}. Give another one.")


def all_windows(ids: np.ndarray, window: int) -> np.ndarray:
    """Every stretch of `window` characters and the one that follows it: a view, not a copy."""
    return np.lib.stride_tricks.sliding_window_view(ids, window + 1)


def targets(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the model reads, and the same one character later, which it should say."""
    return windows[:, :-1], windows[:, 1:]


class Windows(keras.utils.PyDataset):
    """Batches of windows: from anywhere in the text, or in a pass each one of those that stand side by side.

    What an epoch has depends on the seed and its number only, so that training can go on from a checkpoint.
    """

    def __init__(self, ids: np.ndarray, config: Config, seed: int):
        super().__init__()
        self._windows = all_windows(ids, config.window)[:: config.window if config.passes else 1]
        self._length = len(self._windows) // BATCH if config.passes else STEPS_PER_EPOCH
        self._passes, self._seed, self.epoch = config.passes, seed, 0

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if self._passes:
            order = np.random.default_rng([self._seed, self.epoch]).permutation(len(self._windows))
            chosen = order[index * BATCH : (index + 1) * BATCH]
        else:
            random = np.random.default_rng([self._seed, self.epoch, index])
            chosen = random.integers(len(self._windows), size=BATCH)
        return targets(self._windows[chosen])

    def on_epoch_end(self) -> None:
        self.epoch += 1


def build_model(vocabulary: Vocabulary, units: int, config: Config, seed: int = 0) -> keras.Model:
    """Ids of characters -> logits of the next ones. The vocabulary goes along into the model's file."""
    ids = keras.Input((None,), dtype="int32", name="ids")
    features = MyEmbedding(len(vocabulary), config.embedding, name="embedding")(vocabulary(ids))
    gru = MyGRU(units, return_sequences=True, recurrent_initializer=config.recurrent_initializer, name="gru")
    # Without a seed, dropout on PyTorch draws from PyTorch's own generator, which no checkpoint has.
    outputs = keras.layers.Dropout(config.dropout, seed=seed, name="dropout")(gru(features))
    return keras.Model(ids, MyDense(len(vocabulary), name="logits")(outputs), name="characters")


class KeepLosses(keras.callbacks.Callback):
    """Adds the losses of each epoch to `losses`, and writes the checkpoint every few epochs; 0: never."""

    def __init__(self, checkpoint: Checkpoint, every: int, losses: dict[str, list[float]]):
        super().__init__()
        self.checkpoint, self.every, self.losses = checkpoint, every, losses

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        for name, value in logs.items():
            self.losses.setdefault(name, []).append(float(value))
        if self.every and (epoch + 1) % self.every == 0:
            self.checkpoint.save(self.losses)


def train(
    model: keras.Model, vocabulary: Vocabulary, text: str, config: Config, options: argparse.Namespace
) -> dict[str, list[float]]:
    """Trains `model` on all but the end of the text, or goes on with it, and gives the losses of all epochs."""
    ids = vocabulary.encode(text)
    cut = int(len(ids) * (1 - HELD_OUT))
    windows = Windows(ids[:cut], config, options.seed)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(config.optimizer(options.epochs * len(windows)), loss)
    settings = {"config": options.config, "units": options.units, "seed": options.seed}
    settings |= {"backend": keras.backend.backend(), "text": hashlib.sha256(text.encode()).hexdigest()}
    if not config.passes:
        settings["epochs"] = options.epochs  # the learning rate depends on it
    # Not a `.keras` file, which would leave out where the random numbers of dropout stand.
    checkpoint = Checkpoint(options.output / CHECKPOINT, model, settings)
    losses = checkpoint.restore() if options.resume else {}
    done = windows.epoch = int(model.optimizer.iterations) // len(windows)
    if done < options.epochs:
        model.fit(
            windows,
            epochs=options.epochs,
            initial_epoch=done,
            shuffle=False,
            validation_data=targets(all_windows(ids[cut:], config.window)[:: config.window]),
            callbacks=[
                Progress(options.epochs * len(windows), done * len(windows)),
                KeepLosses(checkpoint, options.checkpoint_every, losses),
            ],
            verbose=0,
        )
    return losses


def known_words(sample: str, text: str) -> float:
    """The share of the words of `sample` that are words of `text`: noise has few."""
    words, known = (re.findall(r"\w+", each) for each in (sample, text))
    return float(np.isin(words, known).mean()) if words else 0.0


def draw_losses(history: dict[str, list[float]], path: pathlib.Path) -> None:
    """A picture of the losses of each epoch."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, label in (("loss", "training"), ("val_loss", "held-out end of the text")):
        axes.plot(range(1, len(history[name]) + 1), history[name], marker="o", label=label)
    axes.set(xlabel="epoch", ylabel="cross-entropy of a character, nats")
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", choices=sorted(CONFIGS), default="small", help="which defaults (default: small)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the output folder")
    parser.add_argument("--text", type=pathlib.Path, help="UTF-8 file to learn, plain or gzip (default: see above)")
    parser.add_argument("--output", type=pathlib.Path, default="char_generation_output", help="folder for the results")
    parser.add_argument("--seed", type=number(int, 0), default=0, help="of weights, windows and sample (default: 0)")
    for flag, kind, text in (
        ("--epochs", number(int, 1), f"times {STEPS_PER_EPOCH} steps of training; in article, passes through the text"),
        ("--units", number(int, 1), "width of the GRU"),
        ("--length", number(int, 1), "characters to generate"),
        ("--temperature", number(float, 0), "0: the most probable character; 1: the model's own spread"),
        ("--prompt", str, "how the sample begins; None: with the first word of the text"),
        ("--checkpoint-every", number(int, 0), "epochs from one checkpoint to the next; 0: none"),
    ):
        name = flag.removeprefix("--").replace("-", "_")
        note = ", ".join(f"{getattr(config, name)} in {each}" for each, config in CONFIGS.items())
        parser.add_argument(flag, type=kind, help=f"{text} (default: {note})")
    return parser


def run(options: argparse.Namespace) -> None:
    """Trains, saves, loads, generates and writes the results."""
    start = time.monotonic()
    config = CONFIGS[options.config]
    for name, given in vars(options).items():
        if given is None and name != "text":
            setattr(options, name, getattr(config, name))
    text, source = choose_text(options.text, config)
    vocabulary = Vocabulary.of_characters(text, name="vocabulary")
    prompt = text.split(maxsplit=1)[0] if options.prompt is None else options.prompt
    check_prompt(prompt, vocabulary)
    sampler = Temperature(min(options.temperature, 1e6)) if options.temperature >= 1e-6 else Greedy()
    make_folder("--output", options.output)
    refuse_to_overwrite(options.output / CHECKPOINT, options.resume)
    print(f"Text: {source}: {len(text):,} characters, {len(vocabulary)} distinct.", flush=True)

    keras.utils.set_random_seed(options.seed)
    model = build_model(vocabulary, options.units, config, options.seed)
    history = train(model, vocabulary, text, config, options)
    write_whole(options.output / "model.keras", model.save)
    loaded = keras.models.load_model(options.output / "model.keras")
    sample = generate(loaded, prompt, options.length, sampler, options.seed)

    results = {
        "text": source,
        "vocabulary": "".join(vocabulary.tokens),
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
    """Runs the command line."""
    run_command(make_parser(), run, arguments)


if __name__ == "__main__":
    main()
