"""Training on long series: truncated back-propagation, a schedule, a metric, a live plot."""

from keras_rnn_ext.training.live_plot import LivePlot
from keras_rnn_ext.training.metrics import Perplexity
from keras_rnn_ext.training.schedules import HoldThenDecay
from keras_rnn_ext.training.series import SeriesWindows
from keras_rnn_ext.training.truncated import TruncatedBPTT

__all__ = ["HoldThenDecay", "LivePlot", "Perplexity", "SeriesWindows", "TruncatedBPTT"]
