"""The example runs as a user would run it: from its file, with command-line arguments."""

import json

import keras
import numpy as np
import pytest

from tests.examples import fails, load_example

# Long enough for what is to be seen, and small enough for a test.
SMALL = ("--steps", "20", "--units", "8", "--depth", "3", "--sequences", "128", "--epochs", "1", "--clip", "0.5")


@pytest.fixture(scope="module")
def example():
    return load_example("gradient_flow")


@pytest.fixture(scope="module")
def output(example, tmp_path_factory):
    """The output folder of a small run, and the results."""
    folder = tmp_path_factory.mktemp("flow") / "output"
    example.main([*SMALL, "--output", str(folder)])
    return folder, json.loads((folder / "results.json").read_text())


def test_files_of_a_run(output):
    folder, _ = output
    assert sorted(path.name for path in folder.iterdir()) == ["gradient_flow.png", "model.keras", "results.json"]
    assert (folder / "gradient_flow.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_a_small_kernel_vanishes_and_a_large_one_explodes(output):
    reach = {name: np.array(each)[0] for name, each in output[1]["reach"].items()}
    assert all(each[0] == 1 and len(each) == 20 for each in reach.values())
    # Tanh can only make it less than the kernel does.
    assert 0 < reach["simple, 0.8 x orthogonal"][-1] <= 0.8**19
    assert reach["simple, 0.8 x orthogonal"][-1] < reach["simple, 1 x orthogonal"][-1] < 1
    assert reach["simple, 2 x orthogonal"].max() > 2
    exponents = output[1]["lyapunov"]
    assert exponents["simple, 0.8 x orthogonal"] < np.log(0.8) + 1e-3


def test_each_clipping_does_what_it_says(output):
    step, clip = output[1]["first_step"], 0.5
    gradient = step["no clipping"]
    assert gradient["norm"] > 4 * clip
    assert step["by global norm"]["norm"] == pytest.approx(clip, rel=1e-4)
    assert step["by global norm"]["cosine_with_gradient"] == pytest.approx(1, abs=1e-5)
    expected = np.minimum(gradient["norm_by_weight"], clip)
    np.testing.assert_allclose(step["by norm"]["norm_by_weight"], expected, rtol=1e-4)
    for name in ("by value", "by norm"):
        assert clip < step[name]["norm"] < gradient["norm"]
        assert step[name]["cosine_with_gradient"] < 0.999


def test_every_training_has_its_losses(output):
    losses = output[1]["losses"]
    assert list(losses) == ["no clipping", "by value", "by norm", "by global norm"]
    # All start from the same weights with the same batch.
    assert len({each[0] for each in losses.values()}) == 1
    assert len(losses["by global norm"]) == 2
    assert None not in losses["by global norm"]


def test_the_loss_of_a_batch_is_its_own(example):
    metric = example.BatchLoss()
    for target, expected in ((3.0, 9.0), (1.0, 1.0)):
        metric.update_state(np.full((2, 1), target, "float32"), np.zeros((2, 1), "float32"))
        assert float(metric.result()) == pytest.approx(expected)


def test_depth_is_measured_for_each_layer(output):
    for each in output[1]["depth"].values():
        assert len(each["by_depth"]) == len(each["of_weights_by_depth"]) == 3
        assert len(each["bottom_by_lag"]) == 20
        assert each["by_depth"][0] == pytest.approx(each["bottom_by_lag"][0])
        assert each["by_depth"][-1] == pytest.approx(each["top_by_lag"][0])
        assert all(norm > 0 for norm in each["of_weights_by_depth"])
    # With a way around each layer, more arrives at the bottom than at the top.
    assert output[1]["depth"]["residual"]["by_depth"][0] > output[1]["depth"]["residual"]["by_depth"][-1]


def test_sums_are_those_of_the_marked_numbers(example):
    x, y = example.adding_problem(50, 9, np.random.default_rng(0))
    assert x.shape == (50, 9, 2)
    assert (x[:, :4, 1].sum(1) == 1).all()
    assert (x[:, 4:, 1].sum(1) == 1).all()
    np.testing.assert_allclose((x[..., 0] * x[..., 1]).sum(1), y[:, 0], rtol=1e-6)


def test_saved_model_answers(example, output):
    model = keras.models.load_model(output[0] / "model.keras")
    x, _ = example.adding_problem(4, 20, np.random.default_rng(5))
    assert np.isfinite(model.predict(x, verbose=0)).all()


def test_logs_for_tensorboard(example, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.setattr(example, "CLIPPINGS", {"no clipping": None, "by global norm": "global_clipnorm"})
    small = ("--steps", "6", "--units", "2", "--depth", "1", "--sequences", "16", "--epochs", "1")
    example.main([*small, "--tensorboard", "--output", str(tmp_path)])
    assert list((tmp_path / "tensorboard" / "by_global_norm" / "train").glob("events*"))


def test_what_is_missing_is_told(example, capsys, monkeypatch):
    monkeypatch.setattr(example.importlib.util, "find_spec", lambda name: None)
    assert "--tensorboard: needs TensorBoard: python -m pip" in fails(example, capsys, "--tensorboard")
    assert "needs matplotlib: python -m pip install matplotlib" in fails(example, capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "3"], "expected int from 4, got '3'"),
        (["--clip", "0"], "expected float from 1e-06, got '0'"),
        (["--learning-rate", "nan"], "expected float from 0, got 'nan'"),
    ],
)
def test_wrong_options_end_with_a_message(example, capsys, arguments, message):
    assert message in fails(example, capsys, *arguments)


def test_output_that_is_a_file_is_told(example, capsys, tmp_path):
    (tmp_path / "taken").write_text("")
    assert "--output: expected a folder" in fails(example, capsys, "--output", str(tmp_path / "taken"))


def test_help_shows_the_defaults(example, capsys):
    with pytest.raises(SystemExit) as stop:
        example.main(["--help"])
    assert stop.value.code == 0
    assert "default: 0.03" in capsys.readouterr().out
