"""Shows how gradients vanish and explode on their way back through time, and what clipping and skip connections do.

    python examples/gradient_flow.py                          # about a minute; JAX and PyTorch take longer
    python examples/gradient_flow.py --clip 5 --learning-rate 0.01
    python examples/gradient_flow.py --depth 16 --units 64

The task is the adding problem of Hochreiter and Schmidhuber (1997): each step has a number and a mark, two steps are
marked, and the sum of their numbers is wanted at the end. Three parts, all measured with `keras_rnn_ext.diagnostics`:

- reach: the norm of the loss's gradient by the state, against the lag, for simple recurrences whose recurrent kernel is
  a multiple of an orthogonal matrix, for an LSTM and for a GRU, all untrained;
- clipping: a recurrence that explodes (ReLU, its recurrent kernel the identity, as in Le, Jaitly, Hinton 2015),
  trained without clipping and with Keras's `clipvalue`, `clipnorm` and `global_clipnorm`, and the first step of each;
- depth: a deep stack of simple recurrences with and without skip connections: the gradient by layer and by lag.

The output folder gets `gradient_flow.png`, `results.json` and `model.keras`, the model trained with `global_clipnorm`;
with `--tensorboard` also a folder of logs. It runs on every backend: set `KERAS_BACKEND` to tensorflow, jax or torch.
"""

import argparse
import importlib.util
import json
import math
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from example_tools import InputError, Progress, make_folder, number, run_command, write_whole
from gradient_flow_picture import draw

from keras_rnn_ext import MyDense, MyGRU, MyLSTM, MySimpleRNN
from keras_rnn_ext.diagnostics import (
    RecurrentDiagnostics,
    gradient_norms,
    lyapunov_exponents,
    state_jacobians,
)

BATCH = 64
# Multiples of an orthogonal recurrent kernel.
GAINS = {"vanishing": 0.8, "orthogonal": 1.0, "exploding": 2.0}
CLIPPINGS = {"no clipping": None, "by value": "clipvalue", "by norm": "clipnorm", "by global norm": "global_clipnorm"}


def adding_problem(rows: int, steps: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and marks `(rows, steps, 2)`, one mark in each half, and the sums of the marked numbers `(rows, 1)`."""
    marks = np.zeros((rows, steps))
    marks[np.arange(rows), random.integers(0, steps // 2, rows)] = 1
    marks[np.arange(rows), random.integers(steps // 2, steps, rows)] = 1
    numbers = random.random((rows, steps))
    sums = (numbers * marks).sum(1, keepdims=True)
    return np.stack([numbers, marks], axis=-1).astype("float32"), sums.astype("float32")


def one_layer(layer: keras.layers.Layer, steps: int) -> keras.Model:
    """Numbers and marks -> the sum, by one recurrent layer."""
    return keras.Sequential([keras.Input((steps, 2)), layer, MyDense(1)])


# Reach


def measure_reach(options: argparse.Namespace, x: np.ndarray, y: np.ndarray) -> tuple[dict, dict]:
    """For each untrained layer its norms by lag, relative to lag 0, and its Jacobians for one row."""
    layers: dict[str, keras.layers.Layer] = {}
    for name, gain in GAINS.items():
        kernel = keras.initializers.Orthogonal(gain, seed=options.seed)
        layers[f"simple, {gain:g} x orthogonal"] = MySimpleRNN(options.units, recurrent_initializer=kernel, name=name)
    layers |= {"LSTM": MyLSTM(options.units), "GRU": MyGRU(options.units)}
    reach, jacobians = {}, {}
    for label, layer in layers.items():
        model = one_layer(layer, options.steps)
        norms = gradient_norms(model, x, y, "mse")[layer.name]
        reach[label] = norms / norms[0, 0]
        if isinstance(layer, MySimpleRNN):
            jacobians[label] = state_jacobians(model, x[:1])[layer.name]
    return reach, jacobians


# Clipping


def exploding_model(options: argparse.Namespace) -> keras.Model:
    """The recurrence of Le, Jaitly, Hinton 2015, arXiv 1504.00941, but for the kernel, which is Keras's."""
    keras.utils.set_random_seed(options.seed)
    rnn = MySimpleRNN(options.units, activation="relu", recurrent_initializer="identity", name="rnn")
    return one_layer(rnn, options.steps)


def optimizer(clipping: str | None, threshold: float, learning_rate: float) -> keras.optimizers.Optimizer:
    """Gradient descent with one of Keras's clippings."""
    return keras.optimizers.SGD(learning_rate, **({clipping: threshold} if clipping else {}))


def first_step(model: keras.Model, rule: keras.optimizers.Optimizer, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """What a step of gradient descent takes off each weight. With a rate of 1 and no clipping this is the gradient."""
    model.compile(rule, "mse")
    before = [np.array(weight) for weight in model.get_weights()]
    model.train_on_batch(x, y)
    return [old - new for old, new in zip(before, model.get_weights(), strict=True)]


def compare_steps(options: argparse.Namespace, x: np.ndarray, y: np.ndarray) -> dict[str, dict]:
    """Size and direction of the first step with each clipping, beside the gradient."""
    steps = {
        name: first_step(exploding_model(options), optimizer(clipping, options.clip, 1.0), x, y)
        for name, clipping in CLIPPINGS.items()
    }
    gradient = np.concatenate([each.ravel() for each in steps["no clipping"]]).astype("float64")
    compared = {}
    for name, parts in steps.items():
        whole = np.concatenate([each.ravel() for each in parts]).astype("float64")
        size = float(np.linalg.norm(whole))
        compared[name] = {
            "norm": size,
            "cosine_with_gradient": float(whole @ gradient / (size * np.linalg.norm(gradient))),
            "norm_by_weight": [float(np.linalg.norm(each)) for each in parts],
        }
    return compared


class BatchLoss(keras.metrics.Metric):
    """The squared error of the last batch alone. Keras's own loss is the mean since the epoch began."""

    def __init__(self) -> None:
        super().__init__(name="batch_loss")
        self.last = self.add_weight(name="last", initializer="zeros")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.last.assign(keras.ops.mean(keras.losses.mean_squared_error(y_true, y_pred)))

    def result(self) -> Any:
        return keras.ops.convert_to_tensor(self.last)


def train(options: argparse.Namespace, x: np.ndarray, y: np.ndarray) -> tuple[dict[str, list[float]], keras.Model]:
    """The loss of each step with each clipping, and the model trained with the last."""
    curves = {}
    for name, clipping in CLIPPINGS.items():
        print(f"Training, {name}")
        model = exploding_model(options)
        model.compile(optimizer(clipping, options.clip, options.learning_rate), "mse", metrics=[BatchLoss()])
        losses: list[float] = []
        keep = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs, losses=losses: losses.append(float(logs["batch_loss"]))
        )
        total = options.epochs * math.ceil(len(x) / BATCH)
        callbacks = [keep, keras.callbacks.TerminateOnNaN(), Progress(total, 0)]
        if options.tensorboard:
            folder = options.output / "tensorboard" / name.replace(" ", "_")
            callbacks += [RecurrentDiagnostics(x[:BATCH], y[:BATCH]), keras.callbacks.TensorBoard(folder)]
        model.fit(x, y, batch_size=BATCH, epochs=options.epochs, shuffle=False, callbacks=callbacks, verbose=0)
        curves[name] = losses
    kept = exploding_model(options)
    kept.set_weights(model.get_weights())
    return curves, kept


# Depth


def deep_model(options: argparse.Namespace, skip: bool) -> keras.Model:
    """A stack of simple recurrences, with `skip` each of them beside a way around it."""
    keras.utils.set_random_seed(options.seed)
    inputs = keras.Input((options.steps, 2))
    values = MyDense(options.units)(inputs)
    for level in range(1, options.depth + 1):
        outputs = MySimpleRNN(options.units, return_sequences=True, name=f"layer_{level}")(values)
        values = keras.layers.Add()([values, outputs]) if skip else outputs
    return keras.Model(inputs, MyDense(1)(values[:, -1]))


def measure_depth(options: argparse.Namespace, x: np.ndarray, y: np.ndarray) -> dict[str, dict]:
    """Gradients by state, by depth and by lag, and by the weights of each layer, with and without skip connections."""
    measured = {}
    for name, skip in (("plain", False), ("residual", True)):
        model = deep_model(options, skip)
        norms = gradient_norms(model, x, y, "mse")
        gradients = dict(zip((weight.path for weight in model.weights), first_step(
            model, optimizer(None, 0, 1.0), x, y
        ), strict=True))  # fmt: skip
        measured[name] = {
            "by_depth": [float(each[0, 0]) for each in norms.values()],
            "of_weights_by_depth": [
                float(np.sqrt(sum((each**2).sum() for path, each in gradients.items() if path.startswith(f"{layer}/"))))
                for layer in norms
            ],
            "bottom_by_lag": norms["layer_1"][0].tolist(),
            "top_by_lag": norms[f"layer_{options.depth}"][0].tolist(),
        }
    return measured


# The command


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, kind, default, text in (
        ("--output", pathlib.Path, pathlib.Path("gradient_flow_output"), "folder for the results"),
        ("--steps", number(int, 4), 50, "of a sequence"),
        ("--units", number(int, 2), 32, "width of the recurrent layers"),
        ("--depth", number(int, 1), 8, "layers of the deep stack"),
        ("--clip", number(float, 1e-6), 1.0, "the threshold, the same for all clippings"),
        ("--learning-rate", number(float, 0), 0.03, "of gradient descent"),
        ("--epochs", number(int, 1), 10, "of each training"),
        ("--sequences", number(int, 1), 6_400, f"for the training, in batches of {BATCH}"),
        ("--seed", number(int, 0), 0, "of weights and sequences"),
    ):
        parser.add_argument(flag, type=kind, default=default, help=f"{text} (default: {default})")
    parser.add_argument("--tensorboard", action="store_true", help="logs of the trainings for TensorBoard too")
    return parser


def run(options: argparse.Namespace) -> None:
    """Measures, trains, draws and writes the results."""
    if options.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise InputError("--tensorboard: needs TensorBoard: python -m pip install tensorboard")
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError("The picture needs matplotlib: python -m pip install matplotlib")
    make_folder("--output", options.output)
    start = time.monotonic()
    random = np.random.default_rng(options.seed)
    x, y = adding_problem(options.sequences, options.steps, random)
    few_x, few_y = x[:BATCH], y[:BATCH]
    keras.utils.set_random_seed(options.seed)
    reach, jacobians = measure_reach(options, few_x, few_y)
    deep = measure_depth(options, few_x, few_y)
    compared = compare_steps(options, few_x, few_y)
    curves, model = train(options, x, y)
    write(options, reach, jacobians, (compared, curves), deep, model, time.monotonic() - start)


def write(
    options: argparse.Namespace,
    reach: dict,
    jacobians: dict,
    clipping: tuple[dict, dict],
    deep: dict,
    model: keras.Model,
    seconds: float,
) -> None:
    """The files of the output folder, and a summary."""
    from matplotlib.figure import Figure

    compared, curves = clipping
    results = {
        "settings": {name: str(value) if name == "output" else value for name, value in vars(options).items()},
        "backend": keras.backend.backend(),
        "reach": {name: each.tolist() for name, each in reach.items()},
        "lyapunov": {name: float(lyapunov_exponents(each)[0, 0]) for name, each in jacobians.items()},
        "first_step": compared,
        # JSON has no infinity and nothing that is not a number.
        "losses": {name: [loss if math.isfinite(loss) else None for loss in each] for name, each in curves.items()},
        "depth": deep,
        "seconds": round(seconds, 1),
    }
    figure = Figure(figsize=(16, 9), layout="constrained")
    draw(figure, options, reach, jacobians, clipping, deep)
    write_whole(options.output / "results.json", lambda path: path.write_text(json.dumps(results, indent=1)))
    write_whole(options.output / "gradient_flow.png", lambda path: figure.savefig(path, dpi=100))
    write_whole(options.output / "model.keras", model.save)
    for name, each in reach.items():
        print(f"{name}: over {options.steps - 1} steps the gradient becomes {each[0, -1]:.2g} of what it was")
    for name, each in curves.items():
        step, last = compared[name], float(np.mean(each[-100:]))
        print(f"{name}: first step {step['norm']:.3g} (cos {step['cosine_with_gradient']:.2f}), last loss {last:.3g}")
    print(f"{seconds:.0f} s. Results are in {options.output}.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    run_command(make_parser(), run, arguments)


if __name__ == "__main__":
    main()
