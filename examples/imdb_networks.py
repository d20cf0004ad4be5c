"""The network of `imdb_sentiment.py` as layers and as cells, trained by `fit` and by a loop of one's own."""

import dataclasses
import sys
import time
from collections.abc import Callable
from typing import Any

import keras
from example_tools import Progress
from imdb_reviews import Batches, Part
from keras import ops

from keras_rnn_ext import MyDense, MyEmbedding, MyGRU, MyGRUCell, MyLSTM, MyLSTMCell, MySimpleRNN, MySimpleRNNCell

LAYERS = {"simple_rnn": MySimpleRNN, "lstm": MyLSTM, "gru": MyGRU}
CELLS = {"simple_rnn": MySimpleRNNCell, "lstm": MyLSTMCell, "gru": MyGRUCell}


@dataclasses.dataclass(frozen=True)
class Network:
    """What all three ways build: an embedding, two recurrent layers, a classifier."""

    cell: str
    words: int
    embedding: int
    units: int
    hidden: int  # units of the classifier's hidden layer; 0: no such layer
    dropout: float
    mask: bool
    train_embedding: bool

    def first(self) -> keras.Layer:
        """The embedding."""
        frozen = {} if self.train_embedding else {"trainable": False}
        return MyEmbedding(self.words, self.embedding, mask_zero=self.mask, **frozen)

    def last(self) -> list[keras.Layer]:
        """The classifier: the probability of a good review."""
        output = MyDense(1, activation="sigmoid")
        if not self.hidden:
            return [output]
        return [MyDense(self.hidden), keras.layers.Dropout(self.dropout), keras.layers.ReLU(), output]


def stacked_layers(network: Network) -> keras.Sequential:
    """The network as a stack of layers."""
    layer = LAYERS[network.cell]
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            network.first(),
            layer(network.units, dropout=network.dropout, return_sequences=True),
            layer(network.units, dropout=network.dropout),
            *network.last(),
        ]
    )


@keras.saving.register_keras_serializable(package="imdb_sentiment")
class UnrolledCells(keras.Model):
    """The network as two cells that are called word by word.

    `order="steps"` takes each word through both cells before the next; `order="layers"` takes all words through the
    first cell, then all its outputs through the second.
    """

    def __init__(self, network: dict, order: str, **kwargs: Any):
        super().__init__(**kwargs)
        self.network, self.order = Network(**network), order
        self.embedding = self.network.first()
        self.cells = [CELLS[self.network.cell](self.network.units, dropout=self.network.dropout) for _ in range(2)]
        self.classifier = keras.Sequential([keras.Input((self.network.units,)), *self.network.last()])

    def build(self, input_shape: tuple) -> None:
        self.embedding.build(input_shape)
        for cell, features in zip(self.cells, (self.network.embedding, self.network.units), strict=True):
            cell.build((None, features))
        self.built = True

    def call(self, ids: Any, training: bool = False) -> Any:
        words = ops.unstack(self.embedding(ids), axis=1)
        valid = ops.unstack(ops.not_equal(ids, 0)[..., None], axis=1) if self.network.mask else [None] * len(words)
        for cell in self.cells:
            # A cell keeps one dropout mask for all steps. It must be told where a new sequence begins.
            cell.reset_dropout_mask()
        states = [cell.get_initial_state(ops.shape(ids)[0]) for cell in self.cells]
        if self.order == "steps":
            for output, is_word in zip(words, valid, strict=True):
                for place, cell in enumerate(self.cells):
                    output, states[place] = self._step(cell, output, states[place], is_word, training)
        else:
            outputs = words
            for cell, state in zip(self.cells, states, strict=True):
                sequence, outputs = outputs, []
                for output, is_word in zip(sequence, valid, strict=True):
                    output, state = self._step(cell, output, state, is_word, training)
                    outputs.append(output)
            output = outputs[-1]
        return self.classifier(output, training=training)

    @staticmethod
    def _step(cell: keras.Layer, inputs: Any, state: list, is_word: Any, training: bool) -> tuple[Any, list]:
        """One call of a cell. Padding leaves the state as it was, whose first tensor is the output in these cells."""
        output, new = cell(inputs, state, training=training)
        if is_word is None:
            return output, new
        kept = [ops.where(is_word, after, before) for after, before in zip(new, state, strict=True)]
        return kept[0], kept

    def get_config(self) -> dict:
        return {**super().get_config(), "network": dataclasses.asdict(self.network), "order": self.order}


# A training loop of one's own: for each backend a step, from a batch to its loss and the probabilities before it


def tensorflow_step(model: keras.Model) -> Callable:
    """A step with `GradientTape`. Without `tf.function` it would do the same, slower."""
    import tensorflow as tf

    @tf.function
    def step(ids: Any, labels: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            probabilities = model(ids, training=True)
            loss = keras.losses.BinaryCrossentropy()(labels, probabilities)
        gradients = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply(gradients, model.trainable_variables)
        return loss, probabilities

    return step


def jax_step(model: keras.Model) -> Callable:
    """A step with `value_and_grad`: a pure function gets and gives the values of all variables."""
    import jax

    def loss_of(trained: list, others: list, ids: Any, labels: Any) -> tuple[Any, tuple]:
        probabilities, others = model.stateless_call(trained, others, ids, training=True)
        return keras.losses.BinaryCrossentropy()(labels, probabilities), (probabilities, others)

    @jax.jit
    def pure(trained: list, others: list, optimizer: list, ids: Any, labels: Any) -> tuple[Any, ...]:
        differentiate = jax.value_and_grad(loss_of, has_aux=True)
        (loss, (probabilities, others)), gradients = differentiate(trained, others, ids, labels)
        trained, optimizer = model.optimizer.stateless_apply(optimizer, gradients, trained)
        return loss, probabilities, (trained, others, optimizer)

    def step(ids: Any, labels: Any) -> tuple[Any, Any]:
        groups = model.trainable_variables, model.non_trainable_variables, model.optimizer.variables
        loss, probabilities, new = pure(*([each.value for each in group] for group in groups), ids, labels)
        for group, values in zip(groups, new, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)
        return loss, probabilities

    return step


def torch_step(model: keras.Model) -> Callable:
    """A step with `backward`."""
    import torch

    def step(ids: Any, labels: Any) -> tuple[Any, Any]:
        model.zero_grad()
        probabilities = model(ids, training=True)
        loss = keras.losses.BinaryCrossentropy()(labels, probabilities)
        loss.backward()
        with torch.no_grad():
            variables = model.trainable_variables
            model.optimizer.apply([variable.value.grad for variable in variables], variables)
        return loss.detach(), probabilities.detach()

    return step


STEPS = {"tensorflow": tensorflow_step, "jax": jax_step, "torch": torch_step}


def train_by_fit(
    model: keras.Model, batches: Batches, validation: Part, epochs: int, keeper: keras.callbacks.Callback
) -> None:
    """Keras's own loop."""
    model.fit(
        batches,
        epochs=epochs,
        initial_epoch=batches.epoch,
        shuffle=False,
        validation_data=tuple(validation),
        callbacks=[Progress(epochs * len(batches), batches.epoch * len(batches)), keeper],
        verbose=0,
    )


def train_by_loop(
    model: keras.Model, batches: Batches, validation: Part, epochs: int, keeper: keras.callbacks.Callback
) -> None:
    """The same, written out, with the running loss and accuracy printed in place."""
    keeper.set_model(model)
    model.stop_training = False
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    step, end = STEPS[keras.backend.backend()](model), "" if sys.stdout.isatty() else "\n"
    mean, accuracy = keras.metrics.Mean(), keras.metrics.BinaryAccuracy()
    start, first = time.monotonic(), batches.epoch
    for epoch in range(first, epochs):
        mean.reset_state()
        accuracy.reset_state()
        for place in range(len(batches)):
            ids, labels = batches[place]
            loss, probabilities = step(ids, labels)
            mean.update_state(loss)
            accuracy.update_state(labels, probabilities)
            if not end or place == len(batches) - 1:
                logs = {"loss": float(mean.result()), "accuracy": float(accuracy.result())}
                done = (epoch - first) + (place + 1) / len(batches)
                left = (time.monotonic() - start) * ((epochs - first) / done - 1)
                print(
                    f"\rEpoch {epoch + 1}/{epochs}, batch {place + 1}/{len(batches)}: loss {logs['loss']:.3f}, running "
                    f"accuracy {logs['accuracy']:.3f}, {left:.0f} s left ",
                    end=end,
                    flush=True,
                )
        batches.on_epoch_end()
        judged = model.evaluate(*validation, verbose=0, return_dict=True)
        keeper.on_epoch_end(epoch, {**logs, **{f"val_{name}": value for name, value in judged.items()}})
        if model.stop_training:
            break
    print()
