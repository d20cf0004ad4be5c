"""The example runs as a user would run it: from its file, with command-line arguments."""

import importlib.util
import json
import pathlib
import string

import keras
import numpy as np
import pytest

PATH = pathlib.Path(__file__).parents[1] / "examples" / "char_generation.py"
TEXT = "The quick brown fox jumps over the lazy dog. " * 60


@pytest.fixture(scope="module")
def example():
    pytest.importorskip("matplotlib")
    spec = importlib.util.spec_from_file_location("char_generation", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def small(example):
    """The example with less work in it: the same code on a few steps of small batches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(example, "STEPS_PER_EPOCH", 3)
        patch.setattr(example, "BATCH", 4)
        yield example


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def output(small, tmp_path_factory):
    """The output folder of one small run."""
    folder = tmp_path_factory.mktemp("example")
    text = folder / "text.txt"
    text.write_text(TEXT)
    small.main(["--text", str(text), "--epochs", "2", "--units", "8", "--length", "30", "--output", str(folder / "o")])
    return folder / "o"


def fails(example, capsys, *arguments):
    """The error message of a run that must end with exit status 2."""
    with pytest.raises(SystemExit) as stop:
        example.main(list(arguments))
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_writes_the_four_files_and_no_leftovers(output):
    assert sorted(path.name for path in output.iterdir()) == ["loss.png", "model.keras", "results.json", "sample.txt"]


def test_picture_is_a_png(output):
    assert (output / "loss.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_results_tell_the_losses_of_each_epoch(output):
    results = json.loads((output / "results.json").read_text())
    assert results["vocabulary"] == "".join(sorted(set(TEXT)))
    assert np.isfinite([results["history"]["loss"], results["history"]["val_loss"]]).all()
    assert len(results["history"]["loss"]) == 2


def test_sample_has_the_prompt_and_the_asked_length(output):
    sample = (output / "sample.txt").read_text().removesuffix("\n")
    assert sample.startswith("The")
    assert len(sample) == len("The") + 30


def test_loaded_model_writes_the_sample_again(small, output):
    model = keras.models.load_model(output / "model.keras")
    vocabulary = "".join(sorted(set(TEXT)))
    again = small.generate(model, vocabulary, "The", 30, 0.5, 0)
    assert again + "\n" == (output / "sample.txt").read_text()


def test_state_is_carried_from_character_to_character(small, output):
    model = keras.models.load_model(output / "model.keras")
    step = small.step_model(model)
    ids = small.encode(TEXT[:20], "".join(sorted(set(TEXT))))[None]
    state = np.zeros((1, 8), "float32")
    logits = []
    for position in range(ids.shape[1]):
        one, state = step.predict_on_batch([ids[:, position : position + 1], state])
        logits.append(one)
    np.testing.assert_allclose(np.concatenate(logits, axis=1), model.predict_on_batch(ids), rtol=1e-4, atol=1e-5)


def test_temperature_zero_takes_the_most_probable(example):
    logits = np.array([0.0, 2.0, 1.0])
    assert {example.draw(logits, 0, np.random.default_rng(seed)) for seed in range(20)} == {1}


def test_draws_follow_the_softmax(example):
    random = np.random.default_rng(0)
    drawn = [example.draw(np.log([0.2, 0.3, 0.5]), 1.0, random) for _ in range(4_000)]
    np.testing.assert_allclose(np.bincount(drawn) / 4_000, [0.2, 0.3, 0.5], atol=0.03)


def test_default_text_is_plain_prose(example):
    text = example.read_text(None)
    assert len(text) > 100_000
    assert set(text) <= set(string.ascii_letters + string.digits + string.punctuation + " \n")
    assert len(text.splitlines()) == len(set(text.splitlines()))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "--text: expected a readable file, got '{path}': No such file or directory."),
        (b"", "--text: expected at least 2000 characters, got 0. Give a longer text."),
        (b" \n" * 3_000, "--text: expected at least 2000 characters, got 0. Give a longer text."),
        (b"short", "--text: expected at least 2000 characters, got 5. Give a longer text."),
        (b"\xff\xfe" * 3_000, "--text: expected UTF-8, got other bytes in '{path}'. Convert it first."),
    ],
    ids=["missing", "empty", "blank", "short", "undecodable"],
)
def test_unusable_text(example, capsys, tmp_path, content, message):
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    assert message.format(path=path) in fails(example, capsys, "--text", str(path))


@pytest.mark.parametrize(
    ("prompt", "message"),
    [("", "it is empty"), ("Thé", "'é' is not in the text")],
)
def test_unusable_prompt(example, capsys, text_file, prompt, message):
    error = fails(example, capsys, "--text", str(text_file), "--prompt", prompt)
    assert f"--prompt: expected characters of the text, got {prompt!r}: {message}. Give another one." in error


def test_output_that_is_no_folder(example, capsys, text_file):
    error = fails(example, capsys, "--text", str(text_file), "--output", str(text_file))
    assert f"--output: expected a folder, got '{text_file}': File exists." in error


@pytest.mark.parametrize(
    ("flag", "value", "expected"),
    [
        ("--epochs", "0", "int from 1"),
        ("--units", "2.5", "int from 1"),
        ("--length", "many", "int from 1"),
        ("--seed", "-1", "int from 0"),
        ("--temperature", "nan", "float from 0"),
    ],
)
def test_unusable_numbers(example, capsys, flag, value, expected):
    assert f"argument {flag}: expected {expected}, got '{value}'" in fails(example, capsys, f"{flag}={value}")


def test_a_failed_write_leaves_the_older_file(example, tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("good")

    def write(partial):
        partial.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        example.write_whole(path, write)
    assert path.read_text() == "good"
    assert list(tmp_path.iterdir()) == [path]
