"""Whole models through `fit`, with Keras's layers and with ours: workload W11. Sizes are those of the articles."""

import dataclasses
import gc
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np

import keras_rnn_ext
from benchmarks.measure import OURS, Timing, check, summarize

LAYERS = {
    "keras": keras.layers,
    OURS: SimpleNamespace(
        **{name: getattr(keras_rnn_ext, f"My{name}") for name in ("SimpleRNN", "LSTM", "GRU", "Dense", "Embedding")}
    ),
}
WORDS = 10_000
CHECKED = 2  # batches that both models are trained on before they are timed
FIRST_EPOCHS = 5  # of models that are new each time
TOLERANCE = 1e-3  # of the weights after these


@dataclasses.dataclass(frozen=True)
class Model:
    """A model, how it is trained, and how much of an epoch is measured."""

    title: str
    build: Callable[[Any], keras.Model]  # from the layers of one package
    compile: Callable[[keras.Model], None]
    data: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]  # so many batches
    batch: int
    batches: int


def _classified(steps: int, batch: int) -> Callable:
    """Reviews and their labels."""

    def data(random: np.random.Generator, batches: int) -> tuple[np.ndarray, np.ndarray]:
        return random.integers(1, WORDS, (batches * batch, steps)), random.integers(0, 2, (batches * batch, 1))

    return data


def _continued(steps: int, batch: int, tokens: int) -> Callable:
    """Texts, and the same one token later."""

    def data(random: np.random.Generator, batches: int) -> tuple[np.ndarray, np.ndarray]:
        ids = random.integers(0, tokens, (batches * batch, steps + 1))
        return ids[:, :-1], ids[:, 1:]

    return data


def _small_sentiment(layers: Any) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((500,), dtype="int32"),
            layers.Embedding(WORDS, 32),
            layers.SimpleRNN(32, return_sequences=True),
            layers.SimpleRNN(32),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def _sentiment(kind: str, dropout: float = 0.5) -> Callable[[Any], keras.Model]:
    def build(layers: Any) -> keras.Model:
        recurrent = getattr(layers, kind)
        return keras.Sequential(
            [
                keras.Input((80,), dtype="int32"),
                layers.Embedding(WORDS, 100),
                recurrent(64, dropout=dropout, return_sequences=True),
                recurrent(64, dropout=dropout),
                layers.Dense(64),
                keras.layers.Dropout(dropout),
                keras.layers.ReLU(),
                layers.Dense(1, activation="sigmoid"),
            ]
        )

    return build


def _language_model(layers: Any) -> keras.Model:
    # The state is carried, but not on JAX, where Keras's own layers forget it.
    stateful = keras.config.backend() != "jax"
    recurrent = [
        each
        for _ in range(2)
        for each in (layers.LSTM(650, return_sequences=True, stateful=stateful), keras.layers.Dropout(0.5))
    ]
    head = [layers.Embedding(WORDS, 650), keras.layers.Dropout(0.5)]
    return keras.Sequential([keras.Input(batch_shape=(20, 35), dtype="int32"), *head, *recurrent, layers.Dense(WORDS)])


def _characters(layers: Any) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((100,), dtype="int32"),
            layers.Embedding(65, 256),
            layers.GRU(1024, return_sequences=True),
            layers.Dense(65),
        ]
    )


def _binary(model: keras.Model) -> None:
    model.compile(keras.optimizers.RMSprop(1e-3), keras.losses.BinaryCrossentropy(), metrics=["accuracy"])


def _next(optimizer: Callable[[], keras.optimizers.Optimizer]) -> Callable[[keras.Model], None]:
    return lambda model: model.compile(optimizer(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))


MODELS = {
    "W11-000": Model("sentiment, SimpleRNN", _small_sentiment, _binary, _classified(500, 128), 128, 16),
    "W11-002-rnn": Model("sentiment, SimpleRNN", _sentiment("SimpleRNN"), _binary, _classified(80, 128), 128, 32),
    "W11-002-lstm": Model("sentiment, LSTM", _sentiment("LSTM"), _binary, _classified(80, 128), 128, 32),
    "W11-002-gru": Model("sentiment, GRU", _sentiment("GRU"), _binary, _classified(80, 128), 128, 32),
    "W11-003": Model(
        "language model, LSTM",
        _language_model,
        _next(lambda: keras.optimizers.SGD(1.0, global_clipnorm=5.0)),
        _continued(35, 20, WORDS),
        20,
        5,
    ),
    "W11-004": Model(
        "character model, GRU", _characters, _next(lambda: keras.optimizers.Adam(1e-3)), _continued(100, 64, 65), 64, 2
    ),
}


def without_dropout(model: keras.Model) -> keras.Model:
    """`model`, whose layers drop nothing from now on."""
    for layer in model.layers:
        for holder, name in ((layer, "rate"), (getattr(layer, "cell", None), "dropout")):
            if hasattr(holder, name):
                setattr(holder, name, 0.0)
    return model


def make(row: Model, package: str, weights: list[np.ndarray] | None) -> keras.Model:
    """A model built from a package's layers and compiled, with these weights."""
    keras.utils.set_random_seed(0)
    model = row.build(LAYERS[package])
    if weights is not None:
        for variable, weight in zip(model.trainable_variables, weights, strict=True):
            variable.assign(weight)
    row.compile(model)
    return model


def trained_weights(model: keras.Model) -> dict[str, np.ndarray]:
    """By place, as names differ."""
    return {f"weight {place}": _array(each) for place, each in enumerate(model.trainable_variables)}


def _array(variable: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(variable)


class _End(keras.callbacks.Callback):
    """The time when an epoch ends: `fit` goes on to take down its input pipeline, and may wait long for its threads."""

    time = 0.0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.time = time.perf_counter()


def measure(row: Model, seconds: float, least_epochs: int = 3) -> tuple[dict[str, Timing], float]:
    """Times of an epoch, and how far apart the trained weights are.

    The first call is the median first epoch of new models.

    Raises:
        Differs: if the models, trained on a few batches without dropout, are not the same.
    """
    random = np.random.default_rng(0)
    start_weights = [_array(variable) for variable in make(row, "keras", None).trainable_variables]
    few = row.data(random, CHECKED)
    ends = {}
    for package in LAYERS:
        model = without_dropout(make(row, package, start_weights))
        model.fit(*few, batch_size=row.batch, shuffle=False, verbose=0)
        ends[package] = trained_weights(model)
    apart = check(OURS, ends[OURS], ends["keras"], TOLERANCE)

    x, y = row.data(random, row.batches)

    def epoch(model: keras.Model) -> float:
        # What was traced for another model is not to be thrown away while this one is timed.
        gc.collect()
        begin, end = time.perf_counter(), _End()
        model.fit(x, y, batch_size=row.batch, shuffle=False, verbose=0, callbacks=[end])
        return (end.time - begin) * 1e3

    firsts: dict[str, list[float]] = {package: [] for package in LAYERS}
    for place in range(FIRST_EPOCHS):
        models = {package: make(row, package, start_weights) for package in LAYERS}
        for package in list(LAYERS) if place % 2 else reversed(LAYERS):
            firsts[package].append(epoch(models[package]))
    times: dict[str, list[float]] = {package: [] for package in LAYERS}
    stop = time.perf_counter() + seconds
    while len(times[OURS]) < least_epochs or time.perf_counter() < stop:
        for package, model in models.items():
            times[package].append(epoch(model))
    first = {package: statistics.median(taken) for package, taken in firsts.items()}
    return summarize(times, first), apart
