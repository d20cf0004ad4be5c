"""Training on long series and over long times: truncated back-propagation, resumed runs, a schedule, a live plot."""

from keras_rnn_ext.training.batches import ArrayBatches
from keras_rnn_ext.training.checkpoint import Checkpoint
from keras_rnn_ext.training.live_plot import LivePlot
from keras_rnn_ext.training.metrics import Perplexity
from keras_rnn_ext.training.resume import ResumeTraining
from keras_rnn_ext.training.schedules import HoldThenDecay
from keras_rnn_ext.training.series import SeriesWindows
from keras_rnn_ext.training.truncated import TruncatedBPTT

__all__ = [
    "ArrayBatches",
    "Checkpoint",
    "HoldThenDecay",
    "LivePlot",
    "Perplexity",
    "ResumeTraining",
    "SeriesWindows",
    "TruncatedBPTT",
]
