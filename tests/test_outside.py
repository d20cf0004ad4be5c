"""A cell from outside, written with public names alone, gets what ours get."""

import ast
import inspect
import pathlib

import keras
import numpy as np
import pytest

from keras_rnn_ext import MyRNN, ZoneoutWrapper
from keras_rnn_ext.testing import verify_contract
from tests.helpers import BACKEND
from tests.outside import oracle
from tests.outside.moving_average import MovingAverage, MovingAverageCell

OUTSIDE = pathlib.Path(oracle.__file__).parent


def test_it_keeps_the_contract_and_equals_its_oracle():
    verify_contract(lambda: MovingAverageCell(3, fastest=0.7), oracle=oracle.step)


def test_it_uses_public_names_alone():
    for path in OUTSIDE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("keras_rnn_ext"):
                assert node.module in ("keras_rnn_ext", "keras_rnn_ext.custom", "keras_rnn_ext.testing.oracle")


def test_its_layer_has_signature_documentation_and_checks():
    signature = inspect.signature(MovingAverage)
    for name in ("units", "activation", "fastest", "speed_initializer", "return_sequences", "recompute"):
        assert name in signature.parameters
    text = inspect.getdoc(MovingAverage)
    assert "fastest: number > 0 and <= 1; $\\rho$, the largest share of a step that is new. Default 1." in text
    assert 'speed_initializer: initializer of `speed`, $s$. Default `"zeros"`.' in text
    assert "moving average of candidates" in inspect.getdoc(MovingAverageCell)
    with pytest.raises(
        ValueError, match=r"`fastest` must be a number > 0 and <= 1. Received: fastest=2 \(of type int\)"
    ):
        MovingAverage(4, fastest=2)
    with pytest.raises((TypeError, ValueError), match="quickest"):
        MovingAverage(4, quickest=1.0)


def test_it_is_saved_under_its_own_package(tmp_path):
    assert keras.saving.get_registered_name(MovingAverage) == "outside>MovingAverage"
    model = keras.Sequential([keras.Input((None, 3)), MovingAverage(4, fastest=0.5, speed_initializer="ones")])
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    before = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras").predict(x, verbose=0), before)
    assert model.layers[0].get_config()["fastest"] == 0.5


def test_it_gets_the_fast_rows():
    for cell in (MovingAverageCell(4), ZoneoutWrapper(MovingAverageCell(4), 0.1)):
        layer = MyRNN(cell)
        layer.build((2, 30, 3))
        assert layer.explain(2, 30, training=True)
    fast = {"tensorflow": "block loop", "jax": "tangent loop", "torch": "projected loop"}[BACKEND]
    layer = MovingAverage(64)
    layer.build((4, 30, 3))
    assert layer.explain(4, 30, training=True).startswith(f"backend {BACKEND}: {fast}")


def test_the_page_on_cells_of_your_own(tmp_path, monkeypatch):
    """Its first example: from equations to a model that is trained, saved and loaded."""
    page = (OUTSIDE.parents[1] / "docs" / "custom_cells.md").read_text(encoding="utf-8")
    example = page.split("```python\n")[1].split("```")[0]
    assert len(example.splitlines()) <= 40
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "my_lab"}
    exec(compile(example, "custom_cells.md", "exec"), names)
    assert keras.saving.get_registered_name(names["Leaky"]) == "my_lab>Leaky"
    assert (tmp_path / "leaky.keras").exists()
