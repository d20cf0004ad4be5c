"""Trainings that are killed at random moments, and whether they end as one that was not.

    python -m benchmarks.killed_runs                            # fifty kills, on the backend of KERAS_BACKEND
    python -m benchmarks.killed_runs --kinds fit --kills 5

A training is a process of its own. It is killed by SIGKILL at a random moment, one time in five while it loads, else
while it trains and writes, and started again, until it was killed as often as asked for; then it runs to its end. Its
last checkpoint must hold the same numbers, bit for bit, as that of a run that nobody killed.
"""

import argparse
import json
import math
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
EPOCHS = 20

# Those made here, and examples, with their checkpoints and what they are called with.
KINDS: dict[str, tuple[str, list[str]]] = {
    "fit": ("run.npz", ["-m", "benchmarks.killed_runs", "--train", "fit"]),
    "stateful": ("run.npz", ["-m", "benchmarks.killed_runs", "--train", "stateful"]),
    "truncated": ("run.npz", ["-m", "benchmarks.killed_runs", "--train", "truncated"]),
    "char_generation": (
        "checkpoint.npz",
        [
            *("examples/char_generation.py", "--text", "{text}", "--units", "8", "--length", "5"),
            *("--epochs", "6", "--checkpoint-every", "1", "--output", "{folder}"),
        ],
    ),
    "penn_treebank": (
        "checkpoint.npz",
        [
            *("examples/penn_treebank.py", "--data", "{data}", "--config", "medium", "--epochs", "12"),
            *("--units", "8", "--steps", "5", "--batch", "4", "--length", "6", "--output", "{folder}"),
        ],
    ),
}


def train(kind: str, folder: pathlib.Path) -> None:
    """A small training with all that draws random numbers."""
    import keras

    from keras_rnn_ext import MyDense, MyGRU, MyLSTM
    from keras_rnn_ext.training import ArrayBatches, ResumeTraining, TruncatedBPTT

    keras.utils.set_random_seed(1)
    draw = np.random.default_rng(2)
    x, y = draw.normal(size=(48, 12, 3)).astype("float32"), draw.normal(size=(48, 12, 1)).astype("float32")
    known = {"batch_shape": (8, None, 3)} if kind != "fit" else {"shape": (12, 3)}
    layers = [
        keras.Input(**known),
        MyLSTM(8, return_sequences=True, dropout=0.2, recurrent_dropout=0.2, stateful=kind != "fit", seed=3),
        MyGRU(8, return_sequences=True, stateful=kind != "fit"),
        keras.layers.Dropout(0.2),
        MyDense(1),
    ]
    model = keras.Sequential(layers)
    options: dict[str, Any] = {"x": x, "y": y, "shuffle": False, "batch_size": 8}
    data = None
    if kind == "fit":
        data = ArrayBatches(x, y, batch_size=8, batches_per_epoch=5)
        options = {"x": data}
    elif kind == "truncated":
        model = TruncatedBPTT(model, window=3, windows_per_call=2, reset="never")
        options = {"x": x, "y": y}
    model.compile("adam", "mse")
    resume = ResumeTraining(folder / "run.npz", data=data, verbose=False)
    model.fit(**options, epochs=EPOCHS, callbacks=[resume], verbose=0)


def _made_data(folder: pathlib.Path) -> dict[str, str]:
    """A text, and the three parts of a treebank."""
    draw = random.Random(3)

    def words(count: int) -> str:
        return "".join(
            f" the {draw.choice(['cat', 'dog'])} {draw.choice(['sees', 'hears'])} the {draw.choice(['cow', 'pig'])} \n"
            for _ in range(count)
        )

    data = folder / "data"
    data.mkdir(exist_ok=True)
    for part, count in {"train": 60, "valid": 21, "test": 22}.items():
        (data / f"ptb.{part}.txt").write_text(words(count))
    (data / "text.txt").write_text(words(600))
    return {"data": str(data), "text": str(data / "text.txt")}


def _start(kind: str, folder: pathlib.Path, given: dict[str, str]) -> subprocess.Popen:
    name, arguments = KINDS[kind]
    folder.mkdir(exist_ok=True)
    arguments = [each.format(folder=folder, **given) for each in arguments]
    if "--train" in arguments:
        arguments.append(str(folder))
    elif (folder / name).exists():
        arguments.append("--resume")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        return subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=environment, stdout=log, stderr=log)


def killed(kind: str, kills: int, seed: int, folder: pathlib.Path) -> dict[str, Any]:
    """Kills a training so often and compares its end: `same`, and `epochs`, how far it was at each kill."""
    given, draw = _made_data(folder), random.Random(seed)
    name = KINDS[kind][0]
    path = folder / "cut" / name
    begin = time.monotonic()
    whole = _start(kind, folder / "whole", given)
    _until_written(whole, folder / "whole" / name, math.inf)
    loading = time.monotonic() - begin
    if whole.wait() != 0:
        raise RuntimeError(f"{kind} failed: {(folder / 'whole.log').read_text()[-2000:]}")
    training = time.monotonic() - begin - loading
    epochs: list[int] = []
    while len(epochs) < kills:
        running = _start(kind, folder / "cut", given)
        if draw.random() < 0.2:
            _until_written(running, path, draw.uniform(0, loading))
            moment = 0.0
        else:
            _until_written(running, path, math.inf)
            # Some kills after another have to fit in.
            moment = draw.uniform(0, training / 4)
        try:
            running.wait(moment)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
            epochs.append(_epochs_done(path))
            continue
        if running.returncode != 0:
            return {"kind": kind, "kills": len(epochs), "same": False, "why": _end_of(folder / "cut.log")}
        # It came to its end before it was killed: from the beginning, once more.
        path.unlink()
    last = _start(kind, folder / "cut", given)
    if last.wait() != 0:
        return {"kind": kind, "kills": len(epochs), "same": False, "why": _end_of(folder / "cut.log")}
    different = _different(folder / "whole" / name, path)
    return {"kind": kind, "kills": len(epochs), "epochs": epochs, "same": not different, "different": different}


def _until_written(process: subprocess.Popen, path: pathlib.Path, seconds: float) -> None:
    """Waits until the process writes its checkpoint, ends, or the time is over."""
    before, end = _written(path), time.monotonic() + seconds
    while _written(path) == before and process.poll() is None and time.monotonic() < end:
        time.sleep(0.002)


def _written(path: pathlib.Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _end_of(log: pathlib.Path) -> str:
    return log.read_text(errors="replace")[-500:]


def _epochs_done(path: pathlib.Path) -> int:
    """How far the checkpoint is, which must be whole."""
    if not path.exists():
        return 0
    with np.load(path) as archive:
        notes = json.loads(str(archive["about"]))["notes"]
    if "done" in notes:
        return notes["done"]
    return len(notes) if isinstance(notes, list) else max(map(len, notes.values()))


def _different(one: pathlib.Path, other: pathlib.Path) -> list[str]:
    """What two checkpoints do not have in common; times are left out."""
    with np.load(one) as first, np.load(other) as second:
        names = {*first.files, *second.files} - {"about", "python_random", "numpy_random", "torch_random"}
        return sorted(
            name
            for name in names
            if name not in first or name not in second or not np.array_equal(first[name], second[name])
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and gives the exit status: 1 if a run ended otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), metavar="KIND")
    parser.add_argument("--kills", type=int, default=50, help="of all kinds together (default: 50)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", nargs=2, metavar=("KIND", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.train:
        train(options.train[0], pathlib.Path(options.train[1]))
        return 0
    begin, bad, done = time.monotonic(), 0, 0
    for place, kind in enumerate(options.kinds):
        kills = options.kills // len(options.kinds) + (place < options.kills % len(options.kinds))
        with tempfile.TemporaryDirectory() as folder:
            found = killed(kind, kills, options.seed, pathlib.Path(folder))
        bad, done = bad + (not found["same"]), done + found["kills"]
        gone = time.monotonic() - begin
        left = gone / max(done, 1) * (options.kills - done) / 60
        print(f"{json.dumps(found)}  {done} kills, about {left:.0f} min left", flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    raise SystemExit(main())
