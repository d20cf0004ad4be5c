"""The example of forecasts: its series, its scale, its comparison, and what it writes."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from tests.examples import fails, load_example

pytest.importorskip("statsmodels", reason="it has the series")


@pytest.fixture(scope="module")
def example():
    return load_example("forecast")


@pytest.fixture(scope="module")
def output(example, tmp_path_factory):
    folder = tmp_path_factory.mktemp("forecast") / "output"
    example.main(["--epochs", "2", "--samples", "20", "--output", str(folder)])
    return folder, json.loads((folder / "results.json").read_text())


def test_the_scale_goes_there_and_back(example):
    counts = example.read_series()[1]
    scale = example.Scale(counts)
    assert np.allclose(scale.back(scale.there(counts)), counts)
    assert scale.there(counts).std() == pytest.approx(1)


def test_likelihood_is_that_of_a_normal_distribution(example):
    true, mean, deviation = 1.3, 0.4, 1.7
    tensors = [ops.convert_to_tensor(each) for each in ([[true]], [[mean, np.log(deviation)]])]
    found = float(example.likelihood(*tensors))
    density = np.exp(-0.5 * ((true - mean) / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))
    assert found == pytest.approx(-np.log(density) - 0.5 * np.log(2 * np.pi), rel=1e-5)


def test_what_it_is_compared_with(example, output):
    """The autoregressive model, by its own recursion; and the cycle before."""
    from statsmodels.tsa.ar_model import AutoReg

    _, results = output
    _, counts = example.read_series()
    trained = 231
    scale = example.Scale(counts[:trained])
    values = list(scale.there(counts[: trained + 5]))
    constant, *lags = AutoReg(np.array(values[:trained]), 9).fit().params
    for _ in range(11):
        values.append(constant + float(np.dot(lags, values[-1:-10:-1])))
    assert np.allclose(results["forecasts"]["AR(9)"][5], scale.back(np.array(values[-11:])))
    assert results["forecasts"]["last cycle"][5] == counts[trained - 6 : trained + 5].tolist()


def test_errors_are_those_of_the_forecasts(example, output):
    _, results = output
    _, counts = example.read_series()
    assert results["from"] == 309 - 231 - 11 + 1
    truth = np.stack([counts[231 + place : 242 + place] for place in range(results["from"])])
    for name, found in results["forecasts"].items():
        assert results["all"][name] == pytest.approx(np.sqrt(np.mean((np.array(found) - truth) ** 2)))
    low, high = np.array(results["band"])
    assert results["in_band"] == pytest.approx(np.mean((low <= truth) & (truth <= high)))


def test_files_of_a_run(output):
    folder, _ = output
    assert sorted(path.name for path in folder.iterdir()) == ["forecast.png", "model.keras", "results.json"]
    assert (folder / "forecast.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    model = keras.models.load_model(folder / "model.keras", compile=False)
    assert tuple(model(np.zeros((1, 5, 1))).shape) == (1, 5, 2)


def test_what_it_refuses(example, capsys, tmp_path):
    assert "--ahead: expected at most 78 years, got 79" in fails(example, capsys, "--ahead", "79", "--output", tmp_path)
    (tmp_path / "file").touch()
    assert "--output: expected a folder" in fails(example, capsys, "--output", tmp_path / "file")
