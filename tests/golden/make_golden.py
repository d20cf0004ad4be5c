"""Writes a golden file: a model saved by one version, with the numbers that it gives. They are loaded for ever.

A new version adds a folder, a new kind of model a file, and what is there stays:
python tests/golden/make_golden.py VERSION
"""

import pathlib
import sys

import keras
import numpy as np

from keras_rnn_ext import (
    DropoutWrapper,
    IndRNN,
    MaxAbsolute,
    MyBidirectional,
    MyDense,
    MyEmbedding,
    MyGRU,
    MyGRUCell,
    MyLSTM,
    MyLSTMCell,
    MyRNN,
    MySimpleRNN,
    MySimpleRNNCell,
    MyStackedRNNCells,
    ResidualWrapper,
    ZoneoutWrapper,
)
from keras_rnn_ext.layers.convolutional import CONVOLUTIONAL
from keras_rnn_ext.registry import ROWS


def models():
    """A model of each kind, by name; with `catalogue` they hold every public class."""
    words = keras.Input((None,), dtype="int32")
    embedded = MyEmbedding(7, 3, mask_zero=True)(words)
    sequence = MyBidirectional(MyLSTM(2, return_sequences=True, dropout=0.1, seed=1))(embedded)
    yield "text", keras.Model(words, MyDense(2, activation="softmax")(MyGRU(3, reset_after=False)(sequence)))

    inputs = keras.Input((None, 2))
    stack = MyStackedRNNCells([MyLSTMCell(2), MyGRUCell(3), MySimpleRNNCell(2)])
    yield "stack", keras.Model(inputs, MyRNN(stack, return_sequences=True, return_state=True, unroll=2)(inputs))

    inputs = keras.Input(batch_shape=(2, 4, 2))
    options = {"stateful": True, "save_states": True, "zero_output_for_mask": True}
    outputs = MySimpleRNN(3, return_sequences=True, go_backwards=True, activity_regularizer="l2", **options)(inputs)
    head = MyLSTM(2, implementation=1, dropout=0.5, learned_initial_state=True)
    yield "stateful", keras.Model(inputs, head(outputs))

    inputs = keras.Input((None, 2))
    wrapped = DropoutWrapper(MyLSTMCell(2, recurrent_dropconnect=0.1), 0.1, 0.1, 0.1, per_step=True, seed=1)
    yield "wrappers", keras.Model(inputs, MyRNN(ResidualWrapper(wrapped), return_sequences=True)(inputs))

    inputs = keras.Input((None, 2))
    layers = {name: cls for name, cls in CONVOLUTIONAL.items() if not name.endswith("Cell")}
    images = [keras.layers.Reshape((-1, *[1] * (rank - 1), 2, 1))(inputs) for rank in (1, 2, 3)]
    outputs = [layers[name](2, 1)(images[int(name[-2]) - 1]) for name in sorted(layers)]
    yield "images", keras.Model(inputs, outputs)


def catalogue():
    """A model with the layer of every cell of the catalogue, one beside the other, and a wrapped cell."""
    inputs = keras.Input((None, 2))
    layers = [row.layer(2 * row.multiple, **row.variants[-1]) for row in ROWS]
    layers += [MyRNN(ZoneoutWrapper(MyLSTMCell(2), 0.1, 0.2, seed=1))]
    layers += [IndRNN(2, recurrent_constraint=MaxAbsolute(1.5), dropout=0.1, recurrent_dropout=0.1, seed=2)]
    return keras.Model(inputs, [layer(inputs) for layer in layers])


def numbers(name):
    """The input that the golden answer belongs to."""
    generator = np.random.default_rng(1)
    return generator.integers(0, 7, (2, 5)) if name == "text" else generator.normal(size=(2, 4, 2)).astype("float32")


def main(version):
    folder = pathlib.Path(__file__).parent / version
    folder.mkdir(exist_ok=True)
    # 0.1.0 also has `cells`, an older catalogue.
    for name, model in [*models(), ("catalogue", catalogue())]:
        if (folder / f"{name}.keras").exists():
            continue
        generator = np.random.default_rng(1)
        if name == "catalogue":
            # Some cells have weights that must not be anything, and some that are not trained.
            for weight in model.trainable_weights:
                weight.assign(weight + 0.1 * generator.normal(size=weight.shape))
        else:
            model.set_weights([generator.normal(size=weight.shape) for weight in model.weights])
        if name == "stateful":
            model(numbers(name))  # So that there is a state to save.
        model.save(folder / f"{name}.keras")
        model.save_weights(folder / f"{name}.weights.h5")
        outputs = keras.tree.flatten(model(numbers(name)))
        np.savez(folder / f"{name}.npz", *[keras.ops.convert_to_numpy(output) for output in outputs])


if __name__ == "__main__":
    main(sys.argv[1])
