"""Trainings on several devices beside the same training on one: losses, weights, and what a step costs.

    python -m benchmarks.several_devices                        # every strategy whose backend is installed
    python -m benchmarks.several_devices --strategies DDP

The devices are parts of the processor, and the processes stand on one machine, so times tell what a strategy costs,
not what it gains. Each training is a process, or two, of its own.
"""

import argparse
import contextlib
import importlib.util
import json
import math
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).parents[1]
# Its backend, and how many processes it has.
STRATEGIES = {
    "MirroredStrategy": ("tensorflow", 1),
    "MultiWorkerMirroredStrategy": ("tensorflow", 2),
    "DataParallel": ("jax", 1),
    "ModelParallel": ("jax", 1),
    "DDP": ("torch", 2),
}
KINDS = ("plain", "masked", "stateful", "truncated")
# `fit` is of one process there.
NOT_FOR = {("DDP", "truncated"), ("MultiWorkerMirroredStrategy", "truncated")}
# Keras takes the mean of the losses of the copies, each of which is a mean over its own valid steps.
OTHERWISE = {("MirroredStrategy", "masked")}
BATCH, STEPS, EPOCHS, ROUNDS = 8, 12, 3, 5
ONE = "one device, "
TOLERANCE = 1e-5


def data(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of two batches."""
    draw = np.random.default_rng(4)
    x = draw.normal(size=(2 * BATCH, STEPS, 3)).astype("float32")
    if kind == "masked":
        x[np.arange(STEPS) >= draw.integers(1, STEPS + 1, 2 * BATCH)[:, None]] = 0
    return x, draw.normal(size=(2 * BATCH, STEPS, 1)).astype("float32")


def build(kind: str, rows: int) -> Any:
    """The model, for so many rows on each device."""
    import keras

    from keras_rnn_ext import MyDense, MyGRU, MyLSTM
    from keras_rnn_ext.training import TruncatedBPTT

    keras.utils.set_random_seed(1)
    carries = kind in ("stateful", "truncated")
    layers = [
        keras.Input(**({"batch_shape": (rows, None, 3)} if carries else {"shape": (None, 3)})),
        *([keras.layers.Masking()] if kind == "masked" else []),
        MyLSTM(8, return_sequences=True, stateful=carries),
        MyGRU(8, return_sequences=True, stateful=carries),
        MyDense(1),
    ]
    model = keras.Sequential(layers)
    return TruncatedBPTT(model, window=3, windows_per_call=2) if kind == "truncated" else model


# One training, in a process of its own


def train(strategy: str, kind: str, place: int, port: int, rounds: int, folder: pathlib.Path) -> None:
    """Trains, and writes losses, weights and the milliseconds of a step; `place` is the number of the process."""
    backend = os.environ["KERAS_BACKEND"]
    if strategy == "MultiWorkerMirroredStrategy":
        losses, weights, milliseconds = _train_with_workers(kind, place, port, rounds)
    elif backend == "torch" and kind != "truncated":
        losses, weights, milliseconds = _train_in_own_loop(kind, place, port, rounds, 2 if strategy == "DDP" else 1)
    else:
        scope, replicas = _PREPARE[strategy](place, port) if strategy in _PREPARE else (contextlib.nullcontext(), 1)
        losses, weights, milliseconds = _fit(kind, scope, replicas, rounds)
    if place == 0:
        np.savez(folder / "found.npz", losses=losses, milliseconds=milliseconds, **weights)


def _milliseconds(run: Callable[[], Any], rounds: int) -> float:
    """Of a step, where `run` takes twenty; the median of the rounds, NaN of none."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - begin) / 20)
    return float(np.median(times)) if times else math.nan


def _fit(kind: str, scope: Any, replicas: int, rounds: int) -> tuple[list, dict, float]:
    import keras

    x, y = data(kind)
    options: dict[str, Any] = {"verbose": 0, "shuffle": False}
    if kind == "truncated":
        # As many series as a batch has rows, so that they stay in their places.
        x, y = (each.reshape(BATCH, 2 * STEPS, -1) for each in (x, y))
    else:
        options["batch_size"] = BATCH
    with scope:
        model = build(kind, BATCH // replicas)
        model.compile(keras.optimizers.Adam(0.01), "mse")
    losses = model.fit(x, y, epochs=EPOCHS, **options).history["loss"]
    weights = _weights(model)
    return losses, weights, _milliseconds(lambda: model.fit(x, y, epochs=10, **options), rounds)


def _mirrored(place: int, port: int) -> tuple[Any, int]:
    import tensorflow as tf

    device = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    return strategy.scope(), 2


def _data_parallel(place: int, port: int) -> tuple[Any, int]:
    import keras

    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=keras.distribution.list_devices()))
    return contextlib.nullcontext(), 1


def _model_parallel(place: int, port: int) -> tuple[Any, int]:
    import keras

    mesh = keras.distribution.DeviceMesh((2, 4), ["batch", "model"], keras.distribution.list_devices())
    layout = keras.distribution.LayoutMap(mesh)
    layout[".*(lstm|gru).*kernel"] = (None, "model")
    distribution = keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch")
    keras.distribution.set_distribution(distribution)
    return contextlib.nullcontext(), 1


_PREPARE = {
    "MirroredStrategy": _mirrored,
    "DataParallel": _data_parallel,
    "ModelParallel": _model_parallel,
}


def _train_in_own_loop(kind: str, place: int, port: int, rounds: int, processes: int) -> tuple[list, dict, float]:
    """As PyTorch's own tutorial has it: each process takes its rows of a batch, DDP takes the mean of gradients."""
    import torch

    torch.set_num_threads(1)
    x, y = (torch.from_numpy(each) for each in data(kind))
    rows = BATCH // processes
    model = build(kind, rows)
    trained: Any = model
    if processes > 1:
        torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=place, world_size=processes)
        trained = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)

    def step(number: int) -> float:
        chosen = slice(number * BATCH + place * rows, number * BATCH + (place + 1) * rows)
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(trained(x[chosen]), y[chosen])
        loss.backward()
        optimizer.step()
        shown = loss.detach().clone()
        if processes > 1:
            torch.distributed.all_reduce(shown)
        return float(shown) / processes

    losses = [float(np.mean([step(number) for number in range(2)])) for _ in range(EPOCHS)]
    weights = _weights(model)
    milliseconds = _milliseconds(lambda: [step(number % 2) for number in range(20)], rounds)
    if processes > 1:
        torch.distributed.destroy_process_group()
    return losses, weights, milliseconds


def _train_with_workers(kind: str, place: int, port: int, rounds: int, processes: int = 2) -> tuple[list, dict, float]:
    """As TensorFlow's tutorial of own training loops has it: Keras's `fit` does not run there (keras#20585)."""
    workers = [f"127.0.0.1:{port + each}" for each in range(processes)]
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": place}})
    import keras
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    rows = BATCH // processes
    with strategy.scope():
        model = build(kind, rows)
        optimizer = keras.optimizers.Adam(0.01)
        optimizer.build(model.trainable_variables)

    @tf.function
    def train_step(x: Any, y: Any) -> Any:
        def one(x: Any, y: Any) -> Any:
            with tf.GradientTape() as tape:
                # The optimizer adds the gradients of all workers up.
                loss = tf.reduce_mean(tf.square(model(x, training=True) - y)) / processes
            gradients = tape.gradient(loss, [each.value for each in model.trainable_variables])
            optimizer.apply(gradients, model.trainable_variables)
            return loss

        return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(one, args=(x, y)), axis=None)

    x, y = data(kind)

    def step(number: int) -> float:
        chosen = slice(number * BATCH + place * rows, number * BATCH + (place + 1) * rows)
        return float(train_step(tf.constant(x[chosen]), tf.constant(y[chosen])))

    losses = [float(np.mean([step(number) for number in range(2)])) for _ in range(EPOCHS)]
    weights = _weights(model)
    return losses, weights, _milliseconds(lambda: [step(number % 2) for number in range(20)], rounds)


def _weights(model: Any) -> dict[str, np.ndarray]:
    import keras

    return {f"weight{place}": keras.ops.convert_to_numpy(each) for place, each in enumerate(model.trainable_variables)}


# All of them


def run(strategy: str, kind: str, folder: pathlib.Path, rounds: int, seconds: float = 300) -> dict[str, np.ndarray]:
    """Losses, weights and milliseconds of a training; "one device, BACKEND" is the same without a strategy."""
    backend, processes = STRATEGIES.get(strategy, (strategy.removeprefix(ONE), 1))
    folder.mkdir()
    port = _free_port()
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    if strategy in ("DataParallel", "ModelParallel"):
        environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
    started = []
    for place in range(processes):
        arguments = ["-m", "benchmarks.several_devices", "--train", strategy, kind]
        arguments += [str(each) for each in (place, port, rounds, folder)]
        with (folder / f"log{place}").open("wb") as log:
            started.append(
                subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=environment, stdout=log, stderr=log)
            )
    try:
        for each in started:
            each.wait(seconds)
    except subprocess.TimeoutExpired:
        pass
    finally:
        for each in started:
            each.kill()
            each.wait()
    path = folder / "found.npz"
    if any(each.returncode for each in started) or not path.exists():
        words = (folder / "log0").read_text(errors="replace").split()
        raise RuntimeError(f"{strategy}, {kind}: {' '.join(words)[-700:]}")
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


def _free_port() -> int:
    """The first of two that are free."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def compared(strategy: str, kind: str, folder: pathlib.Path, rounds: int = ROUNDS) -> dict[str, Any]:
    """How far losses and weights are from those of one device, relative to the largest; the times of a step."""
    one = run(f"{ONE}{STRATEGIES[strategy][0]}", kind, folder / "one", rounds)
    several = run(strategy, kind, folder / "several", rounds)
    found: dict[str, Any] = {}
    for name, chosen in {"losses": ["losses"], "weights": [each for each in one if "weight" in each]}.items():
        found[name] = max(float(np.abs(one[each] - several[each]).max() / np.abs(one[each]).max()) for each in chosen)
    found |= {"milliseconds": float(several["milliseconds"]), "one_device": float(one["milliseconds"])}
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and gives the exit status: 1 if a training differs from that on one device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategies", nargs="+", choices=list(STRATEGIES), default=list(STRATEGIES))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--train", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.train:
        strategy, kind, *numbers, folder = options.train
        place, port, rounds = map(int, numbers)
        train(strategy, kind, place, port, rounds, pathlib.Path(folder))
        return 0
    bad = 0
    for strategy in options.strategies:
        if importlib.util.find_spec(STRATEGIES[strategy][0]) is None:
            print(f"{strategy}: not tried, {STRATEGIES[strategy][0]} is not installed")
            continue
        for kind in options.kinds:
            if (strategy, kind) in NOT_FOR:
                print(f"{strategy}, {kind}: not for it")
                continue
            try:
                with tempfile.TemporaryDirectory() as folder:
                    found = compared(strategy, kind, pathlib.Path(folder))
            except RuntimeError as error:
                bad += 1
                print(f"{strategy}, {kind}: failed: {error}", flush=True)
                continue
            same = max(found["losses"], found["weights"]) <= TOLERANCE
            bad += not same and (strategy, kind) not in OTHERWISE
            print(
                f"{strategy}, {kind}: losses {found['losses']:.1e}, weights {found['weights']:.1e} apart"
                f"{'' if same else ' (not the same)'}; a step {found['milliseconds']:.1f} ms, on one device "
                f"{found['one_device']:.1f} ms",
                flush=True,
            )
    return int(bad > 0)


if __name__ == "__main__":
    raise SystemExit(main())
