"""What a cell of your own is made of. See the page "Write your own cell"."""

from keras_rnn_ext.core.argument_kinds import Activation, Argument, Choice, Flag, Integer, KerasObject, Rate, Real
from keras_rnn_ext.core.cell import RecurrentCell, is_function
from keras_rnn_ext.core.declare import State, Weight
from keras_rnn_ext.core.define import define_cell
from keras_rnn_ext.core.dropout_products import product
from keras_rnn_ext.core.kernel_cell import GatedCell, KernelCell, ProjectedCell
from keras_rnn_ext.core.layer_norm import layer_norm
from keras_rnn_ext.core.linear_cell import LinearCell
from keras_rnn_ext.core.recurrent_layer import RecurrentLayer, layer_of
from keras_rnn_ext.core.registration import register
from keras_rnn_ext.core.state_products import Dense, Diagonal, Heads, LowRank
from keras_rnn_ext.core.timed_inputs import TimedInputs

__all__ = [
    # What a class of cells is derived from
    "GatedCell",
    "KernelCell",
    "LinearCell",
    "ProjectedCell",
    "RecurrentCell",
    "TimedInputs",
    # What it declares
    "Activation",
    "Argument",
    "Choice",
    "Flag",
    "Integer",
    "KerasObject",
    "Rate",
    "Real",
    "State",
    "Weight",
    # How the states enter
    "Dense",
    "Diagonal",
    "Heads",
    "LowRank",
    # What its mathematics is written with
    "is_function",
    "layer_norm",
    "product",
    # How it becomes known, and its layer
    "RecurrentLayer",
    "define_cell",
    "layer_of",
    "register",
]
