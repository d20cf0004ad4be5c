"""What is wrong gets an error that names the argument, what was expected and what came."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_rnn_ext
from keras_rnn_ext import MyBidirectional, MyGRU, MyLSTM, MyLSTMCell, MyRNN, MySimpleRNN, MyStackedRNNCells
from tests.helpers import BACKEND, to_numpy

LAYERS = [MySimpleRNN, MyLSTM, MyGRU]
CELLS = [keras_rnn_ext.MySimpleRNNCell, MyLSTMCell, keras_rnn_ext.MyGRUCell]
SEQUENCES = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("shape", [(2, 3), (3,), (2, 5, 3, 1)])
def test_wrong_rank(layer, shape):
    with pytest.raises(ValueError, match=r"expected ndim=3, found ndim=\d.*Full shape received"):
        layer(4)(np.zeros(shape, "float32"))


def test_wrong_rank_for_a_cell_of_any_kind():
    with pytest.raises(ValueError, match=r"Argument `sequences` of layer .* must have the shape \(batch, steps, feat"):
        MyRNN(MyLSTMCell(4))(np.zeros((2, 3), "float32"))


@pytest.mark.parametrize("layer", LAYERS)
def test_wrong_feature_size_after_build(layer):
    made = layer(4)
    made(SEQUENCES)
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 3"):
        made(np.zeros((2, 5, 4), "float32"))


@pytest.mark.parametrize("cell", CELLS)
def test_wrong_feature_size_of_a_cell(cell):
    made = cell(4)
    made(SEQUENCES[:, 0], made.get_initial_state(2))
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 3"):
        made(np.zeros((2, 4), "float32"), made.get_initial_state(2))


@pytest.mark.parametrize("make", LAYERS + CELLS)
@pytest.mark.parametrize("units", [0, -1, 2.5, "a", None, True])
def test_units(make, units):
    with pytest.raises(ValueError, match=r"`units` must be a positive integer\. Received: units="):
        make(units)


@pytest.mark.parametrize("make", LAYERS + CELLS)
@pytest.mark.parametrize("argument", ["dropout", "recurrent_dropout"])
@pytest.mark.parametrize(("rate", "clipped"), [(-1, 0.0), (2, 1.0)])
def test_rates_are_clipped_as_in_keras_and_that_is_said(make, argument, rate, clipped):
    with pytest.warns(UserWarning, match=rf"Argument `{argument}` is a rate .* Received: {argument}={rate}"):
        made = make(4, **{argument: rate})
    assert getattr(made, argument) == clipped == getattr(getattr(made, "cell", made), argument)


@pytest.mark.parametrize("rate", ["a", None, True, float("nan")])
def test_rates_that_are_no_numbers(rate):
    with pytest.raises(ValueError, match="`dropout`, expected a number from 0 to 1"):
        MyLSTM(4, dropout=rate)


@pytest.mark.parametrize("layer", LAYERS)
def test_dropping_everything_leaves_nothing_of_the_input(layer):
    made = layer(4, dropout=1.0)
    outputs = [to_numpy(made(scale * SEQUENCES, training=True)) for scale in (1, 2)]
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_order_of_some_tutorials(layer):
    with pytest.raises(TypeError, match=r"`activation` must be .*Received: activation=True.*`return_sequences=True`"):
        layer(32, True)


@pytest.mark.parametrize("argument", ["kernel_initializer", "bias_regularizer", "recurrent_constraint"])
def test_numbers_for_keras_objects(argument):
    with pytest.raises(TypeError, match=rf"Argument `{argument}` must be the name of a Keras"):
        MyGRU(4, **{argument: 3})


def test_unknown_arguments():
    with pytest.raises(ValueError, match="Unrecognized keyword arguments.*unit"):
        MyLSTM(4, unit=3)
    with pytest.raises(TypeError, match="MyLSTM: missing a required argument: 'units'. Its arguments: "):
        MyLSTM()


def test_use_cudnn():
    with pytest.raises(
        ValueError, match=r"`use_cudnn`\. Expected one of 'auto', True, False\. Received: use_cudnn='y'"
    ):
        MyLSTM(4, use_cudnn="y")
    with pytest.raises(ValueError, match=r"use_cudnn=True was specified, but cuDNN does not serve"):
        MyLSTM(4, use_cudnn=True)(SEQUENCES)


@pytest.mark.parametrize("unroll", [0, -1, 2.5, "a", None])
def test_unroll(unroll):
    with pytest.raises(ValueError, match=r"Argument `unroll` must be False, True, or the number of steps per turn"):
        MyLSTM(4, unroll=unroll)


@pytest.mark.parametrize("cell", [3, None, object(), "lstm"])
def test_cells_that_are_none(cell):
    with pytest.raises(ValueError, match=r"Argument `cell` should have a `call` method"):
        MyRNN(cell)


def test_stacks():
    with pytest.raises(ValueError, match="Argument `cells` must hold at least one cell"):
        MyStackedRNNCells([])
    stack = MyStackedRNNCells([MyLSTMCell(3), MyLSTMCell(4)])
    with pytest.raises(ValueError, match="one entry for each of the 2 cells.* Received: 1 entries"):
        stack(SEQUENCES[:, 0], stack.get_initial_state(2)[:1])


@pytest.mark.parametrize(
    ("states", "error", "message"),
    [
        (np.zeros((2, 4), "float32"), ValueError, r"`initial_state` must hold 2 tensor\(s\).*Received: 1 tensor"),
        ([np.zeros((2, 4), "float32")] * 3, ValueError, r"`initial_state` must hold 2 tensor\(s\).*Received: 3 tensor"),
        ([np.zeros((2, 5), "float32")] * 2, ValueError, r"`initial_state` must hold tensors .*shape \(2, 5\)"),
        ([np.zeros((3, 4), "float32")] * 2, ValueError, r"`initial_state` must hold tensors .*shape \(3, 4\)"),
        ([np.zeros(4, "float32")] * 2, ValueError, r"`initial_state` must hold tensors .*shape \(4,\)"),
        (
            ["a", "b"],
            TypeError,
            r"`initial_state` must be a tensor or a list of tensors.*Received: 'a' \(of type str\)",
        ),
        ([np.zeros((2, 4), "float32"), None], TypeError, r"`initial_state` must be a tensor.*Received: None"),
    ],
)
def test_initial_states(states, error, message):
    with pytest.raises(error, match=message):
        MyLSTM(4)(SEQUENCES, initial_state=states)


def test_initial_states_of_another_type_are_cast():
    output = MyGRU(4)(SEQUENCES, initial_state=np.ones((2, 4), "int32"))
    assert keras.backend.standardize_dtype(output.dtype) == "float32"


def test_states_of_a_cell():
    with pytest.raises(ValueError, match=r"Argument `states` of MyLSTMCell must hold 2 tensor\(s\).*Received: 1"):
        MyLSTMCell(4)(SEQUENCES[:, 0], [ops.zeros((2, 4))])


def test_initial_state_of_both_directions():
    with pytest.raises(ValueError, match=r"`initial_state` must be a list whose first half .*Received: 3 entries"):
        MyBidirectional(MyLSTM(4))(SEQUENCES, initial_state=[ops.zeros((2, 4))] * 3)


@pytest.mark.parametrize("shape", [(2, 4), (3, 5), (5,), (2, 5, 3), (2, 5, 1, 1)])
def test_masks_of_the_wrong_shape(shape):
    with pytest.raises(ValueError, match=r"Argument `mask` must have the shape \(batch, steps\) = \(2, 5\)"):
        MyLSTM(4)(SEQUENCES, mask=np.ones(shape, bool))


@pytest.mark.parametrize("form", [lambda mask: mask.astype("int32"), lambda mask: mask[..., None], lambda mask: [mask]])
def test_masks_in_every_form(form):
    mask = np.array([[True, True, False, True, False]] * 2)
    layer = MyLSTM(4)
    np.testing.assert_array_equal(
        to_numpy(layer(SEQUENCES, mask=form(mask))), to_numpy(layer(SEQUENCES, mask=ops.convert_to_tensor(mask)))
    )


def test_stateful_with_unknown_batch_size():
    with pytest.raises(ValueError, match=r"batch size must be known.*sequences.shape=\(None, 5, 3\).*batch_shape"):
        keras.Sequential([keras.Input((5, 3)), MyGRU(4, stateful=True)])


def test_stateful_with_another_batch_size():
    layer = MyGRU(4, stateful=True)
    layer(SEQUENCES)
    with pytest.raises(ValueError, match=r"Expected batch size: 2. Received batch size: 1"):
        layer(SEQUENCES[:1])


def test_states_of_a_layer_that_carries_none():
    layer = MyGRU(4)
    layer(SEQUENCES)
    layer.reset_state()
    for act in (layer.get_state, lambda: layer.set_state([np.zeros((2, 4))]), lambda: layer.reset_state(rows=[0])):
        with pytest.raises(ValueError, match=r"carries no state to \w+: it was made with `stateful=False`"):
            act()
    with pytest.raises(ValueError, match="it is not built yet"):
        MyGRU(4, stateful=True).get_state()
    with pytest.raises(AttributeError, match="cannot be set. Use `layer.set_state"):
        layer.states = [np.zeros((2, 4))]


@pytest.mark.parametrize("rows", [[2], [-3], [0.5], [[0]], [True], "a"])
def test_rows(rows):
    layer = MyGRU(4, stateful=True)
    layer(SEQUENCES)
    with pytest.raises(ValueError, match="Argument `rows`"):
        layer.reset_state(rows=rows)


def test_models_and_states():
    with pytest.raises(TypeError, match="Argument `model` must be a Keras model or layer"):
        keras_rnn_ext.reset_states("model")
    model = keras.Sequential([keras.Input(batch_shape=(2, 5, 3)), keras.layers.GRU(4, stateful=True)])
    with pytest.raises(ValueError, match=r"Argument `rows` serves the layers of keras_rnn_ext only.*\['gru"):
        keras_rnn_ext.reset_states(model, rows=[0])
    with pytest.raises(ValueError, match=r"Argument `states` names \['other'\]"):
        keras_rnn_ext.set_states(model, {"other": []})


def test_unroll_with_an_unknown_number_of_steps():
    layer = MyGRU(4, unroll=True)
    model = keras.Sequential([keras.Input((None, 3)), layer])
    # Called eagerly, the number is known.
    assert tuple(model(SEQUENCES).shape) == (2, 4)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        call = tf.function(layer, input_signature=[tf.TensorSpec((None, None, 3))])
        with pytest.raises(ValueError, match=r"Cannot unroll a RNN if the time dimension is undefined.*`unroll=8`"):
            call(SEQUENCES)


@pytest.mark.parametrize("layer", LAYERS)
def test_nan_in_a_valid_step_is_not_hidden(layer):
    sequences = SEQUENCES.copy()
    sequences[0, 2] = np.nan
    output = to_numpy(layer(4)(sequences))
    assert np.isnan(output[0]).all()
    assert np.isfinite(output[1]).all()


def test_an_engine_for_no_backend(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "openvino")
    with pytest.raises(RuntimeError, match=r"runs on the Keras backends .* Received: backend 'openvino'"):
        MyGRU(4).explain()
