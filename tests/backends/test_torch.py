"""`.backward()`, `no_grad`, what changes in place, and the fused kernels."""

import keras
import numpy as np
import onnxruntime
import pytest
import torch

import keras_rnn_ext
from keras_rnn_ext import MyDense, MyEmbedding, MyGRU, MyLSTM
from tests.helpers import assert_close, to_numpy

NAMES = ["SimpleRNN", "LSTM", "GRU"]
SEQUENCES = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32"))


@pytest.mark.parametrize("name", NAMES)
def test_backward(name):
    layer = getattr(keras_rnn_ext, f"My{name}")(4)
    sequences = SEQUENCES.clone().requires_grad_()
    layer(sequences).square().sum().backward()
    assert sequences.grad.abs().max() > 0
    for variable in layer.trainable_variables:
        assert variable.value.grad.abs().max() > 0


@pytest.mark.parametrize("name", NAMES)
def test_no_grad(name):
    layer = getattr(keras_rnn_ext, f"My{name}")(4)
    expected = layer(SEQUENCES)
    assert expected.requires_grad
    with torch.no_grad():
        output = layer(SEQUENCES)
    assert not output.requires_grad
    assert_close(to_numpy(output), to_numpy(expected), 1e-6)


def test_gradients_through_two_batches_of_a_stateful_layer():
    """The states are written in place; the gradient of an earlier batch must not see it."""
    layer = MyGRU(4, stateful=True)
    first, second = layer(SEQUENCES), layer(SEQUENCES)
    (first.sum() + second.sum()).backward()
    assert all(variable.value.grad is not None for variable in layer.trainable_variables)


def test_what_get_state_gives_does_not_change_later():
    layer = MyLSTM(4, stateful=True)
    layer(SEQUENCES)
    states = layer.get_state()
    kept = [state.copy() for state in states]
    layer(SEQUENCES)
    assert_close(states, kept, 0)


@pytest.mark.parametrize(
    ("options", "facts", "reason"),
    [
        ({}, {}, None),
        ({"dropout": 0.5}, {"training": True}, None),
        ({"recurrent_dropout": 0.5}, {"training": False}, None),
        ({"recurrent_dropout": 0.5}, {"training": True}, "torch's layers have no recurrent dropout"),
        ({"dropout": 0.5, "implementation": 1}, {"training": True}, "torch's layers have no dropout per gate"),
        ({"activation": "softsign"}, {}, "torch has no layer for this cell with these activations"),
        ({}, {"masked": True}, None),
        ({}, {"steps": 0}, "there are no steps"),
    ],
)
def test_when_the_fused_kernel_runs(options, facts, reason):
    text = MyLSTM(4, **options).explain(**facts)
    if reason is None:
        assert text.startswith("backend torch: fused layer")
    else:
        assert f"fused layer: not used: {reason} " in text


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("use_bias", [True, False])
def test_input_dropout_on_the_fused_kernel_equals_the_loop(name, use_bias):
    layer = getattr(keras_rnn_ext, f"My{name}")(4, dropout=0.5, seed=1, use_bias=use_bias, bias_initializer="ones")
    layer.build(SEQUENCES.shape)
    from keras_rnn_ext.core import strategy

    _, plan, feed, _ = layer.prepare(SEQUENCES, training=True)
    fused, loop = strategy.choose(plan), strategy.engine().strategies[-1]
    assert fused.name == "fused layer"
    assert_close(to_numpy(fused.run(plan, feed)[0]), to_numpy(loop.run(plan, feed)[0]), 1e-6)


def test_hand_written_training_loop():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([MyLSTM(8, return_sequences=True), MyGRU(8), MyDense(1)])
    model(SEQUENCES)
    optimizer = torch.optim.Adam([variable.value for variable in model.trainable_variables], lr=0.02)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (model(SEQUENCES, training=True) - SEQUENCES[:, 0, :1]).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.fixture
def gpu(monkeypatch):
    """A machine with a GPU, as far as anybody asks."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.mark.parametrize(
    ("options", "facts", "name"),
    [
        ({}, {}, "fused layer"),
        ({"use_cudnn": True}, {"masked": True}, "fused layer"),
        ({"use_cudnn": False}, {}, "projected loop"),
        ({"recurrent_dropout": 0.5}, {"training": True}, "projected loop"),
        # Preparing the weights costs nothing worth mentioning there.
        ({}, {"steps": 1}, "fused layer"),
    ],
)
def test_which_strategy_a_gpu_has(gpu, options, facts, name):
    assert MyLSTM(1024, **options).explain(**facts).startswith(f"backend torch: {name}")


def test_use_cudnn_true(gpu):
    assert MyLSTM(4, use_cudnn=True)(SEQUENCES).shape == (2, 4)
    with pytest.raises(ValueError, match="use_cudnn=True was specified, but cuDNN does not serve"):
        MyLSTM(4, use_cudnn=True, activation="relu")(SEQUENCES)


@pytest.fixture(params=NAMES)
def masked_model(request):
    """A model whose layers get a mask, and some input: the last row is empty."""
    words = np.array([[3, 1, 2, 0, 0], [0, 0, 4, 0, 5], [0, 0, 0, 0, 0]], "int32")
    layer = getattr(keras_rnn_ext, f"My{request.param}")
    layers = [MyEmbedding(9, 3, mask_zero=True), layer(4, return_sequences=True), layer(4), MyDense(1)]
    return keras.Sequential([keras.Input((5,), dtype="int32"), *layers]), words


# PyTorch, when it saves the program, of weights that are views.
@pytest.mark.filterwarnings("ignore:No complete tensor found in the group:UserWarning")
def test_torch_export_of_a_model_with_masks(masked_model, tmp_path):
    model, words = masked_model
    program = torch.export.export(model, (torch.from_numpy(words),))
    assert_close(to_numpy(program.module()(torch.from_numpy(words))), to_numpy(model(words)), 1e-6)
    model.export(tmp_path / "model.pt2", format="torch", verbose=False)
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    # Keras exports to PyTorch for one row.
    for row in range(len(words)):
        assert_close(
            to_numpy(loaded(torch.from_numpy(words[row : row + 1]))), to_numpy(model(words[row : row + 1])), 1e-6
        )


# The exporters of PyTorch and their libraries are on their way from one form to another.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::torch.jit.TracerWarning")
def test_onnx_export_of_a_model_with_masks(masked_model, tmp_path):
    model, words = masked_model
    expected = to_numpy(model(words))  # Keras insists on a call
    path = (tmp_path / "model.onnx").as_posix()
    model.export(path, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(path)
    outputs = session.run(None, {session.get_inputs()[0].name: words})[0]
    assert_close(outputs, expected, 1e-5)
