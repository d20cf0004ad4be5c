"""Peers take turns in one process, after a check that they compute the same."""

import dataclasses
import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

LEAST_ROUNDS = 7
# A turn lasts about as long, so that the clock and what the peer before left running in its threads do not matter.
TURN_SECONDS = 0.02
PAUSE_SECONDS = 0.003
OURS = "ours"
LIMIT = "one large product"


@dataclasses.dataclass(frozen=True)
class Peer:
    """One way to compute something.

    Args:
        run: computes, waits until it is done, and gives what was computed.
        read: that as arrays by name, the same for all peers. None: it is not compared.
    """

    run: Callable[[], Any]
    read: Callable[[Any], dict[str, np.ndarray]] | None = None


@dataclasses.dataclass
class Timing:
    """The times of a peer, in milliseconds a call, and how they compare with ours, round by round."""

    median: float
    quartiles: tuple[float, float]
    rounds: int
    ratio: float | None = None  # of the medians: this peer's time over ours
    ratio_quartiles: tuple[float, float] | None = None  # of the rounds' ratios
    first_call: float | None = None  # milliseconds: trace, compile and run
    memory: float | None = None  # MiB at the peak, above what the process held before the first call


class Differs(ValueError):
    """Two peers do not compute the same."""


def distance(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> tuple[float, str]:
    """How far apart two results are, and where: the largest difference over the largest number of each tensor."""
    if found.keys() != expected.keys():
        raise Differs(f"gives {sorted(found)} instead of {sorted(expected)}")
    worst = (0.0, "")
    for name, right in expected.items():
        left = found[name]
        if left.shape != right.shape:
            raise Differs(f"{name} has the shape {left.shape} instead of {right.shape}")
        apart = float(np.abs(left - right).max() / max(np.abs(right).max(), 1e-30)) if right.size else 0.0
        # A NaN is infinitely far from everything.
        worst = max(worst, (apart if apart == apart else float("inf"), name))
    return worst


def check(name: str, found: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float) -> float:
    """How far `found` is from `expected`.

    Raises:
        Differs: if that is more than `tolerance`.
    """
    try:
        apart, where = distance(found, expected)
    except Differs as error:
        raise Differs(f"{name} {error}") from error
    if apart > tolerance:
        raise Differs(f"{name} is {apart:.1e} apart in {where}, and {tolerance:.0e} are allowed")
    return apart


def agreeing(
    makers: Mapping[str, Callable[[], Peer]], tolerance: float
) -> tuple[dict[str, Peer], dict[str, float], dict[str, str], float]:
    """Makes the peers, calls each once, and holds their results against the first one's.

    Returns:
        The peers that agree, the milliseconds of the first call of each, why the others were refused, and the largest
        distance of those that agree.
    """
    peers, first_calls, refused, largest = {}, {}, {}, 0.0
    expected = None
    for name, make in makers.items():
        start = time.perf_counter()
        try:
            peer = make()
            start = time.perf_counter()
            result = peer.run()
            first_calls[name] = (time.perf_counter() - start) * 1e3
            if peer.read is not None:
                found = peer.read(result)
                expected = found if expected is None else expected
                largest = max(largest, check(name, found, expected, tolerance))
        except Exception as error:  # whatever a peer dies of, the others can be measured
            if expected is None:
                raise
            refused[name] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
            first_calls.pop(name, None)
        else:
            peers[name] = peer
    return peers, first_calls, refused, largest


def take_turns(peers: Mapping[str, Peer], seconds: float, least_rounds: int = LEAST_ROUNDS) -> dict[str, list[float]]:
    """Milliseconds a call of each peer, a number for each round, for about `seconds` but at least some rounds."""
    calls = {}
    for name, peer in peers.items():
        start = time.perf_counter()
        peer.run()
        calls[name] = max(1, int(TURN_SECONDS / (time.perf_counter() - start)))
    times: dict[str, list[float]] = {name: [] for name in peers}
    order = list(peers)
    gc.collect()
    gc.disable()
    try:
        stop = time.perf_counter() + seconds
        while len(times[order[0]]) < least_rounds or time.perf_counter() < stop:
            for name in order:
                time.sleep(PAUSE_SECONDS)
                run, count = peers[name].run, calls[name]
                start = time.perf_counter()
                for _ in range(count):
                    run()
                times[name].append((time.perf_counter() - start) / count * 1e3)
            # Each peer comes after each of its neighbours.
            order.reverse()
            gc.collect(0)
    finally:
        gc.enable()
    return times


def summarize(times: Mapping[str, list[float]], first_calls: Mapping[str, float] | None = None) -> dict[str, Timing]:
    """Medians, quartiles and ratios to ours."""
    timings = {}
    ours = times.get(OURS)
    for name, taken in times.items():
        timing = Timing(statistics.median(taken), _quartiles(taken), len(taken))
        if ours:
            timing.ratio = timing.median / statistics.median(ours)
            if len(ours) == len(taken):
                timing.ratio_quartiles = _quartiles([one / own for one, own in zip(taken, ours, strict=True)])
        timing.first_call = (first_calls or {}).get(name)
        timings[name] = timing
    return timings


def _quartiles(values: list[float]) -> tuple[float, float]:
    low, high = np.percentile(values, [25, 75])
    return float(low), float(high)
