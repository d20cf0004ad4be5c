"""Corpora, pre-trained word vectors, and text from trained models."""

from keras_rnn_ext.streaming import step_model
from keras_rnn_ext.text.files import read_text
from keras_rnn_ext.text.generation import generate
from keras_rnn_ext.text.samplers import Beam, Drawing, Greedy, Sampler, Temperature, TopK, TopP
from keras_rnn_ext.text.vectors import Coverage, pretrained_embedding, read_vectors
from keras_rnn_ext.text.vocabulary import Vocabulary
from keras_rnn_ext.text.windows import ContiguousWindows, contiguous_rows

__all__ = [
    # Corpora
    "ContiguousWindows",
    "Vocabulary",
    "contiguous_rows",
    "read_text",
    # Pre-trained vectors
    "Coverage",
    "pretrained_embedding",
    "read_vectors",
    # Generation
    "generate",
    "step_model",
    # Samplers
    "Beam",
    "Drawing",
    "Greedy",
    "Sampler",
    "Temperature",
    "TopK",
    "TopP",
]
