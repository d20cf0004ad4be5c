"""Weights from other libraries into layers of this package and back, and whole Keras models."""

from keras_rnn_ext.convert.keras_models import model
from keras_rnn_ext.convert.tensorflow1 import from_tf1, to_tf1
from keras_rnn_ext.convert.tensorflow_addons import from_tfa, to_tfa
from keras_rnn_ext.convert.torch_nn import from_torch, to_torch
from keras_rnn_ext.convert.torch_recurrent import from_torchrecurrent, to_torchrecurrent

__all__ = [
    "from_tf1",
    "from_tfa",
    "from_torch",
    "from_torchrecurrent",
    "model",
    "to_tf1",
    "to_tfa",
    "to_torch",
    "to_torchrecurrent",
]
