"""The table of strategies: how a recurrence may be run over time, and which one a call gets.

The engine adds its rows here; the layer asks. A row answers why it cannot serve a plan, and why another row is
preferred; the first with neither reason runs. The last row, the plain loop, serves every plan and is the definition of
right.
"""

import abc
import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is known of a call before any number is computed."""

    recurrence: Any
    return_sequences: bool = False
    unroll: bool | int = False
    masked: bool = False
    noisy: bool = False
    differentiable: bool = False  # whether a gradient may be asked for
    recompute: bool = False
    accompanied: bool = False  # whether another loop runs at the same time
    steps: int | None = None
    batch: int | None = None
    eager: bool = False
    exported: bool = False  # whether the call is traced for a file of a model
    use_cudnn: bool | str = "auto"
    mixed: bool = False  # whether a wrapper does something to the states: see `core.noise`
    # Compiled programs of the layer, by strategy and options: they live as long as it does.
    programs: dict = dataclasses.field(default_factory=dict, compare=False, repr=False)


class Feed(NamedTuple):
    """The tensors of a call, time first."""

    inputs: Any  # (steps, batch, ...)
    states: list
    mask: Any  # (steps, batch) booleans, or None
    weights: Any
    noise: Any


class Strategy(abc.ABC):
    """A way to run a recurrence over time."""

    name: str
    summary: str
    # Whether it runs on cuDNN.
    is_cudnn = False
    # Whether XLA can compile it, on backends that ask for that.
    fits_xla = True
    # What is different in a file of a model.
    when_exported = ""

    @abc.abstractmethod
    def obstacle(self, plan: Plan) -> str | None:
        """Why this row cannot serve the plan, or None if it can."""

    def reluctance(self, plan: Plan) -> str | None:
        """Why a later row is preferred, though this one could serve, or None."""
        return None

    @abc.abstractmethod
    def run(self, plan: Plan, feed: Feed) -> tuple[Any, list]:
        """`(outputs, states)`: all outputs `(steps, batch, ...)` with `return_sequences`, else the last valid
        one `(batch, ...)`; then the states after the last valid step."""


def never_ragged(sequences, mask, time_major):
    """For backends without ragged tensors: the sequences and mask as they are, and nothing to undo."""
    return sequences, mask, lambda outputs, go_backwards: outputs


@dataclasses.dataclass(frozen=True)
class Engine:
    """What a backend brings: its rows in order, whether code runs eagerly now, and how to compile a program."""

    strategies: tuple[Strategy, ...]
    runs_eagerly: Callable[[Any], bool]
    # `gradients(loss, tensors)`: of a function of a list of tensors, for the contract suite and for diagnostics.
    gradients: Callable
    compile: Callable | None = None
    compiled_note: str = ""
    # As `compile`, with the operations fused: faster where they are many and small, as in a loop that writes a text.
    compile_fused: Callable | None = None
    # Whether a compiled program sees the values that variables have when it is called; if not, they are handed in.
    reads_variables: bool = True
    # `settle(program, tensors)`: what runs for tensors of these shapes and types alone, and is called faster.
    settle: Callable = lambda program, tensors: program
    # A context without gradients.
    inference: Callable = contextlib.nullcontext
    # `may_differentiate(training)`: whether a gradient may be asked for of what is called now. `training` is what the
    # call says, or None if it does not.
    may_differentiate: Callable[[bool | None], bool] = lambda training: training is not False
    # Whether what is computed now is traced for a file of a model.
    being_exported: Callable[[], bool] = lambda: False
    # A step that keeps nothing for its gradient but what it got, and runs once more for it.
    recomputed: Callable = lambda step: step
    unpack_ragged: Callable = never_ragged
    # `fix_size(tensor, axis, size, message)`: the tensor with a static size, checked when it runs.
    fix_size: Callable | None = None


_ENGINES: dict[str, Engine] = {}


def enrol(backend: str, engine: Engine):
    """Makes `engine` the one of a Keras backend."""
    _ENGINES[backend] = engine


def engine() -> Engine:
    """The engine of the backend that Keras runs on."""
    backend = keras.config.backend()
    if backend not in _ENGINES:
        raise RuntimeError(
            f"keras_rnn_ext runs on the Keras backends {sorted(_ENGINES)}. Received: backend {backend!r}. Set the "
            "environment variable KERAS_BACKEND before Keras is imported."
        )
    return _ENGINES[backend]


def choose(plan: Plan) -> Strategy:
    """The first row that serves the plan.

    Raises:
        ValueError: if the plan insists on cuDNN, and that does not serve.
    """
    chosen = _first(plan)
    if plan.use_cudnn is True and plan.recurrence.kind != "stack" and not chosen.is_cudnn:
        raise ValueError(
            "use_cudnn=True was specified, but cuDNN does not serve this layer here. Write use_cudnn='auto' to let "
            f"the layer choose.\n{explain(plan)}"
        )
    return chosen


def _first(plan):
    return next(strategy for strategy in engine().strategies if _reason_against(strategy, plan) is None)


def _reason_against(strategy, plan):
    return strategy.obstacle(plan) or strategy.reluctance(plan)


def fits_xla(plan: Plan) -> bool:
    """Whether XLA can compile what would run."""
    if plan.recurrence.kind == "stack":
        return all(fits_xla(dataclasses.replace(plan, recurrence=member)) for member in plan.recurrence.members)
    if plan.recurrence.kind == "wrapped":
        return fits_xla(inside(plan))
    return _first(plan).fits_xla


def inside(plan: Plan) -> Plan:
    """The plan of what is inside the wrappers."""
    wrapped = plan.recurrence
    return dataclasses.replace(plan, recurrence=wrapped.inner, mixed=wrapped.mixes_states(plan.noisy))


def run(plan: Plan, feed: Feed):
    """Runs the plan with the strategy that the table gives it, compiled where it is called eagerly."""
    strategy, backend = choose(plan), engine()
    if not (plan.eager and backend.compile and plan.recurrence.is_pure):
        return strategy.run(plan, feed)
    key = (
        strategy.name,
        plan.return_sequences,
        plan.unroll,
        plan.noisy,
        plan.differentiable,
        plan.recompute,
        plan.steps == 0,
        plan.recurrence.program_key(),
    )
    if key not in plan.programs:
        plan.programs[key] = backend.compile(functools.partial(strategy.run, plan))
    return plan.programs[key](feed)


def explain(plan: Plan) -> str:
    """Which strategy runs, and why the ones before it do not."""
    lines, chosen = [], _first(plan)
    for strategy in engine().strategies:
        reason = _reason_against(strategy, plan)
        verdict = "runs" if strategy is chosen else (f"not used: {reason}" if reason else "would serve too")
        lines.append(f"  {strategy.name}: {verdict} ({strategy.summary})")
    backend = keras.config.backend()
    if engine().compile and plan.eager:
        note = engine().compiled_note if plan.recurrence.is_pure else "runs uncompiled: a cell here has code of its own"
        lines.append(f"  called eagerly: {note}")
    if plan.exported and chosen.when_exported:
        lines.append(f"  exported: {chosen.when_exported}")
    if plan.recurrence.kind == "wrapped":
        lines.append(f"inside: {explain(inside(plan))}")
    return "\n".join([f"backend {backend}: {chosen.name}", *lines])
