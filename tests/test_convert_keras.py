"""Whole Keras models with their recurrent layers replaced, and back."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_rnn_ext
from keras_rnn_ext import convert
from keras_rnn_ext.core.compat import all_layers
from tests.helpers import BACKEND, assert_close, to_numpy

RTOL = 1e-6
FEATURES = 3


def random_inputs(*shapes, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.normal(size=shape).astype("float32") for shape in shapes]


def shaken(model, seed=1):
    """The model with weights none of which is zero or one."""
    generator = np.random.default_rng(seed)
    model.set_weights(
        [weight + 0.3 * generator.normal(size=weight.shape).astype(weight.dtype) for weight in model.get_weights()]
    )
    return model


def classes(model):
    return [type(layer) for layer in all_layers(model)]


def theirs_of(model):
    return [cls for cls in classes(model) if issubclass(cls, keras.layers.RNN) and cls.__module__.startswith("keras.")]


def ours_of(model):
    return [cls for cls in classes(model) if cls.__module__.startswith("keras_rnn_ext.")]


def in_sequence():
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32", name="words"),
            keras.layers.Embedding(20, 5, mask_zero=True),
            keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True, use_cudnn=False), merge_mode="sum"),
            keras.layers.Bidirectional(
                keras.layers.GRU(3, return_sequences=True),
                backward_layer=keras.layers.LSTM(3, return_sequences=True, go_backwards=True),
            ),
            keras.layers.SimpleRNN(4, return_sequences=True, activation="relu"),
            keras.layers.GRU(4, reset_after=False, unroll=False),
            keras.layers.Dense(2),
        ],
        name="in_sequence",
    )


def of_cells():
    cells = [keras.layers.LSTMCell(4), keras.layers.GRUCell(3), keras.layers.SimpleRNNCell(2)]
    others = [keras.layers.SimpleRNNCell(2), keras.layers.LSTMCell(3)]
    return keras.Sequential(
        [
            keras.Input((6, FEATURES)),
            keras.layers.RNN(keras.layers.GRUCell(5), return_sequences=True),
            keras.layers.RNN(keras.layers.StackedRNNCells(cells), return_sequences=True),
            keras.layers.RNN(others),
        ]
    )


def as_graph():
    """Two inputs and two outputs, a shared layer, states handed on, operations without a layer."""
    first, second = keras.Input((None, FEATURES), name="first"), keras.Input((None, FEATURES), name="second")
    shared = keras.layers.LSTM(4, return_sequences=True, return_state=True, name="shared")
    one, hidden, carry = shared(keras.layers.Masking()(first))
    other, *_ = shared(second)
    decoded = keras.layers.LSTM(4, return_sequences=True, name="decoder")(second, initial_state=[hidden, carry])
    last = one[:, -1] + 2.0 * other[:, 0]
    doubled = keras.layers.Lambda(lambda values: 2 * ops.tanh(values), name="doubled")(last)
    return keras.Model({"first": first, "second": second}, {"sequence": decoded, "last": doubled}, name="as_graph")


def nested():
    """Models in a model, of which one is used twice and one stands in a wrapper."""
    inner = keras.Sequential([keras.Input((None, FEATURES)), keras.layers.GRU(4, name="deep")], name="inner")
    of_words = keras.Sequential([keras.Input((5, FEATURES)), keras.layers.SimpleRNN(3)], name="of_words")
    texts = keras.Input((None, 5, FEATURES), name="texts")
    flat = keras.Input((None, FEATURES), name="flat")
    sentences = keras.layers.TimeDistributed(of_words)(texts)
    twice = keras.layers.TimeDistributed(keras.layers.LSTM(2))(texts)
    joined = keras.layers.LSTM(4)(keras.layers.concatenate([sentences, twice]))
    return keras.Model([texts, flat], joined + inner(flat) + inner(-flat))


WORDS = np.array([[3, 4, 5, 0, 0], [1, 2, 0, 0, 0], [7, 8, 9, 10, 11]], "int32")
MODELS = {
    "in_sequence": (in_sequence, lambda: WORDS),
    "of_cells": (of_cells, lambda: random_inputs((2, 6, FEATURES))[0]),
    "as_graph": (as_graph, lambda: dict(zip(("first", "second"), random_inputs((2, 5, 3), (2, 4, 3)), strict=True))),
    "nested": (nested, lambda: random_inputs((2, 4, 5, 3), (2, 6, 3))),
}


@pytest.mark.parametrize("name", MODELS)
def test_copy_gives_the_numbers_of_the_original_there_and_back(name):
    make, inputs = MODELS[name]
    model, inputs = shaken(make()), inputs()
    before, weights, expected = classes(model), model.get_weights(), model.predict(inputs, verbose=0)
    ours = convert.model(model)
    assert not theirs_of(ours)
    assert ours_of(ours)
    assert type(ours) is type(model)
    assert [layer.name for layer in all_layers(ours)] == [layer.name for layer in all_layers(model)]
    assert_close(ours.predict(inputs, verbose=0), expected, RTOL)
    back = convert.model(ours, to="keras")
    assert not ours_of(back)
    assert classes(back) == before
    assert_close(back.get_weights(), weights, 0.0)
    assert back.get_config() == model.get_config()
    # The copy has weights of its own, and the original is as it was.
    shaken(ours, seed=2)
    assert classes(model) == before
    assert_close(model.get_weights(), weights, 0.0)
    assert_close(model.predict(inputs, verbose=0), expected, 0.0)


def test_shared_layer_stays_shared():
    ours = convert.model(as_graph())
    assert len(ours.weights) == len(as_graph().weights)
    ours = convert.model(nested())
    assert [layer.name for layer in all_layers(ours)].count("deep") == 1


def test_cell_of_two_layers_is_refused():
    cell = keras.layers.GRUCell(FEATURES)
    layers = [keras.layers.RNN(cell, return_sequences=True), keras.layers.RNN(cell)]
    with pytest.raises(ValueError, match="has layers that share a part.* 5 layers and cells, its copy of 6"):
        convert.model(keras.Sequential([keras.Input((5, FEATURES)), *layers]))


def test_trainable_flags_and_use_of_cudnn_are_kept():
    model = in_sequence()
    model.layers[1].forward_layer.cell.trainable = False
    model.layers[3].trainable = False
    ours = convert.model(model)
    assert [weight.shape for weight in ours.trainable_weights] == [weight.shape for weight in model.trainable_weights]
    assert ours.layers[1].forward_layer.use_cudnn is False
    assert ours.layers[1].backward_layer.use_cudnn is False
    assert ours.layers[2].forward_layer.use_cudnn == "auto"


@pytest.mark.parametrize("wrap", [lambda layer: layer, keras.layers.Bidirectional], ids=["one", "both directions"])
def test_carried_states_come_along(wrap):
    model = keras.Sequential(
        [keras.Input(batch_shape=(2, None, FEATURES)), wrap(keras.layers.LSTM(4, stateful=True)), keras.layers.Dense(1)]
    )
    first, second = random_inputs((2, 5, FEATURES), (2, 4, FEATURES))
    # In a call, which carries states on every backend.
    model(first)
    ours = convert.model(model)
    back = convert.model(ours, to="keras")
    expected = to_numpy(model(second))
    assert_close(ours(second), expected, RTOL)
    assert_close(back(second), expected, RTOL)
    model(first)
    fresh = to_numpy(convert.model(keras.models.clone_model(model))(second))
    assert np.abs(fresh - expected).max() > 1e-3


def test_training_goes_on_as_it_would_have():
    inputs, targets = random_inputs((8, 5, FEATURES), (8, 1))

    def trained():
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.Input((5, FEATURES)), keras.layers.GRU(4), keras.layers.Dense(1)])
        model.compile(keras.optimizers.Adam(0.02), "mse", metrics=["mae"], jit_compile=False)
        model.fit(inputs, targets, epochs=3, batch_size=8, verbose=0)
        return model

    ours = convert.model(trained())
    assert ours.compiled
    assert int(ours.optimizer.iterations) == 3
    theirs = trained()
    kept = theirs.fit(inputs, targets, epochs=3, batch_size=8, verbose=0)
    made = ours.fit(inputs, targets, epochs=3, batch_size=8, verbose=0)
    assert sorted(made.history) == sorted(kept.history) == ["loss", "mae"]
    assert_close([np.array(made.history["loss"])], [np.array(kept.history["loss"])], RTOL)


def test_loss_and_metric_of_ones_own_are_kept():
    def own_loss(truth, predicted):
        return ops.mean(ops.abs(truth - predicted))

    class OwnMetric(keras.metrics.Mean):
        def update_state(self, truth, predicted, sample_weight=None):
            return super().update_state(ops.abs(truth - 2 * predicted))

    model = keras.Sequential([keras.Input((5, FEATURES)), keras.layers.GRU(4)])
    model.compile("sgd", own_loss, metrics=[OwnMetric(name="own")])
    inputs, targets = random_inputs((2, 5, FEATURES), (2, 4))
    expected = model.evaluate(inputs, targets, verbose=0)
    ours = convert.model(model)
    assert ours.compiled
    assert model.compiled
    assert_close(ours.evaluate(inputs, targets, verbose=0), expected, RTOL)


def test_what_cannot_be_compiled_again_is_said():
    model = keras.Sequential([keras.Input((5, FEATURES)), keras.layers.GRU(4)])

    def own_metric(truth, predicted):
        return ops.mean(truth - predicted)

    model.compile("sgd", "mse", metrics=[own_metric])
    with pytest.warns(UserWarning, match="is not compiled. Call `compile`"):
        ours = convert.model(model)
    assert not ours.compiled
    assert model.compiled


def test_model_that_is_not_built_is_copied_too():
    ours = convert.model(keras.Sequential([keras.layers.GRU(4), keras.layers.Dense(1)]))
    assert not ours.built
    assert tuple(ours(random_inputs((2, 5, FEATURES))[0]).shape) == (2, 1)


def test_saved_copy_loads(tmp_path):
    inputs = random_inputs((2, 6, FEATURES))[0]
    ours = convert.model(shaken(of_cells()))
    ours.save(tmp_path / "ours.keras")
    assert_close(keras.models.load_model(tmp_path / "ours.keras")(inputs), to_numpy(ours(inputs)), RTOL)


def test_single_layer():
    layer = keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True), name="both")
    inputs = random_inputs((2, 5, FEATURES))[0]
    expected = to_numpy(layer(inputs))
    ours = convert.model(layer)
    assert isinstance(ours, keras_rnn_ext.MyBidirectional)
    assert_close(ours(inputs), expected, RTOL)
    assert_close(convert.model(ours, to="keras")(inputs), expected, RTOL)


def test_cells_of_others_stay_in_our_layer():
    @keras.saving.register_keras_serializable(package="test_convert")
    class Own(keras.layers.Layer):
        state_size = output_size = FEATURES

        def build(self, shape):
            self.scale = self.add_weight(shape=(FEATURES,), name="scale")

        def call(self, inputs, states):
            output = inputs * self.scale + states[0]
            return output, [output]

    model = shaken(keras.Sequential([keras.Input((4, FEATURES)), keras.layers.RNN(Own())]))
    inputs = random_inputs((2, 4, FEATURES))[0]
    ours = convert.model(model)
    assert type(ours.layers[0]) is keras_rnn_ext.MyRNN
    assert type(ours.layers[0].cell) is Own
    assert_close(ours.predict(inputs, verbose=0), model.predict(inputs, verbose=0), RTOL)


def test_our_dense_and_embedding_become_keras_ones():
    ours = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras_rnn_ext.MyEmbedding(20, 5, mask_zero=True),
            keras_rnn_ext.MyGRU(4, recompute=True, unroll=2),
            keras_rnn_ext.MyDense(2),
        ]
    )
    theirs = convert.model(ours, to="keras")
    assert [type(layer).__name__ for layer in theirs.layers] == ["Embedding", "GRU", "Dense"]
    assert theirs.layers[1].unroll is False
    assert_close(theirs.predict(WORDS, verbose=0), ours.predict(WORDS, verbose=0), RTOL)


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (lambda: keras_rnn_ext.PeepholeLSTM(4, name="mine"), "Layer 'mine' has no counterpart in Keras: PeepholeLSTM"),
        (
            lambda: keras_rnn_ext.MyGRU(4, time_major=True, name="mine"),
            "'mine' cannot become .*no argument `time_major`",
        ),
        (
            lambda: keras_rnn_ext.MyLSTM(4, learned_initial_state=True, name="mine"),
            "no argument `learned_initial_state`",
        ),
        (
            lambda: keras_rnn_ext.MyRNN([keras_rnn_ext.MyGRUCell(4), keras_rnn_ext.MGUCell(4, name="low")]),
            "Layer 'low' has no counterpart in Keras: MGUCell",
        ),
        (
            lambda: keras_rnn_ext.MyBidirectional(keras_rnn_ext.MyGRU(4, time_major=True)),
            "'forward_my_gru.*' cannot become .*`time_major`",
        ),
        (
            lambda: keras.layers.TimeDistributed(keras_rnn_ext.MGU(4, name="inside")),
            "Layer 'inside' has no counterpart",
        ),
    ],
)
def test_what_keras_lacks_is_named(layer, said):
    with pytest.raises(ValueError, match=said):
        convert.model(layer(), to="keras")


class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.recurrent = keras.layers.LSTM(4)

    def call(self, inputs):
        return self.recurrent(inputs)


class GraphOfItsOwn(keras.Model):
    def __init__(self, units):
        inputs = keras.Input((None, FEATURES))
        super().__init__(inputs, keras.layers.LSTM(units)(inputs))


class Holder(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.recurrent = keras.layers.LSTM(4)

    def call(self, inputs):
        return self.recurrent(inputs)


def test_classes_of_ones_own_are_refused_with_what_to_do():
    with pytest.raises(ValueError, match="whose layers stand in its own code. Write our layers .*set_weights"):
        convert.model(Subclassed())
    with pytest.raises(ValueError, match="whose layers stand in its own code"):
        convert.model(keras.Sequential([keras.Input((5, FEATURES)), Subclassed()]))
    with pytest.raises(
        ValueError, match="GraphOfItsOwn, which cannot be made from its layers.*keras.Model.model.inputs"
    ):
        convert.model(GraphOfItsOwn(4))
    with pytest.raises(ValueError, match="a Holder, makes 'lstm.*', a LSTM, in its own code"):
        convert.model(keras.Sequential([keras.Input((5, FEATURES)), Holder()]))
    graph = GraphOfItsOwn(4)
    inputs = random_inputs((2, 5, FEATURES))[0]
    plain = convert.model(keras.Model(graph.inputs, graph.outputs))
    assert_close(plain.predict(inputs, verbose=0), graph.predict(inputs, verbose=0), RTOL)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="Argument `to` must be one of .*'ours', 'keras'"):
        convert.model(of_cells(), to="torch")
    with pytest.raises(TypeError, match="Argument `model` must be a Keras model or layer. Received: str"):
        convert.model("model.keras")


def test_class_with_a_training_step_of_its_own_is_kept():
    class Own(keras.Model):
        def test_step(self, *arguments):
            return {"own": 1.0}

    inputs = keras.Input((None, FEATURES))
    ours = convert.model(Own(inputs, keras.layers.GRU(4)(inputs)))
    assert type(ours) is Own


@pytest.mark.skipif(BACKEND != "tensorflow", reason="Keras computes in float64 throughout on TensorFlow alone")
def test_float64_is_kept():
    inputs = random_inputs((2, 5, FEATURES))[0].astype("float64")
    model = shaken(
        keras.Sequential([keras.Input((5, FEATURES), dtype="float64"), keras.layers.LSTM(4, dtype="float64")])
    )
    ours = convert.model(model)
    assert ours.layers[0].compute_dtype == "float64"
    assert_close(ours(inputs), to_numpy(model(inputs)), 1e-12)
