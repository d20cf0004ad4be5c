"""The example runs as a user would run it: from its file, with command-line arguments."""

import json

import keras
import numpy as np
import pytest

from keras_rnn_ext import reset_states
from tests.examples import fails, load_example


@pytest.fixture(scope="module")
def example():
    return load_example("echo_rnn")


def results_of(example, folder, *arguments):
    example.main([*arguments, "--output", str(folder)])
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def output(example, tmp_path_factory):
    """The output folder of the article's task, two epochs of it, and the results."""
    folder = tmp_path_factory.mktemp("echo") / "output"
    results = results_of(example, folder, "--epochs", "2", "--gif")
    return folder, results


def test_settings_are_those_of_the_article(example):
    options = example.make_parser().parse_args([])
    assert (options.epochs, options.length, options.window, options.state_size) == (100, 50_000, 15, 4)
    assert (options.echo_step, options.batch, options.learning_rate) == (3, 5, 0.3)
    optimizer = example.make_trainer(options).optimizer
    assert isinstance(optimizer, keras.optimizers.Adagrad)
    assert float(optimizer.learning_rate.numpy()) == pytest.approx(0.3)


def test_echo_is_learnt(output):
    _, results = output
    assert results["windows_per_epoch"] == 666
    assert results["last_epoch_accuracy"] >= 0.999


def test_loss_jumps_where_an_epoch_begins(output):
    _, results = output
    assert len(results["first_window_loss"]) == len(results["loss"]) == 2
    assert results["first_window_loss"][1] > 10 * results["loss"][1]


def test_files_of_a_run(output):
    folder, _ = output
    assert sorted(path.name for path in folder.iterdir()) == ["echo.gif", "echo.png", "model.keras", "results.json"]
    assert (folder / "echo.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert (folder / "echo.gif").read_bytes().startswith(b"GIF89a")


def test_saved_model_repeats_new_bits(example, output):
    folder, _ = output
    model = keras.models.load_model(folder / "model.keras")
    bits, echo = example.random_echo(500, 5, 3, np.random.default_rng(99))
    reset_states(model)
    predicted = model.predict(bits, batch_size=5, verbose=0).argmax(-1)
    assert (predicted == echo)[:, 3:].mean() >= 0.999


def test_echo_is_the_series_some_steps_later_across_rows(example):
    bits, echo = example.random_echo(101, 4, 3, np.random.default_rng(0))
    assert bits.shape == (4, 25, 1)
    assert set(np.unique(bits)) == {0, 1}
    np.testing.assert_array_equal(echo.ravel(), [0, 0, 0, *bits.ravel()[:-3]])


def test_each_epoch_has_new_bits_and_the_same_seed_the_same_run(example, tmp_path):
    arguments = ("--length", "300", "--epochs", "2", "--seed", "7")
    first, again = (results_of(example, tmp_path / name, *arguments) for name in ("first", "again"))
    assert first["loss"] == again["loss"]
    random = np.random.default_rng(0)
    series = example.EchoSeries(lambda: example.random_echo(60, 2, 3, random), rows=2, window=5)
    before = series.bits
    series.on_epoch_begin()
    assert (before != series.bits).any()
    np.testing.assert_array_equal(series[0][0]["series"], series.bits)


def test_what_the_gradient_does_not_reach_is_not_learnt(example, tmp_path):
    size = ("--state-size", "16", "--learning-rate", "0.2", "--length", "20000", "--batch", "20", "--epochs", "6")

    def right(name, *options):
        return results_of(example, tmp_path / name, "--echo-step", "8", *size, *options)["last_epoch_accuracy"]

    assert right("short", "--window", "5") < 0.9
    assert right("long", "--window", "10") > 0.995
    assert right("back", "--window", "5", "--backprop-length", "10") > 0.995


def test_logs_for_tensorboard(example, tmp_path):
    pytest.importorskip("tensorboard")
    example.main(["--length", "300", "--epochs", "1", "--tensorboard", "--output", str(tmp_path)])
    assert list((tmp_path / "tensorboard" / "train").glob("events*"))


def test_tensorboard_that_is_missing_is_told(example, capsys, monkeypatch):
    monkeypatch.setattr(example.importlib.util, "find_spec", lambda name: None)
    assert "--tensorboard: needs TensorBoard: python -m pip" in fails(example, capsys, "--tensorboard")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--window", "0"], "expected int from 1, got '0'"),
        (["--learning-rate", "nan"], "expected float from 0, got 'nan'"),
        (["--length", "60"], "--length: expected rows that hold a window of 15"),
        (["--length", "100", "--echo-step", "20"], "an echo after 20 steps, got 100 bits for 5 rows"),
        (["--backprop-length", "14"], "--backprop-length: expected at least the window, 15, got 14"),
    ],
)
def test_wrong_options_end_with_a_message(example, capsys, arguments, message):
    assert message in fails(example, capsys, *arguments)


def test_output_that_is_a_file_is_told(example, capsys, tmp_path):
    (tmp_path / "taken").write_text("")
    assert "--output: expected a folder" in fails(example, capsys, "--output", str(tmp_path / "taken"))


def test_live_without_a_screen_is_told(example, capsys, tmp_path, monkeypatch):
    import matplotlib

    monkeypatch.setattr(matplotlib, "get_backend", lambda: "agg")
    assert "needs a screen" in fails(example, capsys, "--live", "--output", str(tmp_path))


def test_help_shows_the_defaults(example, capsys):
    with pytest.raises(SystemExit) as stop:
        example.main(["--help"])
    assert stop.value.code == 0
    assert "default: 50000" in capsys.readouterr().out


def test_progress_tells_the_time_left(output, capsys, example, tmp_path):
    example.main(["--length", "300", "--epochs", "1", "--output", str(tmp_path)])
    assert "s left" in capsys.readouterr().out
