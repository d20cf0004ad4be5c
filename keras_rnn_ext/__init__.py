"""Recurrent layers for Keras 3: twins of the built-in ones, on one engine for three backends."""

from keras_rnn_ext import engine as _engine  # fills the table of strategies
from keras_rnn_ext.cells.gru import MyGRU, MyGRUCell
from keras_rnn_ext.cells.lstm import MyLSTM, MyLSTMCell
from keras_rnn_ext.cells.simple_rnn import MySimpleRNN, MySimpleRNNCell
from keras_rnn_ext.core.layer import MyRNN
from keras_rnn_ext.core.stacked import MyStackedRNNCells
from keras_rnn_ext.layers.bidirectional import MyBidirectional
from keras_rnn_ext.layers.dense import MyDense
from keras_rnn_ext.layers.embedding import MyEmbedding
from keras_rnn_ext.layers.model_state import get_states, reset_states, set_states

# isort: split
# The rooms built on the names above: importing them registers their classes, so that saved models load.
from keras_rnn_ext import diagnostics, text, training

__version__ = "0.1.0"

__all__ = [
    # Cells
    "MyGRUCell",
    "MyLSTMCell",
    "MySimpleRNNCell",
    "MyStackedRNNCells",
    # Recurrent layers
    "MyBidirectional",
    "MyGRU",
    "MyLSTM",
    "MyRNN",
    "MySimpleRNN",
    # Other layers
    "MyDense",
    "MyEmbedding",
    # The carried states of a model
    "get_states",
    "reset_states",
    "set_states",
]
