"""Weights of `torch.nn` and of torchrecurrent, with what the modules themselves compute."""

import keras
import numpy as np
import pytest

import keras_rnn_ext
from keras_rnn_ext import convert
from tests.helpers import assert_close, to_numpy

torch = pytest.importorskip("torch", reason="torch is not installed")

RTOL = 1e-6
BATCH, STEPS, FEATURES, UNITS = 3, 7, 4, 5


def inputs(seed=0):
    return np.random.default_rng(seed).normal(size=(BATCH, STEPS, FEATURES)).astype("float32")


def shaken(module, seed=0):
    """The module with random weights, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            # Small enough that a recurrence does not amplify rounding.
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def run(module, values):
    """The outputs, and the states layer by layer, forward ones first."""
    is_batch_first = module.batch_first
    values = torch.from_numpy(values if is_batch_first else values.swapaxes(0, 1).copy()).cpu()
    with torch.no_grad():
        outputs, states = module(values)
    states = states if isinstance(states, tuple) else (states,)
    outputs = outputs.numpy() if is_batch_first else outputs.numpy().swapaxes(0, 1)
    return outputs, [state[number].numpy() for number in range(len(states[0])) for state in states]


NETS = {
    "RNN": torch.nn.RNN,
    "RNN relu": lambda *sizes, **options: torch.nn.RNN(*sizes, nonlinearity="relu", **options),
    "LSTM": torch.nn.LSTM,
    "GRU": torch.nn.GRU,
    "projected LSTM": lambda *sizes, **options: torch.nn.LSTM(*sizes, proj_size=2, **options),
}
OPTIONS = {
    "plain": {"batch_first": True},
    "steps first, no bias": {"batch_first": False, "bias": False},
    "levels in both directions": {"num_layers": 2, "dropout": 0.3, "bidirectional": True, "batch_first": True},
}


# Torch says that oneDNN has no such LSTM.
@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("net", NETS)
def test_numbers_are_those_of_torch_there_and_back(net, options):
    with torch.device("cpu"):
        module = shaken(NETS[net](FEATURES, UNITS, **OPTIONS[options]))
    outputs, states = run(module, inputs())
    layer = convert.from_torch(module, return_state=True)
    assert_close(list(layer(inputs())), [outputs, *states], RTOL)
    layer = convert.from_torch(module)
    with torch.device("cpu"):
        back = convert.to_torch(layer)
    assert type(back) is type(module)
    assert back.dropout == module.dropout
    assert (back.num_layers, back.bidirectional, back.bias) == (module.num_layers, module.bidirectional, module.bias)
    assert back.batch_first
    assert_close(run(back.eval(), inputs())[0], outputs, RTOL)
    again = convert.from_torch(convert.to_torch(layer, arrays=True), nonlinearity=getattr(module, "nonlinearity", None))
    assert_close(again.get_weights(), layer.get_weights(), 0.0)


def test_last_output_of_both_directions_is_that_of_all_steps():
    module = shaken(torch.nn.GRU(FEATURES, UNITS, bidirectional=True, batch_first=True))
    outputs, _ = run(module, inputs())
    expected = np.concatenate([outputs[:, -1, :UNITS], outputs[:, 0, UNITS:]], axis=-1)
    assert_close(convert.from_torch(module, return_sequences=False)(inputs()), expected, RTOL)


def test_dropout_stands_between_the_levels():
    module = torch.nn.LSTM(FEATURES, UNITS, num_layers=3, dropout=0.3)
    model = convert.from_torch(module)
    assert [type(layer).__name__ for layer in model.layers] == ["MyLSTM", "Dropout", "MyLSTM", "Dropout", "MyLSTM"]
    assert convert.to_torch(model).dropout == 0.3
    plain = convert.to_torch(convert.from_torch(torch.nn.LSTM(FEATURES, UNITS, num_layers=3)))
    assert plain.dropout == 0.0


def test_dict_of_a_larger_model():
    module = shaken(torch.nn.GRU(FEATURES, UNITS, num_layers=2, batch_first=True))
    whole = {"head.weight": np.ones((2, 2)), **{f"encoder.rnn.{name}": v for name, v in module.state_dict().items()}}
    model = convert.from_torch(whole, prefix="encoder.rnn.", dropout=0.4, name="encoder")
    assert model.name == "encoder"
    assert [type(layer).__name__ for layer in model.layers] == ["MyGRU", "Dropout", "MyGRU"]
    assert model.layers[1].rate == 0.4
    assert_close(model(inputs()), run(module, inputs())[0], RTOL)


def test_cells_of_torch():
    for name in ("RNNCell", "LSTMCell", "GRUCell"):
        module = shaken(getattr(torch.nn, name)(FEATURES, UNITS))
        layer = convert.from_torch(module, return_sequences=False)
        with torch.no_grad():
            expected = module(torch.from_numpy(inputs()[:, 0]))
        expected = expected[0] if isinstance(expected, tuple) else expected
        assert_close(layer(inputs()[:, :1]), expected.numpy(), RTOL)


def test_bfloat16_and_options_of_the_layer():
    module = shaken(torch.nn.LSTM(FEATURES, UNITS, dtype=torch.bfloat16))
    layer = convert.from_torch(module, time_major=True, stateful=True, batch_size=BATCH, name="read")
    assert layer.name == "read"
    assert layer.stateful
    wide = shaken(torch.nn.LSTM(FEATURES, UNITS, dtype=torch.bfloat16)).float()
    assert_close(to_numpy(layer(inputs().swapaxes(0, 1))).swapaxes(0, 1), run(wide, inputs())[0], RTOL)


def test_weights_of_16_bits_go_to_torch():
    layer = built(keras_rnn_ext.MyGRU(UNITS, dtype="bfloat16"))
    arrays = convert.to_torch(layer, arrays=True)
    assert {array.dtype for array in arrays.values()} == {np.dtype("float32")}
    expected = keras.ops.convert_to_numpy(keras.ops.cast(layer.cell.kernel, "float32"))
    assert_close(convert.from_torch(arrays).get_weights()[0], expected, 0.0)


def test_layers_of_keras_and_stacked_cells_go_to_torch():
    both = keras.layers.Bidirectional(keras.layers.LSTM(UNITS, return_sequences=True))
    expected = to_numpy(both(inputs()))
    assert_close(run(convert.to_torch(both).cpu(), inputs())[0], expected, RTOL)
    cells = [keras_rnn_ext.MyGRUCell(UNITS), keras_rnn_ext.MyGRUCell(UNITS)]
    stack = keras_rnn_ext.MyRNN(cells, return_sequences=True)
    expected = to_numpy(stack(inputs()))
    assert_close(run(convert.to_torch(stack).cpu(), inputs())[0], expected, RTOL)


def built(layer):
    layer.build((None, None, FEATURES))
    return layer


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: built(keras_rnn_ext.MyGRU(UNITS, reset_after=False)), "must have reset_after=True"),
        (lambda: built(keras_rnn_ext.MyLSTM(UNITS, activation="relu")), "must have activation='tanh'.*'relu'"),
        (lambda: built(keras_rnn_ext.MySimpleRNN(UNITS, activation="gelu")), "an activation of .*'tanh', 'relu'"),
        (lambda: built(keras_rnn_ext.MyGRU(UNITS, go_backwards=True)), "must have go_backwards=False"),
        (lambda: built(keras_rnn_ext.MGU(UNITS)), "cells that torch knows.* Received: .*MGUCell"),
        (lambda: built(keras_rnn_ext.ProjectedLSTM(UNITS, projection=2)), "must have peepholes=False"),
        (lambda: keras_rnn_ext.MyGRU(UNITS), "must be built. Received: .*no weights yet"),
        (
            lambda: built(keras_rnn_ext.MyBidirectional(keras_rnn_ext.MyGRU(UNITS), merge_mode="sum")),
            "must have merge_mode='concat'",
        ),
        (
            lambda: built(keras_rnn_ext.MyRNN([keras_rnn_ext.MyGRUCell(3), keras_rnn_ext.MyGRUCell(4)])),
            "levels of the same kind, units.*'GRU', 3.*'GRU', 4",
        ),
        (
            lambda: keras.Sequential(
                [keras.Input((None, 2)), keras_rnn_ext.MyGRU(2, return_sequences=True), keras.layers.Dropout(0.1)]
            ),
            "one `Dropout` at most between two",
        ),
        (lambda: keras.layers.Dense(3), "must be a recurrent layer"),
    ],
)
def test_what_torch_lacks_is_named(make, said):
    with pytest.raises(ValueError, match=said):
        convert.to_torch(make())


W = np.ones


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"weight_ih_l0": W((8, 3))}, "must have a `weight_hh` with 1, 3 or 4 times as many rows"),
        ({"weight_hh_l0": W((8, 2))}, "must have an array 'weight_ih' for 'lstm'"),
        ({"weight_ih_l0": W((6, 3)), "weight_hh_l0": W((8, 2))}, "does not fit MyLSTMCell. Expected.*'kernel': .3, 8."),
        (
            {"weight_ih_l0": W((8, 3)), "weight_hh_l0": W((8, 2)), "bias_ih_l0": W(7)},
            "bias': .8,.*Received.*bias': .7,",
        ),
        ({"kernel": W((8, 3))}, "unknown array 'kernel'"),
        ({}, "no arrays whose names begin with prefix=''"),
        (
            {
                "weight_ih_l0": W((8, 3)),
                "weight_hh_l0": W((8, 2)),
                "weight_hh_l0_reverse": W((8, 2)),
                "weight_ih_l1": W(1),
            },
            "all levels in the same directions",
        ),
        ({"weight_ih_l0": W((6, 3)), "weight_hh_l0": W((6, 2)), "bias_ih_l0": W(6)}, "an array 'bias_hh' for 'gru'"),
    ],
)
def test_what_does_not_fit_is_named(arrays, said):
    with pytest.raises(ValueError, match=said):
        convert.from_torch(arrays)


def test_wrong_arguments_are_named():
    weights = {"weight_ih_l0": W((2, 3)), "weight_hh_l0": W((2, 2))}
    with pytest.raises(ValueError, match="Argument `nonlinearity` must be one of .*'gelu'"):
        convert.from_torch(weights, nonlinearity="gelu")
    with pytest.raises(TypeError, match="Argument `module` must be a module of torch, or a dict.*Received: list"):
        convert.from_torch([1, 2])


# torchrecurrent

RECURRENT = {
    "AntisymmetricRNN": {"epsilon": 0.3, "gamma": 0.2},
    "FastGRNN": {},
    "FastRNN": {"nonlinearity": "relu"},
    "GatedAntisymmetricRNN": {"epsilon": 0.3, "gamma": 0.2},
    "IndRNN": {"nonlinearity": "relu"},
    "JANET": {"beta": 0.7},
    "LiGRU": {"nonlinearity": "tanh"},
    "MGU": {"gate_nonlinearity": "hard_sigmoid"},
    "MinimalRNN": {},
    "MultiplicativeLSTM": {},
    "PeepholeLSTM": {},
    "RAN": {},
    "STAR": {},
    "UGRNN": {},
    "UnICORNN": {"dt": 0.2, "alpha": 0.5, "recurrent_bias": True},
    "coRNN": {"dt": 0.2, "gamma": 0.9, "epsilon": 1.3},
}


def recurrent_module(kind, seed=0, **options):
    library = pytest.importorskip("torchrecurrent", reason="torchrecurrent is not installed")
    with torch.device("cpu"):
        module = shaken(getattr(library, kind)(FEATURES, UNITS, **{**RECURRENT.get(kind, {}), **options}), seed)
    if kind == "MultiplicativeLSTM":
        # The two biases that are not in the paper.
        with torch.no_grad():
            for cell in module.cells:
                cell.bias_hh.zero_()
                cell.bias_ih[:UNITS].zero_()
    if kind == "JANET":
        with torch.no_grad():
            for cell in module.cells:
                cell.beta.fill_(0.7)
    return module


@pytest.mark.parametrize("kind", RECURRENT)
def test_numbers_are_those_of_torchrecurrent_there_and_back(kind):
    module = recurrent_module(kind, num_layers=2)
    outputs, _ = run(module, inputs())
    layer = convert.from_torchrecurrent(module)
    assert_close(layer(inputs()), outputs, RTOL, scale=1.0)
    arrays = convert.to_torchrecurrent(layer)
    other = recurrent_module(kind, seed=1, num_layers=2)
    other.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
    assert_close(run(other, inputs())[0], outputs, RTOL, scale=1.0)


def test_cell_and_dict_of_torchrecurrent():
    module = recurrent_module("coRNN", dt=0.1, gamma=1.0, epsilon=1.0, batch_first=True)
    expected = run(module, inputs())[0]
    assert_close(convert.from_torchrecurrent(module.cells[0])(inputs()), expected, RTOL)
    arrays = {f"net.{name}": value.numpy() for name, value in module.state_dict().items()}
    assert_close(convert.from_torchrecurrent(arrays, "coRNN", prefix="net.")(inputs()), expected, RTOL)


def test_every_layer_of_torchrecurrent_is_converted_or_refused():
    library = pytest.importorskip("torchrecurrent", reason="torchrecurrent is not installed")
    kinds = {name.removesuffix("Cell") for name in library.__all__ if name.endswith("Cell")}
    catalogue = {row.layer.__name__.lower() for row in keras_rnn_ext.registry.ROWS}
    for kind in sorted(kinds):
        module = recurrent_module(kind) if kind in RECURRENT else getattr(library, kind)(UNITS, UNITS)
        if kind in RECURRENT:
            convert.from_torchrecurrent(module)
        else:
            known = kind.lower() in catalogue
            said = "would give other numbers" if known else "Argument `kind` must be one of"
            with pytest.raises(ValueError, match=said):
                convert.from_torchrecurrent(module)


def test_what_does_not_fit_torchrecurrent_is_named():
    module = recurrent_module("MultiplicativeLSTM")
    with torch.no_grad():
        module.cells[0].bias_hh.fill_(1.0)
    with pytest.raises(ValueError, match="a bias of the product m, which is none in the paper"):
        convert.from_torchrecurrent(module)
    with pytest.raises(ValueError, match="must have activations of .*Received: act=LeakyReLU"):
        convert.from_torchrecurrent(recurrent_module("MGU", nonlinearity="leaky_relu"))
    with pytest.raises(ValueError, match="Argument `kind` must be one of .*Received: None"):
        convert.from_torchrecurrent({"weight_ih": W((4, 3))})
    with pytest.raises(ValueError, match="must have an array 'weight_hh' for 'mgu'"):
        convert.from_torchrecurrent({"weight_ih": W((4, 3))}, "MGU")
    with pytest.raises(ValueError, match="arrays that 'mgu' does not know: .'weight_ch'"):
        convert.from_torchrecurrent({f"weight_{name}": W((4, 2)) for name in ("ih", "hh", "ch")}, "MGU", prefix="")
    with pytest.raises(ValueError, match="no arrays of a layer of torchrecurrent behind prefix='net.'"):
        convert.from_torchrecurrent({"weight_ih": W((4, 3))}, "MGU", prefix="net.")
    with pytest.raises(TypeError, match="Argument `module` must be a module of torchrecurrent"):
        convert.from_torchrecurrent([1], "MGU")
    with pytest.raises(ValueError, match="with a cell of .*Received: .*MyLSTMCell"):
        convert.to_torchrecurrent(built(keras_rnn_ext.MyLSTM(3)))
    ran = built(keras_rnn_ext.RAN(2))
    ran.cell.bias.assign(np.ones(6))
    with pytest.raises(ValueError, match="a bias where torchrecurrent has none"):
        convert.to_torchrecurrent(ran)
