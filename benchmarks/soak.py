"""Memory and time of a step over thousands of steps: training, generation, streaming, eager calls of many shapes.

    python -m benchmarks.soak                             # 10,000 steps of each, on the backend of KERAS_BACKEND
    python -m benchmarks.soak --steps 2000 --kinds stream

Each kind is a process of its own. It passes if from a fifth of the steps on memory grows by less than 5 %, and if the
last fifth of the steps is not half as slow again as the fifth before the middle.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
MOST_GROWTH, MOST_SLOWER = 0.05, 1.5
PARTS = 20


def _net(layers: Any, **options: Any) -> Any:
    import keras

    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((None, 3)),
            layers.MyLSTM(8, return_sequences=True, **options),
            layers.MyGRU(8, return_sequences=True),
            layers.MyDense(1),
        ]
    )


def _shapes(step: int) -> tuple[int, int]:
    """Forty shapes, in turns."""
    return 1 + step % 4, 1 + step % 10 * 3


def training(ext: Any) -> Callable[[int], Any]:
    """`train_on_batch`, with one shape."""
    model = _net(ext, dropout=0.1)
    model.compile("adam", "mse")
    x, y = np.ones((4, 10, 3), "float32"), np.ones((4, 10, 1), "float32")
    return lambda step: model.train_on_batch(x, y)


def training_of_many_shapes(ext: Any) -> Callable[[int], Any]:
    """`train_on_batch`, with forty shapes."""
    model = _net(ext)
    model.compile("adam", "mse")
    x, y = np.ones((4, 30, 3), "float32"), np.ones((4, 30, 1), "float32")

    def run(step: int) -> Any:
        rows, steps = _shapes(step)
        return model.train_on_batch(x[:rows, :steps], y[:rows, :steps])

    return run


def calls_of_many_shapes(ext: Any) -> Callable[[int], Any]:
    """The model called as a function, with forty shapes."""
    model, x = _net(ext), np.ones((4, 30, 3), "float32")

    def run(step: int) -> Any:
        rows, steps = _shapes(step)
        return model(x[:rows, :steps])

    return run


def stream(ext: Any) -> Callable[[int], Any]:
    """`Stream.step`, now and then of some rows alone."""
    running = ext.streaming.Stream(_net(ext), 4)
    x = np.ones((4, 3), "float32")
    return lambda step: running.step(x) if step % 3 else running.step(x[:2], rows=[0, 2])


def generation(ext: Any) -> Callable[[int], Any]:
    """`text.generate` of ten characters."""
    import keras

    vocabulary = ext.text.Vocabulary.of_characters("abcdefgh ")
    ids = keras.Input((None,), dtype="int32")
    embedded = ext.MyEmbedding(len(vocabulary), 4)(vocabulary(ids))
    outputs = ext.MyDense(len(vocabulary))(ext.MyGRU(8, return_sequences=True)(embedded))
    model = keras.Model(ids, outputs)
    return lambda step: ext.text.generate(model, "abc", 10, "greedy")


def layers_made(ext: Any) -> Callable[[int], Any]:
    """A layer made, called and dropped."""
    import keras

    x = np.ones((2, 5, 3), "float32")

    def run(step: int) -> Any:
        ext.MyLSTM(4)(x)
        if step % 50 == 0:
            keras.utils.clear_session()

    return run


KINDS: dict[str, Callable[[Any], Callable[[int], Any]]] = {
    each.__name__: each
    for each in (training, training_of_many_shapes, calls_of_many_shapes, stream, generation, layers_made)
}
# Each of these steps is some hundred of the others.
SHORTER = {"layers_made": 10}


def soak(kind: str, steps: int) -> dict[str, Any]:
    """Mebibytes after each part of the steps, and milliseconds of a step in it."""
    import keras_rnn_ext as ext

    run, megabytes, milliseconds = KINDS[kind](ext), [], []
    steps //= SHORTER.get(kind, 1)
    for part in range(PARTS):
        begin = time.perf_counter()
        count = steps // PARTS
        for step in range(part * count, (part + 1) * count):
            run(step)
        milliseconds.append(round(1000 * (time.perf_counter() - begin) / count, 3))
        megabytes.append(_resident())
        print(f"{kind} [{(part + 1) * count}/{steps}]  {megabytes[-1]} MiB, {milliseconds[-1]} ms a step", flush=True)
    growth = megabytes[-1] / megabytes[PARTS // 5] - 1
    slower = float(np.median(milliseconds[-PARTS // 5 :]) / np.median(milliseconds[PARTS // 4 : PARTS // 2]))
    return {
        "kind": kind,
        "steps": steps,
        "megabytes": megabytes,
        "milliseconds": milliseconds,
        "growth": round(growth, 4),
        "slower": round(slower, 3),
        "passed": growth < MOST_GROWTH and slower < MOST_SLOWER,
    }


def _resident() -> int:
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and gives the exit status: 1 if something grew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), metavar="KIND")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        print("RESULT " + json.dumps(soak(options.one, options.steps)))
        return 0
    bad = 0
    for kind in options.kinds:
        command = [sys.executable, "-m", "benchmarks.soak", "--one", kind, "--steps", str(options.steps)]
        lines: list[str] = []
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout or ():
                lines.append(line)
                if not line.startswith("RESULT"):
                    print(line, end="", flush=True)
        if process.returncode:
            bad += 1
            print(f"{kind}: failed with status {process.returncode}")
            continue
        found = json.loads(lines[-1].removeprefix("RESULT "))
        bad += not found["passed"]
        print(
            f"{kind}: {'passed' if found['passed'] else 'FAILED'}: memory grew by {100 * found['growth']:.1f} %, steps "
            f"became {found['slower']:.2f} times as long",
            flush=True,
        )
    return int(bad > 0)


if __name__ == "__main__":
    raise SystemExit(main())
