"""What the examples share: errors that the user can mend, the command line, progress, whole files, checkpoints."""

import argparse
import contextlib
import math
import os
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_rnn_ext import training


class InputError(ValueError):
    """Something that the user gave cannot be used."""


def write_whole(path: pathlib.Path, write: Callable[[pathlib.Path], object]) -> None:
    """Calls `write` with a name beside `path`, and only a finished file takes the place of an older one."""
    partial = path.with_name(f"partial-{path.name}")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def make_folder(option: str, folder: pathlib.Path) -> None:
    """Makes the folder that `option` names, if it is not there yet."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{option}: expected a folder, got {str(folder)!r}: {error.strerror}.") from error


def refuse_to_overwrite(checkpoint: pathlib.Path, resume: bool) -> None:
    """Raises an `InputError` if there is a checkpoint that nobody asked to go on from."""
    if checkpoint.exists() and not resume:
        raise InputError(
            f"--output: {str(checkpoint.parent)!r} has the checkpoint of a training. Give --resume to go on with it, "
            "or another folder."
        )


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


class Progress(keras.callbacks.Callback):
    """One line for the whole training: a bar, the loss, the time gone and the time left."""

    def __init__(self, total: int, done: int):
        super().__init__()
        self.total, self.done, self.before = total, done, done
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
        left = gone / (self.done - self.before) * (self.total - self.done)
        bar = "#" * (30 * self.done // self.total)
        line = f"[{bar:.<30}] step {self.done}/{self.total}  loss {logs['loss']:.3f}"
        end = "\n" if self.done == self.total else self.end
        print(f"\r{line}  {gone:.0f} s gone, {left:.0f} s left ", end=end, flush=True)


class Checkpoint(training.Checkpoint):
    """The package's, whose errors are those of the option `--resume`."""

    def restore(self) -> Any:
        """Reads the file, and gives the notes.

        Raises:
            InputError: if it is missing, damaged, or of a run with other settings.
        """
        try:
            return super().restore()
        except FileNotFoundError:
            raise InputError(
                f"--resume: expected a whole checkpoint. Received: {self.path!r}, which is not there."
            ) from None
        except ValueError as error:
            raise InputError(f"--resume: expected {str(error).removeprefix('Argument `path` must be ')}") from error


def run_command(
    parser: argparse.ArgumentParser,
    run: Callable[[argparse.Namespace], None],
    arguments: Sequence[str] | None = None,
) -> None:
    """Runs a command line; what the user can mend ends as a message without a traceback."""
    try:
        run(parser.parse_args(arguments))
    except InputError as error:
        parser.error(str(error))
