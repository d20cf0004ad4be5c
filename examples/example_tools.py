"""What the examples share: errors that the user can mend, numbers on the command line, progress, whole files."""

import argparse
import contextlib
import math
import os
import pathlib
import sys
import time
from collections.abc import Callable, Sequence

import keras


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
