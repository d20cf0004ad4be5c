"""Small language models of many kinds, for the tests of generation."""

import keras
import numpy as np
from keras import ops

from keras_rnn_ext import MyDense, MyEmbedding, MyGRU, MyGRUCell, MyLSTM, MyLSTMCell, MyRNN, MySimpleRNN
from keras_rnn_ext.text import Vocabulary

TOKENS = 7
SPREAD = keras.initializers.RandomNormal(stddev=1.5, seed=5)


def embedding(**options):
    return MyEmbedding(TOKENS, 4, embeddings_initializer=SPREAD, **options)


def head(**options):
    return MyDense(TOKENS, kernel_initializer=SPREAD, **options)


class Subclassed(keras.Model):
    """A model that only its `call` knows."""

    def __init__(self):
        super().__init__()
        self.embedding, self.lstm, self.norm, self.logits = (
            embedding(),
            MyLSTM(5, return_sequences=True, return_state=True),
            keras.layers.LayerNormalization(),
            head(),
        )

    def call(self, ids, training=False):
        features = self.embedding(ids)
        outputs, _, _ = self.lstm(features, training=training)
        return self.logits(self.norm(ops.concatenate([outputs, features * 2], axis=-1)))


class Residual(keras.layers.Layer):
    """A layer made of layers, one of them recurrent."""

    def __init__(self, layer, **kwargs):
        super().__init__(**kwargs)
        self.layer = layer

    def call(self, inputs):
        return inputs + self.layer(inputs)


def block():
    """A functional model for a fixed length; every block has layers of the same names."""
    inputs = keras.Input((9, 4))
    outputs = MySimpleRNN(4, return_sequences=True, name="rnn")(inputs)
    return keras.Model(inputs, keras.layers.Add(name="sum")([inputs, keras.layers.Dropout(0.5, name="drop")(outputs)]))


def shared():
    """One layer at two places: each has a state of its own."""
    ids = keras.Input((None,), dtype="int32")
    layer = MyGRU(4, return_sequences=True)
    return keras.Model(ids, head()(layer(layer(embedding()(ids)))))


def in_blocks():
    ids = keras.Input((9,))
    values = keras.Sequential([block()])(block()(embedding()(ids)))
    model = keras.Model(ids, head(activation="softmax")(values))
    # Its clone could not be compiled: the loss is not registered.
    model.compile("adam", lambda true, predicted: ops.mean(predicted))
    return model


def two_cells():
    cells = [MyLSTMCell(4), MyGRUCell(5)]
    return keras.Sequential(
        [keras.Input((9,), dtype="int32"), embedding(), MyRNN(cells, return_sequences=True), head()]
    )


def built(model):
    model(np.zeros((1, 4), "int32"))
    return model


def sequential(*layers, **options):
    return keras.Sequential([keras.Input(dtype="int32", **options), *layers])


MODELS = {
    "sequential of a fixed length": lambda: sequential(
        embedding(),
        MyGRU(5, return_sequences=True),
        keras.layers.Dropout(0.5),
        MyLSTM(4, return_sequences=True),
        head(),
        shape=(9,),
    ),
    "not told its input": lambda: built(keras.Sequential([embedding(), MyGRU(5, return_sequences=True), head()])),
    "softmax in a layer of its own": lambda: sequential(
        embedding(), MyGRU(5, return_sequences=True), head(), keras.layers.Softmax(), shape=(None,)
    ),
    "stateful for another batch": lambda: sequential(
        embedding(), MyLSTM(5, return_sequences=True, stateful=True), head(), batch_shape=(3, None)
    ),
    "last output only": lambda: sequential(embedding(), MyGRU(4, return_sequences=True), MyLSTM(5), head(), shape=(9,)),
    "padding": lambda: sequential(embedding(mask_zero=True), MyGRU(5, return_sequences=True), head(), shape=(None,)),
    "layer at two places": shared,
    "blocks in blocks": in_blocks,
    "stack of cells": two_cells,
    "subclassed": lambda: built(Subclassed()),
    "layers in a layer": lambda: sequential(embedding(), Residual(MyGRU(4, return_sequences=True)), head(), shape=(9,)),
    "stateful layer in a layer": lambda: sequential(
        embedding(), Residual(MyGRU(4, return_sequences=True, stateful=True)), head(), batch_shape=(3, None)
    ),
    "Keras's own layers": lambda: sequential(
        embedding(),
        keras.layers.GRU(5, return_sequences=True, dropout=0.5, recurrent_dropout=0.5),
        # Its cell draws its dropout masks at inference too.
        keras.layers.SimpleRNN(5, return_sequences=True, dropout=0.5, recurrent_dropout=0.5),
        head(),
        shape=(9,),
    ),
    "wrapped head": lambda: sequential(
        embedding(),
        MyGRU(5, return_sequences=True),
        keras.layers.TimeDistributed(head(activation="softmax")),
        shape=(None,),
    ),
}


def simple_model():
    """Its recurrent weights are large: what comes next depends on all that came before."""
    keras.utils.set_random_seed(3)
    layer = MyGRU(5, return_sequences=True, kernel_initializer=SPREAD, recurrent_initializer=SPREAD)
    return sequential(embedding(), layer, head(), shape=(None,))


def text_model(unknown=None):
    keras.utils.set_random_seed(2)
    vocabulary = Vocabulary.of_words("a b c d e\n", unknown=unknown)
    layers = [MyEmbedding(len(vocabulary), 4), MyGRU(5, return_sequences=True), MyDense(len(vocabulary))]
    return sequential(vocabulary, *layers, shape=(None,))
