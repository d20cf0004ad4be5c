"""Weights of TensorFlow 1 and of TensorFlow Addons, with what their cells compute."""

import keras
import numpy as np
import pytest

import keras_rnn_ext
from keras_rnn_ext import convert
from keras_rnn_ext.testing import oracle
from keras_rnn_ext.testing.oracle import sigmoid, tanh
from tests.helpers import WIDEST, assert_close
from tests.oracles import nas, peephole_lstm

RTOL = 1e-12 if WIDEST == "float64" else 1e-6
BATCH, STEPS, FEATURES, UNITS, SIZE = 3, 6, 4, 5, 2
FORGET_BIAS = 0.7


def inputs():
    return np.random.default_rng(9).normal(size=(BATCH, STEPS, FEATURES)).astype(WIDEST)


def arrays_of(shapes, scope="", seed=0):
    generator = np.random.default_rng(seed)
    return {scope + name: 0.5 * generator.normal(size=shape).astype(WIDEST) for name, shape in shapes.items()}


def run(step, arrays, *sizes, **options):
    states = [np.zeros((BATCH, size)) for size in sizes]
    exact = {name: array.astype("float64") for name, array in arrays.items()}
    return oracle.run(step, inputs().astype("float64"), states, exact, options)


# One step of each cell of TensorFlow 1.15, under its names: states are h, c here, and c, h there.


def basic_rnn(x, states, arrays, options):
    h = tanh(np.concatenate([x, states[0]], 1) @ arrays["kernel"] + arrays["bias"])
    return h, [h]


def lstm(x, states, arrays, options):
    h, c = states
    i, j, f, o = np.split(np.concatenate([x, h], 1) @ arrays["kernel"] + arrays["bias"], 4, 1)
    see = {gate: arrays.get(f"w_{gate}_diag", 0.0) for gate in "ifo"}
    c = sigmoid(f + FORGET_BIAS + see["f"] * c) * c + sigmoid(i + see["i"] * c) * tanh(j)
    h = sigmoid(o + see["o"] * c) * tanh(c)
    h = h @ arrays["projection/kernel"] if "projection/kernel" in arrays else h
    return h, [h, c]


def gru(x, states, arrays, options):
    (h,) = states
    gates = sigmoid(np.concatenate([x, h], 1) @ arrays["gates/kernel"] + arrays["gates/bias"])
    r, u = np.split(gates, 2, 1)
    c = tanh(np.concatenate([x, r * h], 1) @ arrays["candidate/kernel"] + arrays["candidate/bias"])
    h = u * h + (1 - u) * c
    return h, [h]


def ugrnn(x, states, arrays, options):
    (h,) = states
    g, c = np.split(np.concatenate([x, h], 1) @ arrays["kernel"] + arrays["bias"], 2, 1)
    g = sigmoid(g + FORGET_BIAS)
    h = g * h + (1 - g) * tanh(c)
    return h, [h]


def nas_step(x, states, arrays, options):
    weights = {{"projection_weights": "projection_kernel"}.get(name, name): array for name, array in arrays.items()}
    return nas.step(x, states, weights, {"projection": weights.get("projection_kernel")})


LSTM_SHAPES = {"kernel": (FEATURES + UNITS, 4 * UNITS), "bias": (4 * UNITS,)}
PEEPHOLES = {f"w_{gate}_diag": (UNITS,) for gate in "fio"}
PROJECTED = {"kernel": (FEATURES + SIZE, 4 * UNITS), "bias": (4 * UNITS,), "projection/kernel": (UNITS, SIZE)}
GRU_SHAPES = {
    "gates/kernel": (FEATURES + UNITS, 2 * UNITS),
    "gates/bias": (2 * UNITS,),
    "candidate/kernel": (FEATURES + UNITS, UNITS),
    "candidate/bias": (UNITS,),
}
NAS_SHAPES = {"recurrent_kernel": (UNITS, 8 * UNITS), "kernel": (FEATURES, 8 * UNITS)}
NAS_PROJECTED = {
    "recurrent_kernel": (SIZE, 8 * UNITS),
    "kernel": (FEATURES, 8 * UNITS),
    "bias": (8 * UNITS,),
    "projection_weights": (UNITS, SIZE),
}
TF1 = {
    "rnn": ("BasicRNNCell", basic_rnn, {"kernel": (FEATURES + UNITS, UNITS), "bias": (UNITS,)}, (UNITS,)),
    "basic lstm": ("BasicLSTMCell", lstm, LSTM_SHAPES, (UNITS, UNITS)),
    "lstm": ("LSTMCell", lstm, LSTM_SHAPES, (UNITS, UNITS)),
    "block lstm": ("LSTMBlockCell", lstm, {**LSTM_SHAPES, **PEEPHOLES}, (UNITS, UNITS)),
    "peephole lstm": ("LSTMCell", lstm, {**LSTM_SHAPES, **PEEPHOLES}, (UNITS, UNITS)),
    "projected lstm": ("LSTMCell", lstm, PROJECTED, (SIZE, UNITS)),
    "projected peephole lstm": ("LSTMCell", lstm, {**PROJECTED, **PEEPHOLES}, (SIZE, UNITS)),
    "gru": ("GRUCell", gru, GRU_SHAPES, (UNITS,)),
    "ugrnn": ("UGRNNCell", ugrnn, {"kernel": (FEATURES + UNITS, 2 * UNITS), "bias": (2 * UNITS,)}, (UNITS,)),
    "nas": ("NASCell", nas_step, NAS_SHAPES, (UNITS, UNITS)),
    "projected nas": ("NASCell", nas_step, NAS_PROJECTED, (SIZE, UNITS)),
}


@pytest.mark.parametrize("case", TF1)
def test_numbers_are_those_of_tensorflow_1_there_and_back(case):
    kind, step, shapes, sizes = TF1[case]
    arrays = arrays_of(shapes, "model/rnn/cell/")
    outputs, states = run(step, {name.removeprefix("model/rnn/cell/"): array for name, array in arrays.items()}, *sizes)
    layer = convert.from_tf1(
        arrays, kind, prefix="model/rnn/cell", forget_bias=FORGET_BIAS, return_state=True, dtype=WIDEST
    )
    assert_close(list(layer(inputs())), [outputs, *states], RTOL, scale=1.0)
    back = convert.to_tf1(layer, kind, prefix="model/rnn/cell", forget_bias=FORGET_BIAS)
    assert_close(back, arrays, RTOL)


def test_the_steps_above_are_those_of_tensorflow():
    """What is left of TensorFlow 1 in TensorFlow 2: the fused operations of LSTMBlockCell and GRUBlockCell."""
    tensorflow = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    generator = np.random.default_rng(3)
    x, h, c = (generator.normal(size=(BATCH, size)).astype("float32") for size in (FEATURES, UNITS, UNITS))
    arrays = {name: array.astype("float32") for name, array in arrays_of({**LSTM_SHAPES, **PEEPHOLES}).items()}
    made = tensorflow.raw_ops.LSTMBlockCell(
        x=x,
        cs_prev=c,
        h_prev=h,
        w=arrays["kernel"],
        b=arrays["bias"],
        **{f"wc{gate}": arrays[f"w_{gate}_diag"] for gate in "ifo"},
        forget_bias=FORGET_BIAS,
        cell_clip=-1.0,
        use_peephole=True,
    )
    assert_close([made.h.numpy(), made.cs.numpy()], lstm(x, [h, c], arrays, {})[1], 1e-6, scale=1.0)
    arrays = {name: array.astype("float32") for name, array in arrays_of(GRU_SHAPES).items()}
    made = tensorflow.raw_ops.GRUBlockCell(
        x=x,
        h_prev=h,
        w_ru=arrays["gates/kernel"],
        w_c=arrays["candidate/kernel"],
        b_ru=arrays["gates/bias"],
        b_c=arrays["candidate/bias"],
    )
    assert_close(made.h.numpy(), gru(x, [h], arrays, {})[0], 1e-6, scale=1.0)


def test_checkpoint(tmp_path):
    tensorflow = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    first = arrays_of(LSTM_SHAPES, "rnn/multi_rnn_cell/cell_0/basic_lstm_cell/")
    shapes = {"kernel": (2 * UNITS, 4 * UNITS), "bias": (4 * UNITS,)}
    second = arrays_of(shapes, "rnn/multi_rnn_cell/cell_1/basic_lstm_cell/", seed=1)
    slots = {f"{name}/Adam": np.zeros_like(array) for name, array in first.items()}
    arrays = {**first, **second, **slots, "dense/kernel": np.ones((UNITS, 2), WIDEST)}
    path = str(tmp_path / "model.ckpt-7")
    tensorflow.raw_ops.SaveV2(
        prefix=path, tensor_names=list(arrays), shape_and_slices=[""] * len(arrays), tensors=list(arrays.values())
    )
    with pytest.raises(ValueError, match="must say which BasicLSTMCell .*'dense', 'rnn/multi.*of which 2 end with"):
        convert.from_tf1(path, "BasicLSTMCell")
    scopes = [f"rnn/multi_rnn_cell/cell_{number}/basic_lstm_cell" for number in range(2)]
    layers = [convert.from_tf1(path, "BasicLSTMCell", prefix=scope, dtype=WIDEST) for scope in scopes]
    values = inputs()
    for layer, own in zip(layers, (first, second), strict=True):
        expected = convert.from_tf1(own, "BasicLSTMCell", dtype=WIDEST)
        assert_close(layer(values), keras.ops.convert_to_numpy(expected(values)), 0.0)
        values = keras.ops.convert_to_numpy(layer(values))


def test_what_does_not_fit_tensorflow_1_is_named():
    with pytest.raises(ValueError, match="Argument `kind` must be one of .*'CudnnLSTM'"):
        convert.from_tf1({}, "CudnnLSTM")
    with pytest.raises(TypeError, match="Argument `arrays` must be the path of a checkpoint, or a dict"):
        convert.from_tf1([], "GRUCell")
    with pytest.raises(ValueError, match="Argument `prefix` must be one of .'a/gru_cell'.*prefix='b'"):
        convert.from_tf1(arrays_of(GRU_SHAPES, "a/gru_cell/"), "GRUCell", prefix="b")
    lacking = arrays_of({"gates/kernel": (9, 10)}, "gru_cell/")
    with pytest.raises(ValueError, match="must have an array 'gru_cell/candidate/kernel' for 'gru'"):
        convert.from_tf1(lacking, "GRUCell")
    with pytest.raises(ValueError, match="arrays that 'lstm' does not know: .*w_f_diag"):
        convert.from_tf1(arrays_of({**LSTM_SHAPES, **PEEPHOLES}), "BasicLSTMCell")
    with pytest.raises(ValueError, match="must have more rows than 5. Received: shape .4, 20."):
        convert.from_tf1(arrays_of({**LSTM_SHAPES, "kernel": (4, 20)}), "BasicLSTMCell")
    with pytest.raises(ValueError, match="does not fit 'lstm': array split does not result in an equal division"):
        convert.from_tf1(arrays_of({**LSTM_SHAPES, "kernel": (9, 21)}), "BasicLSTMCell")


def built(layer):
    layer.build((None, None, FEATURES))
    return layer


def test_what_tensorflow_1_lacks_is_named():
    with pytest.raises(ValueError, match="must be one of .'MyGRU'., for kind='GRUCell'. Received: .*MyLSTMCell"):
        convert.to_tf1(built(keras_rnn_ext.MyLSTM(3)), "GRUCell")
    with pytest.raises(ValueError, match="must be one of .'MyGRU'., for kind='GRUCell'"):
        convert.to_tf1(built(keras_rnn_ext.MyGRU(3)), "GRUCell")
    with pytest.raises(ValueError, match="must have a bias, as BasicLSTMCell has"):
        convert.to_tf1(built(keras_rnn_ext.MyLSTM(3, use_bias=False)), "BasicLSTMCell")
    with pytest.raises(ValueError, match="must have recurrent_activation='sigmoid'.*'hard_sigmoid'"):
        convert.to_tf1(built(keras_rnn_ext.MyLSTM(3, recurrent_activation="hard_sigmoid")), "LSTMCell")


# One step of each cell of TensorFlow Addons, under the names of its variables.


def tfa_layer_norm(values, arrays, name, epsilon=1e-3):
    return oracle.layer_norm(values, arrays[f"{name}_norm/gamma"], arrays[f"{name}_norm/beta"], epsilon)


def tfa_layer_norm_lstm(x, states, arrays, options):
    h, c = states
    z = tfa_layer_norm(x @ arrays["kernel"], arrays, "kernel")
    z = z + tfa_layer_norm(h @ arrays["recurrent_kernel"], arrays, "recurrent") + arrays.get("bias", 0.0)
    i, f, g, o = np.split(z, 4, 1)
    c = tfa_layer_norm(sigmoid(f) * c + sigmoid(i) * tanh(g), arrays, "state")
    h = sigmoid(o) * tanh(c)
    return h, [h, c]


def tfa_layer_norm_simple_rnn(x, states, arrays, options):
    net = x @ arrays["kernel"] + states[0] @ arrays["recurrent_kernel"]
    h = tanh(oracle.layer_norm(net, arrays["gamma"], arrays.get("bias", 0.0), 1e-5))
    return h, [h]


def tfa_esn(x, states, arrays, options):
    new = tanh(
        np.concatenate([x, states[0]], 1) @ np.concatenate([arrays["kernel"], arrays["recurrent_kernel"]])
        + arrays["bias"]
    )
    h = 0.6 * states[0] + 0.4 * new
    return h, [h]


def tfa_peephole(x, states, arrays, options):
    gates = ("input", "forget", "output")
    see = np.stack([arrays[f"{gate}_gate_peephole_weights"] for gate in gates])
    return peephole_lstm.step(x, states, {**arrays, "peephole_kernel": see}, {})


USUAL = {"kernel": (FEATURES, 4 * UNITS), "recurrent_kernel": (UNITS, 4 * UNITS), "bias": (4 * UNITS,)}
NORMS = {
    **{f"{norm}_norm/{part}": (4 * UNITS,) for norm in ("kernel", "recurrent") for part in ("gamma", "beta")},
    "state_norm/gamma": (UNITS,),
    "state_norm/beta": (UNITS,),
}
SIMPLE = {"kernel": (FEATURES, UNITS), "recurrent_kernel": (UNITS, UNITS), "bias": (UNITS,)}
TFA = {
    "layer norm lstm": ("LayerNormLSTMCell", tfa_layer_norm_lstm, {**USUAL, **NORMS}, (UNITS, UNITS), {}),
    "no bias": (
        *("LayerNormLSTMCell", tfa_layer_norm_lstm),
        *({name: shape for name, shape in (USUAL | NORMS).items() if name != "bias"}, (UNITS, UNITS), {}),
    ),
    "layer norm rnn": (
        "LayerNormSimpleRNNCell",
        tfa_layer_norm_simple_rnn,
        {**SIMPLE, "gamma": (UNITS,)},
        (UNITS,),
        {},
    ),
    "nas": ("NASCell", nas_step, NAS_SHAPES, (UNITS, UNITS), {}),
    "nas with bias": ("NASCell", nas_step, {**NAS_SHAPES, "bias": (8 * UNITS,)}, (UNITS, UNITS), {}),
    "projected nas": ("NASCell", nas_step, NAS_PROJECTED, (SIZE, UNITS), {}),
    "peephole lstm": (
        *("PeepholeLSTMCell", tfa_peephole),
        *({**USUAL, **{f"{gate}_gate_peephole_weights": (UNITS,) for gate in ("input", "forget", "output")}},),
        *((UNITS, UNITS), {}),
    ),
    "esn": (
        *("ESNCell", tfa_esn),
        *({name: SIMPLE[name] for name in ("recurrent_kernel", "kernel", "bias")}, (UNITS,), {"leak": 0.4}),
    ),
}


@pytest.mark.parametrize("case", TFA)
def test_numbers_are_those_of_tensorflow_addons_there_and_back(case):
    kind, step, shapes, sizes, options = TFA[case]
    arrays = arrays_of(shapes)
    outputs, states = run(step, arrays, *sizes)
    layer = convert.from_tfa(list(arrays.values()), kind, return_state=True, dtype=WIDEST, **options)
    # A norm amplifies rounding.
    rtol = 10 * RTOL if "norm" in kind.lower() else RTOL
    assert_close(list(layer(inputs())), [outputs, *states], rtol, scale=1.0)
    back = convert.to_tfa(layer)
    again = convert.from_tfa(back, kind, return_state=True, dtype=WIDEST, **options)
    assert_close(list(again(inputs())), [outputs, *states], rtol, scale=1.0)
    if kind != "LayerNormLSTMCell":
        assert_close(back, list(arrays.values()), 0.0)


def test_what_does_not_fit_tensorflow_addons_is_named():
    with pytest.raises(ValueError, match="Argument `kind` must be one of .*'RMCCell'"):
        convert.from_tfa([], "RMCCell")
    with pytest.raises(ValueError, match="must hold 3 or 2 arrays for 'ESNCell'.*Received: 1 arrays"):
        convert.from_tfa([np.ones((2, 2))], "ESNCell")
    with pytest.raises(ValueError, match="does not fit ESNCell. Expected.*'kernel': .3, 2.*Received.*3, 7"):
        convert.from_tfa([np.ones((2, 2)), np.ones((3, 7))], "ESNCell")
    with pytest.raises(ValueError, match="must be one of .*Received: .*MyLSTMCell"):
        convert.to_tfa(built(keras_rnn_ext.MyLSTM(3)))
    with pytest.raises(ValueError, match="must have carry_normalized=True"):
        convert.to_tfa(built(keras_rnn_ext.LayerNormLSTM(3)))
