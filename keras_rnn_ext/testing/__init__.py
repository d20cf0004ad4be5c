"""The contract of a cell, as functions that anyone can hold a cell of their own against."""

from keras_rnn_ext.testing import oracle
from keras_rnn_ext.testing.cases import Case
from keras_rnn_ext.testing.contract import PROPERTIES, equals_oracle, verify_contract

__all__ = ["PROPERTIES", "Case", "equals_oracle", "oracle", "verify_contract"]
