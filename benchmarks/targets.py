"""What was aimed at, and how it is read from what was measured."""

import dataclasses
import statistics
from collections.abc import Mapping
from typing import Any

SIX = ("W1", "W2", "W3", "W4", "W5", "W6")
SINGLE = {"W1": 1.8, "W2": 1.5, "W5": 1.7, "W6": 1.45}
MODELS = ("W11-000", "W11-002-rnn", "W11-002-lstm", "W11-002-gru", "W11-003", "W11-004")


def group(workload: str) -> str:
    """What a workload can be called for short: `W8` for `W8-left`."""
    return workload.split("-")[0]


def place(workload: str) -> int:
    """Where it stands in the table: by its number, and last without one."""
    return int(group(workload)[1:]) if workload.startswith("W") else 99


# Why a target may be missed, by backend and title.
WHY = {
    ("tensorflow", "W7, recurrent dropout"): (
        "a mask per gate makes four products of 128 x 64 x 64 in a step where W3 has one, and W3 itself is at 1.1 "
        "to 1.2. What the masks cost on top of W3 is 3 ms in ours and 8 ms in Keras's. Tried: masks and kernels "
        "taken apart before the loop, one sum less (together 2 %), the four products added to the gates one by one "
        "(2 to 3 % by hand, not kept), one batched product instead of four (slower), one loop instead of two (the "
        "same). Runs gave 1.21 to 1.51."
    ),
    ("tensorflow", "W2, with gradient"): (
        "the same program, called without `training=`, gave 1.61 in the same run: a step has so little to do that runs "
        "differ by that."
    ),
    ("tensorflow", "W8, masks"): (
        "runs gave 1.04 to 1.19. W3 itself is at 1.1, and the mask costs both about the same: a selection for each "
        "state and step."
    ),
    ("tensorflow", "W10, batch 1, in a graph, over ours under XLA"): (
        "XLA runs the same program in both. What is left is that a graph hands its work to another thread: a graph of "
        "one addition takes 0.27 to 0.30 ms here, a whole function compiled by XLA 0.20 for its first step. Tried: all "
        "steps written out (slower), the executor without threads (1.33 ms for 1.50), `BlockLSTMV2` (0.68, for the "
        "LSTM alone, and LiteRT and ONNX do not know it), blocks of steps under XLA (slower to compile and to run)."
    ),
    ("tensorflow", "W15, memory, recomputing, over Keras's"): (
        "what is no loop and cannot be computed again is nearly all of the quarter: a dense layer in the place of "
        "the LSTM, with the same sizes, loss and gradients, takes 163 to 185 MiB. Beside that we keep the states "
        "between blocks, and the outputs as a list before they are one tensor."
    ),
    ("tensorflow", "W1-W6, peak memory, ours over Keras's"): (
        "W3 and W4 run as two loops, one for each core, which is 4 to 10 % faster with the gradient; each holds its "
        "part of the inputs, outputs and gradients beside the whole: some 15 MiB. W6 is within what two runs of the "
        "same peer differ by. In W5 the weights are 13 MiB; their gradients, a transposed copy of one half of them and "
        "the projected inputs are most of it, and runs differ by more than one such tensor (64, 78 and 86 MiB were "
        "seen, 65 and 219 of Keras's), by what is freed before the next is made. Tried: lists that free what was read "
        "(W6: from 512 to 300 MiB), products of portions of the sequence, no zeros to begin sums with."
    ),
    ("tensorflow", "W11, whole models, an epoch of `fit`"): (
        "the two LSTM layers are at 1.1 when they are alone, and runs differ by that."
    ),
    ("tensorflow", "W11, the first epoch, ours over Keras's"): (
        "a graph with blocks of ten steps has more operations to trace than one with single steps, 1,407 against "
        "1,183 in the SimpleRNN model, which took 0.26 to 0.29 s against 0.22 to 0.54 s by hand: the time of a first "
        "epoch, compilation included, varies by more than that. That of the whole data sets is much longer."
    ),
    ("jax", "W1-W6, with gradient"): (
        "both are a `lax.scan` over nearly the same step. Tried: 2, 4 and 8 steps a turn (two pay from 512 units on), "
        "the input product in the step or before the loop, a derivative of our own (each where it was faster)."
    ),
    ("jax", "W1-W6, peak memory, ours over Keras's"): (
        "both keep what the derivative reads of each step, and runs of the same peer differ by a few MiB."
    ),
    ("torch", "W1-W6, with gradient, against `torch.nn`"): (
        "the kernels are the same; ours brings Keras's weights into torch's layout at each call."
    ),
    ("torch", "W1-W6, peak memory, ours over Keras's"): (
        "the kernels keep what they keep, for W1 and W2 more than a Python loop does, and ours adds the weights in "
        "torch's layout."
    ),
    ("torch", "A call with little to compute"): (
        "a call is Python alone there, and the kernel, on two threads, takes 0.04 to 0.07 ms of 0.22. Runs of the same "
        "commit gave 0.97 to 1.03; with one thread it was at 1.13 to 1.16."
    ),
}


# What else a reader may want to know, by backend.
NOTES = {
    "tensorflow": """### Where the time of W5 goes, forward

An LSTM of 20 x 35 x 650 x 650 makes 35 products of 20 x 650 and 650 x 2600, 13.7 ms at 172 GFLOP/s where one large
product ran at 187, and as much again for the inputs: 27 ms of some 30. The rest is the gates, so that a tenth is left
to gain here. PyTorch's kernel brings the weights into its own order once a call, TensorFlow's product does so at each
step, and there is no product of packed weights to call from a graph. Where vectors are faster than memory that weighs
more: an outside run on an Intel with AVX-512 saw `torch.nn` at 0.66 of our time. Tried here: the kernel transposed
(84 GFLOP/s), as the left factor (105), in two halves of columns (159), in two halves of rows within a step (108); two
loops with half of the rows each, which is what runs, gains 5 %.

### Constants of the rules

The tables of other choices below say what the rules are worth on this processor. No other size of blocks, number of
steps or place of the input product is faster in all six, and none in one by more than a tenth; what counts is where the
input product is made (up to 1.37) and that there is a loop for each core (up to 1.27). The number of cores is read from
the process; sizes of caches are not, as no size from 512 KiB to 2 MiB makes a difference beyond noise.
`python -m benchmarks W1 W2 W3 W4 W5 W6` measures the same tables on another machine.
""",
}


@dataclasses.dataclass(frozen=True)
class Target:
    """A bound on a quotient: one peer's time, memory or first call over another's.

    Args:
        backend: where.
        title: of what.
        mode: as in the results.
        workloads: whose quotients are taken.
        bound: the least that they must be; with `most`, the most that they may be.
        over: the quotient's upper peer.
        under: its lower one.
        quantity: "median" (time), "memory" or "first_call".
        mean: whether the bound is on the geometric mean, instead of on each workload.
        most: see `bound`.
    """

    backend: str
    title: str
    mode: str
    workloads: tuple[str, ...]
    bound: float
    over: str = "keras"
    under: str = "ours"
    quantity: str = "median"
    mean: bool = False
    most: bool = False

    @property
    def why(self) -> str:
        """What is known of why it may be missed."""
        return WHY.get((self.backend, self.title), "not yet looked into.")

    def outcome(self, results: Mapping[tuple[str, str], dict[str, Any]]) -> tuple[str, bool | None]:
        """The measured quotient as text, and whether the target is met: None if something was not measured.

        Args:
            results: of this backend, by workload and mode.
        """
        found = {each: self._quotient(results.get((each, self.mode))) for each in self.workloads}
        missing = [workload for workload, quotient in found.items() if quotient is None]
        known = {workload: quotient for workload, quotient in found.items() if quotient is not None}
        if missing:
            return ("not measured" + (f": {', '.join(missing)}" if known else "")), None
        if self.mean:
            value, note = statistics.geometric_mean(known.values()), ""
        else:
            worst = (max if self.most else min)(known, key=lambda workload: known[workload])
            value, note = known[worst], f" ({worst})" if len(known) > 1 else ""
        return f"{value:.2f}{note}", value <= self.bound if self.most else value >= self.bound

    def _quotient(self, result: dict[str, Any] | None) -> float | None:
        peers = result["peers"] if result else {}
        values = [peers.get(name, {}).get(self.quantity) for name in (self.over, self.under)]
        if None in values:
            return None
        # Where nothing at all was needed, next to nothing was.
        return max(values[0], 1e-3) / max(values[1], 1e-3)

    @property
    def wanted(self) -> str:
        """The bound in words."""
        which = "geometric mean" if self.mean else ("each" if len(self.workloads) > 1 else "")
        return f"{which} {'≤' if self.most else '≥'} {self.bound:g}".strip()


def _tensorflow() -> list[Target]:
    def graph(title: str, workloads: tuple[str, ...], bound: float, **options: Any) -> Target:
        return Target("tensorflow", title, "gradient", workloads, bound, **options)

    def other(title: str, mode: str, workloads: tuple[str, ...], bound: float, **options: Any) -> Target:
        return Target("tensorflow", title, mode, workloads, bound, **options)

    return [
        graph("W1-W6, with gradient", SIX, 1.45, mean=True),
        graph("W1-W6, with gradient", SIX, 1.0),
        *(graph(f"{one}, with gradient", (one,), least) for one, least in SINGLE.items()),
        graph("W1-W6, with gradient, against `torch.nn`", SIX, 1.3, over="torch.nn", mean=True),
        other("W1-W6, forward", "forward", SIX, 1.2, mean=True),
        other("W1-W6, forward", "forward", SIX, 1.0),
        other("W1-W6, with gradient, training unsaid", "unsaid gradient", SIX, 1.3, mean=True),
        other("W1-W6, with gradient, training unsaid", "unsaid gradient", SIX, 1.0),
        graph("W7, recurrent dropout", ("W7",), 1.4),
        graph("W7 at 32 x 100 x 128 x 128", ("W7-wide",), 2.0),
        graph("W8, masks", ("W8-left", "W8-right"), 1.1),
        graph("W9, bidirectional", ("W9",), 1.1),
        other("W10, batch 1, in a graph", "forward", ("W10",), 1.1),
        other("W10, batch 1, in a graph, over ours under XLA", "forward", ("W10",), 1.3, over="ours", under="ours, XLA",
              most=True),
        other("W10, batch 1, called eagerly", "eager forward", ("W10",), 15),
        other("W1-W6, called eagerly", "eager forward", SIX, 3, mean=True),
        other("W1-W6, an eager `GradientTape` loop", "eager gradient", SIX, 3, mean=True),
        other("W11, whole models, an epoch of `fit`", "fit", MODELS, 1.25, mean=True),
        other("W11, whole models, an epoch of `fit`", "fit", MODELS, 1.0),
        other("W11, the first epoch, ours over Keras's", "fit", MODELS, 1.2, over="ours", under="keras",
              quantity="first_call", most=True),
        other("W12, generation, against an eager call", "generation", ("W12",), 20, over="keras, eager call"),
        other("W12, generation, against `predict`", "generation", ("W12",), 80, over="keras, predict"),
        other("W13, echo training, against `fit`", "training", ("W13",), 2, over="keras, fit"),
        graph("W14, bfloat16, against Keras in float32", ("W14",), 2.3, over="keras float32"),
        graph("W14, bfloat16, against the same policy", ("W14",), 1.25),
        graph("W15, 20,000 steps", ("W15",), 1.3),
        graph("W15, memory, recomputing, over Keras's", ("W15",), 0.25, over="ours, recompute", under="keras",
              quantity="memory", most=True),
        graph("W15 with the last output alone, memory, recomputing, over Keras's", ("W15-last",), 0.25,
              over="ours, recompute", under="keras", quantity="memory", most=True),
        graph("W15, time, recomputing, over ours without", ("W15",), 1.4, over="ours, recompute", most=True),
        graph("W1-W6, peak memory, ours over Keras's", SIX, 1.0, over="ours", under="keras", quantity="memory",
              most=True),
        other("An eager call with little to compute", "eager forward", ("small",), 1.0),
    ]  # fmt: skip


def _jax() -> list[Target]:
    return [
        Target("jax", "W1-W6, with gradient", "gradient", SIX, 1.15, mean=True),
        Target("jax", "W1-W6, with gradient", "gradient", SIX, 0.95),
        Target("jax", "W1-W6, with gradient, against plain `lax.scan`", "gradient", SIX, 1.0, "lax.scan", mean=True),
        Target("jax", "W1-W6, peak memory, ours over Keras's", "gradient", SIX, 1.0, "ours", "keras", "memory",
               most=True),
        Target("jax", "An eager call with little to compute", "eager forward", ("small",), 1.0),
    ]  # fmt: skip


def _torch() -> list[Target]:
    return [
        Target("torch", "W1-W6, with gradient", "gradient", SIX, 1.8, mean=True),
        Target("torch", "W1-W6, forward", "forward", SIX, 2.3, mean=True),
        Target("torch", "W1-W6, with gradient", "gradient", SIX, 1.0),
        Target("torch", "W1-W6, with gradient, against `torch.nn`", "gradient", SIX, 0.95, "torch.nn", mean=True),
        Target("torch", "W1-W6, peak memory, ours over Keras's", "gradient", SIX, 1.0, "ours", "keras", "memory",
               most=True),
        Target("torch", "A call with little to compute", "forward", ("small",), 1.0),
    ]  # fmt: skip


TARGETS = (*_tensorflow(), *_jax(), *_torch())
