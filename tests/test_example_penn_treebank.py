"""The example runs as a user would run it: from its file, with command-line arguments."""

import dataclasses
import gzip
import json

import keras
import numpy as np
import pytest

from tests.examples import fails, load_example

SMALL = ("--units", "8", "--steps", "5", "--batch", "4", "--length", "6")


@pytest.fixture(scope="module")
def example():
    return load_example("penn_treebank")


@pytest.fixture(autouse=True)
def no_data_of_the_user(monkeypatch):
    monkeypatch.delenv("KERAS_RNN_EXT_DATA", raising=False)


def sentences(count, seed):
    """Lines of a small language, in which half of the words follow from the word before."""
    random = np.random.default_rng(seed)
    lines = []
    for _ in range(count):
        subject, verb = random.choice(["cat", "dog", "<unk>"]), random.choice(["sees", "hears"])
        lines.append(f" the {subject} {verb} the {random.choice(['cow', 'pig'])} \n")
    return "".join(lines)


def write_data(folder, train=60, valid=21, test=22):
    folder.mkdir()
    for seed, (part, count) in enumerate({"train": train, "valid": valid, "test": test}.items()):
        (folder / f"ptb.{part}.txt").write_text(sentences(count, seed))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("ptb") / "data")


@pytest.fixture(scope="module")
def output(example, data, tmp_path_factory):
    """The output folder of three epochs with dropout."""
    folder = tmp_path_factory.mktemp("ptb") / "output"
    example.main(["--data", str(data), "--output", str(folder), "--config", "medium", "--epochs", "3", *SMALL])
    return folder


def results_in(folder, name="results.json"):
    return json.loads((folder / name).read_text())


# A run


def test_files_of_a_run(output):
    names = ["checkpoint.npz", "model.keras", "perplexity.png", "results.json", "test.json"]
    assert sorted(path.name for path in output.iterdir()) == names
    assert (output / "perplexity.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_results_hold_the_curve(output):
    results = results_in(output)
    assert [each["learning_rate"] for each in results["curve"]] == [1, 1, 1]
    assert results["best_epoch"] == 1 + np.argmin([each["val_perplexity"] for each in results["curve"]])
    assert (results["config"]["units"], results["config"]["dropout"], results["seed"]) == (8, 0.5, 0)
    # Whoever has learnt nothing has one in nine words right.
    assert results["curve"][2]["perplexity"] < 9
    assert results["curve"][2]["val_perplexity"] < 9
    assert results["test"]["perplexity"] < 9


def test_the_language_is_learnt(example, tmp_path):
    data = write_data(tmp_path / "data", train=400)
    size = ("--units", "16", "--epochs", "6", "--steps", "6", "--batch", "2")
    example.main(["--data", str(data), "--output", str(tmp_path / "o"), *size])
    # A sentence of 6 words has 12 forms.
    assert results_in(tmp_path / "o")["test"]["perplexity"] < 1.1 * 12 ** (1 / 6)


def test_best_model_is_kept(example, data, tmp_path, monkeypatch):
    weights, scores = [], iter([30.0, 20.0, 40.0, 1.0])

    def evaluate(tester, ids):
        weights.append([keras.ops.convert_to_numpy(each).copy() for each in tester.trainable_variables])
        return {"perplexity": next(scores), "accuracy": 0.5}

    monkeypatch.setattr(example, "evaluate", evaluate)
    example.main(["--data", str(data), "--output", str(tmp_path), "--epochs", "3", *SMALL])
    assert [each["val_perplexity"] for each in results_in(tmp_path)["curve"]] == [30, 20, 40]
    assert results_in(tmp_path)["best_epoch"] == 2
    first, best, last, tested = weights
    for mine, two, three, four in zip(first, best, last, tested, strict=True):
        assert (mine != two).any()
        assert (two != three).any()
        np.testing.assert_array_equal(four, two)


def test_training_that_diverges_is_told(example, data, tmp_path, monkeypatch, capsys):
    config = dataclasses.replace(example.CONFIGS["small"], learning_rate=1e15, clip=1e15)
    monkeypatch.setitem(example.CONFIGS, "small", config)
    error = fails(example, capsys, "--data", data, "--output", tmp_path, *SMALL)
    assert "The training diverged in epoch 1: a word costs " in error


# Going on


def arrays_in(folder):
    with np.load(folder / "checkpoint.npz") as file:
        return dict(file)


def test_resumed_training_is_exactly_the_uninterrupted_one(example, data, output, tmp_path):
    arguments = ["--data", str(data), "--output", str(tmp_path), "--config", "medium", *SMALL]
    example.main([*arguments, "--epochs", "1"])
    example.main([*arguments, "--epochs", "3", "--resume"])
    whole, resumed = arrays_in(output), arrays_in(tmp_path)
    assert len(whole) == len(resumed) > 15
    for name in filter(str.isdecimal, whole):
        np.testing.assert_array_equal(resumed[name], whole[name])
    for one, other in zip(results_in(tmp_path)["curve"], results_in(output)["curve"], strict=True):
        assert one | {"seconds": 0} == other | {"seconds": 0}
    assert results_in(tmp_path, "test.json") == results_in(output, "test.json")


@pytest.fixture
def copied(output, tmp_path):
    """The output folder, to be changed."""
    folder = tmp_path / "copied"
    folder.mkdir()
    for path in output.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_finished_training_is_only_tested(example, data, output, copied):
    (copied / "results.json").unlink()
    arguments = ["--data", str(data), "--output", str(copied), "--config", "medium", *SMALL]
    example.main([*arguments, "--epochs", "3", "--resume"])
    assert results_in(copied) == results_in(output)
    assert (copied / "checkpoint.npz").read_bytes() == (output / "checkpoint.npz").read_bytes()


def test_training_is_not_written_over(example, data, output, capsys):
    error = fails(example, capsys, "--data", data, "--output", output, *SMALL)
    assert "has the checkpoint of a training. Give --resume to go on with it, or another folder." in error


def test_resume_without_a_whole_checkpoint(example, data, copied, tmp_path, capsys):
    arguments = ("--data", data, "--config", "medium", "--resume", *SMALL)
    error = fails(example, capsys, *arguments, "--output", tmp_path / "none")
    assert f"--resume: expected a whole checkpoint. Received: '{tmp_path / 'none' / 'checkpoint.npz'}'" in error
    whole = (copied / "checkpoint.npz").read_bytes()
    for content in (b"", b"text", whole[:-100], whole[: len(whole) // 2]):
        (copied / "checkpoint.npz").write_bytes(content)
        assert "--resume: expected a whole checkpoint. Received: " in fails(
            example, capsys, *arguments, "--output", copied
        )


def test_resume_with_other_settings(example, data, output, tmp_path, capsys):
    arguments = ("--output", output, "--config", "medium", "--resume", *SMALL)
    error = fails(example, capsys, *arguments, "--data", data, "--units", "9", "--seed", "5")
    assert "of one with other settings: units was 8 and is 9; seed was 0 and is 5." in error
    error = fails(example, capsys, *arguments, "--data", write_data(tmp_path / "other", train=61))
    assert "of one with other settings: text was" in error


# The test mode


def test_saved_model_is_tested_again(example, data, output, copied, capsys):
    for name in ("checkpoint.npz", "results.json", "test.json"):
        (copied / name).unlink()
    arguments = ["--mode", "test", "--data", str(data), "--output", str(copied), "--prompt", "the pig", "--length", "9"]
    example.main(arguments)
    again, first = (results_in(folder, "test.json") for folder in (copied, output))
    sample = again.pop("sample")
    assert again == {name: value for name, value in first.items() if name != "sample"}
    assert f"Test perplexity {again['perplexity']:.2f}" in capsys.readouterr().out
    assert sample.startswith("the pig")
    assert len(example.load_corpus(data).vocabulary.encode(sample)) == 2 + 9
    assert "<unk>" not in sample


def test_predictions_stand_beside_the_true_words(data, output):
    test = results_in(output, "test.json")
    words = (data / "ptb.test.txt").read_text().replace("\n", "<eos> ").split()
    assert test["words"] == len(words) - 1
    shown = test["predictions"]
    assert [each["after"] for each in shown] == words[: len(shown)]
    assert [each["true"] for each in shown] == words[1 : len(shown) + 1]
    for each in shown:
        odds = list(each["predicted"].values())
        assert len(odds) == 3
        assert odds == sorted(odds, reverse=True)
        assert sum(odds) < 1.001


def test_sample_goes_on_from_the_test_text(example, data, output):
    corpus = example.load_corpus(data)
    sample = corpus.vocabulary.encode(results_in(output, "test.json")["sample"])
    assert sample[:5].tolist() == corpus.test[:5].tolist()
    assert len(sample) == 5 + 6


def test_test_mode_needs_a_model_of_this_text(example, data, copied, tmp_path, capsys):
    arguments = ("--mode", "test", "--data", data)
    error = fails(example, capsys, *arguments, "--output", tmp_path / "none")
    assert "--mode test: expected a model of this example, got" in error
    assert not (tmp_path / "none").exists()
    other = write_data(tmp_path / "other")
    (other / "ptb.train.txt").write_text("one two three " * 50)
    error = fails(example, capsys, "--mode", "test", "--data", other, "--output", copied)
    assert "was trained on another text than that in" in error
    (copied / "model.keras").write_bytes((copied / "model.keras").read_bytes()[:-500])
    error = fails(example, capsys, *arguments, "--output", copied)
    assert "--mode test: expected a model of this example, got" in error


# The text


def test_corpus_is_the_three_files(example, data, monkeypatch):
    monkeypatch.setenv("KERAS_RNN_EXT_DATA", str(data))
    corpus = example.load_corpus(None)
    assert (len(corpus.train), len(corpus.valid), len(corpus.test)) == (60 * 6, 21 * 6, 22 * 6)
    assert corpus.vocabulary.tokens[0] == "<unk>"
    assert corpus.vocabulary.decode(corpus.valid).split() == (data / "ptb.valid.txt").read_text().split()


def test_gzip_is_read(example, data, tmp_path):
    for path in data.iterdir():
        (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(example.load_corpus(tmp_path).train, example.load_corpus(data).train)


def test_text_is_downloaded_where_there_is_none(example, data, monkeypatch):
    asked = {}

    def get_file(origin, file_hash, **options):
        name = origin.rpartition("/")[2]
        asked[name] = len(file_hash)
        return str(data / name)

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    assert len(example.load_corpus(None).train) == 60 * 6
    assert asked == {f"ptb.{part}.txt": 64 for part in ("train", "valid", "test")}


def test_no_network_is_told(example, capsys, monkeypatch, tmp_path):
    def get_file(*arguments, **options):
        raise Exception("URL fetch failure on https://...: None -- [Errno -2] Name or service not known")  # as Keras

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    error = fails(example, capsys, "--output", tmp_path)
    assert "--data: expected a folder with the Penn Treebank, got none, and https://raw.githubusercontent.com/" in error
    assert "Put ptb.train.txt, ptb.valid.txt and ptb.test.txt into a folder, and give it with --data FOLDER." in error


def test_unusable_text(example, capsys, data, tmp_path):
    folder = write_data(tmp_path / "data")
    train, arguments = folder / "ptb.train.txt", ("--data", folder, "--output", tmp_path / "o")
    for content, message in (
        (None, "--data: expected ptb.train.txt or ptb.train.txt.gz in"),
        (b"", "--data: expected at least 1 character, got 0."),
        (gzip.compress(b"the cat sees the dog" * 99, mtime=0)[:-20], "--data: expected a whole gzip file, got"),
        (b"\xff\xfe", "--data: expected UTF-8, got other bytes in"),
        (b"the cat sees the dog \n" * 3, "--data: expected at least 420 words of training text, 20 and one more for"),
    ):
        train.unlink(missing_ok=True)
        if content is not None:
            train.write_bytes(content)
        assert message in fails(example, capsys, *arguments)
    train.write_bytes((data / "ptb.train.txt").read_bytes())
    (folder / "ptb.test.txt").write_text("the")
    assert "--data: expected at least 2 words in ptb.test.txt, got 1." in fails(example, capsys, *arguments)


# The command line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "argument --epochs: expected int from 1, got '0'"),
        (["--seed", "-1"], "argument --seed: expected int from 0, got '-1'"),
        (["--config", "huge"], "argument --config: invalid choice: 'huge'"),
        (["--prompt", "the elk"], "--prompt: expected words of the text, got 'the elk': the text has no 'elk'."),
        (["--prompt", ""], "--prompt: expected words of the text, got '': it is empty."),
    ],
)
def test_wrong_options_end_with_a_message(example, capsys, data, tmp_path, arguments, message):
    assert message in fails(example, capsys, "--data", data, "--output", tmp_path, *arguments)


def test_output_that_is_a_file_is_told(example, capsys, data, tmp_path):
    (tmp_path / "taken").write_text("")
    error = fails(example, capsys, "--data", data, "--output", tmp_path / "taken", *SMALL)
    assert "--output: expected a folder" in error


def test_help_shows_the_defaults(example, capsys):
    with pytest.raises(SystemExit) as stop:
        example.main(["--help"])
    assert stop.value.code == 0
    assert "650 in article, 200 in small, 650 in medium" in " ".join(capsys.readouterr().out.split())


def test_logs_for_tensorboard_and_progress(example, data, tmp_path, capsys):
    pytest.importorskip("tensorboard")
    arguments = ["--data", str(data), "--output", str(tmp_path), "--epochs", "1", "--tensorboard", *SMALL]
    example.main(arguments)
    assert list((tmp_path / "tensorboard" / "train").glob("events*"))
    assert list((tmp_path / "tensorboard" / "validation").glob("events*"))
    assert "s left" in capsys.readouterr().out


def test_tensorboard_that_is_missing_is_told(example, capsys, monkeypatch, data, tmp_path):
    monkeypatch.setattr(example.importlib.util, "find_spec", lambda name: None)
    error = fails(example, capsys, "--data", data, "--output", tmp_path, "--tensorboard", *SMALL)
    assert "--tensorboard: needs TensorBoard: python -m pip" in error
