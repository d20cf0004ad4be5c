"""Recurrent layers for Keras 3: twins of the built-in ones, on one engine for three backends."""

from keras_rnn_ext import engine as _engine  # fills the table of strategies
from keras_rnn_ext.core.files import verify_file
from keras_rnn_ext.core.layer import MyRNN
from keras_rnn_ext.core.stacked import MyStackedRNNCells
from keras_rnn_ext.layers.bidirectional import MyBidirectional
from keras_rnn_ext.layers.constraints import MaxAbsolute
from keras_rnn_ext.layers.convolutional import CONVOLUTIONAL as _CONVOLUTIONAL
from keras_rnn_ext.layers.dense import MyDense
from keras_rnn_ext.layers.dropout import DropoutWrapper
from keras_rnn_ext.layers.embedding import MyEmbedding
from keras_rnn_ext.layers.model_state import get_states, reset_states, set_states
from keras_rnn_ext.layers.residual import ResidualWrapper
from keras_rnn_ext.layers.zoneout import ZoneoutWrapper
from keras_rnn_ext.registry import ROWS as _ROWS

# Every cell of the catalogue, and its layer.
_CELLS = {each.__name__: each for row in _ROWS for each in (row.cell, row.layer)}
globals().update(_CELLS | _CONVOLUTIONAL)

# isort: split
# What is built on the names above: importing it registers its classes, so that saved models load.
from keras_rnn_ext import convert, custom, diagnostics, streaming, text, training  # noqa: E402

__version__ = "0.1.0"

__all__ = [
    *sorted(_CELLS),
    # Sequences of images
    *sorted(_CONVOLUTIONAL),
    # Any cell over a sequence, cells on top of each other, and wrappers of cells
    "DropoutWrapper",
    "MyBidirectional",
    "MyRNN",
    "MyStackedRNNCells",
    "ResidualWrapper",
    "ZoneoutWrapper",
    # Other layers, and what they take
    "MaxAbsolute",
    "MyDense",
    "MyEmbedding",
    # The carried states of a model
    "get_states",
    "reset_states",
    "set_states",
    # Saved files
    "verify_file",
]
