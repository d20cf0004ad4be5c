"""A trained model as a live one: step by step, with its states kept."""

from keras_rnn_ext.streaming.forecasting import forecast
from keras_rnn_ext.streaming.step import step_model
from keras_rnn_ext.streaming.stream import Stream

__all__ = ["Stream", "forecast", "step_model"]
