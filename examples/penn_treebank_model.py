"""The models of examples/penn_treebank.py: their sizes, how they are trained and how they are evaluated."""

import dataclasses
from typing import Any

import keras
import numpy as np

from keras_rnn_ext import MyDense, MyEmbedding, MyLSTM
from keras_rnn_ext.text import Vocabulary
from keras_rnn_ext.training import HoldThenDecay, Perplexity, TruncatedBPTT

LAYERS = 2
WINDOWS_PER_CALL = 20
EVALUATION_WINDOW = 100  # words; without gradients it changes only the speed
# The products of large matrices take most of the time, and XLA does not hasten these on a processor.
JIT_COMPILE = False if keras.backend.backend() == "tensorflow" else "auto"


@dataclasses.dataclass(frozen=True)
class Config:
    """What `--config` stands for. The first four are options as well, and may be given one by one."""

    epochs: int
    units: int  # of each LSTM and of a word's vector
    steps: int  # words that the gradient looks back
    scale: float  # first weights are uniform between -scale and scale
    dropout: float  # of the words' vectors and of each LSTM's outputs
    hold_epochs: int  # with the first learning rate
    decay: float  # of the learning rate, each epoch after these
    clip: float  # largest norm of all gradients together
    batch: int = 20
    learning_rate: float = 1.0
    unit_forget_bias: bool = False  # and biases of zero; otherwise biases are drawn like all weights
    paper: tuple[float, float] | None = None  # perplexities of validation and test there

    def schedule(self, updates_per_epoch: int = 1) -> HoldThenDecay:
        """The learning rate: of an update, or without a number of these of an epoch."""
        return HoldThenDecay(self.learning_rate, self.hold_epochs, self.decay, updates_per_epoch)


CONFIGS = {
    "article": Config(39, 650, 35, 0.05, 0.5, 10, 0.93, 5.0, unit_forget_bias=True),
    "small": Config(13, 200, 20, 0.1, 0.0, 4, 1 / 2, 5.0, paper=(120.7, 114.5)),
    "medium": Config(39, 650, 35, 0.05, 0.5, 6, 1 / 1.2, 5.0, paper=(86.2, 82.7)),
    "large": Config(55, 1500, 35, 0.04, 0.65, 14, 1 / 1.15, 10.0, paper=(82.2, 78.4)),
}


def build_model(vocabulary: Vocabulary, config: Config, rows: int, seed: int = 0) -> keras.Model:
    """Ids of words -> logits of the next ones, with a state for each of the rows. `seed` is that of dropout."""
    # Without a seed, dropout on PyTorch draws from PyTorch's own generator, which no checkpoint has.
    dropouts = [keras.layers.Dropout(config.dropout, seed=(LAYERS + 1) * seed + place) for place in range(LAYERS + 1)]

    def uniform() -> keras.initializers.Initializer:
        return keras.initializers.RandomUniform(-config.scale, config.scale)

    layers: list[Any] = [
        keras.Input(batch_shape=(rows, None), dtype="int32"),
        vocabulary,
        MyEmbedding(len(vocabulary), config.units, embeddings_initializer=uniform()),
        dropouts[0],
    ]
    for dropout in dropouts[1:]:
        lstm = MyLSTM(
            config.units,
            kernel_initializer=uniform(),
            recurrent_initializer=uniform(),
            bias_initializer="zeros" if config.unit_forget_bias else uniform(),
            unit_forget_bias=config.unit_forget_bias,
            return_sequences=True,
            stateful=True,
        )
        layers += [lstm, dropout]
    layers.append(MyDense(len(vocabulary), kernel_initializer=uniform(), bias_initializer=uniform()))
    return keras.Sequential(layers)


class ClippedDescent(keras.optimizers.SGD):
    """Gradient descent whose `global_clipnorm` knows a word that comes twice.

    TensorFlow gives an embedding's gradient in slices, one for each word of the window, and Keras takes the norm of
    the slices. The norm of the gradient is that of their sum.
    """

    def apply(self, grads: list, trainable_variables: list | None = None) -> None:
        # The sum with a number is no longer in slices.
        whole = [keras.ops.add(grad, 0.0) if hasattr(grad, "dense_shape") else grad for grad in grads]
        super().apply(whole, trainable_variables)


def make_trainer(vocabulary: Vocabulary, config: Config, updates_per_epoch: int, seed: int = 0) -> TruncatedBPTT:
    """The model in its trainer, compiled."""
    model = build_model(vocabulary, config, config.batch, seed)
    trainer = TruncatedBPTT(model, config.steps, windows_per_call=WINDOWS_PER_CALL)
    trainer.compile(
        ClippedDescent(config.schedule(updates_per_epoch), global_clipnorm=config.clip),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        # The cost is the sum over the steps, and not their mean, of what a batch costs on average.
        loss_weights=float(config.steps),
        jit_compile=JIT_COMPILE,
    )
    return trainer


def make_tester(model: keras.Model) -> TruncatedBPTT:
    """A model of one row, to be evaluated on texts."""
    tester = TruncatedBPTT(model, EVALUATION_WINDOW, windows_per_call=WINDOWS_PER_CALL)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Weighted by the mask: what fills up the last window does not count.
    metrics = [Perplexity(from_logits=True), "accuracy"]
    tester.compile(loss=loss, weighted_metrics=metrics, jit_compile=JIT_COMPILE)
    return tester


def evaluate(tester: TruncatedBPTT, ids: np.ndarray) -> dict[str, float]:
    """Perplexity and accuracy of all words but the first, read in one row from a zero state."""
    results = tester.evaluate(ids[None, :-1], ids[None, 1:], verbose=0, return_dict=True)
    return {name: float(results[name]) for name in ("perplexity", "accuracy")}


def predictions(tester: TruncatedBPTT, vocabulary: Vocabulary, ids: np.ndarray) -> list[dict[str, Any]]:
    """The three words that the model finds most probable after each word, and the true one."""
    logits = tester.predict(ids[None, :-1], verbose=0)[0]
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    odds /= odds.sum(-1, keepdims=True)
    words = vocabulary.tokens
    return [
        {
            "after": words[ids[place]],
            "true": words[ids[place + 1]],
            "predicted": {words[word]: round(float(row[word]), 4) for word in np.argsort(-row)[:3]},
        }
        for place, row in enumerate(odds)
    ]
