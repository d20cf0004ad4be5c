"""Measures one step of a `Stream` against what Keras offers for it, side by side in one process.

    python -m benchmarks.streaming
    python -m benchmarks.streaming --rows 64 --json streaming.json

Two stateful LSTM layers of 64 units and a dense head get one step at a time. A way that gives other numbers is left
out; the others take turns, twenty steps each. Times of a step: median, and the 99th percentile. The backend is that of
`KERAS_BACKEND`.
"""

import argparse
import json
import pathlib
import statistics
import time
from collections.abc import Callable

import keras
import numpy as np

from benchmarks import backend
from keras_rnn_ext import MyDense, MyLSTM, reset_states
from keras_rnn_ext.core.strategy import engine
from keras_rnn_ext.streaming import Stream

FEATURES = 3


def build(lstm: type, dense: type, rows: int, units: int, stateful: bool) -> keras.Model:
    """Two layers and a head."""
    batch_shape = (rows if stateful else None, 1 if stateful else None, FEATURES)
    options = {"return_sequences": True, "stateful": stateful}
    return keras.Sequential(
        [keras.Input(batch_shape=batch_shape), lstm(units, **options), lstm(units, **options), dense(1)]
    )


def ways(rows: int, units: int) -> dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[], None]]]:
    """Each way to make a step, and how it starts anew."""
    keras.utils.set_random_seed(0)
    trained = build(MyLSTM, MyDense, rows, units, stateful=False)
    theirs = build(keras.layers.LSTM, keras.layers.Dense, rows, units, stateful=True)
    ours = build(MyLSTM, MyDense, rows, units, stateful=True)
    for model in (theirs, ours):
        model.set_weights(trained.get_weights())
    stream = Stream(trained, rows)

    def to_numpy(tensor):
        return keras.ops.convert_to_numpy(tensor)

    def eager(model):
        return lambda inputs: to_numpy(model(keras.ops.convert_to_tensor(inputs[:, None]), training=False))[:, 0]

    def reset_theirs():
        for layer in theirs.layers:
            if isinstance(layer, keras.layers.RNN):
                layer.reset_state()

    found = {
        "stream.step": (stream.step, stream.reset),
        "eager call, ours": (eager(ours), lambda: reset_states(ours)),
        "eager call, Keras": (eager(theirs), reset_theirs),
        "predict, Keras": (lambda inputs: theirs.predict(inputs[:, None], verbose=0)[:, 0], reset_theirs),
        "predict_on_batch, Keras": (lambda inputs: theirs.predict_on_batch(inputs[:, None])[:, 0], reset_theirs),
    }
    compile_program = engine().compile
    if keras.config.backend() == "tensorflow" and compile_program is not None:
        compiled = compile_program(lambda inputs: theirs(inputs, training=False))
        found["tf.function, Keras"] = (
            lambda inputs: to_numpy(compiled(keras.ops.convert_to_tensor(inputs[:, None])))[:, 0],
            reset_theirs,
        )
    return found


def compare(rows: int, units: int, seconds: float) -> dict[str, list[float]]:
    """Milliseconds of each step of each way that gives the same numbers.

    Raises:
        ValueError: if no other way does.
    """
    inputs = np.random.default_rng(0).normal(size=(20, rows, FEATURES)).astype("float32")
    every = ways(rows, units)
    outputs = {}
    for name, (step, reset) in every.items():
        reset()
        outputs[name] = np.stack([step(each) for each in inputs])
    expected = outputs["stream.step"]
    for name, found in outputs.items():
        apart = np.abs(found - expected).max() / np.abs(expected).max()
        if not apart <= 1e-5:
            print(f"{name} is not measured: it gives other numbers, {apart:.1e} apart")
            del every[name]
    if not {"eager call, ours", "eager call, Keras"} & every.keys():
        raise ValueError("The stream gives other numbers than the layers.")
    times: dict[str, list[float]] = {name: [] for name in every}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for name, (step, _) in every.items():
            for each in inputs:
                begin = time.perf_counter()
                step(each)
                times[name].append((time.perf_counter() - begin) * 1e3)
    return times


def main() -> None:
    """Checks, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1, help="sequences side by side (default: 1)")
    parser.add_argument("--units", type=int, default=64, help="of each LSTM (default: 64)")
    parser.add_argument("--seconds", type=float, default=30, help="of measuring (default: 30)")
    parser.add_argument("--json", type=pathlib.Path, help="file for the results")
    options = parser.parse_args()
    try:
        times = compare(options.rows, options.units, options.seconds)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    print(f"{keras.config.backend()}: {options.rows} row(s), two LSTM layers of {options.units} units, one step:")
    base = statistics.median(times["stream.step"])
    results = {}
    for name, measured in times.items():
        median, worst = statistics.median(measured), float(np.percentile(measured, 99))
        results[name] = {"p50": round(median, 4), "p99": round(worst, 4), "steps": len(measured)}
        print(
            f"{name:26} p50 {median:8.3f} ms  p99 {worst:8.3f} ms  ({len(measured)} steps)  "
            f"{median / base:6.1f} times the stream's"
        )
    if options.json:
        about = {"rows": options.rows, "units": options.units}
        options.json.write_text(json.dumps({"about": backend.about() | about, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
