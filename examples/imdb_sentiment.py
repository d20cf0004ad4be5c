"""Tells good film reviews from bad ones with two recurrent layers, written in three ways.

    python examples/imdb_sentiment.py                                  # two LSTM layers, trained by `fit`
    python examples/imdb_sentiment.py --cell gru --via cells           # two cells, unrolled by hand
    python examples/imdb_sentiment.py --cell simple_rnn --via loop     # a training loop of one's own
    python examples/imdb_sentiment.py --article 000 --cell simple_rnn  # reviews of 500 words, a smaller network
    python examples/imdb_sentiment.py --glove glove.6B.100d.txt        # pre-trained word vectors, frozen

All three ways build the same network, start from the same weights and see the same batches. `--via cells` goes through
the sequence step by step, or with `--order layers` one layer after the other, which gives the same numbers.

The reviews come from `--data`, from `imdb_small.npz` in the folder that `KERAS_RNN_EXT_DATA` names, or else from
`keras.datasets.imdb`, which downloads them once. A fifth of the training reviews is held out; `model.keras` is the
model of the epoch with the best accuracy on those. The output folder also gets `curves.png`, `mistakes.txt` (the test
reviews that the model is most surely wrong about), `results.json`, and `checkpoint.npz`, from which `--resume` goes on.
It runs on every backend: set `KERAS_BACKEND` to tensorflow, jax or torch.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from example_tools import Checkpoint, InputError, make_folder, number, run_command, write_whole
from imdb_networks import Network, UnrolledCells, stacked_layers, train_by_fit, train_by_loop
from imdb_reviews import FILE, Batches, Reviews, describe_mistakes, draw, load_reviews, load_words, word_of

from keras_rnn_ext.text import pretrained_embedding

ARTICLES: dict[str, dict[str, Any]] = {
    "002": {"steps": 80, "embedding": 100, "units": 64, "hidden": 64, "dropout": 0.5, "epochs": 50, "batch": 128},
    "000": {"steps": 500, "embedding": 32, "units": 32, "hidden": 0, "dropout": 0.0, "epochs": 10, "batch": 128},
}
LOOP_BATCH = {"000": 64}  # in that article's own loop


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, values, text in (
        ("--article", ["002", "000"], "whose settings"),
        ("--cell", ["lstm", "gru", "simple_rnn"], "which recurrence"),
        ("--via", ["layers", "cells", "loop"], "how the network is written and trained"),
        ("--order", ["steps", "layers"], "of --via cells"),
    ):
        parser.add_argument(flag, choices=values, default=values[0], help=f"{text} (default: {values[0]})")
    for flag, kind, text in (
        ("--steps", number(int, 1), "words of a review that are read, the last ones"),
        ("--embedding", number(int, 1), "length of a word's vector; with --glove, the file's"),
        ("--units", number(int, 1), "width of each recurrent layer"),
        ("--hidden", number(int, 0), "width of the classifier's hidden layer; 0: none"),
        ("--dropout", number(float, 0), "rate for the inputs of each recurrent layer and in the classifier"),
        ("--epochs", number(int, 1), "passes through the training reviews at most"),
        ("--batch", number(int, 1), "reviews of a batch"),
    ):
        note = ", ".join(f"{values[flag[2:]]} in {article}" for article, values in ARTICLES.items())
        note += ", with --via loop 64" if flag == "--batch" else ""
        parser.add_argument(flag, type=kind, help=f"{text} (default: {note})")
    options: tuple[tuple[str, Callable, Any, str], ...] = (
        ("--words", number(int, 4), 10_000, "codes that the network knows, of the most frequent words"),
        ("--patience", number(int, 0), 10, "epochs without a better accuracy on the validation until it stops; 0: all"),
        ("--learning-rate", number(float, 0), 1e-3, "of RMSprop"),
        ("--seed", number(int, 0), 0, "of weights, batches and dropout"),
        ("--mistakes", number(int, 1), 5, "mistakes of each kind that are shown"),
        ("--output", pathlib.Path, pathlib.Path("imdb_sentiment_output"), "folder for the results"),
        ("--data", pathlib.Path, None, f"{FILE} or its folder"),
        ("--word-index", pathlib.Path, None, "Keras's imdb_word_index.json; without it, Keras is asked for it"),
        ("--glove", pathlib.Path, None, "word vectors, a text file of GloVe or word2vec"),
    )
    for flag, kind, default, text in options:
        note = "" if default is None else f" (default: {default})"
        parser.add_argument(flag, type=kind, default=default, help=text + note)
    clip = parser.add_mutually_exclusive_group()
    for flag, text in (
        ("--clipvalue", "limit of each number of a gradient"),
        ("--clipnorm", "limit of the norm of each weight's gradient"),
        ("--global-clipnorm", "limit of the norm of all gradients together"),
    ):
        clip.add_argument(flag, type=number(float, 1e-9), help=f"{text} (default: none)")
    switch = argparse.BooleanOptionalAction
    parser.add_argument("--mask", action=switch, default=True, help="skip the padding (default: yes)")
    parser.add_argument("--train-embedding", action=switch, help="train the vectors (default: yes; with --glove, no)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the output folder")
    return parser


def choose_defaults(options: argparse.Namespace) -> None:
    """Gives the options that were not given the article's values, and refuses a dropout that leaves nothing."""
    defaults = dict(ARTICLES[options.article], train_embedding=options.glove is None)
    if options.via == "loop":
        defaults["batch"] = LOOP_BATCH.get(options.article, defaults["batch"])
    for name, value in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.dropout >= 1:
        raise InputError(f"--dropout: expected a rate below 1, got {options.dropout}.")


class Keeper(keras.callbacks.Callback):
    """Writes a checkpoint after each epoch, and the model when it is the best one so far on the validation."""

    def __init__(self, folder: pathlib.Path, patience: int, checkpoint: Checkpoint):
        super().__init__()
        self.folder, self.patience, self.checkpoint = folder, patience, checkpoint
        self.history: dict[str, list[float]] = {}

    @property
    def best(self) -> int:
        """The epoch, from 1, with the best accuracy on the validation; of several, the first."""
        return int(np.argmax(self.history["val_accuracy"])) + 1

    @property
    def finished(self) -> bool:
        """Whether the last `patience` epochs brought nothing better."""
        epochs = len(self.history.get("val_accuracy", ()))
        return 0 < self.patience < epochs and epochs - self.best >= self.patience

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        if not np.isfinite(list(logs.values())).all():
            raise InputError(
                f"--learning-rate: the loss is not finite any more in epoch {epoch + 1}. Give a smaller rate, or limit "
                "the gradient with --global-clipnorm."
            )
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value))
        if self.best == epoch + 1:
            write_whole(self.folder / "model.keras", self.model.save)
        self.checkpoint.save(self.history)
        self.model.stop_training = self.finished


def settings_of(options: argparse.Namespace, reviews: Reviews) -> dict[str, Any]:
    """What the result depends on, but for the number of epochs."""
    free = {"epochs", "mistakes", "output", "patience", "resume", "word_index"}
    chosen = {name: value for name, value in vars(options).items() if name not in free}
    return {**chosen, "data": reviews.source, "glove": options.glove and str(options.glove)}


def read_vectors(options: argparse.Namespace, words: dict[int, str], note: str | None) -> tuple[list, str]:
    """The weights of an embedding from the file of `--glove`, and how many words it has, as text."""
    if note:
        raise InputError(f"--glove: expected a word index, got none. {note}")
    try:
        vocabulary = [word_of(code, words) for code in range(options.words)]
        embedding, coverage = pretrained_embedding(options.glove, vocabulary, progress=True)
    except ValueError as error:
        raise InputError(f"--glove: {error}") from error
    if options.embedding not in (None, embedding.output_dim):
        raise InputError(
            f"--embedding: expected the file's {embedding.output_dim} or nothing, got {options.embedding}."
        )
    options.embedding = embedding.output_dim
    return embedding.get_weights(), str(coverage)


def build_model(options: argparse.Namespace, vectors: list | None) -> keras.Model:
    """The network of the options, compiled. Each way starts from the weights that the layers draw."""
    fields = (field.name for field in dataclasses.fields(Network))
    network = Network(**{name: getattr(options, name) for name in fields})
    model = stacked_layers(network)
    if vectors:
        model.layers[0].set_weights(vectors)
    if options.via == "cells":
        cells = UnrolledCells(dataclasses.asdict(network), options.order)
        cells.build((None, options.steps))
        cells.set_weights(model.get_weights())
        model = cells
    clip = {name: getattr(options, name) for name in ("clipvalue", "clipnorm", "global_clipnorm")}
    optimizer = keras.optimizers.RMSprop(options.learning_rate, **clip)
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
    return model


def run(options: argparse.Namespace) -> None:
    """Trains, and judges the best model on the test reviews."""
    start = time.monotonic()
    words, note = load_words(options.word_index)
    vectors, coverage = read_vectors(options, words, note) if options.glove else (None, None)
    choose_defaults(options)
    reviews = load_reviews(options.data, options.words, options.steps)
    make_folder("--output", options.output)
    sizes = [len(part.ids) for part in reviews[:3]]
    print(f"Reviews: {reviews.source}: {sizes[0]:,} to train, {sizes[1]:,} to validate, {sizes[2]:,} to test.")
    for line in (coverage and f"Word vectors: {coverage}", note):
        if line:
            print(line, flush=True)

    keras.utils.set_random_seed(options.seed)
    batches = Batches(reviews.train, options.batch, options.seed)
    model, settings = build_model(options, vectors), settings_of(options, reviews)
    checkpoint = Checkpoint(options.output / "checkpoint.npz", model, settings)
    keeper = Keeper(options.output, options.patience, checkpoint)
    if options.resume:
        keeper.history = checkpoint.restore()
        batches.epoch = len(keeper.history["loss"])
    if batches.epoch < options.epochs and not keeper.finished:
        train = train_by_loop if options.via == "loop" else train_by_fit
        train(model, batches, reviews.validation, options.epochs, keeper)

    model = keras.models.load_model(options.output / "model.keras")
    probabilities, labels = model.predict(reviews.test.ids, verbose=0).ravel(), reviews.test.labels.ravel()
    accuracy = float(((probabilities >= 0.5) == labels).mean())
    results = {
        "settings": settings,
        "backend": keras.backend.backend(),
        "reviews": sizes,
        "word_vectors": coverage,
        "history": keeper.history,
        "best_epoch": keeper.best,
        "validation_accuracy": max(keeper.history["val_accuracy"]),
        "test_accuracy": accuracy,
        "seconds": round(time.monotonic() - start, 1),
    }
    mistakes = describe_mistakes(probabilities, reviews.test, words, options.mistakes)
    picture = functools.partial(draw, keeper.history, keeper.best, probabilities, labels)
    write_whole(options.output / "curves.png", picture)
    write_whole(options.output / "mistakes.txt", lambda path: path.write_text(mistakes + "\n", encoding="utf-8"))
    write_whole(options.output / "results.json", lambda path: path.write_text(json.dumps(results, indent=1)))
    print(
        f"\n{mistakes}\n\nAccuracy {accuracy:.3f} on the test reviews, {results['validation_accuracy']:.3f} on the "
        f"validation in epoch {keeper.best} of {len(keeper.history['loss'])}, which is kept. "
        f"{results['seconds']:.0f} s. Results are in {options.output}."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    run_command(make_parser(), run, arguments)


if __name__ == "__main__":
    main()
