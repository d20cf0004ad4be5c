"""Our layer on TensorFlow with other choices than the engine's: what a rule of dispatch is worth on this machine.

A ratio above 1 says that the engine's own choice is the faster one.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.measure import OURS, Peer
from keras_rnn_ext.engine.tensorflow import block_loops, blocks


def _in_the_loop(own: Callable, plan: Any, inputs: Any) -> tuple[int, bool, int]:
    return own(plan, inputs)[0], True, 1


def _before_the_loop(own: Callable, plan: Any, inputs: Any) -> tuple[int, bool, int]:
    return own(plan, inputs)[0], False, 1


def _one_loop(own: Callable, plan: Any, feed: Any) -> int:
    return 1


def _a_loop_a_core(own: Callable, plan: Any, feed: Any) -> int:
    return blocks.cores()


# With another place of the input product, the number of loops stays what it was.
CHOICES: dict[str, dict[tuple[Any, str], Any]] = {
    "blocks of 128 KiB": {(block_loops, "BLOCK_BYTES"): 2**17},
    "of 2 MiB": {(block_loops, "BLOCK_BYTES"): 2**21},
    "at most 5 steps": {(block_loops, "MOST_STEPS"): 5},
    "at most 20 steps": {(block_loops, "MOST_STEPS"): 20},
    "input product in the loop": {(block_loops, "block_of"): _in_the_loop},
    "before it": {(block_loops, "block_of"): _before_the_loop},
    "one loop": {(blocks, "parts_of"): _one_loop},
    "a loop a core": {(blocks, "parts_of"): _a_loop_a_core},
}


@contextlib.contextmanager
def chosen(choice: dict[tuple[Any, str], Any]) -> Iterator[None]:
    """What is traced inside is traced with other constants, or other functions that get the engine's own first."""
    before = {(module, name): getattr(module, name) for module, name in choice}
    try:
        for (module, name), value in choice.items():
            setattr(module, name, functools.partial(value, before[module, name]) if callable(value) else value)
        yield
    finally:
        for (module, name), value in before.items():
            setattr(module, name, value)


def peers(make: Callable[[], Peer]) -> dict[str, Callable[[], Peer]]:
    """Ours as it is, and with each of the other choices."""

    def traced(choice: dict[tuple[Any, str], Any]) -> Peer:
        with chosen(choice):
            peer = make()
            peer.run()
        return peer

    return {OURS: make, **{name: functools.partial(traced, choice) for name, choice in CHOICES.items()}}
