"""What is measured: the table of workloads, and the layers, weights and numbers of one of them."""

import dataclasses
import inspect
from typing import Any

import keras
import numpy as np
from keras import ops

import keras_rnn_ext

# The columns of a layer's kernels, in units.
GATES = {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}
GRAPH = ("gradient", "forward")
# What a workload is measured in. `forward` is inference; `gradient` is training: the outputs, and the gradients of
# inputs and weights; both are called in a graph where the backend has one, and `eager` is called without. `unsaid`
# gradients are those of a call without `training=`; `choices` are ours with other choices than the engine's.
CHOICES = ("choices gradient", "choices forward")
MODES = (*GRAPH, "unsaid gradient", "eager gradient", "eager forward", *CHOICES)


@dataclasses.dataclass(frozen=True)
class Workload:
    """One layer at one size."""

    id: str
    layer: str
    batch: int
    steps: int
    features: int
    units: int
    modes: tuple[str, ...] = GRAPH
    padding: str | None = None  # "left" or "right": rows of different lengths, and a mask
    bidirectional: bool = False
    recurrent_dropout: float = 0.0
    policy: str = "float32"
    return_sequences: bool = True
    # Whether a graph is made for this batch size alone. `fit` makes it for any, unless the model's input names one.
    known_batch: bool = False
    fused: bool = True  # whether to measure the peers under XLA on TensorFlow
    recompute: bool = False  # whether to measure our option that trades time for memory too
    tolerance: float = 1e-4  # how far peers may be apart, relative to the largest number of each tensor

    @property
    def plain(self) -> bool:
        """Whether any library's layer of that kind can do it."""
        return not self.padding and not self.recurrent_dropout and self.policy == "float32"

    def quiet(self) -> "Workload":
        """The same without random numbers, so that peers can be compared."""
        return dataclasses.replace(self, recurrent_dropout=0.0)

    def flops(self, mode: str) -> int:
        """Floating-point operations of the products, and of nothing else."""
        columns = GATES[self.layer] * self.units * (2 if self.bidirectional else 1)
        # The gradient is two more products for each: of the weights, and of the inputs or states.
        passes = 3 if mode.endswith("gradient") else 1
        return 2 * self.batch * self.steps * columns * (self.features + self.units) * passes

    def __str__(self) -> str:
        size = f"{self.batch} x {self.steps} x {self.features} x {self.units}"
        notes = [
            f"{self.padding}-padded" if self.padding else "",
            "bidirectional" if self.bidirectional else "",
            f"recurrent_dropout={self.recurrent_dropout}" if self.recurrent_dropout else "",
            self.policy if self.policy != "float32" else "",
            "" if self.return_sequences else "last output",
        ]
        return ", ".join([f"{self.layer} {size}", *filter(None, notes)])


W3 = Workload("W3", "LSTM", 128, 80, 100, 64, MODES)
W15 = Workload(
    "W15", "LSTM", 8, 20_000, 16, 64, ("gradient",), known_batch=True, fused=False, recompute=True, tolerance=1e-3
)

WORKLOADS = (
    Workload("W1", "SimpleRNN", 128, 500, 32, 32, MODES),
    Workload("W2", "SimpleRNN", 128, 80, 100, 64, MODES),
    W3,
    Workload("W4", "GRU", 128, 80, 100, 64, MODES),
    Workload("W5", "LSTM", 20, 35, 650, 650, MODES, known_batch=True),
    Workload("W6", "GRU", 64, 100, 256, 1024, MODES),
    dataclasses.replace(W3, id="W7", modes=("gradient",), recurrent_dropout=0.5),
    Workload("W7-wide", "LSTM", 32, 100, 128, 128, ("gradient",), recurrent_dropout=0.5),
    dataclasses.replace(W3, id="W8-left", modes=GRAPH, padding="left"),
    dataclasses.replace(W3, id="W8-right", modes=GRAPH, padding="right"),
    dataclasses.replace(W3, id="W9", modes=GRAPH, bidirectional=True),
    dataclasses.replace(W3, id="W10", modes=("forward", "eager forward"), batch=1, known_batch=True),
    # Numbers of 8 bits: Keras's own gradients are 5e-3 from those in float32.
    Workload("W14", "GRU", 64, 100, 256, 1024, ("gradient",), policy="mixed_bfloat16", tolerance=0.03),
    W15,
    dataclasses.replace(W15, id="W15-last", return_sequences=False),
    # What one call costs where there is nearly nothing to compute.
    Workload("small", "LSTM", 2, 3, 4, 4, MODES[:-2], known_batch=True),
)


@dataclasses.dataclass(frozen=True)
class Problem:
    """A workload and the numbers that every peer gets: inputs, mask and weights, in Keras's layouts."""

    workload: Workload
    inputs: np.ndarray
    mask: np.ndarray | None
    weights: list[np.ndarray]
    names: list[str]  # of the weights

    @classmethod
    def of(cls, workload: Workload, seed: int = 0) -> "Problem":
        """Random numbers, of the size that they have in a model; biases, too, are not zero."""
        keras.utils.set_random_seed(seed)
        random = np.random.default_rng(seed)
        shape = (workload.batch, workload.steps, workload.features)
        layer = keras_layer(workload, policy="float32")
        weights = [
            ops.convert_to_numpy(variable) + ("bias" in variable.path) * 0.1 * random.normal(size=variable.shape)
            for variable in layer.trainable_variables
        ]
        mask = None
        if workload.padding:
            lengths = random.integers(max(workload.steps // 8, 1), workload.steps + 1, (workload.batch, 1))
            mask = np.arange(workload.steps) < lengths
            mask = mask if workload.padding == "right" else mask[:, ::-1].copy()
        inputs = random.normal(size=shape).astype("float32")
        names = ["/".join(variable.path.split("/")[-3:]) for variable in layer.trainable_variables]
        return cls(workload, inputs, mask, [weight.astype("float32") for weight in weights], names)

    @property
    def result_names(self) -> list[str]:
        """What a gradient peer gives, in this order."""
        return ["loss", "gradient of inputs", *(f"gradient of {name}" for name in self.names)]


def keras_layer(workload: Workload, policy: str | None = None) -> keras.Layer:
    """Keras's layer, built."""
    return _built(workload, keras.layers, "", policy)


def our_layer(workload: Workload, **options: Any) -> keras.Layer:
    """The twin, built."""
    return _built(workload, keras_rnn_ext, "My", None, **options)


def can_recompute() -> bool:
    """Whether our layers have the option that trades time for memory."""
    return "recompute" in inspect.signature(keras_rnn_ext.MyLSTM).parameters


def _built(workload: Workload, package: Any, prefix: str, policy: str | None, **options: Any) -> keras.Layer:
    policy = policy or workload.policy
    layer = getattr(package, prefix + workload.layer)(
        workload.units,
        return_sequences=workload.return_sequences,
        recurrent_dropout=workload.recurrent_dropout,
        dtype=policy,
        **options,
    )
    if workload.bidirectional:
        layer = getattr(package, prefix + "Bidirectional")(layer, dtype=policy)
    layer.build((workload.batch, workload.steps, workload.features))
    return layer


def with_weights(layer: keras.Layer, problem: Problem) -> keras.Layer:
    """`layer` with the problem's weights."""
    for variable, weight in zip(layer.trainable_variables, problem.weights, strict=True):
        variable.assign(weight)
    return layer


def sum_of_squares(outputs: Any) -> Any:
    """The loss."""
    return ops.sum(ops.square(ops.cast(outputs, "float32")))
