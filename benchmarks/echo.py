"""Measures training by windows: `TruncatedBPTT` against `stateful=True` through plain `fit`, side by side.

    python benchmarks/echo.py

The task is that of `examples/echo_rnn.py`: 50,000 bits in 5 rows, windows of 15 steps, 4 units, Adagrad. All ways start
from the same weights and must have the same ones after 20 windows; then they take turns, an epoch each, and the medians
are compared. The backend is that of `KERAS_BACKEND`.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_rnn_ext import MyDense, MySimpleRNN
from keras_rnn_ext.training import TruncatedBPTT

ROWS, WINDOW, ECHO_STEP = 5, 15, 3
CHECKED = 20  # windows


def build(recurrent: type, dense: type, units: int) -> keras.Model:
    """A stateful layer and its head, of one package."""
    layer = recurrent(units, stateful=True, return_sequences=True)
    return keras.Sequential([keras.Input(batch_shape=(ROWS, None, 1)), layer, dense(2)])


def compile_model(model: keras.Model, **options: Any) -> None:
    """As in the example."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adagrad(0.3), loss, **options)


def plain_fit(model: keras.Model, x: np.ndarray, y: np.ndarray, **options: Any) -> Callable[[], object]:
    """An epoch of Keras's `fit` with one window a batch, the rows' windows in order."""
    windows = x.shape[1] // WINDOW

    def in_order(series: np.ndarray) -> np.ndarray:
        cut = series.reshape(ROWS, windows, WINDOW, *series.shape[2:]).swapaxes(0, 1)
        return cut.reshape(windows * ROWS, WINDOW, *series.shape[2:])

    compile_model(model, **options)
    inputs, targets = in_order(x), in_order(y)

    def epoch() -> None:
        for layer in model.layers:
            if hasattr(layer, "reset_state"):
                layer.reset_state()
        model.fit(inputs, targets, batch_size=ROWS, shuffle=False, verbose=0)

    return epoch


def truncated(model: keras.Model, x: np.ndarray, y: np.ndarray, **options: Any) -> Callable[[], object]:
    """An epoch of the same in one call for 333 windows."""
    trainer = TruncatedBPTT(model, WINDOW, windows_per_call=333)
    compile_model(trainer, **options)
    return lambda: trainer.fit(x, y, verbose=0)


def milliseconds(epoch: Callable[[], object], windows: int) -> float:
    """Time for a window."""
    start = time.perf_counter()
    epoch()
    return (time.perf_counter() - start) / windows * 1e3


def compare(units: int = 4, bits_count: int = 50_000, turns: int = 9) -> tuple[dict[str, list[float]], float, int]:
    """Milliseconds a window of each way in each turn, how far apart their weights were, and how many windows.

    Raises:
        ValueError: if the ways do not train the same weights.
    """
    bits = np.random.default_rng(0).integers(0, 2, bits_count)
    windows = bits_count // ROWS // WINDOW
    x = bits.reshape(ROWS, -1)[:, : windows * WINDOW, None].astype("float32")
    y = np.roll(bits, ECHO_STEP).reshape(ROWS, -1)[:, : windows * WINDOW]

    keras.utils.set_random_seed(0)
    builtin, own = (keras.layers.SimpleRNN, keras.layers.Dense), (MySimpleRNN, MyDense)
    has_xla_to_ask_for = keras.config.backend() == "tensorflow"
    kinds: dict[str, tuple[tuple, Callable, dict]] = {
        "TruncatedBPTT": (own, truncated, {}),
        "plain fit, MySimpleRNN": (own, plain_fit, {}),
    }
    if keras.config.backend() != "jax":  # where Keras's own stateful layers forget
        kinds["plain fit, Keras's SimpleRNN"] = (builtin, plain_fit, {})
    if has_xla_to_ask_for:
        kinds["TruncatedBPTT, jit_compile=True"] = (own, truncated, {"jit_compile": True})
        kinds["plain fit, MySimpleRNN, jit_compile=True"] = (own, plain_fit, {"jit_compile": True})
        kinds["plain fit, MySimpleRNN, steps_per_execution=333"] = (own, plain_fit, {"steps_per_execution": 333})
    start = build(own[0], own[1], units).get_weights()

    def make(name: str, windows: int) -> tuple[keras.Model, Callable[[], object]]:
        layers, way, arguments = kinds[name]
        model = build(layers[0], layers[1], units)
        model.set_weights(start)
        return model, way(model, x[:, : windows * WINDOW], y[:, : windows * WINDOW], **arguments)

    ends = {}
    for name in kinds:
        model, epoch = make(name, CHECKED)
        epoch()
        ends[name] = model.get_weights()
    apart = max(
        float(np.abs(left - right).max() / np.abs(right).max())
        for end in ends.values()
        for left, right in zip(end, ends["TruncatedBPTT"], strict=True)
    )
    if apart > 1e-5:
        raise ValueError(f"The ways do not have the same weights after {CHECKED} windows: {apart:.1e} apart.")
    ways = {name: make(name, windows)[1] for name in kinds}
    for epoch in ways.values():
        epoch()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, epoch in ways.items():
            times[name].append(milliseconds(epoch, windows))
    return times, apart, windows


def main() -> None:
    """Checks, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=4, help="of the recurrent layer (default: 4)")
    parser.add_argument("--bits", type=int, default=50_000, help="of the series (default: 50000)")
    parser.add_argument("--turns", type=int, default=9, help="epochs of each way (default: 9)")
    options = parser.parse_args()

    try:
        times, apart, windows = compare(options.units, options.bits, options.turns)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    print(
        f"{keras.config.backend()}, {os.cpu_count()} CPUs: {windows} windows of {ROWS} x {WINDOW} steps, "
        f"{options.units} units. After {CHECKED} windows the weights are {apart:.0e} apart. Medians of {options.turns} "
        "turns:"
    )
    first = statistics.median(times["TruncatedBPTT"])
    for name, taken in times.items():
        median = statistics.median(taken)
        print(f"  {median:7.3f} ms a window, {median / first:5.2f} times the first  {name}")


if __name__ == "__main__":
    main()
