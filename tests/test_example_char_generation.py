"""The example runs as a user would run it: from its file, with command-line arguments."""

import json
import string

import keras
import numpy as np
import pytest

from keras_rnn_ext.text import Temperature, generate, step_model
from tests.examples import fails, load_example

TEXT = "The quick brown fox jumps over the lazy dog. " * 60


@pytest.fixture(scope="module")
def example():
    return load_example("char_generation")


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


def test_loaded_model_writes_the_sample_again(output):
    model = keras.models.load_model(output / "model.keras")
    assert generate(model, "The", 30, Temperature(0.5), 0) + "\n" == (output / "sample.txt").read_text()


def test_state_is_carried_from_character_to_character(output):
    model = keras.models.load_model(output / "model.keras")
    step = step_model(model)
    ids = model.get_layer("vocabulary").encode(TEXT[:20])[None]
    state = np.zeros((1, 8), "float32")
    logits = []
    for position in range(ids.shape[1]):
        one, state = step.predict_on_batch([ids[:, position : position + 1], state])
        logits.append(one)
    np.testing.assert_allclose(np.concatenate(logits, axis=1), model.predict_on_batch(ids), rtol=1e-4, atol=1e-5)


# The article's configuration


@pytest.fixture(scope="module")
def article(small, tmp_path_factory):
    """Runs the article's configuration with less work in it, on a text in the data folder, into a folder."""
    data = tmp_path_factory.mktemp("data")
    (data / "tinyshakespeare.txt").write_text("Queen: " + TEXT * 3)

    def run(folder, *arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KERAS_RNN_EXT_DATA", str(data))
            small.main(["--config", "article", "--units", "8", "--output", str(folder), *arguments])
        return json.loads((folder / "results.json").read_text())

    return run


@pytest.fixture(scope="module")
def article_output(article, tmp_path_factory):
    folder = tmp_path_factory.mktemp("article")
    article(folder, "--epochs", "2", "--checkpoint-every", "1")
    return folder


def test_article_has_the_article_s_size(example):
    config = example.CONFIGS["article"]
    assert (config.window, config.embedding, config.units, config.epochs) == (100, 256, 1024, 20)
    assert (config.length, config.prompt, config.temperature, config.checkpoint_every) == (1000, "Q", 0, 5)
    optimizer = config.optimizer(100)
    assert isinstance(optimizer, keras.optimizers.Adam)
    assert float(keras.ops.convert_to_numpy(optimizer.learning_rate)) == pytest.approx(1e-3)
    model = example.build_model(example.Vocabulary.of_characters("Qa"), config.units, config)
    assert [model.get_layer(name).output.shape[-1] for name in ("embedding", "gru", "logits")] == [256, 1024, 2]


def test_article_writes_the_most_probable_from_q(article_output):
    sample = (article_output / "sample.txt").read_text().removesuffix("\n")
    model = keras.models.load_model(article_output / "model.keras")
    assert sample == generate(model, "Q", 1000, "greedy")
    assert len(sample) == 1001


def test_a_pass_has_each_window_once(example):
    ids = np.arange(64 * 100 * 3 + 1)
    windows = example.Windows(ids, example.CONFIGS["article"], seed=0)
    passes = []
    for _ in range(2):
        batches = [windows[place] for place in range(len(windows))]
        assert all((targets == inputs + 1).all() for inputs, targets in batches)
        passes.append(np.concatenate([inputs[:, 0] for inputs, _ in batches]))
        windows.on_epoch_end()
    assert sorted(passes[0]) == sorted(passes[1]) == list(range(0, 64 * 100 * 3, 100)[: len(windows) * example.BATCH])
    assert passes[0].tolist() != passes[1].tolist()


def test_resumed_training_gives_what_uninterrupted_training_gives(article, article_output, tmp_path):
    article(tmp_path, "--epochs", "1", "--checkpoint-every", "1")
    resumed = article(tmp_path, "--epochs", "2", "--resume")
    whole = json.loads((article_output / "results.json").read_text())
    assert len(resumed["history"]["loss"]) == 2
    for name, losses in whole["history"].items():
        np.testing.assert_allclose(resumed["history"][name], losses, rtol=1e-5)
    assert (tmp_path / "sample.txt").read_text() == (article_output / "sample.txt").read_text()


def test_a_training_that_was_cut_off_ends_bit_by_bit_as_if_it_had_not_been(
    small, text_file, tmp_path, monkeypatch, capsys
):
    common = ["--text", str(text_file), "--units", "8", "--length", "5", "--epochs", "3", "--checkpoint-every", "1"]

    def run(folder, *arguments):
        small.main([*common, "--output", str(tmp_path / folder), *arguments])

    run("whole")
    epoch_end = small.KeepLosses.on_epoch_end

    def cut_off(own, epoch, logs):
        epoch_end(own, epoch, logs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(small.KeepLosses, "on_epoch_end", cut_off)
        run("parts")
    error = fails(small, capsys, *common, "--output", str(tmp_path / "parts"), "--resume", "--epochs", "9")
    assert "with other settings: epochs was 3 and is 9" in error
    run("parts", "--resume")
    whole, parts = (json.loads((tmp_path / each / "results.json").read_text()) for each in ("whole", "parts"))
    assert parts["history"] == whole["history"]
    models = [keras.models.load_model(tmp_path / each / "model.keras") for each in ("whole", "parts")]
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_checkpoint_is_not_written_over(small, capsys, article, article_output):
    error = fails(small, capsys, "--output", str(article_output))
    assert "has the checkpoint of a training. Give --resume to go on with it, or another folder." in error


def test_a_finished_checkpoint_only_writes(article, article_output, tmp_path):
    name = "checkpoint.npz"
    (tmp_path / name).write_bytes((article_output / name).read_bytes())
    article(tmp_path, "--epochs", "2", "--resume", "--length", "50")
    assert (tmp_path / "sample.txt").read_text()[:51] == (article_output / "sample.txt").read_text()[:51]


def test_resume_needs_a_checkpoint_of_the_same_kind(article, article_output, tmp_path, capsys):
    for arguments, folder, message in (
        (["--resume"], tmp_path, "--resume: expected a whole checkpoint. Received: "),
        (["--resume", "--units", "9"], article_output, "with other settings: units was 8 and is 9"),
    ):
        with pytest.raises(SystemExit):
            article(folder, *arguments)
        assert message in capsys.readouterr().err


def test_article_needs_a_text(example, capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("KERAS_RNN_EXT_DATA", raising=False)
    error = fails(example, capsys, "--config", "article", "--output", str(tmp_path))
    assert "--config article: expected a text, got none. Give --text FILE" in error


def test_default_text_is_plain_prose(example):
    text, _ = example.choose_text(None, example.CONFIGS["small"])
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
