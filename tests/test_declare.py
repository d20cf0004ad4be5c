"""What a class of cells declares, in every way that classes can be written, and what users then do with them."""

import importlib

import keras
import numpy as np
import pytest
from keras import ops

import keras_rnn_ext as ext
from keras_rnn_ext import MyLSTMCell, MyRNN, ZoneoutWrapper
from keras_rnn_ext.custom import (
    Argument,
    GatedCell,
    Heads,
    Integer,
    LinearCell,
    Real,
    RecurrentCell,
    State,
    define_cell,
    layer_of,
)
from keras_rnn_ext.registry import ROWS
from tests.helpers import BACKEND, assert_close, to_numpy

X = np.random.default_rng(0).normal(size=(4, 6, 3)).astype("float32")


class Plain(GatedCell):
    """Nothing but a gate."""

    states = ("h",)
    summed = pure = True

    def gate(self, projected, recurrent, states, weights):
        hidden = self.activation(projected + recurrent)
        return hidden, [hidden]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_new_cells_differ_and_a_seed_decides_them(row):
    def weights(seed):
        keras.utils.set_random_seed(seed)
        cells = [row.cell(8), row.cell(8)]
        for cell in cells:
            cell.build((None, 8))
        return [[to_numpy(ops.convert_to_tensor(each)) for each in cell.weights] for cell in cells]

    (first, second), (again, _), (other, _) = weights(1), weights(1), weights(2)
    for one, two, same, else_ in zip(first, second, again, other, strict=True):
        np.testing.assert_array_equal(one, same)
        is_random = one.dtype.kind == "f" and len(np.unique(one)) > 2
        if is_random:
            assert np.abs(one - two).max() > 1e-4
            assert np.abs(one - else_).max() > 1e-4


def test_an_init_of_its_own_keeps_checks_and_defaults():
    class Own(Plain):
        rate = Real(0.1, "a rate", above=0, most=1)

        def __init__(self, units, rate=0.5, **kwargs):
            super().__init__(units, **kwargs)
            self.take(locals())

    with pytest.raises(ValueError, match="`rate` must be a number > 0 and <= 1. Received: rate=7"):
        Own(4, rate=7)
    assert Own(4).get_config()["rate"] == 0.5

    class Bare(GatedCell):
        states = ("h",)

        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.take(locals())

        gate = Plain.gate

    assert tuple(MyRNN(Bare(4))(X).shape) == (4, 4)

    class Headed(ext.SLSTMCell):
        def __init__(self, units, **kwargs):
            super().__init__(units, **kwargs)

    with pytest.raises(ValueError, match="`heads` must divide `units`"):
        MyRNN(Headed(5, heads=2))(X)


def test_a_declared_child_of_an_init_by_hand_is_refused():
    class ByHand(Plain):
        def __init__(self, units, **kwargs):
            super().__init__(units, **kwargs)

    with pytest.raises(TypeError, match=r"declares \['rate'\], but its parent has an `__init__` of its own"):
        type("Child", (ByHand,), {"rate": Real(0.1)})


def test_two_parents_that_declare():
    class Mixin(GatedCell, abstract=True):
        rate = Real(0.1, "a rate")

    class Both(Mixin, Plain):
        own = Integer(3, "a number")

    cell = Both(4, rate=0.2, activation="relu")
    assert (cell.rate, cell.own, cell.units) == (0.2, 3, 4)


def test_a_weight_taken_back():
    class WithoutBias(Plain):
        bias = None

    with pytest.raises((TypeError, ValueError), match="use_bias"):
        WithoutBias(4, use_bias=True)
    layer = MyRNN(WithoutBias(4))
    assert tuple(layer(X).shape) == (4, 4)
    assert [weight.name for weight in layer.weights] == ["kernel", "recurrent_kernel"]


def test_an_argument_behind_one_that_is_not_there():
    class Lost(Plain):
        rate = Real(0.1, "a rate")

    with pytest.raises(ValueError, match=r"`after` of Wrong.rate must be one of .* Received: after='nope'"):
        type("Wrong", (Plain,), {"rate": Real(0.1, after="nope")})


def test_arguments_of_any_type():
    class Listed(Plain):
        pure = True
        order = Argument(None, "numbers")

    layer = MyRNN(Listed(4, order=[1, 2]))
    assert tuple(layer(X).shape) == (4, 4)
    assert tuple(layer(X).shape) == (4, 4)


def test_heads_with_an_argument_for_masks_per_gate():
    class Masked(Plain):
        recurrence = Heads("heads")
        heads = Integer(2, "how many")
        implementation = Integer(1, "as in Keras")

    assert tuple(MyRNN(Masked(4, recurrent_dropout=0.5))(X, training=True).shape) == (4, 4)


class Decaying(LinearCell):
    """A decay for each unit, the same at every step."""

    gates = 1
    states = (State("h"),)
    pure = True

    def coefficients(self, projected, weights):
        return ops.convert_to_tensor(np.linspace(0.1, 0.9, self.units).astype("float32")), projected


class Squashed(Decaying):
    """Its step is something else, so that it is not linear."""

    def move(self, decay, added, state):
        return ops.tanh(super().move(decay, added, state))


@pytest.mark.parametrize("cell", [Decaying, Squashed])
@pytest.mark.parametrize("units", [5, 6])
def test_a_layer_is_its_cell_step_by_step(cell, units):
    layer = MyRNN(cell(units), return_sequences=True)
    outputs = to_numpy(layer(X))
    state = np.zeros((4, units), "float32")
    for step in range(6):
        state = to_numpy(layer.cell(X[:, step], [state])[0])
        assert_close(outputs[:, step], state, 1e-5)


def test_other_numbers_of_steps_in_one_layer():
    for cell in (ext.MinGRUCell(4), MyLSTMCell(4), ZoneoutWrapper(MyLSTMCell(4), 0.1)):
        layer = MyRNN(cell)
        for steps in (5, 6, 0, 1):
            output = layer(X[:, :steps])
            assert tuple(output.shape) == (4, 4)
            if steps == 0:
                assert not to_numpy(output).any()


def test_a_wrapper_with_a_call_of_its_own():
    class Sevens(ZoneoutWrapper):
        def call(self, inputs, states, training=False):
            output, new_states = super().call(inputs, states, training=training)
            return ops.zeros_like(output) + 7, new_states

    assert (to_numpy(MyRNN(Sevens(MyLSTMCell(4), 0.1))(X)) == 7).all()


@pytest.mark.parametrize("cell", [lambda: MyLSTMCell(64), lambda: ext.MinGRUCell(64), lambda: ext.IndRNNCell(64)])
def test_zoneout_of_a_wide_layer(cell):
    """So large that TensorFlow runs it as a loop for each core."""
    wide = np.random.default_rng(0).normal(size=(64, 8, 3)).astype("float32")
    layer = MyRNN(ZoneoutWrapper(cell(), 0.2), return_sequences=True)
    outputs = to_numpy(layer(wide))
    assert_close(to_numpy(layer(wide[:3])), outputs[:3], 1e-5)
    assert np.isfinite(to_numpy(layer(wide, training=True))).all()


def test_a_product_of_parts_with_masks_and_shares(monkeypatch):
    if BACKEND == "tensorflow":
        blocks = importlib.import_module("keras_rnn_ext.engine.tensorflow.blocks")
        monkeypatch.setattr(blocks, "parts_of", lambda plan, feed: 2)
    layer = MyRNN(ZoneoutWrapper(MyLSTMCell(4), 0.3, 0.3, seed=1), return_sequences=True)
    mask = np.arange(6)[None] < np.array([[6], [4], [2], [0]])
    outputs = to_numpy(layer(X, mask=mask))
    for row, length in enumerate((6, 4, 2)):
        assert_close(outputs[row, :length], to_numpy(layer(X[row : row + 1, :length]))[0], 1e-5)


class WideHidden(Plain):
    """Its hidden state stays in float32."""

    states = (State("h", wide=True),)
    pure = summed = True


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16"])
@pytest.mark.parametrize("cell", [WideHidden, ext.SLSTMCell, ext.LRUCell])
def test_wide_states_stay_wide(cell, policy):
    layer = MyRNN(cell(4, dtype=policy), stateful=True, dtype=policy)
    layer(X, training=True)
    wide = [state.wide for state in layer.cell.declared_states()]
    kept = [keras.backend.standardize_dtype(state.dtype) == "float32" for state in keras.tree.flatten(layer.states)]
    assert all(is_kept for is_wide, is_kept in zip(wide, kept, strict=True) if is_wide)
    assert all(np.isfinite(state.astype("float32")).all() for state in layer.get_state())
    model = keras.Sequential([keras.Input((6, 3)), MyRNN(cell(4, dtype=policy), dtype=policy), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(X, X.mean(axis=(1, 2)), verbose=0)


def test_a_layer_of_a_cell_that_reads_images():
    class PixelsCell(RecurrentCell):
        """The mean of all pixels, step by step."""

        units = Integer(sentence="the size of the state")
        states = ("h",)
        pure = True

        def project(self, inputs, weights, noise):
            return ops.mean(inputs, axis=(-1, -2, -3))[..., None]

        def recur(self, projected, states, weights, noise):
            hidden = 0.5 * states[0] + projected
            return hidden, [hidden]

    define_cell("pixels", "None.", package="outside")(PixelsCell)
    layer = layer_of(PixelsCell)(4, return_sequences=True)
    images = np.random.default_rng(0).normal(size=(2, 5, 3, 3, 1)).astype("float32")
    assert tuple(layer(images).shape) == (2, 5, 4)
    assert_close(to_numpy(layer(images))[:, 0, 0], images[:, 0].mean(axis=(1, 2, 3)), 1e-5)


def test_where_a_class_is_registered():
    @define_cell("elsewhere", "None.")
    class ElsewhereCell(Plain):
        """One step of nothing new."""

    home = __name__.partition(".")[0]
    assert keras.saving.get_registered_name(ElsewhereCell) == f"{home}>ElsewhereCell"
    assert keras.saving.get_registered_name(layer_of(ElsewhereCell)) == f"{home}>Elsewhere"
    assert "elsewhere" not in ext.registry.list_cells()
    with pytest.raises(ValueError, match="`cell` must be a class whose name ends with `Cell`. Received: Plain"):
        layer_of(Plain)


def test_what_explain_says_of_a_wrapper():
    inside = {"tensorflow": "block loop", "jax": "tangent loop", "torch": "projected loop"}[BACKEND]
    text = MyRNN(ZoneoutWrapper(MyLSTMCell(64), 0.1)).explain(2, 9, training=True)
    assert "cell inside: runs" in text
    assert f"inside: backend {BACKEND}: {inside}" in text
