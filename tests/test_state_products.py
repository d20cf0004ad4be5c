"""How states enter a gated cell: each product beside the matrix that it stands for, with its way back."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_rnn_ext import MyRNN
from keras_rnn_ext.core import state_products
from keras_rnn_ext.custom import Dense, Diagonal, GatedCell, Heads, Integer, LowRank, State, Weight
from keras_rnn_ext.testing.contract import Case, strategies_agree, strategies_agree_in_training
from tests.helpers import WIDEST, assert_close, precision, to_numpy


class TwoGates(GatedCell):
    """Two gates, of which the second decides how much of the first is new."""

    gates = 2
    states = ("h",)
    pure = summed = True

    def gate(self, projected, recurrent, states, weights):
        candidate, share = ops.split(projected + recurrent, 2, axis=-1)
        share = ops.sigmoid(share)
        hidden = share * ops.tanh(candidate) + (1 - share) * states[0]
        return hidden, [hidden]


class OfVectors(TwoGates):
    """Each unit sees itself."""

    pure = summed = True
    recurrence = Diagonal()


class OfBlocks(TwoGates):
    """The units of a head see each other."""

    recurrence = Heads("heads")
    heads = Integer(2, "how many")


class OfLowRank(TwoGates):
    """The kernel is a product of two."""

    recurrence = LowRank("rank", "second_kernel")
    rank = Integer(2, "of the kernel")
    second_kernel = Weight(("rank", "width"), "the second factor")


class OfTwo(GatedCell):
    """Two states enter side by side, the second of them first."""

    gates = 1
    states = ("h", State("memory"))
    pure = True
    recurrence = Dense("memory", "h")

    def gate(self, projected, recurrent, states, weights):
        hidden = ops.tanh(projected + recurrent)
        return hidden, [hidden, 0.5 * states[1] + hidden]


CELLS = [OfVectors, OfBlocks, OfLowRank, OfTwo]
UNITS = 4


@pytest.fixture
def widest():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(WIDEST)
    with precision(WIDEST):
        yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("check", [strategies_agree, strategies_agree_in_training])
@pytest.mark.parametrize("cell", CELLS)
def test_every_row_and_every_gradient(cell, check, widest):
    check(lambda: cell(UNITS), Case())


@pytest.mark.parametrize("check", [strategies_agree, strategies_agree_in_training])
def test_blocks_one_by_one(check, widest, monkeypatch):
    """As many units have them: small ones are put into one matrix."""
    monkeypatch.setattr(state_products, "MOST_DENSE", 0)
    check(lambda: OfBlocks(UNITS), Case())


def dense_kernel(cell):
    """The matrix that a product stands for, from what it makes of unit vectors."""
    size = len(cell.recurrence.places(cell)) * UNITS
    unit = ops.convert_to_tensor(np.eye(size, dtype=WIDEST))
    return to_numpy(cell.recurrent(unit, cell.gather_weights(), {}))


@pytest.mark.parametrize("most_dense", [0, 256])
@pytest.mark.parametrize("cell", CELLS)
def test_a_product_is_its_matrix_and_the_way_back_its_transpose(cell, most_dense, widest, monkeypatch):
    monkeypatch.setattr(state_products, "MOST_DENSE", most_dense)
    made = cell(UNITS)
    made.build((None, 3))
    weights, _ = made.ready(made.gather_weights(), {})
    matrix, random = dense_kernel(made), np.random.default_rng(0)
    values = random.normal(size=(2, 5, len(matrix))).astype(WIDEST)
    found = to_numpy(made.recurrent(ops.convert_to_tensor(values), weights, {}))
    assert_close(found, values @ matrix, 1e-6)
    gradient = random.normal(size=(5, matrix.shape[1])).astype(WIDEST)
    back = made.gradient_to_hidden(ops.convert_to_tensor(gradient), made.transposed(weights), {})
    assert_close(to_numpy(back), gradient @ matrix.T, 1e-6)


def test_what_the_matrices_look_like(widest):
    made = {}
    for cell in CELLS:
        made[cell] = cell(UNITS)
        made[cell].build((None, 3))
    vectors = to_numpy(ops.convert_to_tensor(made[OfVectors].recurrent_kernel))
    assert_close(dense_kernel(made[OfVectors]), np.concatenate([np.diag(vector) for vector in vectors], 1), 1e-6)
    blocks = dense_kernel(made[OfBlocks]).reshape(2, 2, 2, 2, 2)  # head, size, gate, head, size
    assert not blocks[0, :, :, 1].any()
    assert not blocks[1, :, :, 0].any()
    assert np.linalg.matrix_rank(dense_kernel(made[OfLowRank])) == 2
    assert dense_kernel(made[OfTwo]).shape == (8, 4)
    layer = MyRNN(OfTwo(UNITS), return_state=True)
    assert [tuple(each.shape) for each in layer(np.zeros((2, 3, 3), WIDEST))] == [(2, 4)] * 3
