"""Trains a word-level language model of stacked LSTMs on the Penn Treebank, and tests it.

    python examples/penn_treebank.py                             # the small model: half an hour to an hour, two cores
    python examples/penn_treebank.py --resume                    # go on where a run was cut off
    python examples/penn_treebank.py --mode test                 # the saved model: test perplexity, predictions, text
    python examples/penn_treebank.py --config medium             # larger models: days on a processor

`--config small`, `medium` and `large` are those of Zaremba, Sutskever and Vinyals, "Recurrent Neural Network
Regularization" (2014, arXiv:1409.2329); `article` is another one, like `medium`, with a slower decay.

The text is `ptb.train.txt`, `ptb.valid.txt` and `ptb.test.txt`, plain or with `.gz`, in the folder `--data`, else in
the one that `KERAS_RNN_EXT_DATA` names; else it is downloaded once. Any other text in files of these names will do.

After each epoch the output folder gets `model.keras`, the best model so far by its validation perplexity;
`checkpoint.npz`, from which `--resume` goes on exactly as if there had been no pause; and `perplexity.png`; at the end
`results.json` and `test.json`; with `--tensorboard` also a folder of logs. It runs on every backend: set
`KERAS_BACKEND` to tensorflow, jax or torch.
"""

import argparse
import dataclasses
import importlib.util
import json
import math
import pathlib
import time
from collections.abc import Sequence
from typing import Any

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
from penn_treebank_data import Corpus, load_corpus
from penn_treebank_model import (
    CONFIGS,
    WINDOWS_PER_CALL,
    Config,
    build_model,
    evaluate,
    make_tester,
    make_trainer,
    predictions,
)

from keras_rnn_ext.text import contiguous_rows, generate
from keras_rnn_ext.training import SeriesWindows, TruncatedBPTT

matplotlib.use("Agg")  # pictures go to files; no screen is needed
import matplotlib.pyplot as plt

Curve = list[dict[str, float]]  # an entry for each epoch

MOST_NATS = 100.0  # of a word; a training that is worse has gone wrong
SHOWN_PREDICTIONS = 20  # words at the beginning of the test text
OPTIONS = {  # of a configuration, that may be given one by one
    "epochs": "passes through the text",
    "units": "width of each LSTM and of the words' vectors",
    "steps": "words that the gradient looks back",
    "batch": "rows that the text is cut into",
}


def best_epoch(curve: Curve) -> int:
    """The epoch with the least validation perplexity, from 1."""
    return 1 + min(range(len(curve)), key=lambda place: curve[place]["val_perplexity"])


class EachEpoch(keras.callbacks.Callback):
    """Evaluates on the validation text after each epoch, keeps the best model, and writes checkpoint and picture."""

    def __init__(self, valid: np.ndarray, tester: TruncatedBPTT, config: Config, checkpoint: Checkpoint, curve: Curve):
        super().__init__()
        self.valid, self.tester, self.config, self.checkpoint, self.curve = valid, tester, config, checkpoint, curve
        self.folder = pathlib.Path(checkpoint.path).parent

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        # All windows have the same number of words, so that the mean of their costs is exact.
        nats = logs["loss"] / self.config.steps
        if not nats < MOST_NATS:  # or none at all
            raise InputError(f"The training diverged in epoch {epoch + 1}: a word costs {nats:.3g} nats.")
        for own, trained in zip(self.tester.trainable_variables, self.model.trainable_variables, strict=True):
            own.assign(keras.ops.copy(trained))  # JAX gives away what the trainer holds
        # `logs` also reaches the callbacks behind this one.
        logs["perplexity"] = math.exp(nats)
        logs["val_perplexity"] = evaluate(self.tester, self.valid)["perplexity"]
        rate, seconds = float(self.config.schedule()(epoch)), time.monotonic() - self.start
        both = {name: logs[name] for name in ("perplexity", "val_perplexity")}
        self.curve.append({**both, "learning_rate": rate, "seconds": round(seconds, 1)})
        if best_epoch(self.curve) == len(self.curve):
            write_whole(self.folder / "model.keras", self.tester.model.save)
        # Behind the model: a run that is cut off between the two does this epoch again.
        self.checkpoint.save(self.curve)
        write_whole(self.folder / "perplexity.png", lambda path: draw(self.curve, self.config, None, path))
        print(
            f"Epoch {len(self.curve)}: perplexity {logs['perplexity']:.2f}, validation {logs['val_perplexity']:.2f}, "
            f"learning rate {rate:.4g}, {seconds:.0f} s.",
            flush=True,
        )


def draw(curve: Curve, config: Config, test: float | None, path: pathlib.Path) -> None:
    """A picture of the perplexities and the learning rate of each epoch."""
    figure, (top, bottom) = plt.subplots(
        2, sharex=True, figsize=(8, 6), layout="constrained", gridspec_kw={"height_ratios": [3, 1]}
    )
    epochs = range(1, len(curve) + 1)
    for name, label in (("perplexity", "training"), ("val_perplexity", "validation")):
        top.plot(epochs, [each[name] for each in curve], marker="o", markersize=4, label=label)
    if config.paper:
        top.axhline(config.paper[1], color="black", linestyle="--", label=f"test, paper: {config.paper[1]}")
    if test is not None:
        top.plot(best_epoch(curve), test, "*", color="tab:red", markersize=12, label=f"test, here: {test:.1f}")
    top.set_ylabel("perplexity")
    top.legend()
    bottom.step(epochs, [each["learning_rate"] for each in curve], where="mid")
    bottom.set(xlabel="epoch", ylabel="learning rate")
    scale(top, [tick * power for power in (1, 10, 100, 1_000) for tick in (1, 1.5, 2, 3, 4, 6, 8)])
    scale(bottom, [1, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001])
    bottom.xaxis.get_major_locator().set_params(integer=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def scale(axes: Any, ticks: list[float]) -> None:
    """A logarithmic axis with plain numbers, as far as the curves reach."""
    low, high = axes.dataLim.intervaly
    axes.set_yscale("log")
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(low / 1.2, high * 1.2)


def run_test(options: argparse.Namespace, corpus: Corpus) -> dict[str, Any]:
    """Loads the saved model, evaluates it on the test text, lets it predict and write, and writes `test.json`."""
    path = options.output / "model.keras"
    try:
        model = keras.models.load_model(path)
        vocabulary = model.get_layer("vocabulary")
    except (OSError, ValueError) as error:
        raise InputError(f"--mode test: expected a model of this example, got {str(path)!r}: {error}") from error
    if vocabulary.tokens != corpus.vocabulary.tokens:
        raise InputError(f"--mode test: {str(path)!r} was trained on another text than that in {corpus.source!r}.")
    tester = make_tester(model)
    results = evaluate(tester, corpus.test)
    shown = predictions(tester, vocabulary, corpus.test[: SHOWN_PREDICTIONS + 1])
    prompt = vocabulary.decode(corpus.test[:5]) if options.prompt is None else options.prompt
    sample = generate(model, prompt, options.length, "temperature", options.seed, exclude="<unk>")
    for each in shown:
        guesses = ", ".join(f"{word} {odds:.0%}" for word, odds in each["predicted"].items())
        print(f"{each['after']:>16} -> {each['true']:<16} predicted: {guesses}")
    print(f"\n{sample}\n\nTest perplexity {results['perplexity']:.2f}, right words {results['accuracy']:.2%}.")
    everything = {**results, "words": len(corpus.test) - 1, "predictions": shown, "sample": sample}
    write_whole(options.output / "test.json", lambda partial: partial.write_text(json.dumps(everything, indent=1)))
    return results


def run_train(options: argparse.Namespace, config: Config, corpus: Corpus) -> Curve:
    """Trains, or goes on, and gives the curve."""
    keras.utils.set_random_seed(options.seed)
    rows = contiguous_rows(corpus.train, config.batch)
    size = {"rows": config.batch, "window": config.steps, "windows_per_batch": WINDOWS_PER_CALL}
    windows = SeriesWindows(rows[:, :-1], rows[:, 1:], **size, drop_remainder=True)
    trainer = make_trainer(corpus.vocabulary, config, windows.windows_per_epoch, options.seed)
    settings = dataclasses.asdict(config) | {"seed": options.seed, "backend": keras.backend.backend()}
    settings = {**settings, "text": corpus.digest, "epochs": None}  # the number of epochs may be another one
    checkpoint = Checkpoint(options.output / "checkpoint.npz", trainer, settings)
    curve = checkpoint.restore() if options.resume else []
    tester = make_tester(build_model(corpus.vocabulary, config, rows=1))
    callbacks = [
        Progress(config.epochs * len(windows), len(curve) * len(windows)),
        EachEpoch(corpus.valid, tester, config, checkpoint, curve),
    ]
    if options.tensorboard:
        callbacks.append(keras.callbacks.TensorBoard(options.output / "tensorboard"))
    if len(curve) < config.epochs:
        trainer.fit(windows, epochs=config.epochs, initial_epoch=len(curve), callbacks=callbacks, verbose=0)
    return curve


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", choices=list(CONFIGS), default="small", help="which defaults (default: small)")
    parser.add_argument("--mode", choices=["train", "test"], default="train", help="test: only the saved model")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the output folder")
    parser.add_argument("--data", type=pathlib.Path, help="folder with the text (default: see above)")
    folder = pathlib.Path("penn_treebank_output")
    parser.add_argument(
        "--output", type=pathlib.Path, default=folder, help=f"folder for the results (default: {folder})"
    )
    parser.add_argument("--seed", type=number(int, 0), default=0, help="of weights, dropout and sample (default: 0)")
    for name, text in OPTIONS.items():
        note = ", ".join(f"{getattr(config, name)} in {each}" for each, config in CONFIGS.items())
        parser.add_argument(f"--{name}", type=number(int, 1), help=f"{text} (default: {note})")
    parser.add_argument("--prompt", help="words that the sample begins with (default: the first five of the test text)")
    parser.add_argument("--length", type=number(int, 1), default=60, help="words to generate (default: 60)")
    parser.add_argument("--tensorboard", action="store_true", help="logs for TensorBoard too")
    return parser


def check(options: argparse.Namespace, config: Config, corpus: Corpus) -> None:
    """Raises an `InputError` for options that do not fit each other or the text, or that need what is not there."""
    if options.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise InputError("--tensorboard: needs TensorBoard: python -m pip install tensorboard")
    unknown = sorted(set(corpus.vocabulary.split(options.prompt or "")) - set(corpus.vocabulary.tokens))
    if unknown or options.prompt == "":
        reason = f"the text has no {unknown[0]!r}" if unknown else "it is empty"
        raise InputError(f"--prompt: expected words of the text, got {options.prompt!r}: {reason}. Give another one.")
    if options.mode == "train":
        check_training(options, config, corpus)


def check_training(options: argparse.Namespace, config: Config, corpus: Corpus) -> None:
    """Raises an `InputError` for a text that is too short, and for a training that would be written over."""
    least = config.batch * (config.steps + 1)
    if len(corpus.train) < least:
        raise InputError(
            f"--data: expected at least {least} words of training text, {config.steps} and one more for each of "
            f"{config.batch} rows, got {len(corpus.train)}. Give a longer text, or a smaller --batch or --steps."
        )
    refuse_to_overwrite(options.output / "checkpoint.npz", options.resume)


def run(options: argparse.Namespace) -> None:
    """Trains and tests, or tests only, and writes the results."""
    given = {name: getattr(options, name) for name in OPTIONS if getattr(options, name) is not None}
    config = dataclasses.replace(CONFIGS[options.config], **given)
    corpus = load_corpus(options.data)
    check(options, config, corpus)
    if options.mode == "train":
        make_folder("--output", options.output)
    print(
        f"Text: {corpus.source}: {len(corpus.train):,} words for training, {len(corpus.valid):,} for validation, "
        f"{len(corpus.test):,} for the test; {len(corpus.vocabulary):,} distinct.",
        flush=True,
    )
    curve = run_train(options, config, corpus) if options.mode == "train" else []
    test = run_test(options, corpus)
    if curve:
        results = {
            "text": corpus.source,
            "config": dataclasses.asdict(config),
            "seed": options.seed,
            "backend": keras.backend.backend(),
            "curve": curve,
            "best_epoch": best_epoch(curve),
            "test": test,
        }
        write_whole(options.output / "perplexity.png", lambda path: draw(curve, config, test["perplexity"], path))
        write_whole(options.output / "results.json", lambda path: path.write_text(json.dumps(results, indent=1)))
    print(f"Results are in {options.output}.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    run_command(make_parser(), run, arguments)


if __name__ == "__main__":
    main()
