"""Every cell of the catalogue: its oracle, and the contract.

Each variant of each cell is held against its oracle, each cell against two properties, and one cell of each kind
against all of them, each with sizes of its own, drawn once. `pytest --deep` holds all against all, with many sizes.
"""

import dataclasses
import importlib
import pathlib
import random

import keras
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_rnn_ext import MyRNN, MyStackedRNNCells, ZoneoutWrapper, cells
from keras_rnn_ext.registry import ROWS, get, list_cells
from keras_rnn_ext.testing import Case, equals_oracle, verify_contract
from keras_rnn_ext.testing.contract import FOR_EVERY_CELL, FOR_EVERY_KIND
from tests.helpers import WIDEST, precision

VARIANTS = [(row, variant) for row in ROWS for variant in row.variants]
IDS = [f"{row.name}-{variant}" for row, variant in VARIANTS]


def cell_with_bias(row, variant, units=2):
    """A function that makes the cell, with a bias that is not zero where it has one."""
    own = {"bias_initializer": "random_normal"} if "bias" in row.cell.declared_weights() else {}
    return lambda: row.cell(units * row.multiple, **own, **variant)


# One of each: two products as a sum, two products apart, one product after the other, a vector, heads and wide states,
# two states that enter, linear, complex; a stack with a cell of Keras's; zoneout of cells that are linear and Keras's.
# `test_wrappers` has the other wrappers, with zoneout of a gated cell among them.
KINDS = {
    "summed": cell_with_bias(get("lstm"), {}),
    "apart": cell_with_bias(get("gru"), {}),
    "cell": cell_with_bias(get("gru"), {"reset_after": False}),
    "diagonal": cell_with_bias(get("ind_rnn"), {"activation": "tanh"}),
    "heads": cell_with_bias(get("slstm"), {"heads": 2}),
    "two_enter": cell_with_bias(get("co_rnn"), {"dt": 0.3, "gamma": 1.0, "epsilon": 0.5}),
    "linear": cell_with_bias(get("min_lstm"), {}),
    "complex": cell_with_bias(get("lru"), {}),
    "chunks": cell_with_bias(get("mlstm"), {"heads": 2}),
    "stack": lambda: MyStackedRNNCells([get("lstm").cell(3), keras.layers.GRUCell(2), get("simple_rnn").cell(4)]),
    "zoneout_of_linear": lambda: ZoneoutWrapper(get("min_gru").cell(3), 0.3, seed=1),
    "zoneout_of_keras": lambda: ZoneoutWrapper(keras.layers.LSTMCell(3), 0.3, 0.5, seed=1),
}

cases = st.builds(
    Case,
    batch=st.integers(1, 4),
    steps=st.integers(1, 6),
    features=st.integers(1, 3),
    seed=st.integers(0, 1000),
)


@pytest.fixture(params=[WIDEST])
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    with precision(request.param):
        yield request.param
    keras.config.set_dtype_policy(before)


def drawn(*names):
    """Sizes for a test, the same in each run, and others than its neighbours have; and units."""
    draw = random.Random("-".join(names))
    sizes = {"batch": 4, "steps": 6, "features": 3, "seed": 1000}
    return Case(**{name: draw.randint(1, most) for name, most in sizes.items()}), draw.randint(1, 3)


def few(fraction):
    """A fraction of the profile's examples: each of these builds and traces several layers."""
    return settings(max_examples=max(1, settings().max_examples // fraction))


@pytest.mark.parametrize("check", FOR_EVERY_CELL, ids=lambda check: check.__name__)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_cell_keeps_the_contract(row, check, policy):
    check(cell_with_bias(row, row.variants[0]), Case(condition=row.condition))


@pytest.mark.parametrize("check", FOR_EVERY_KIND, ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_kind_keeps_the_contract(kind, check, policy):
    check(KINDS[kind], drawn(kind, check.__name__)[0])


@pytest.mark.deep
@pytest.mark.parametrize("check", [*FOR_EVERY_CELL, *FOR_EVERY_KIND], ids=lambda check: check.__name__)
@pytest.mark.parametrize(("row", "variant"), VARIANTS, ids=IDS)
def test_cell_keeps_the_whole_contract(row, variant, check, policy):
    @few(5)
    @given(case=cases, units=st.integers(1, 3))
    def holds(case, units):
        check(cell_with_bias(row, variant, units), dataclasses.replace(case, condition=row.condition))

    holds()


@pytest.mark.parametrize(("row", "variant"), VARIANTS, ids=IDS)
def test_cell_equals_its_oracle(row, variant, policy):
    step = importlib.import_module(f"tests.oracles.{row.name}").step
    case, units = drawn(row.name, str(variant))
    # A norm over one unit, or two, leaves little but rounding.
    units = 3 if "layer_norm" in row.name else units
    case = dataclasses.replace(case, condition=row.condition)
    equals_oracle(cell_with_bias(row, variant, units), case, step)


@pytest.mark.deep
@pytest.mark.parametrize(("row", "variant"), VARIANTS, ids=IDS)
def test_cell_equals_its_oracle_whatever_the_sizes(row, variant, policy):
    step = importlib.import_module(f"tests.oracles.{row.name}").step

    @few(5)
    @given(case=cases, units=st.integers(1, 3))
    def holds(case, units):
        equals_oracle(cell_with_bias(row, variant, units), dataclasses.replace(case, condition=row.condition), step)

    holds()


def test_verify_contract_names_the_broken_property():
    class Forgetful(keras.layers.Layer):
        """Counts its calls in Python, so that a second call gives other numbers."""

        state_size = 2
        calls = 0

        def call(self, inputs, states):
            Forgetful.calls += 1
            return states[0] + Forgetful.calls, [states[0] + Forgetful.calls]

    with pytest.raises(AssertionError, match="layer_is_cell_step_by_step: outputs: relative error"):
        verify_contract(Forgetful)


def test_verify_contract_sees_a_wrong_oracle():
    from tests.oracles.lstm import step

    def wrong(x, states, weights, options):
        output, states = step(x, states, weights, options)
        return 1.01 * output, states

    equals_oracle(lambda: get("lstm").cell(2), Case(), step)
    with pytest.raises(AssertionError, match="values beside the oracle's: relative error"):
        equals_oracle(lambda: get("lstm").cell(2), Case(), wrong)


def test_a_file_is_all_that_a_cell_needs():
    modules = {path.stem for path in importlib.resources.files(cells).iterdir() if path.name.endswith(".py")}
    assert set(list_cells()) == modules - {"__init__"}
    assert {path.stem for path in (pathlib.Path(__file__).parent / "oracles").glob("*.py")} == modules
    for row in ROWS:
        assert issubclass(row.layer, MyRNN)
        assert row.cell.__name__ == f"{row.layer.__name__}Cell"
    with pytest.raises(ValueError, match=r"Argument `name` must be one of \['antisymmetric_rnn', "):
        get("elman")
