"""The example runs as a user would run it: from its file, with command-line arguments, on small reviews made here."""

import importlib
import json
import types

import keras
import numpy as np
import pytest

from tests.examples import fails, load_example

GOOD, BAD = 10, 11  # the codes of the two words that decide
INDEX = {"good": GOOD - 3, "bad": BAD - 3} | {f"word{code}": code - 3 for code in range(20, 40)}
SMALL = ("--steps", "6", "--embedding", "8", "--units", "8", "--hidden", "8", "--words", "45")
EPOCHS = 20


@pytest.fixture(scope="module")
def example():
    return load_example("imdb_sentiment")


@pytest.fixture(scope="module")
def parts(example):
    """The modules of the example's parts."""
    return types.SimpleNamespace(reviews=importlib.import_module("imdb_reviews"))


@pytest.fixture(autouse=True)
def no_network(example, monkeypatch):
    """Keras has nothing, and nobody asks the network."""

    def fail(*arguments, **options):
        raise Exception("URL fetch failure on example")

    monkeypatch.setattr(keras.datasets.imdb, "load_data", fail)
    monkeypatch.setattr(keras.datasets.imdb, "get_word_index", fail)
    monkeypatch.delenv("KERAS_RNN_EXT_DATA", raising=False)


def made_reviews(count, seed):
    """Reviews of 2 to 9 words of which one decides, near the end: a list of codes, and the labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    reviews = [random.integers(20, 40, random.integers(2, 10)) for _ in labels]
    for review, label in zip(reviews, labels, strict=True):
        review[-random.integers(1, min(len(review), 6) + 1)] = GOOD if label else BAD
    return reviews, labels


def made_arrays():
    arrays = {}
    for part, count in (("train", 200), ("test", 60)):
        reviews, labels = made_reviews(count, count)
        arrays[f"x_{part}_tokens"] = np.concatenate(reviews).astype("int16")
        arrays[f"x_{part}_lengths"] = np.array([len(review) for review in reviews], "int32")
        arrays[f"y_{part}"] = labels.astype("int8")
    return arrays


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "imdb_small.npz"
    np.savez(path, **made_arrays())
    return path


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    path = tmp_path_factory.mktemp("index") / "index.json"
    path.write_text(json.dumps(INDEX))
    return path


@pytest.fixture(scope="module")
def trained(example, data, index, tmp_path_factory):
    """Runs the example one way, in one batch and without dropout: the folder and the results. Each way runs once."""
    done = {}

    def run(via):
        if via not in done:
            folder = tmp_path_factory.mktemp(via)
            example.main(whole_batch(data, index, folder, "--via", via, "--epochs", str(EPOCHS)))
            done[via] = folder, json.loads((folder / "results.json").read_text())
        return done[via]

    return run


def whole_batch(data, index, folder, *arguments):
    options = ["--cell", "gru", "--batch", "160", "--dropout", "0", "--learning-rate", "0.03", *SMALL, *arguments]
    return [*options, "--data", str(data), "--word-index", str(index), "--output", str(folder), "--clipnorm", "0.5"]


def options_of(example, *arguments):
    options = example.make_parser().parse_args([str(argument) for argument in arguments])
    example.choose_defaults(options)
    return options


# The articles' settings


def test_settings_of_article_002(example):
    options = options_of(example)
    assert (options.words, options.steps, options.embedding, options.units) == (10_000, 80, 100, 64)
    assert (options.dropout, options.batch, options.epochs, options.learning_rate) == (0.5, 128, 50, 1e-3)
    model = example.build_model(options, None)
    embedding, first, second, dense, dropout, relu, last = model.layers
    assert (embedding.input_dim, embedding.output_dim) == (10_000, 100)
    assert [(each.units, each.dropout, each.return_sequences) for each in (first, second)] == [
        (64, 0.5, True),
        (64, 0.5, False),
    ]
    assert (dense.units, dropout.rate, type(relu).__name__, last.units) == (64, 0.5, "ReLU", 1)
    assert dense.activation is keras.activations.linear
    assert last.activation is keras.activations.sigmoid
    assert isinstance(model.optimizer, keras.optimizers.RMSprop)
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == pytest.approx(1e-3)
    assert model.loss == "binary_crossentropy"


@pytest.mark.parametrize(("via", "batch"), [("layers", 128), ("cells", 128), ("loop", 64)])
def test_settings_of_article_000(example, via, batch):
    options = options_of(example, "--article", "000", "--cell", "simple_rnn", "--via", via)
    assert (options.words, options.steps, options.embedding, options.units) == (10_000, 500, 32, 32)
    assert (options.epochs, options.batch) == (10, batch)
    if via == "layers":
        layers = example.build_model(options, None).layers
        assert [type(layer).__name__ for layer in layers] == ["MyEmbedding", "MySimpleRNN", "MySimpleRNN", "MyDense"]
        assert (layers[1].dropout, layers[3].units, layers[3].activation) == (0, 1, keras.activations.sigmoid)


def test_each_setting_may_be_given(example):
    options = options_of(example, "--article", "000", "--units", "5", "--dropout", "0.25", "--batch", "7")
    assert (options.units, options.dropout, options.batch, options.embedding) == (5, 0.25, 7, 32)


# The three ways


def some_ids():
    ids = np.random.default_rng(0).integers(1, 45, (5, 6)).astype("int32")
    ids[1, :2] = ids[2, :5] = ids[3] = 0  # padding before a review, and nothing else
    return ids


@pytest.mark.parametrize("mask", ["--mask", "--no-mask"])
@pytest.mark.parametrize("cell", ["simple_rnn", "lstm", "gru"])
def test_layers_and_cells_in_both_orders_give_the_same(example, cell, mask):
    def built(*arguments):
        return example.build_model(options_of(example, "--cell", cell, mask, *SMALL, *arguments), None)

    layers, steps, by_layer = built(), built("--via", "cells"), built("--via", "cells", "--order", "layers")
    weights = [np.random.default_rng(1).normal(size=weight.shape) for weight in layers.get_weights()]
    outputs = []
    for model in (layers, steps, by_layer):
        model.set_weights(weights)
        outputs.append(keras.ops.convert_to_numpy(model(some_ids())))
    assert np.ptp(outputs[0]) > 0.01
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-4)
    np.testing.assert_allclose(outputs[2], outputs[1], rtol=1e-5)


@pytest.mark.parametrize("via", ["layers", "cells"])
def test_a_mask_makes_the_padding_count_for_nothing(example, via):
    ids = some_ids()[:1]
    padded = np.concatenate([np.zeros_like(ids), ids], axis=1)
    for mask, same in (("--mask", True), ("--no-mask", False)):
        model = example.build_model(options_of(example, "--via", via, mask, *SMALL), None)
        model.set_weights([np.random.default_rng(1).normal(size=weight.shape) for weight in model.get_weights()])
        short, long = (keras.ops.convert_to_numpy(model(each)) for each in (ids, padded))
        assert np.allclose(short, long, rtol=1e-4) == same


def test_cells_draw_new_dropout_for_each_batch(example):
    model = example.build_model(options_of(example, "--via", "cells", *SMALL, "--dropout", "0.5"), None)
    model.set_weights([np.random.default_rng(1).normal(size=weight.shape) for weight in model.get_weights()])
    ids = np.tile(some_ids()[:1], (20, 1))
    first, second = (keras.ops.convert_to_numpy(model(ids, training=True)) for _ in range(2))
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(model(ids).shape, (20, 1))


@pytest.mark.parametrize("via", ["layers", "cells", "loop"])
def test_each_way_learns(trained, via):
    assert trained(via)[1]["test_accuracy"] > 0.9


@pytest.mark.parametrize("via", ["cells", "loop"])
def test_the_same_seed_gives_the_same_training_in_each_way(trained, via):
    expected, received = trained("layers")[1]["history"], trained(via)[1]["history"]
    for name in ("loss", "val_loss", "accuracy", "val_accuracy"):
        np.testing.assert_allclose(received[name][:5], expected[name][:5], rtol=2e-3, err_msg=name)


@pytest.mark.parametrize("via", ["layers", "cells", "loop"])
def test_saved_model_is_that_of_the_best_epoch(trained, parts, data, via):
    folder, results = trained(via)
    history = results["history"]
    model = keras.models.load_model(folder / "model.keras")
    assert type(model).__name__ == ("UnrolledCells" if via == "cells" else "Sequential")
    reviews = parts.reviews.load_reviews(data, 45, 6)
    loss, accuracy = model.evaluate(*reviews.validation, verbose=0)
    assert results["best_epoch"] == 1 + history["val_accuracy"].index(max(history["val_accuracy"]))
    assert loss == pytest.approx(history["val_loss"][results["best_epoch"] - 1], rel=1e-3)
    assert accuracy == pytest.approx(results["validation_accuracy"], abs=1e-4)
    assert model.evaluate(*reviews.test, verbose=0)[1] == pytest.approx(results["test_accuracy"], abs=1e-4)


def test_files_of_a_run(trained):
    folder, results = trained("layers")
    names = ["checkpoint.npz", "curves.png", "mistakes.txt", "model.keras", "results.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert (folder / "mistakes.txt").read_text().startswith("Bad reviews taken for good:\n")
    assert results["reviews"] == [160, 40, 60]
    assert results["settings"]["clipnorm"] == 0.5


def test_resumed_training_gives_what_uninterrupted_training_gives(example, trained, data, index, tmp_path, capsys):
    example.main(whole_batch(data, index, tmp_path, "--epochs", "2"))
    resumed = whole_batch(data, index, tmp_path, "--epochs", "4", "--resume")
    example.main(resumed)
    history = json.loads((tmp_path / "results.json").read_text())["history"]
    for name, values in trained("layers")[1]["history"].items():
        np.testing.assert_allclose(history[name], values[:4], rtol=1e-4)
    assert "with other settings: units " in fails(example, capsys, *resumed, "--units", "9")


def test_resume_needs_a_checkpoint(example, data, index, tmp_path, capsys):
    error = fails(example, capsys, *whole_batch(data, index, tmp_path, "--resume"))
    assert "--resume: expected a whole checkpoint" in error


def test_training_stops_where_nothing_gets_better(example, tmp_path):
    checkpoint = types.SimpleNamespace(save=lambda history: None)
    keeper = example.Keeper(tmp_path, 2, checkpoint)
    keeper.set_model(types.SimpleNamespace(save=lambda path: path.write_text("model")))
    stopped = []
    for epoch, accuracy in enumerate([0.5, 0.7, 0.6, 0.7]):
        keeper.on_epoch_end(epoch, {"val_accuracy": accuracy})
        stopped.append(keeper.model.stop_training)
    assert (keeper.best, stopped) == (2, [False, False, False, True])
    keeper.patience = 0
    assert not keeper.finished


def test_a_training_that_went_astray_is_no_model(example, tmp_path):
    keeper = example.Keeper(tmp_path, 2, None)
    with pytest.raises(example.InputError, match="--learning-rate: the loss is not finite any more in epoch 3"):
        keeper.on_epoch_end(2, {"loss": float("nan"), "val_accuracy": 0.5})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["clipvalue", "clipnorm", "global_clipnorm"])
def test_gradient_clipping(example, name, capsys):
    flag = "--" + name.replace("_", "-")
    model = example.build_model(options_of(example, flag, "2", *SMALL), None)
    assert getattr(model.optimizer, name) == 2
    other = "--clipnorm" if name != "clipnorm" else "--clipvalue"
    assert "not allowed with argument" in fails(example, capsys, flag, "2", other, "1")


# Word vectors


@pytest.fixture
def glove(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text("good 1 2 3\nbad -1 -2 -3\nword20 0.5 0.5 0.5\nnever 9 9 9\n")
    return path


def test_word_vectors_are_frozen(example, data, index, glove, tmp_path, capsys):
    folder = tmp_path / "output"
    sizes = ("--units", "4", "--hidden", "4", "--steps", "6", "--words", "45", "--cell", "simple_rnn", "--epochs", "1")
    files = ("--data", data, "--word-index", index, "--glove", glove, "--output", folder)
    example.main([str(argument) for argument in (*sizes, *files)])
    assert "3 of 45 words found" in capsys.readouterr().out
    vectors = keras.models.load_model(folder / "model.keras").layers[0].get_weights()[0]
    expected = np.zeros((45, 3))
    expected[[GOOD, BAD, 20]] = [1, 2, 3], [-1, -2, -3], [0.5, 0.5, 0.5]
    np.testing.assert_array_equal(vectors, expected)
    results = json.loads((folder / "results.json").read_text())
    assert (results["settings"]["embedding"], results["settings"]["train_embedding"]) == (3, False)


@pytest.mark.parametrize("via", ["layers", "cells"])
@pytest.mark.parametrize("trainable", [True, False])
def test_word_vectors_may_be_trained(example, parts, index, glove, via, trainable):
    switch = ["--train-embedding"] if trainable else []
    options = example.make_parser().parse_args(["--glove", str(glove), "--via", via, "--words", "45", *switch])
    vectors, _ = example.read_vectors(options, *parts.reviews.load_words(index))
    options.steps, options.units, options.hidden, options.dropout = 6, 4, 0, 0
    example.choose_defaults(options)
    model = example.build_model(options, vectors)
    model.train_on_batch(np.full((5, 6), GOOD, "int32"), np.ones((5, 1)))
    after = model.layers[0].get_weights()[0]
    assert (not np.array_equal(after, vectors[0])) == trainable


def test_word_vectors_of_another_length_are_refused(example, index, glove, capsys):
    error = fails(example, capsys, "--glove", glove, "--word-index", index, "--embedding", "50")
    assert "--embedding: expected the file's 3 or nothing, got 50" in error


def test_word_vectors_need_words(example, glove, capsys):
    assert "--glove: expected a word index, got none. The word index" in fails(example, capsys, "--glove", glove)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected a readable file"),
        ("", "got an empty file"),
        ("good 1 2\nbad 1\n", "line 2: expected a word and 2 numbers"),
        ("good 1 x\n", "line 1: expected"),
        ("never 1 2\n", "words in '{path}', got none of them"),
    ],
)
def test_unusable_word_vectors(example, index, tmp_path, capsys, content, message):
    path = tmp_path / "vectors.txt"
    if content is not None:
        path.write_text(content)
    error = fails(example, capsys, "--glove", path, "--word-index", index)
    assert "--glove: " in error
    assert message.format(path=path) in error


# Reviews, words and mistakes


def test_reviews_keep_their_ends_and_the_last_fifth_validates(parts, data):
    arrays, reviews = made_arrays(), parts.reviews.load_reviews(data, 30, 6)
    assert [len(part.ids) for part in reviews[:3]] == [160, 40, 60]
    starts = np.cumsum(arrays["x_train_lengths"]) - arrays["x_train_lengths"]
    for place in (0, 1, 2, 199):
        codes = arrays["x_train_tokens"][starts[place] :][: arrays["x_train_lengths"][place]][-6:]
        expected = [0] * (6 - len(codes)) + [code if code < 30 else 2 for code in codes.tolist()]
        part = reviews.validation if place >= 160 else reviews.train
        assert part.ids[place % 160].tolist() == expected
        assert part.labels[place % 160].tolist() == [arrays["y_train"][place]]


def test_an_epoch_has_each_review_once_in_an_order_of_its_own(example, parts):
    part = parts.reviews.Part(np.arange(12)[:, None], np.arange(12.0)[:, None])
    batches = example.Batches(part, 4, seed=0)
    epochs = []
    for _ in range(2):
        ids, labels = (np.concatenate(each) for each in zip(*(batches[place] for place in range(3)), strict=True))
        np.testing.assert_array_equal(ids, labels)
        epochs.append(ids.ravel().tolist())
        batches.on_epoch_end()
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(12))
    assert epochs[0] != epochs[1]


def test_words_come_from_the_index(parts, index):
    words, note = parts.reviews.load_words(index)
    assert note is None
    assert parts.reviews.decode(np.array([0, 0, 1, 25, GOOD, 2, 44]), words) == "<start> word25 good <unk> <44>"


def test_words_come_from_keras_where_it_has_them(parts, monkeypatch):
    monkeypatch.setattr(keras.datasets.imdb, "get_word_index", lambda: {"the": 1})
    words, note = parts.reviews.load_words(None)
    assert (words[4], note) == ("the", None)


def test_without_an_index_words_are_numbers_and_the_user_is_told(parts):
    words, note = parts.reviews.load_words(None)
    assert parts.reviews.decode(np.array([0, 1, GOOD]), words) == "<start> <10>"
    assert "URL fetch failure" in note
    assert "--word-index FILE" in note


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected a readable file"),
        (b"", "expected at least 1 character"),
        (b'{"the": 1', "expected Keras's imdb_word_index.json"),
        (b"\xff\xfe", "expected UTF-8"),
        (b"[1]", "expected words with numbers from 1"),
        (b"{}", "expected words with numbers from 1"),
        (b'{"the": "1"}', "expected words with numbers from 1"),
        (b'{"the": 0}', "expected words with numbers from 1"),
        (b'{"the": 1, "a": 1}', "expected a number of its own for each word"),
    ],
)
def test_unusable_word_index(example, data, tmp_path, capsys, content, message):
    path = tmp_path / "index.json"
    if content is not None:
        path.write_bytes(content)
    error = fails(example, capsys, "--word-index", path, "--data", data)
    assert "--word-index: " in error
    assert message in error


def test_the_surest_mistakes(parts):
    probabilities = np.array([0.9, 0.6, 0.99, 0.5, 0.1, 0.49, 0.3, 0.7])
    labels = np.array([0, 0, 1, 0, 1, 1, 0, 0])
    high, low = parts.reviews.worst(probabilities, labels, 3)
    assert high.tolist() == [0, 7, 1]
    assert low.tolist() == [4, 5]


def test_mistakes_are_described(parts):
    ids = np.zeros((3, 70), "int32")
    ids[0, -2:] = GOOD, BAD
    ids[1] = GOOD
    part = parts.reviews.Part(ids, np.array([[0.0], [0.0], [1.0]]))
    text = parts.reviews.describe_mistakes(np.array([0.75, 0.5, 0.875]), part, {GOOD: "good", BAD: "bad"}, 5)
    lines = text.splitlines()
    assert lines[:4] == [
        "Bad reviews taken for good:",
        "  test review 0: probability of good 0.7500, label 0",
        "    good bad",
        "  test review 1: probability of good 0.5000, label 0",
    ]
    assert text.count("good ") + text.count("good\n") >= parts.reviews.SHOWN_WORDS
    assert lines[4].startswith("    ... good good")
    assert max(map(len, lines)) <= 110
    assert lines[-2:] == ["Good reviews taken for bad:", "  none"]


# Where the reviews come from


def test_folder_of_the_environment(parts, data, monkeypatch):
    monkeypatch.setenv("KERAS_RNN_EXT_DATA", str(data.parent))
    assert parts.reviews.load_reviews(None, 45, 6).source == str(data)


def test_reviews_of_keras(parts, monkeypatch, tmp_path):
    def load_data(num_words):
        assert num_words == 45
        reviews = [made_reviews(count, count) for count in (10, 5)]
        return [(np.array(ids, dtype="object"), labels) for ids, labels in reviews]

    monkeypatch.setenv("KERAS_RNN_EXT_DATA", str(tmp_path))  # has no reviews
    monkeypatch.setattr(keras.datasets.imdb, "load_data", load_data)
    reviews = parts.reviews.load_reviews(None, 45, 6)
    assert reviews.source == "keras.datasets.imdb"
    assert [part.ids.shape for part in reviews[:3]] == [(8, 6), (2, 6), (5, 6)]


def test_without_a_network_the_user_is_told(example, capsys):
    error = fails(example, capsys)
    assert "--data: expected a network to download the IMDB reviews, got: URL fetch failure" in error
    assert "Give --data FILE, or set KERAS_RNN_EXT_DATA" in error


def changed(name, change):
    def write(path):
        arrays = made_arrays()
        arrays[name] = change(arrays[name])
        np.savez(path, **{key: value for key, value in arrays.items() if value is not None})

    return write


def truncated(path):
    np.savez(path, **made_arrays())
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "No such file or directory"),
        (lambda path: path.write_bytes(b""), "No data left in file"),
        (lambda path: path.write_text("some text"), "pickle"),
        (truncated, "not a zip file"),
        (lambda path: path.write_bytes(np.lib.format.magic(1, 0)), "EOF"),
        (changed("y_test", lambda array: None), "y_test"),
        (changed("y_test", lambda array: array + 1), "labels other than 0 and 1"),
        (changed("y_train", lambda array: array[:-1]), "199 labels and 200 lengths"),
        (changed("x_train_tokens", lambda array: array[:-1]), "do not add up to its"),
        (changed("x_train_tokens", lambda array: array - 20), "tokens below 1"),
        (changed("x_train_tokens", lambda array: array.astype("float32")), "not a row of integers"),
        (changed("x_test_lengths", lambda array: array[:, None]), "not a row of integers"),
        (changed("x_test_lengths", lambda array: -array), "do not add up"),
    ],
    ids=[
        "missing",
        "empty",
        "text",
        "truncated",
        "header",
        "lacking",
        "labels",
        "count",
        "sum",
        "zero",
        "float",
        "shape",
        "negative",
    ],
)
def test_unusable_reviews(example, tmp_path, capsys, write, message):
    path = tmp_path / "imdb_small.npz"
    write(path)
    error = fails(example, capsys, "--data", path)
    assert (
        f"--data: expected a whole .npz file with x_*_tokens, x_*_lengths and y_* for train and test, got '{path}'"
        in error
    )
    assert message in error


def test_one_array_is_no_set_of_reviews(example, tmp_path, capsys):
    np.save(tmp_path / "one.npy", np.zeros(3))
    assert "a single array" in fails(example, capsys, "--data", tmp_path / "one.npy")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "argument --epochs: expected int from 1, got '0'"),
        (["--words", "3"], "argument --words: expected int from 4, got '3'"),
        (["--learning-rate", "nan"], "argument --learning-rate: expected float from 0, got 'nan'"),
        (["--clipnorm", "0"], "argument --clipnorm: expected float from 1e-09, got '0'"),
        (["--dropout", "1"], "--dropout: expected a rate below 1, got 1.0"),
        (["--cell", "rnn"], "argument --cell: invalid choice: 'rnn'"),
    ],
)
def test_wrong_options_end_with_a_message(example, capsys, arguments, message):
    assert message in fails(example, capsys, *arguments)


def test_output_that_is_a_file_is_told(example, data, tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    assert "--output: expected a folder" in fails(example, capsys, "--data", data, "--output", tmp_path / "taken")


def test_help_shows_the_defaults(example, capsys):
    with pytest.raises(SystemExit) as stop:
        example.main(["--help"])
    assert stop.value.code == 0
    assert "default: 80 in 002, 500 in 000" in " ".join(capsys.readouterr().out.split())
