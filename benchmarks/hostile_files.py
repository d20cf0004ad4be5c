"""Damaged and malicious `.keras` files: each must end in an error, or load as what it says.

    python -m benchmarks.hostile_files                     # 10,000 files
    python -m benchmarks.hostile_files --cases 200 --seed 7

Three kinds of change are made to saved models: to the archive's bytes, to the bytes of its weights (with checksums
that fit again), and to its config, among them names of functions that run programs. Each file is loaded in a process
whose memory and time are limited and whose system calls are watched. A case is bad if that process dies, takes longer
than 20 s or tries to run a program, if an error says nothing, or if a damaged archive loads as other numbers although
`verify_file` found nothing.
"""

import argparse
import collections
import copy
import io
import json
import multiprocessing
import os
import pathlib
import random
import resource
import signal
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

SECONDS, GIBIBYTES = 20, 8
# What a loaded file has no business with.
WATCHED = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
    "pickle.find_class",
)
EXTREME: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    10**9,
    10**12,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x" * 10_000,
    "\0",
    [],
    {},
    [[]],
)
# Names that run something, in the forms that configs have.
MALICIOUS: tuple[dict, ...] = (
    {"module": "os", "class_name": "system", "config": "touch hacked", "registered_name": None},
    {"module": "subprocess", "class_name": "Popen", "config": {"args": "touch hacked", "shell": True}},
    {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "function"},
    {"module": "builtins", "class_name": "eval", "config": "__import__('os').system('touch hacked')"},
    {"class_name": "__lambda__", "config": {"value": "4wEAAAA=\n", "defaults": None, "closure": None}},
    {"module": "keras.utils", "class_name": "get_file", "config": {"origin": "http://127.0.0.1:9/x"}},
)


def models() -> dict[str, Any]:
    """One of each kind of layer."""
    import keras

    import keras_rnn_ext as ext

    sequences = keras.Input((None, 3))
    cell = ext.MyStackedRNNCells([ext.ZoneoutWrapper(ext.MyLSTMCell(2), 0.1), ext.ResidualWrapper(ext.MyGRUCell(2))])
    ids = keras.Input((None,), dtype="int32")
    return {
        "text": keras.Sequential([ids, ext.MyEmbedding(9, 3, mask_zero=True), ext.MyLSTM(3), ext.MyDense(2)]),
        "stack": keras.Sequential([sequences, ext.MyRNN(cell, return_sequences=True)]),
        "two directions": keras.Sequential([sequences, ext.MyBidirectional(ext.MyGRU(2))]),
        "linear": keras.Sequential([sequences, ext.LRU(2, return_sequences=True), ext.MLSTM(2)]),
        "images": keras.Sequential([keras.Input((None, 5, 1)), ext.MyConvLSTM1D(2, 3)]),
    }


# Changes


def changed(whole: bytes, kind: str, draw: random.Random) -> bytes:
    """The file, changed in one place or a few."""
    if kind == "archive":
        return _changed_bytes(whole, draw)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    if kind == "weights":
        parts["model.weights.h5"] = _changed_bytes(parts["model.weights.h5"], draw)
    else:
        config = json.loads(parts["config.json"])
        for _ in range(draw.choice((1, 1, 2))):
            _change_node(config, draw)
        parts["config.json"] = json.dumps(config).encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def _changed_bytes(content: bytes, draw: random.Random) -> bytes:
    if draw.random() < 0.2:
        return content[: draw.randrange(len(content))]
    array = bytearray(content)
    for _ in range(draw.choice((1, 1, 4))):
        array[draw.randrange(len(array))] = draw.randrange(256)
    return bytes(array)


def _change_node(config: Any, draw: random.Random) -> None:
    nodes: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)):
            nodes.append((node, key))
            if isinstance(node[key], (dict, list)):
                walk(node[key])

    walk(config)
    node, key = draw.choice(nodes)
    action = draw.randrange(4)
    if action == 0:
        del node[key]
    elif action == 1:
        node[key] = copy.deepcopy(draw.choice(MALICIOUS))
    elif action == 2:
        other, place = draw.choice(nodes)
        node[key] = copy.deepcopy(other[place])
    else:
        node[key] = draw.choice(EXTREME)


# One process, for some of the cases

_seen: list[str] = []


def _watch(event: str, arguments: tuple) -> None:
    if event in WATCHED:
        _seen.append(event)


def _work(cases: Sequence[int], seed: int, answers: Any) -> None:
    """Loads files and sends what came of each."""
    import keras

    from keras_rnn_ext import verify_file

    keras.utils.set_random_seed(0)
    folder = pathlib.Path(tempfile.mkdtemp())
    wholes: dict[str, bytes] = {}
    expected: dict[str, list] = {}
    for name, model in models().items():
        model.save(folder / "whole.keras")
        wholes[name] = (folder / "whole.keras").read_bytes()
        expected[name] = model.get_weights()
    os.chdir(folder)
    limit = GIBIBYTES * 2**30 + _address_space()
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    sys.addaudithook(_watch)
    signal.signal(signal.SIGALRM, _too_long)
    for case in cases:
        answers.put((case, "begun", ""))
        draw = random.Random(f"{seed} {case}")
        name, kind = draw.choice(list(wholes)), draw.choice(("archive", "weights", "config", "config"))
        path = folder / "changed.keras"
        path.write_bytes(changed(wholes[name], kind, draw))
        _seen.clear()
        signal.alarm(SECONDS)
        try:
            verdict, why = _loaded(kind, path, expected[name], verify_file)
        except TimeoutError:
            verdict, why = "bad", f"{name}, {kind}: not done after {SECONDS} s"
        finally:
            signal.alarm(0)
        if _seen or (folder / "hacked").exists():
            verdict, why = "bad", f"{name}, {kind}: ran {_seen}"
        keras.utils.clear_session()
        answers.put((case, verdict, why))


def _loaded(kind: str, path: pathlib.Path, expected: list, verify_file: Any) -> tuple[str, str]:
    import keras

    try:
        if kind == "archive":
            verify_file(path)
        model = keras.models.load_model(path)
    except TimeoutError:
        raise
    except (Exception, RecursionError) as error:
        if not str(error):
            return "bad", f"an error without a word: {type(error).__name__}"
        return "error", type(error).__name__
    weights = model.get_weights()
    same = len(weights) == len(expected) and all(map(_equal, weights, expected))
    if kind == "archive" and not same:
        return "bad", "other numbers, and nobody said so"
    return ("same" if same else "loaded as the file says"), ""


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and np.array_equal(one, other, equal_nan=True)


def _too_long(*_: Any) -> None:
    raise TimeoutError


def _address_space() -> int:
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmSize"):
            return int(line.split()[1]) * 1024
    return 0


# All of them


def tried(cases: int, seed: int, say: Any = lambda *_: None) -> tuple[collections.Counter, list[str]]:
    """How many cases ended how, and what was bad."""
    context = multiprocessing.get_context("spawn")
    counts: collections.Counter = collections.Counter()
    bad: list[str] = []
    left, begin = list(range(cases)), time.monotonic()
    while left:
        answers = context.Queue()
        # A new process now and then, as TensorFlow keeps something of each model.
        process = context.Process(target=_work, args=(left[:500], seed, answers), daemon=True)
        process.start()
        current = None
        for _ in range(2 * len(left[:500])):
            try:
                case, verdict, why = answers.get(timeout=180 if current is None else 3 * SECONDS)
            except Exception:
                # It hangs where no alarm reaches it, or it is gone.
                bad.append(f"case {current}: the process {'hangs' if process.is_alive() else 'died'}")
                counts["bad"] += 1
                left = [each for each in left if each != current] if current is not None else []
                break
            if verdict == "begun":
                current = case
                continue
            left.remove(case)
            counts[verdict] += 1
            counts[f"{verdict}: {why}"] += verdict == "error"
            if verdict == "bad":
                bad.append(f"case {case}: {why}")
            say(cases - len(left), cases, time.monotonic() - begin)
        process.kill()
        process.join()
    return counts, bad


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and gives the exit status: 1 if a case was bad."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    def say(done: int, cases: int, gone: float) -> None:
        if done % 100 == 0:
            print(f"[{done}/{cases}]  about {gone / done * (cases - done) / 60:.0f} min left", flush=True)

    counts, bad = tried(options.cases, options.seed, say)
    for verdict, count in counts.most_common():
        if count:
            print(f"{count:6d} {verdict}")
    print(*bad, sep="\n")
    return int(bool(bad))


if __name__ == "__main__":
    raise SystemExit(main())
