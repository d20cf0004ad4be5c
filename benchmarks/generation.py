"""Measures `generate` against one model call a character, eager or by `predict`, side by side in one process.

    python benchmarks/generation.py

A character model with random weights writes the most probable character each time. Every way must give the same text;
then the ways take turns, and the medians are compared. The backend is that of `KERAS_BACKEND`.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from keras_rnn_ext import MyDense, MyEmbedding, MyGRU
from keras_rnn_ext.text import generate


def build(layers: tuple, tokens: int, units: int) -> keras.Model:
    """Ids and state to logits and state, as for generation by hand, from the layers of one package."""
    embedding, gru, dense = layers
    ids, state = keras.Input((None,), dtype="int32"), keras.Input((units,))
    features = embedding(tokens, 256, embeddings_initializer=keras.initializers.RandomNormal(stddev=1.0))(ids)
    outputs, new_state = gru(units, return_sequences=True, return_state=True)(features, initial_state=state)
    return keras.Model([ids, state], [dense(tokens)(outputs), new_state])


def plain(model: keras.Model) -> keras.Model:
    """Ids to logits, as it is trained, with the layers of `model`."""
    embedding, gru, dense = (layer for layer in model.layers if layer.weights)
    ids = keras.Input((None,), dtype="int32")
    return keras.Model(ids, dense(gru(embedding(ids))[0]))


def eager(model: keras.Model, length: int) -> list[int]:
    """One eager call of `model` a character."""
    written, state = [0], ops.zeros((1, model.inputs[1].shape[1]))
    for _ in range(length):
        logits, state = model([ops.convert_to_tensor([[written[-1]]], dtype="int32"), state])
        written.append(int(np.argmax(ops.convert_to_numpy(logits)[0, -1])))
    return written


def predicting(model: keras.Model, length: int) -> list[int]:
    """One `predict` of `model` a character."""
    written, state = [0], np.zeros((1, model.inputs[1].shape[1]), "float32")
    for _ in range(length):
        logits, state = model.predict([np.array([[written[-1]]], "int32"), state], verbose=0)
        written.append(int(np.argmax(logits[0, -1])))
    return written


def milliseconds(way: Callable[[int], list[int]], length: int) -> float:
    """Time for a character."""
    start = time.perf_counter()
    way(length)
    return (time.perf_counter() - start) / length * 1e3


def compare(
    units: int = 1024, tokens: int = 65, length: int = 1000, eager_length: int = 50, turns: int = 9
) -> tuple[dict[str, list[float]], int]:
    """Milliseconds a character of each way in each turn, and how many distinct characters they wrote.

    Raises:
        ValueError: if the ways do not give the same text.
    """
    keras.utils.set_random_seed(0)
    own = build((MyEmbedding, MyGRU, MyDense), tokens, units)
    builtin = build((keras.layers.Embedding, keras.layers.GRU, keras.layers.Dense), tokens, units)
    builtin.set_weights(own.get_weights())
    trained = plain(own)
    ways: dict[str, tuple[Callable[[int], list[int]], int]] = {
        "generate": (lambda length: generate(trained, [0], length, "greedy").tolist(), length),
        "eager call a character": (lambda length: eager(own, length), eager_length),
        "the same, Keras's layers": (lambda length: eager(builtin, length), eager_length),
        "predict, Keras's layers": (lambda length: predicting(builtin, length), max(1, eager_length // 5)),
    }
    texts = {name: way(eager_length) for name, (way, _) in ways.items()}
    if any(text != texts["generate"] for text in texts.values()):
        raise ValueError(f"The ways do not give the same text: {texts}")
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, (way, count) in ways.items():
            times[name].append(milliseconds(way, count))
    return times, len(set(texts["generate"]))


def main() -> None:
    """Checks, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=1024, help="of the GRU (default: 1024)")
    parser.add_argument("--tokens", type=int, default=65, help="how many characters there are (default: 65)")
    parser.add_argument("--length", type=int, default=1000, help="characters of one call of generate (default: 1000)")
    parser.add_argument("--eager-length", type=int, default=50, help="characters of one eager turn (default: 50)")
    parser.add_argument("--turns", type=int, default=9, help="turns of each way (default: 9)")
    options = parser.parse_args()

    try:
        times, distinct = compare(options.units, options.tokens, options.length, options.eager_length, options.turns)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    print(
        f"{keras.config.backend()}, {os.cpu_count()} CPUs, GRU of {options.units} units, batch 1, {options.tokens} "
        f"characters. The same {options.eager_length} characters, {distinct} of them distinct, from each way."
    )
    best = statistics.median(times["generate"])
    for name, measured in times.items():
        median = statistics.median(measured)
        print(
            f"{name:26} {median:7.3f} ms a character (median of {options.turns}, {min(measured):.3f} to "
            f"{max(measured):.3f})  {median / best:6.1f} times generate's"
        )


if __name__ == "__main__":
    main()
