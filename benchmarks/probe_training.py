"""One training run of `python -m benchmarks probes`, and the process that does one after the other, on one core.

It runs on JAX, where so small a model trains fastest on a CPU: `stateless_call` of the model and `stateless_apply` of
the optimizer, as Keras documents it, and many steps in one compiled program.
"""

import functools
import gc
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import keras
import numpy as np

from benchmarks.probe_tasks import IGNORED, Task, tasks
from keras_rnn_ext import MaxAbsolute, MyDense, MyEmbedding
from keras_rnn_ext.registry import get

WIDTH = 16  # features that a cell sees, on every task
HEAD_WIDTH = 32
CHECK = 100  # steps from one look at the held-out sequences to the next
CLIP = 1.0


def options(name: str, units: int, task: Task) -> dict[str, Any]:
    """Arguments of a cell beside `units`: how its paper starts it for sequences of this length, where that matters."""
    return every_option(units, task).get(name, {})


def every_option(units: int, task: Task) -> dict[str, dict[str, Any]]:
    """Those of all cells that have any."""
    steps, short_term = task.length, not task.last
    uniform = keras.initializers.RandomUniform
    return {
        "cfc": {"backbone_units": 32},
        "ind_rnn": {
            "recurrent_initializer": uniform(0.0 if short_term else 0.5 ** (1 / steps), 2 ** (1 / steps)),
            "recurrent_constraint": MaxAbsolute(2 ** (1 / steps)),
        },
        "janet": {"max_steps": steps},
        "lmu": {"theta": float(steps), "order": 64},
        "lru": {"r_min": 0.9, "r_max": 0.999} if task.name in ("adding", "copy") else {},
        "mlstm": {"heads": 4},
        "phased_lstm": {"max_period": float(steps)},
        "projected_lstm": {"projection": max(1, units // 2)},
        "slstm": {"heads": 4},
        "star": {"max_steps": steps},
    }


def multiple(name: str) -> int:
    """What the units of a cell have to be a multiple of."""
    return math.lcm(get(name).multiple, options(name, 4, tasks()["adding"]).get("heads", 1))


def parameters(name: str, units: int, task: Task) -> int:
    """How many weights a cell has, trained or not."""
    sizes = []
    cell = get(name).cell(units, **options(name, units, task))
    # No weight is drawn here: its shape is enough, and to compile a draw for each shape takes seconds.
    cell.add_weight = lambda shape, **arguments: sizes.append(math.prod(shape))
    cell.build((None, WIDTH))
    return sum(sizes)


def units_for(name: str, budget: int, task: Task) -> tuple[int, int]:
    """The most units that fit in a budget of weights, and how many weights these are.

    Raises:
        ValueError: if not even the smallest cell fits.
    """
    step = multiple(name)
    counted = functools.cache(lambda times: parameters(name, times * step, task))
    if counted(1) > budget:
        raise ValueError(f"--parameters: {name} of {step} units has {counted(1)} weights, and {budget} are allowed")
    low, high = 1, 2
    while counted(high) <= budget:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if counted(middle) <= budget else (low, middle)
    return low * step, counted(low)


def build_model(name: str, units: int, task: Task) -> keras.Model:
    """The same small network around each cell: linear cells and those without crossed units cannot do without it."""
    layer = get(name).layer(units, return_sequences=not task.last, **options(name, units, task))
    if task.ids:
        inputs = keras.Input((task.length,), dtype="int32")
        start = keras.initializers.RandomNormal(stddev=0.5)
        features = MyEmbedding(task.features, WIDTH, embeddings_initializer=start)(inputs)
    else:
        inputs = keras.Input((task.length, task.features))
        features = MyDense(WIDTH, activation="relu")(inputs)
    outputs = MyDense(HEAD_WIDTH, activation="relu")(layer(features))
    return keras.Model(inputs, MyDense(task.outputs)(outputs))


class Program(NamedTuple):
    """The compiled functions of a cell on a task, for any weights and learning rate."""

    chunk: int  # training steps of a call
    train: Callable[..., Any]  # state, inputs and answers of `chunk` batches -> state, the losses
    predict: Callable[..., Any]  # state, inputs -> outputs
    seconds: float  # that compiling took


def make_program(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, state: list, task: Task, chunk: int
) -> Program:
    """Compiles the training of `chunk` steps, and the look at the held-out sequences."""
    import jax
    import jax.numpy as jnp

    def loss(weights: Any, others: Any, inputs: Any, answers: Any) -> Any:
        outputs, others = model.stateless_call(weights, others, inputs, training=True)
        if task.last:
            return jnp.mean(jnp.square(outputs - answers)), others
        chances = jax.nn.log_softmax(outputs)
        chosen = jnp.take_along_axis(chances, jnp.maximum(answers, 0)[..., None], axis=-1)[..., 0]
        asked = answers != IGNORED
        return -jnp.sum(jnp.where(asked, chosen, 0.0)) / jnp.sum(asked), others

    def step(state: Any, batch: Any) -> Any:
        weights, others, kept = state
        (value, others), gradients = jax.value_and_grad(loss, has_aux=True)(weights, others, *batch)
        weights, kept = optimizer.stateless_apply(kept, gradients, weights)
        return (weights, others, kept), value

    def predict(state: Any, inputs: Any) -> Any:
        return model.stateless_call(state[0], state[1], inputs, training=False)[0]

    begin = time.process_time()
    train = jax.jit(lambda state, *data: jax.lax.scan(step, state, data))
    compiled = (
        train.lower(tuple(state), *task.batches(0)(chunk)).compile(),
        jax.jit(predict).lower(tuple(state), task.held_out()[0]).compile(),
    )
    return Program(chunk, *compiled, time.process_time() - begin)


def start(name: str, units: int, task: Task, seed: int, rate: float) -> tuple[keras.Model, Any, list]:
    """A new model, its optimizer and what is trained: weights, other variables, the optimizer's."""
    keras.utils.set_random_seed(seed)
    model = build_model(name, units, task)
    optimizer = keras.optimizers.Adam(rate, global_clipnorm=CLIP)
    optimizer.build(model.trainable_variables)
    groups = model.trainable_variables, model.non_trainable_variables, optimizer.variables
    return model, optimizer, [[variable.value for variable in group] for group in groups]


def train(
    program: Program, state: list, task: Task, seed: int, limit: int, most_seconds: float = math.inf
) -> dict[str, Any]:
    """Trains until the task is solved at two looks in a row, for at most `limit` steps and about `most_seconds`.

    Returns:
        What the results hold: whether it is solved, at which step and after how many seconds of training (compiling and
        looking are left out), whether time was up before, and the best and the last value of the metric. `steps` is the
        first of the two looks.
    """
    batches, held_out = task.batches(seed), task.held_out()
    now: Any = tuple(state)
    done, seconds, best, value, solved = 0, 0.0, None, math.nan, False
    reached: tuple[int, float] | None = None
    while done < limit and seconds < most_seconds and not solved:
        data = batches(program.chunk)
        begin = time.process_time()
        now, losses = program.train(now, *data)
        np.asarray(losses)  # until they are computed
        seconds, done = seconds + time.process_time() - begin, done + program.chunk
        value = task.score(np.asarray(program.predict(now, held_out[0])), held_out[1])
        if not math.isfinite(value):
            break
        best = value if best is None or task.better(value, best) else best
        solved = reached is not None and task.solves(value)
        reached = (reached or (done, seconds)) if task.solves(value) else None
    return {
        "solved": solved,
        "steps": reached[0] if solved and reached else None,
        "seconds": round(reached[1], 2) if solved and reached else None,
        "best": None if best is None else round(best, 5),
        "last": round(value, 5) if math.isfinite(value) else None,
        "stopped": not solved and done < limit and math.isfinite(value),
        "trained_steps": done,
        "trained_seconds": round(seconds, 2),
        "compile_seconds": round(program.seconds, 2),
    }


class Cached:
    """Keeps the program of one cell on one task, for all seeds and rates."""

    def __init__(self) -> None:
        self.key: tuple = ()
        self.program: Program | None = None

    def run(self, order: dict[str, Any]) -> dict[str, Any]:
        """Does one run and gives its result."""
        name, task = order["cell"], tasks()[order["task"]]
        chunk = min(CHECK, order["limit"])
        key = (name, task.name, order["parameters"], chunk)
        if key != self.key:
            self.forget()
            self.units, self.count = units_for(name, order["parameters"], task)
        model, optimizer, state = start(name, self.units, task, order["seed"], order["rate"])
        if key != self.key or self.program is None:
            self.program = make_program(model, optimizer, state, task, chunk)
            self.key = key
        found = train(self.program, state, task, order["seed"], order["limit"], order["seconds"])
        return {"units": self.units, "parameters": self.count, **found}

    def forget(self) -> None:
        """Gives the memory of the program before back."""
        import jax

        self.key, self.program = (), None
        keras.utils.clear_session(free_memory=False)
        jax.clear_caches()
        gc.collect()


def serve(lines: Iterable[str], core: int | None = None) -> None:
    """Reads orders, a line of JSON each, and answers each with a line."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    cached = Cached()
    for line in lines:
        begin = time.monotonic()
        try:
            answer = cached.run(json.loads(line))
        except Exception as error:  # the other runs can be done all the same
            cached.key = ()
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]}
        answer["wall_seconds"] = round(time.monotonic() - begin, 2)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve(sys.stdin, int(sys.argv[1]) if len(sys.argv) > 1 else None)
