"""Every cell of the registry, in every variant: the contract, and its oracle."""

import importlib

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_rnn_ext import MyRNN, MyStackedRNNCells
from keras_rnn_ext.registry import ROWS, get, list_cells
from keras_rnn_ext.testing import PROPERTIES, verify_contract
from keras_rnn_ext.testing.contract import Case
from tests.helpers import RTOL, WIDEST, assert_close, precision, to_numpy

VARIANTS = [pytest.param(row, variant, id=f"{row.name}-{variant}") for row in ROWS for variant in row.variants]

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


def few(fraction):
    """A fraction of the profile's examples: each of these builds and traces several layers."""
    return settings(max_examples=max(1, settings().max_examples // fraction))


@pytest.mark.parametrize("check", PROPERTIES.values(), ids=PROPERTIES.keys())
@pytest.mark.parametrize(("row", "variant"), VARIANTS)
def test_cell_keeps_the_contract(row, variant, check, policy):
    @few(5)
    @given(case=cases, units=st.integers(1, 4))
    def holds(case, units):
        check(lambda: row.cell(units, bias_initializer="random_normal", **variant), case)

    holds()


@pytest.mark.parametrize("check", PROPERTIES.values(), ids=PROPERTIES.keys())
def test_stack_keeps_the_contract(check, policy):
    def make_stack():
        return MyStackedRNNCells([get("lstm").cell(3), keras.layers.GRUCell(2), get("simple_rnn").cell(4)])

    check(make_stack, Case(batch=2, steps=4))


@pytest.mark.parametrize(("row", "variant"), VARIANTS)
def test_layer_equals_its_oracle(row, variant, policy):
    oracle = importlib.import_module(f"tests.oracles.{row.name}").run

    @given(case=cases, units=st.integers(1, 5))
    def holds(case, units):
        layer = row.layer(units, return_sequences=True, return_state=True, bias_initializer="random_normal", **variant)
        inputs = case.sequences()
        layer.build(inputs.shape)
        generator = np.random.default_rng(case.seed)
        states = [generator.normal(size=(case.batch, units)) for _ in layer.state_size]
        outputs, *last_states = layer(inputs, initial_state=states)
        expected = oracle(inputs, states, layer.get_weights(), **variant)
        # A state is a mix of the one before, of size 1, and of the candidate: they can cancel.
        assert_close(to_numpy((outputs, last_states)), expected, RTOL[policy], scale=1.0)

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


def test_registry_is_complete():
    from keras_rnn_ext import cells

    modules = {path.stem for path in importlib.resources.files(cells).iterdir() if path.name.endswith(".py")}
    assert {row.name for row in ROWS} == modules - {"__init__"}
    assert list_cells() == [row.name for row in ROWS]
    with pytest.raises(ValueError, match=r"Argument `name` must be one of \['simple_rnn', 'lstm', 'gru'\]"):
        get("elman")
    assert issubclass(get("gru").layer, MyRNN)
