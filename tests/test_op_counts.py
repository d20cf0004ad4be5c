"""How many operations TensorFlow executes for a step: what a change must not raise unseen. Times are not looked at."""

import keras
import pytest

import keras_rnn_ext

if keras.config.backend() != "tensorflow":
    pytest.skip("the counts are of TensorFlow's operations", allow_module_level=True)

from benchmarks.op_counts import executed, per_step

SIZE = (8, 40, 4)  # batch, steps, features
MODES = {"gradient": True, "forward": False}


def layer(name):
    package = keras_rnn_ext if name.startswith("My") else keras.layers
    return getattr(package, name)(4, return_sequences=True)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU"])
def test_half_as_many_operations_as_keras(name, mode):
    ours, our_products = per_step(layer(f"My{name}"), *SIZE, MODES[mode])
    theirs, their_products = per_step(layer(name), *SIZE, MODES[mode])
    assert ours < theirs / 2
    # Forward, one product with the state, and some for whole blocks of steps; backward, one more, and some.
    assert our_products < (3 if mode == "gradient" else 1.5) < their_products


def test_counts_are_of_what_runs():
    counts = executed(layer("SimpleRNN"), *SIZE, gradient=False)
    # Each step has one.
    assert counts["Tanh"] == SIZE[1]
