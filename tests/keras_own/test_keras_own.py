"""Keras's own tests, run with our classes: see `loader.py`."""

import ast
import re
from unittest import mock

import keras
import pytest

from tests.helpers import KERAS
from tests.keras_own.loader import EXCLUDED, MODULES, PRIVATE, QUANTIZATION, TWINS, cases_of, functions_of, load, parse

if KERAS < (3, 15):
    pytest.skip("few wheels of Keras before 3.15 have Keras's tests in them", allow_module_level=True)

# Keras warns in tests of its own, with its own classes too.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`shuffle=True` was passed, but will be ignored:UserWarning"),
    pytest.mark.filterwarnings("ignore:Explicitly requested dtype int64 requested in asarray:UserWarning"),
    pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer:UserWarning"),
]

# What pytest collects: `LSTM_LSTMTest` and so on.
globals().update(
    {f"{twin}_{name}": case for module, twin in MODULES.items() for name, case in cases_of(load(module)).items()}
)


@pytest.mark.parametrize(("module", "twin"), MODULES.items(), ids=MODULES.values())
def test_each_exclusion_names_a_test_and_an_allowed_reason(module, twin):
    names = {function.name for function in functions_of(parse(module)[0])}
    excluded = EXCLUDED.get(twin, {})
    assert names > excluded.keys()
    for reason in excluded.values():
        assert reason.startswith((PRIVATE, QUANTIZATION)) or re.match(r"G([1-9]|1[0-7]): ", reason)


def test_the_table_of_exclusions_names_modules():
    assert EXCLUDED.keys() <= set(MODULES.values())


@pytest.mark.parametrize(("module", "twin"), MODULES.items(), ids=MODULES.values())
def test_our_class_runs_in_the_place_of_keras_s(module, twin):
    """One short test of each module makes instances of ours, and none of Keras's."""
    made = dict.fromkeys((*TWINS.values(), *(getattr(keras.layers, name) for name in TWINS)), 0)
    original = keras.layers.Layer.__new__

    def counted(cls, *args, **kwargs):
        if cls in made:
            made[cls] += 1
        return original(cls, *args, **kwargs)

    loaded = load(module)
    case = next(iter(cases_of(loaded).values()))
    plain = [function for function in functions_of(parse(module)[0]) if not function.decorator_list]
    # The tests of a stack make it of a list, in `layers.RNN`.
    about = [function for function in plain if f"layers.{twin}(" in ast.unparse(function)] or plain
    with mock.patch.object(keras.layers.Layer, "__new__", staticmethod(counted)):
        case(min(about, key=lambda function: len(ast.unparse(function))).name).debug()
    assert made[TWINS[twin]] > 0
    assert sum(loaded.layers.requested.values()) > 0
    assert sum(made[getattr(keras.layers, name)] for name in TWINS) == 0


class WrongDense(TWINS["Dense"]):
    def call(self, inputs, training=None):
        return super().call(inputs) + 1


def test_a_wrong_class_fails():
    loaded = load("keras.src.layers.core.dense_test", {"Dense": WrongDense})
    with pytest.raises(AssertionError):
        loaded.DenseTest("test_dense_correctness").debug()
