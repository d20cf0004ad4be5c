"""What the tests of checkpoints and of resumed trainings share: data, a net, and all numbers of a training."""

import keras
import numpy as np

from keras_rnn_ext import MyDense, MyGRU
from keras_rnn_ext.training import Checkpoint
from tests.helpers import to_numpy

RANDOM = np.random.default_rng(5)
X, Y = RANDOM.normal(size=(24, 6, 2)).astype("float32"), RANDOM.normal(size=(24, 1)).astype("float32")


def net():
    return compiled([keras.Input((6, 2)), MyGRU(3, dropout=0.2), keras.layers.Dropout(0.2), MyDense(1)])


def compiled(layers, scaled=False):
    model = keras.Sequential(layers)
    adam = keras.optimizers.Adam(0.01)
    model.compile(keras.optimizers.LossScaleOptimizer(adam) if scaled else adam, "mse", metrics=["mae"])
    return model


def everything(model):
    """All numbers that a training has."""
    return [to_numpy(variable.value).astype("float64") for variable in Checkpoint("", model)._variables()]


def assert_same(model, expected):
    for one, other in zip(everything(model), everything(expected), strict=True):
        np.testing.assert_array_equal(one, other)
