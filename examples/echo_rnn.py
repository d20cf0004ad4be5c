"""Teaches a recurrent layer to repeat random bits some steps later, by truncated back-propagation through time.

    python examples/echo_rnn.py                               # repeat after 3 steps; 20 seconds, PyTorch minutes
    python examples/echo_rnn.py --gif                         # the same, with an animation
    python examples/echo_rnn.py --live                        # the same, in a window

An echo that is longer than the window cannot be learnt, because no gradient reaches the bit that is to be repeated. The
same model with a window of 30 learns it, and so does a window of 15 whose gradient reaches back 30 steps:

    python examples/echo_rnn.py --echo-step 20 --state-size 32 --learning-rate 0.1 --epochs 30
    python examples/echo_rnn.py --echo-step 20 --state-size 32 --learning-rate 0.1 --epochs 30 --window 30
    python examples/echo_rnn.py --echo-step 20 --state-size 32 --learning-rate 0.1 --epochs 30 --backprop-length 30

After Erik Hallström, "How to build a Recurrent Neural Network in TensorFlow" (2016): one long series of bits becomes
the rows of a batch, and the state goes on from window to window; each epoch brings a new series and starts from zeros.
The first echoes of a row belong to bits that it has not seen, so the loss jumps where an epoch begins.

The output folder gets `echo.png`, `results.json` and `model.keras`, with `--gif` also `echo.gif`, and with
`--tensorboard` a folder of logs. It runs on every backend: set `KERAS_BACKEND` to tensorflow, jax or torch.
"""

import argparse
import importlib.util
import json
import math
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from example_tools import InputError, Progress, number, run_command, write_whole

from keras_rnn_ext import MyDense, MySimpleRNN
from keras_rnn_ext.training import LivePlot, SeriesWindows, TruncatedBPTT

CLASSES = 2
SHOWN_ROWS = 8  # of the batch, in the picture


def random_echo(steps: int, rows: int, echo_step: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Random bits `(rows, steps / rows, 1)`, and the same `echo_step` steps later in the whole series."""
    bits = random.integers(0, CLASSES, steps // rows * rows, dtype="int32")
    echo = np.roll(bits, echo_step)
    echo[:echo_step] = 0
    return bits.reshape(rows, -1, 1).astype("float32"), echo.reshape(rows, -1)


class EchoSeries(SeriesWindows):
    """A new random series for each epoch."""

    def __init__(self, make: Callable[[], tuple[np.ndarray, np.ndarray]], **options: Any):
        self._make = make
        self.bits, self.echo = make()
        super().__init__(self.bits, self.echo, drop_remainder=True, **options)

    def on_epoch_begin(self) -> None:
        self.bits, self.echo = self._make()
        self.set_series(self.bits, self.echo)


def build_model(rows: int, state_size: int) -> keras.Model:
    """Bits -> logits of the echo.

    The original draws its first weights between 0 and 1. A wide layer saturates with these, so here they are Keras's.
    """
    recurrent = MySimpleRNN(state_size, stateful=True, return_sequences=True)
    return keras.Sequential([keras.Input(batch_shape=(rows, None, 1)), recurrent, MyDense(CLASSES)])


class FirstLosses(keras.callbacks.Callback):
    """Keeps the loss of the first window of each epoch."""

    def __init__(self, series: EchoSeries):
        super().__init__()
        self._series = series
        self.losses: list[float] = []

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        if batch == 0:
            windows = min(self._series.windows_per_batch, self._series.windows_per_epoch)
            self.losses.append(float(self.model.window_losses[-windows]))


def predicted(trainer: TruncatedBPTT, series: EchoSeries) -> np.ndarray:
    """The echo that the model gives for the series, from zero states: bits `(rows, steps)`."""
    return trainer.predict(series.bits, verbose=0).argmax(-1)


def accuracy(trainer: TruncatedBPTT, series: EchoSeries, echo_step: int) -> float:
    """The share of right bits, but for the first `echo_step` of each row, whose cause the row has not seen."""
    return float((predicted(trainer, series) == series.echo)[:, echo_step:].mean())


def draw(figure: Any, plot: LivePlot, series: EchoSeries) -> None:
    """The loss of each window, and the bits, echo and prediction in the last window of each row."""
    rows, window = min(series.rows, SHOWN_ROWS), series.window
    columns = 3 if rows > 1 else 2
    panels = figure.subplots(math.ceil((rows + 1) / columns), columns, squeeze=False).ravel()
    windows = np.arange(len(plot.window_losses)) / series.windows_per_epoch
    panels[0].plot(windows, plot.window_losses, linewidth=0.5)
    panels[0].set(title="loss of each window, nats", xlabel="epoch", yscale="log")
    last = slice((series.windows_per_epoch - 1) * window, series.windows_per_epoch * window)
    guess = predicted(plot.model, series)
    steps = np.arange(window)
    for row, axes in enumerate(panels[1 : rows + 1]):
        for values, height, color, label in (
            (series.bits[row, last, 0], 1.0, "tab:blue", "bits"),
            (series.echo[row, last], 0.6, "tab:red", "echo"),
            (guess[row, last], 0.3, "tab:green", "prediction"),
        ):
            axes.bar(steps, values * height, width=1, color=color, label=label)
        axes.set(title=f"row {row + 1}, last window", xlabel="step", yticks=[], ylim=(0, 1.05))
        axes.set_xticks(steps[::5])
    for axes in panels[rows + 1 :]:
        axes.axis("off")
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=3)


def plots(options: argparse.Namespace, series: EchoSeries) -> list[LivePlot]:
    """The picture in the output folder, and those that were asked for."""
    wanted: list[tuple[Any, float]] = [(options.output / "echo.png", math.inf)]
    if options.gif:
        wanted.append((options.output / "echo.gif", 0))
    if options.live:
        wanted.append(("window", 1))
    return [
        LivePlot(
            target,
            draw=lambda figure, plot: draw(figure, plot, series),
            seconds=seconds,
            # An animation of 25 pictures.
            every=max(1, options.epochs // 25) if target != "window" else 1,
            size=(11, 6.5),
        )
        for target, seconds in wanted
    ]


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, kind, default, text in (
        ("--output", pathlib.Path, pathlib.Path("echo_rnn_output"), "folder for the results"),
        ("--epochs", number(int, 1), 100, "each with a new random series"),
        ("--length", number(int, 1), 50_000, "bits of a series, over all rows"),
        ("--window", number(int, 1), 15, "steps between updates of the weights"),
        ("--backprop-length", number(int, 1), None, "steps that the gradient reaches back; without it, the window"),
        ("--state-size", number(int, 1), 4, "width of the recurrent layer"),
        ("--echo-step", number(int, 1), 3, "steps from a bit to its echo"),
        ("--batch", number(int, 1), 5, "rows that the series is cut into"),
        ("--learning-rate", number(float, 0), 0.3, "of Adagrad"),
        ("--seed", number(int, 0), 0, "of weights and bits"),
        ("--windows-per-call", number(int, 1), 333, "windows in one call of compiled code"),
    ):
        note = "" if default is None else f" (default: {default})"
        parser.add_argument(flag, type=kind, default=default, help=text + note)
    parser.add_argument("--gif", action="store_true", help="an animation too")
    parser.add_argument("--live", action="store_true", help="a window on the screen that shows the training")
    parser.add_argument("--tensorboard", action="store_true", help="logs for TensorBoard too")
    return parser


def make_trainer(options: argparse.Namespace) -> TruncatedBPTT:
    """The model in its trainer, compiled."""
    model = build_model(options.batch, options.state_size)
    trainer = TruncatedBPTT(model, options.window, options.backprop_length, options.windows_per_call)
    trainer.compile(
        keras.optimizers.Adagrad(options.learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # So small a model spends its time between the operations: XLA makes one of many.
        jit_compile=True if keras.backend.backend() == "tensorflow" else "auto",
    )
    return trainer


def check(options: argparse.Namespace) -> None:
    """Raises an `InputError` for options that do not fit each other, or that need what is not there."""
    if options.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise InputError("--tensorboard: needs TensorBoard: python -m pip install tensorboard")
    steps = options.length // options.batch
    if steps < max(options.window, options.echo_step + 1):
        raise InputError(
            f"--length: expected rows that hold a window of {options.window} and an echo after {options.echo_step} "
            f"steps, got {options.length} bits for {options.batch} rows. Give more bits."
        )
    if options.backprop_length is not None and options.backprop_length < options.window:
        raise InputError(
            f"--backprop-length: expected at least the window, {options.window}, got {options.backprop_length}."
        )


def run(options: argparse.Namespace) -> None:
    """Trains, draws and writes the results."""
    check(options)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output: expected a folder, got {str(options.output)!r}: {error.strerror}.") from error
    keras.utils.set_random_seed(options.seed)
    random = np.random.default_rng(options.seed)
    trainer = make_trainer(options)
    series = EchoSeries(
        lambda: random_echo(options.length, options.batch, options.echo_step, random),
        rows=options.batch,
        window=trainer.window,
        length=trainer.length,
        windows_per_batch=trainer.windows_per_call,
    )
    first = FirstLosses(series)
    try:
        callbacks = [first, Progress(options.epochs * len(series), 0), *plots(options, series)]
    except ValueError as error:
        raise InputError(f"--live: {error}") from error
    if options.tensorboard:
        callbacks.append(keras.callbacks.TensorBoard(options.output / "tensorboard"))

    start = time.monotonic()
    history = trainer.fit(series, epochs=options.epochs, callbacks=callbacks, verbose=0).history
    right = accuracy(trainer, series, options.echo_step)
    results = {
        "settings": {name: str(value) if name == "output" else value for name, value in vars(options).items()},
        "backend": keras.backend.backend(),
        "loss": history["loss"],
        "accuracy": history["accuracy"],
        "first_window_loss": first.losses,
        "last_epoch_accuracy": right,
        "windows_per_epoch": series.windows_per_epoch,
        "seconds": round(time.monotonic() - start, 1),
    }
    write_whole(options.output / "results.json", lambda path: path.write_text(json.dumps(results, indent=1)))
    write_whole(options.output / "model.keras", trainer.model.save)
    print(
        f"Loss of the last epoch {history['loss'][-1]:.5f}, of its first window {first.losses[-1]:.3f}. Of the "
        f"echoes of bits that a row has seen, {right:.2%} are right. {results['seconds']:.0f} s. Results are "
        f"in {options.output}."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    run_command(make_parser(), run, arguments)


if __name__ == "__main__":
    main()
