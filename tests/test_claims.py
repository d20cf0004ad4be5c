"""What a class says of its mathematics: kept by those that leave it alone, lost by those that change it."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_rnn_ext import MyGRUCell, MyLSTMCell, MyRNN, MyStackedRNNCells
from keras_rnn_ext.custom import GatedCell, RecurrentCell, RecurrentLayer
from keras_rnn_ext.testing import Case
from keras_rnn_ext.testing.contract import strategies_agree
from tests.helpers import BACKEND, assert_close, to_numpy

SEQUENCES = np.random.default_rng(0).normal(size=(2, 12, 3)).astype("float32")


class Renamed(MyLSTMCell):
    """Overrides nothing."""


class Coupled(MyLSTMCell):
    """Its input gate is what its forget gate leaves."""

    def gate(self, projected, recurrent, states, weights):
        _, forget_gate, candidate, output_gate = ops.split(projected + recurrent, 4, axis=-1)
        forget_gate = self.recurrent_activation(forget_gate)
        carry = forget_gate * states[1] + (1 - forget_gate) * self.activation(candidate)
        hidden = self.recurrent_activation(output_gate) * self.activation(carry)
        return hidden, [hidden, carry]


class PureCoupled(Coupled):
    """Says that it is pure of the mathematics that it inherits."""

    pure = True


class PureAgain(PureCoupled):
    """Overrides what its parent called pure."""

    def gate(self, projected, recurrent, states, weights):
        hidden, (_, carry) = super().gate(projected, recurrent, states, weights)
        return 2 * hidden, [2 * hidden, carry]


class Inside(Coupled):
    """Stands in a module of the package."""

    pure = True
    __module__ = "keras_rnn_ext.cells.inside"


class Squared(MyLSTMCell):
    """The state enters in another way."""

    pure = True

    def recurrent(self, hidden, weights, noise):
        return super().recurrent(hidden**2, weights, noise)


class Leaky(GatedCell):
    """A cell of a user's, from nothing but the base class."""

    pure = True
    summed = True

    def __init__(self, units, use_bias=True, kernel_initializer="glorot_uniform", recurrent_initializer="orthogonal",
                 bias_initializer="zeros", kernel_regularizer=None, recurrent_regularizer=None, bias_regularizer=None,
                 kernel_constraint=None, recurrent_constraint=None, bias_constraint=None, **kwargs):  # fmt: skip
        super().__init__(**kwargs)
        self.take(locals())
        self.state_size = self.units

    def gate(self, projected, recurrent, states, weights):
        hidden = 0.9 * states[0] + 0.1 * ops.tanh(projected + recurrent)
        return hidden, [hidden]


class Boxed(Leaky):
    """One of its states is a matrix."""

    pure = True

    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.state_size = [self.units, (self.units, self.units)]

    def gate(self, projected, recurrent, states, weights):
        hidden = ops.tanh(projected + recurrent + ops.mean(states[1], axis=-1))
        return hidden, [hidden, 0.5 * states[1] + hidden[:, None]]


class OwnNoise(MyLSTMCell):
    """Draws something else."""

    def draw_noise(self, inputs, states, training, steps=None):
        return {}


CELLS = [Renamed, Coupled, PureCoupled, PureAgain, Inside, Squared, Leaky, Boxed]


@pytest.mark.parametrize("cell", CELLS)
def test_every_row_computes_what_the_class_does_whatever_its_parents_claim(cell):
    strategies_agree(lambda: cell(4), Case(batch=4, steps=5))


@pytest.mark.parametrize(
    ("cell", "pure", "library", "summed"),
    [
        (MyLSTMCell, True, "lstm", True),
        (Renamed, True, "lstm", True),
        (Coupled, False, None, False),
        (PureCoupled, True, None, False),
        (PureAgain, False, None, False),
        (Inside, True, None, False),
        (Squared, True, None, True),
        (Leaky, True, None, True),
        (Boxed, True, None, False),
        (OwnNoise, False, None, True),
    ],
)
def test_claims(cell, pure, library, summed):
    made = cell(4)
    assert (made.is_pure, made.library, made.is_summed) == (pure, library, summed)


def test_an_activation_from_elsewhere_is_not_known_to_be_pure():
    assert not MyLSTMCell(4, activation=lambda value: ops.tanh(value)).is_pure


def test_a_class_that_overrides_the_step_is_gated_no_more():
    class Stepped(MyLSTMCell):
        def recur(self, projected, states, weights, noise):
            hidden, states = super().recur(projected, states, weights, noise)
            return hidden, states

    assert MyLSTMCell(4).is_gated
    assert not Stepped(4).is_gated
    assert not MyGRUCell(4, reset_after=False).is_gated


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch has no row for gated cells but torch's own")
@pytest.mark.parametrize(("cell", "served"), [(Leaky, True), (PureCoupled, True), (Coupled, False), (PureAgain, False)])
def test_a_user_s_cell_that_says_it_is_pure_gets_the_fast_rows(cell, served):
    layer = MyRNN(cell(128))
    layer.build((None, None, 3))
    name = {"tensorflow": "block loop", "jax": "tangent loop"}[BACKEND]
    line = next(each for each in layer.explain(batch=1, steps=3, training=True).splitlines() if f"  {name}:" in each)
    assert ("runs" in line) is served
    assert ("does not say `pure = True`" in line) is not served


@pytest.mark.skipif(BACKEND != "tensorflow", reason="of the backends, TensorFlow's block loop alone asks for it")
def test_another_product_needs_its_own_gradient():
    assert "overrides `recurrent`, but not `gradient_to_hidden`" in MyRNN(Squared(4)).explain(training=True)


@pytest.mark.skipif(BACKEND != "torch", reason="the other backends have kernels of that kind on a GPU alone")
def test_a_cell_that_changes_nothing_keeps_the_kernel():
    assert MyRNN(Renamed(4)).explain().startswith("backend torch: fused layer")
    assert MyRNN(PureCoupled(4)).explain().startswith("backend torch: projected loop")


# Cells that their authors have not yet described


class Silent(MyLSTMCell):
    __doc__ = None


class Terse(MyLSTMCell):
    """One line."""


@pytest.mark.parametrize("cell", [Silent, Terse])
def test_a_cell_with_a_short_docstring_gets_a_layer(cell):
    class Made(RecurrentLayer, cell=cell):
        """A layer."""

    assert Made.__doc__.startswith("A layer.")
    assert Made.__doc__.endswith("(2, 7)")
    assert tuple(Made(4)(SEQUENCES).shape) == (2, 4)


# States with a shape


class Matrix(RecurrentCell):
    """Its states are a matrix and a vector."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.take(locals())
        self.output_size = self.units
        self.state_size = [(self.units, self.units), self.units]

    def build(self, input_shape):
        self.built = True

    def project(self, inputs, weights, noise):
        return ops.mean(inputs, axis=-1, keepdims=True)

    def recur(self, projected, states, weights, noise):
        matrix, vector = states
        matrix = 0.5 * matrix + projected[..., None]
        vector = vector + ops.sum(matrix, axis=-1)
        return vector, [matrix, vector]


def test_a_state_with_a_shape():
    layer = MyRNN(Matrix(4), return_sequences=True, return_state=True)
    outputs, matrix, vector = layer(SEQUENCES)
    shapes = [tuple(each.shape) for each in (outputs, matrix, vector)]
    assert shapes == [(2, 12, 4), (2, 4, 4), (2, 4)] == [tuple(each) for each in layer.compute_output_shape((2, 12, 3))]
    assert [tuple(each.shape) for each in layer.get_initial_state(2)] == [(2, 4, 4), (2, 4)]
    mask = np.arange(12)[None] < np.array([[5], [12]])
    _, masked, _ = layer(SEQUENCES, mask=mask)
    assert_close(to_numpy(masked)[0], to_numpy(layer(SEQUENCES[:1, :5])[1])[0], 1e-6)
    _, _, again = layer(SEQUENCES[:, 6:], initial_state=layer(SEQUENCES[:, :6])[1:])
    assert_close(to_numpy(again), to_numpy(vector), 1e-6)


def test_a_state_with_a_shape_in_a_stack_and_in_a_model():
    stack = MyStackedRNNCells([Matrix(4), MyGRUCell(5), MyLSTMCell(3)])
    layer = MyRNN(stack, return_state=True)
    expected = layer(SEQUENCES)
    shapes = [(2, 3), [(2, 4, 4), (2, 4)], [(2, 5)], [(2, 3), (2, 3)]]
    assert keras.tree.map_structure(lambda each: tuple(each.shape), list(expected)) == shapes
    assert list(layer.compute_output_shape((2, 12, 3))) == shapes
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, layer(inputs))
    assert_close(to_numpy(model(SEQUENCES)), to_numpy(expected), 1e-6)
    carried = MyRNN(Matrix(4), stateful=True)
    carried(SEQUENCES)
    assert [each.shape for each in carried.get_state()] == [(2, 4, 4), (2, 4)]
    carried.reset_state(rows=[0])
    assert not carried.get_state()[0][0].any()
    assert carried.get_state()[0][1].any()
