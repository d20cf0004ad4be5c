"""Models that several threads call or train, copies, other processes, and layers that are made and dropped.

`python -m benchmarks.soak` looks for growth over thousands of steps.
"""

import concurrent.futures
import copy
import gc
import multiprocessing
import pickle
import weakref

import keras
import numpy as np
import pytest

from keras_rnn_ext import LRU, MLSTM, MyBidirectional, MyConvLSTM1D, MyDense, MyEmbedding, MyGRU, MyLSTM, PeepholeLSTM
from tests.helpers import assert_close, to_numpy

X = np.random.default_rng(3).normal(size=(6, 9, 3)).astype("float32")


def net(seed=1):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((None, 3)),
            MyBidirectional(MyLSTM(4, return_sequences=True)),
            PeepholeLSTM(4, return_sequences=True),
            MyGRU(3),
            MyDense(1),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


@pytest.mark.parametrize("threads", [2, 8])
def test_threads_call_one_model(threads):
    model = net()
    parts = [X[:, : 3 + place % 5] for place in range(24)]
    expected = [to_numpy(model(part)) for part in parts]
    # On JAX, Keras's own `predict` gives the weights away for the time of a call, so that one thread can call it.
    calls = (model,) if keras.config.backend() == "jax" else (model, model.predict_on_batch)
    for call in calls:
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(lambda part, call=call: to_numpy(call(part)), parts))
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other, 1e-5)


def test_two_models_train_in_two_threads():
    def trained(model):
        model.fit(X, np.ones((6, 1)), epochs=4, batch_size=3, shuffle=False, verbose=0)
        return model.get_weights()

    expected = [trained(net(seed)) for seed in (1, 2)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        found = list(pool.map(trained, [net(seed) for seed in (1, 2)]))
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, 1e-5)


def test_a_layer_in_two_places_has_its_weights_once():
    shared, inputs = MyLSTM(3, return_sequences=True), [keras.Input((None, 3)), keras.Input((None, 3))]
    model = keras.Model(inputs, keras.layers.add([shared(each) for each in inputs]))
    assert len(model.weights) == 3
    assert_close(model([X, 2 * X]), to_numpy(shared(X)) + to_numpy(shared(2 * X)), 1e-6)
    twice = keras.Sequential([keras.Input((None, 3)), shared, shared])
    assert len(twice.weights) == 3
    assert_close(twice(X), shared(shared(X)), 1e-6)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["deep", "pickle"]
)
def test_a_copy_is_apart(copied):
    model = net()
    expected = to_numpy(model(X))
    other = copied(model)
    assert_close(other(X), expected, 1e-6)
    other.set_weights([np.zeros_like(weight) for weight in other.get_weights()])
    assert_close(model(X), expected, 0)


def _called(pickled, inputs):
    """In another process."""
    return keras.ops.convert_to_numpy(pickle.loads(pickled)(inputs))


def test_a_model_is_sent_to_a_spawned_process():
    model = net()
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(_called, pickle.dumps(model), X).result(timeout=300)
    assert_close(found, model(X), 1e-5)


MADE = {
    "MyLSTM": lambda: MyLSTM(3),
    "bidirectional": lambda: MyBidirectional(MyGRU(3, return_sequences=True)),
    "peephole": lambda: PeepholeLSTM(3, dropout=0.2),
    "linear": lambda: LRU(3),
    "chunks": lambda: MLSTM(4),
}


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_layers_that_are_dropped_are_freed(make):
    def run():
        layer = make()
        layer(X, training=True)
        layer(X, mask=np.ones(X.shape[:2], "bool"))
        return weakref.ref(layer)

    assert_freed(run)


def test_models_that_are_dropped_are_freed():
    def run():
        model = keras.Sequential([keras.Input((None,), dtype="int32"), MyEmbedding(9, 3, mask_zero=True), MyLSTM(3)])
        model.compile("sgd", "mse")
        model.fit(np.ones((2, 4), "int32"), np.ones((2, 3)), verbose=0)
        return weakref.ref(model)

    assert_freed(run)


def test_layers_over_images_that_are_dropped_are_freed():
    def run():
        layer = MyConvLSTM1D(2, 2)
        layer(np.zeros((2, 3, 5, 1), "float32"))
        return weakref.ref(layer)

    assert_freed(run)


def assert_freed(run):
    """None of those that `run` made is still there."""
    made = [run() for _ in range(2)]
    keras.utils.clear_session()
    gc.collect()
    left = sum(each() is not None for each in made)
    assert left == 0, f"{left} of 2 are still there"
