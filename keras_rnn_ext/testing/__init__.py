"""The contract of a cell, as functions that anyone can hold a cell of their own against."""

from keras_rnn_ext.testing.contract import PROPERTIES, verify_contract

__all__ = ["PROPERTIES", "verify_contract"]
