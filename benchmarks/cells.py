"""Every cell of the catalogue: our layer beside the same cell in `keras.layers.RNN`, and linear cells beside a loop."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from benchmarks import backend, measure
from benchmarks.measure import OURS, Peer
from benchmarks.workloads import Problem, Workload
from keras_rnn_ext.core import strategy
from keras_rnn_ext.registry import ROWS, get

# Batch, steps, features, units.
SIZES = {"cells": (128, 80, 100, 64), "cells, wide": (32, 100, 128, 128), "cells, long": (16, 4096, 64, 64)}
LONG = "cells, long"
LOOP = "ours, step by step"
SCAN = "parallel scan"
# Steps that a cell makes of each.
INNER_STEPS = {"ltc": 6}


class CellJob(NamedTuple):
    """A cell at a size: the name of the workload, and what the results call the size."""

    name: str
    mode: str

    @property
    def workload(self) -> Workload:
        """As the peers of a layer know it."""
        batch, steps, features, units = SIZES[self.mode]
        return Workload(f"cells-{self.name}", self.name, batch, steps, features, units)

    @property
    def title(self) -> str:
        """What is measured."""
        row = get(self.name)
        return f"{row.layer.__name__} {' x '.join(map(str, SIZES[self.mode]))}, {row.cell(row.multiple).kind}"


def cell_jobs() -> list[CellJob]:
    """Each cell at two sizes, and linear ones with many steps."""
    jobs = [CellJob(row.name, mode) for mode in SIZES if mode != LONG for row in ROWS]
    return jobs + [CellJob(row.name, LONG) for row in ROWS if row.cell(row.multiple).kind == "linear"]


def run(job: CellJob, seconds: float, least_rounds: int) -> dict[str, Any]:
    """Values and gradients are compared, then times."""
    layer_peer = backend.peers_module().layer_peer
    problem = _problem(job)
    layers: dict[str, Callable[[], keras.Layer]] = {"keras": functools.partial(_in_keras, job)}
    if job.mode == LONG:
        layers = {LOOP: functools.partial(_ours, job, loop=True)}
    layers[OURS] = functools.partial(_ours, job)
    makers: dict[str, Callable[[], Peer]] = {
        name: functools.partial(layer_peer, problem, "gradient", make) for name, make in layers.items()
    }
    # Rounding adds up over thousands of steps, and a norm of small numbers amplifies it.
    tolerance = 1e-4 * max(get(job.name).condition, 10 if job.mode == LONG else INNER_STEPS.get(job.name, 1))
    peers, first_calls, refused, apart = measure.agreeing(makers, tolerance)
    timings = measure.summarize(measure.take_turns(peers, seconds, least_rounds), first_calls) if OURS in peers else {}
    return {
        "apart": apart,
        "refused": refused,
        "peers": {name: dataclasses.asdict(timing) for name, timing in timings.items()},
    }


def _problem(job: CellJob) -> Problem:
    workload, layer = job.workload, _ours(job)
    random = np.random.default_rng(0)
    # All of them a bit away from where they start, so that a zero or a one hides nothing.
    weights = [
        ops.convert_to_numpy(variable) + 0.05 * random.normal(size=variable.shape)
        for variable in layer.trainable_variables
    ]
    if job.name == "lru":
        # An angle or a decay that moves by so much is another problem: states would grow over thousands of steps.
        weights = [ops.convert_to_numpy(variable) for variable in layer.trainable_variables]
    names = [variable.path for variable in layer.trainable_variables]
    inputs = random.normal(size=(workload.batch, workload.steps, workload.features)).astype("float32")
    return Problem(workload, inputs, None, [weight.astype("float32") for weight in weights], names)


def _built(layer: keras.Layer, job: CellJob) -> keras.Layer:
    layer.build(SIZES[job.mode][:-1])
    return layer


def _in_keras(job: CellJob) -> keras.Layer:
    # What is not trained has to start the same on both sides.
    keras.utils.set_random_seed(0)
    return _built(keras.layers.RNN(get(job.name).cell(SIZES[job.mode][-1]), return_sequences=True), job)


def _ours(job: CellJob, loop: bool = False) -> keras.Layer:
    keras.utils.set_random_seed(0)
    layer_class = get(job.name).layer
    if loop:
        layer_class = type("StepByStep", (layer_class,), {"call": _without_scan})
    return _built(layer_class(SIZES[job.mode][-1], return_sequences=True), job)


def _without_scan(self: Any, *arguments: Any, **options: Any) -> Any:
    """`call` of a layer that finds no parallel scan in the table."""
    name, engine = keras.config.backend(), strategy.engine()
    rows = tuple(row for row in engine.strategies if row.name != SCAN)
    strategy.enrol(name, dataclasses.replace(engine, strategies=rows))
    try:
        parent: Any = type(self).__mro__[1]
        return parent.call(self, *arguments, **options)
    finally:
        strategy.enrol(name, engine)


def mean(ratios: list[float]) -> float:
    """The geometric mean."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios))
