"""Trainings that are cut off go on exactly: the checkpoint, the callback, the order of the data, and kills."""

import contextlib
import errno
import pathlib
import resource
import types

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_rnn_ext import MyDense, MyGRU, MyLSTM
from keras_rnn_ext.training import ArrayBatches, Checkpoint, ResumeTraining, TruncatedBPTT
from tests.helpers import to_numpy

BACKEND = keras.config.backend()
RANDOM = np.random.default_rng(5)
X, Y = RANDOM.normal(size=(24, 6, 2)).astype("float32"), RANDOM.normal(size=(24, 1)).astype("float32")


class Cut(Exception):
    """The training is over before its time."""


class CutIn(keras.callbacks.Callback):
    """Ends a training in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.in_epoch, self.epoch = epoch, None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == self.in_epoch:
            raise Cut


def plain(epochs, path=None, cut=None, **options):
    return _fit(_net(), epochs, path, cut, ArrayBatches(X, Y, batch_size=5, seed=3), **options)


def parts_of_a_pass(epochs, path=None, cut=None):
    return _fit(_net(), epochs, path, cut, ArrayBatches(X, Y, batch_size=5, seed=3, batches_per_epoch=3))


def kept_in_order(epochs, path=None, cut=None):
    return _fit(_net(), epochs, path, cut, X, Y, shuffle=False)


def in_random_order(epochs, path=None, cut=None):
    return _fit(_net(), epochs, path, cut, X, Y)


def own_dataset(epochs, path=None, cut=None):
    class Own(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return X[6 * index : 6 * index + 6], Y[6 * index : 6 * index + 6]

    return _fit(_net(), epochs, path, cut, Own())


def stateful(epochs, path=None, cut=None):
    """States that go on from batch to batch, and from epoch to epoch."""
    model = _compiled(
        [keras.Input(batch_shape=(6, 6, 2)), MyLSTM(3, stateful=True, recurrent_dropout=0.3, seed=1), MyDense(1)]
    )
    return _fit(model, epochs, path, cut, X, Y, batch_size=6, shuffle=False)


def keras_stateful(epochs, path=None, cut=None):
    layers = keras.layers
    model = _compiled(
        [keras.Input(batch_shape=(6, 6, 2)), layers.GRU(3, stateful=True), layers.Dropout(0.3), layers.Dense(1)]
    )
    return _fit(model, epochs, path, cut, X, Y, batch_size=6, shuffle=False)


def truncated(epochs, path=None, cut=None, reset="series"):
    model = keras.Sequential(
        [
            keras.Input(batch_shape=(4, None, 2)),
            MyGRU(3, stateful=True, return_sequences=True, dropout=0.3, seed=2),
            MyDense(1),
        ]
    )
    trainer = TruncatedBPTT(model, window=3, windows_per_call=2, reset=reset)
    trainer.compile("adam", "mse")
    return _fit(trainer, epochs, path, cut, X[:4], X[:4, :, :1])


def truncated_on_and_on(epochs, path=None, cut=None):
    return truncated(epochs, path, cut, "never")


def stored_in_bfloat16(epochs, path=None, cut=None):
    model = _compiled([keras.Input((6, 2)), MyGRU(3, dtype="bfloat16"), MyDense(1)])
    return _fit(model, epochs, path, cut, X, Y, shuffle=False)


def scaled(epochs, path=None, cut=None):
    model = _compiled([keras.Input((6, 2)), MyGRU(3, dtype="mixed_float16"), MyDense(1)], scaled=True)
    return _fit(model, epochs, path, cut, X, Y, shuffle=False)


def _net():
    return _compiled([keras.Input((6, 2)), MyGRU(3, dropout=0.2), keras.layers.Dropout(0.2), MyDense(1)])


def _compiled(layers, scaled=False):
    model = keras.Sequential(layers)
    adam = keras.optimizers.Adam(0.01)
    model.compile(keras.optimizers.LossScaleOptimizer(adam) if scaled else adam, "mse", metrics=["mae"])
    return model


def _fit(model, epochs, path, cut, x, y=None, every=1, others=(), **options):
    callbacks = list(others)
    if path is not None:
        data = x if isinstance(x, ArrayBatches) else None
        callbacks.append(ResumeTraining(path, every, data=data, callbacks=others, verbose=False))
    if cut is not None:
        callbacks.append(CutIn(cut))
    return model, model.fit(x, y, epochs=epochs, callbacks=callbacks, verbose=0, **options)


KINDS = (
    plain,
    parts_of_a_pass,
    kept_in_order,
    own_dataset,
    stateful,
    truncated,
    truncated_on_and_on,
    stored_in_bfloat16,
    scaled,
    # TensorFlow's own order is refused. Keras's own stateful layers forget on JAX, and do not train on PyTorch.
    *(() if BACKEND == "tensorflow" else (in_random_order,)),
    *((keras_stateful,) if BACKEND == "tensorflow" else ()),
)


def everything(model):
    """All numbers that a training has."""
    return [to_numpy(variable.value).astype("float64") for variable in Checkpoint("", model)._variables()]


def assert_same(model, expected):
    for one, other in zip(everything(model), everything(expected), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_training_that_was_cut_off_ends_as_one_that_was_not(kind, tmp_path):
    keras.utils.set_random_seed(7)
    expected, history = kind(3)
    path = tmp_path / "run.npz"
    keras.utils.set_random_seed(7)
    with pytest.raises(Cut):
        kind(3, path, cut=1)
    # Another process begins with other numbers.
    keras.utils.set_random_seed(8)
    model, found = kind(3, path)
    assert_same(model, expected)
    assert found.epoch == history.epoch == [0, 1, 2]
    assert found.history == history.history


def test_a_finished_training_is_there_at_once_and_goes_on(tmp_path):
    path = tmp_path / "run.npz"
    first, _ = plain(2, path)
    again, history = plain(2, path)
    assert_same(again, first)
    assert history.epoch == [0, 1]
    keras.utils.set_random_seed(0)
    expected, _ = plain(3)
    keras.utils.set_random_seed(0)
    plain(2, tmp_path / "other.npz")
    longer, _ = plain(3, tmp_path / "other.npz")
    assert_same(longer, expected)


def test_a_later_fit_begins_where_it_says(tmp_path):
    plain(2, tmp_path / "run.npz")
    model, _ = plain(2, tmp_path / "run.npz")
    assert model.fit(X, Y, epochs=1, verbose=0).epoch == [0]


def test_what_other_callbacks_count_goes_on(tmp_path):
    def others():
        return (
            keras.callbacks.EarlyStopping("loss", patience=2, min_delta=0.05, restore_best_weights=True),
            keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=0.05),
        )

    keras.utils.set_random_seed(1)
    expected, history = plain(30, others=others())
    assert len(history.epoch) < 30
    last = history.epoch[-1]
    for cut in range(1, last + 1):
        keras.utils.set_random_seed(1)
        with pytest.raises(Cut):
            plain(30, tmp_path / "run.npz", cut, others=others())
    for _ in range(2):
        keras.utils.set_random_seed(1)
        model, found = plain(30, tmp_path / "run.npz", others=others())
        assert found.epoch == history.epoch
        assert_same(model, expected)


def test_other_callbacks_and_other_files_are_refused(tmp_path):
    plain(1, tmp_path / "run.npz")
    with pytest.raises(ValueError, match="with as many `callbacks`, 1. Received: .*run.npz' with 0"):
        plain(2, tmp_path / "run.npz", others=(keras.callbacks.EarlyStopping("loss"),))
    Checkpoint(tmp_path / "own.npz", _net()).save([1])
    with pytest.raises(ValueError, match="a file that `ResumeTraining` wrote.*of something else"):
        plain(2, tmp_path / "own.npz")


def test_every_few_epochs(tmp_path, capsys):
    path = tmp_path / "run.npz"
    with pytest.raises(Cut):
        plain(5, path, cut=3, every=2)
    model = _net()
    assert Checkpoint(path, model).restore()["done"] == 2
    resume = ResumeTraining(path, every=2)
    model.fit(X, Y, epochs=5, shuffle=False, callbacks=[resume], verbose=0)
    assert f"{path}: going on after 2 epochs, 3 of 5 left." in capsys.readouterr().out
    assert Checkpoint(path, model).restore()["done"] == 5


# Files


@pytest.fixture
def saved(tmp_path):
    model = _net()
    model.fit(X, Y, epochs=1, verbose=0)
    checkpoint = Checkpoint(tmp_path / "run.npz", model, {"data": "x"})
    checkpoint.save([1, "a"])
    return checkpoint


def test_settings_and_notes(saved):
    assert Checkpoint(saved.path, _net(), {"data": "x"}).restore() == [1, "a"]
    with pytest.raises(ValueError, match="of one with other settings: data was 'x' and is 'y'"):
        Checkpoint(saved.path, _net(), {"data": "y"}).restore()
    with pytest.raises(ValueError, match="`settings` must be something that JSON can hold"):
        Checkpoint(saved.path, _net(), {"data": X})
    with pytest.raises(ValueError, match="`notes` must be something that JSON can hold"):
        saved.save(X)


def test_random_numbers_go_on(saved):
    def drawn():
        import random

        return random.random(), np.random.rand(), np.random.normal()  # noqa: NPY002

    saved.save()
    expected = drawn()
    keras.utils.set_random_seed(2)
    saved.restore()
    assert drawn() == expected


def test_other_models_are_refused_and_nothing_changes(saved):
    other = _compiled([keras.Input((6, 2)), MyGRU(4, dropout=0.2), keras.layers.Dropout(0.2), MyDense(1)])
    before = everything(other)
    with pytest.raises(ValueError, match=r"shape and type \(2, 12\), float32 for .*kernel'. .* with \(2, 9\), float32"):
        Checkpoint(saved.path, other, {"data": "x"}).restore()
    assert all(map(np.array_equal, before, everything(other)))
    smaller = keras.Sequential([keras.Input((6, 2)), MyGRU(3)])
    with pytest.raises(ValueError, match="with 4 variables. Received: .* with "):
        Checkpoint(saved.path, smaller, {"data": "x"}).restore()


def test_states_of_copies_on_several_devices_are_refused(tmp_path):
    class OnTwo(keras.Sequential):
        distribute_strategy = types.SimpleNamespace(num_replicas_in_sync=2)

    def made(stateful):
        return OnTwo([keras.Input(batch_shape=(2, None, 1)), MyGRU(2, stateful=stateful, name="carrying")])

    Checkpoint(tmp_path / "a.npz", made(False)).save()
    with pytest.raises(ValueError, match=r"must not carry states .* Received: stateful layers \['carrying'\]"):
        Checkpoint(tmp_path / "b.npz", made(True)).save()
    assert not (tmp_path / "b.npz").exists()


def test_damaged_files_change_nothing_and_say_so(saved):
    whole, model = pathlib.Path(saved.path).read_bytes(), saved.model
    expected = everything(model)

    @settings(max_examples=max(40, settings().max_examples))
    @given(st.data())
    def holds(data):
        place = data.draw(st.integers(0, len(whole) - 1), label="place")
        if data.draw(st.booleans(), label="torn"):
            content = whole[:place]
        else:
            content = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :]
        pathlib.Path(saved.path).write_bytes(content)
        # A flag of the archive that nobody reads may change, a number may not.
        with contextlib.suppress(ValueError):
            assert saved.restore() == [1, "a"]
        assert all(map(np.array_equal, everything(model), expected))

    holds()
    with pytest.raises(ValueError, match="Delete it to begin anew"):
        pathlib.Path(saved.path).write_bytes(b"")
        saved.restore()
    with pytest.raises(FileNotFoundError):
        Checkpoint(saved.path + "x", saved.model).restore()


def test_a_file_of_objects_runs_nothing(saved, tmp_path):
    class Touch:
        def __reduce__(self):
            return pathlib.Path.touch, (tmp_path / "touched",)

    np.savez(saved.path, about=np.array([Touch()], dtype=object))
    with pytest.raises(ValueError, match="must be a whole checkpoint"):
        saved.restore()
    assert not (tmp_path / "touched").exists()


def test_a_full_disk_leaves_the_last_file(saved, tmp_path):
    """Files may not grow beyond half of what they need."""
    whole = pathlib.Path(saved.path).read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) // 2, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            saved.save()
        assert error.value.errno == errno.EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert pathlib.Path(saved.path).read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]


def test_training_outlives_a_full_disk(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    plain(1, path)
    whole = path.read_bytes()

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.warns(UserWarning, match="was not written after epoch 2: .*No space left on device. The one of before"):
        _, history = plain(2, path)
    assert history.epoch == [0, 1]
    assert path.read_bytes() == whole


# What does not fit


def test_arguments_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match="`every` must be an int from 1. Received: every=0"):
        ResumeTraining("a.npz", 0)
    with pytest.raises(ValueError, match="`data` must have an attribute `epoch`, an int"):
        ResumeTraining("a.npz", data=X)
    with pytest.raises(TypeError, match="`model` must be a Keras model. Received: 3"):
        Checkpoint("a.npz", 3)
    with pytest.raises(ValueError, match="which is not built"):
        Checkpoint("a.npz", keras.Sequential([MyGRU(3)]))
    for name in ("batch_size", "batches_per_epoch"):
        with pytest.raises(ValueError, match=f"`{name}` must be an int from 1. Received: {name}=0"):
            ArrayBatches(X, **{name: 0})
    with pytest.raises(ValueError, match="`seed` must be an int from 0"):
        ArrayBatches(X, seed=-1)
    with pytest.raises(ValueError, match=r"as many samples each, at least one. Received: \[\(3,\), \(24,\)\]"):
        ArrayBatches(X, Y[:3])
    with pytest.raises(ValueError, match="at least one"):
        ArrayBatches(X[:0])


@pytest.mark.skipif(BACKEND != "tensorflow", reason="Keras shuffles arrays with NumPy or PyTorch there")
def test_an_order_that_nobody_can_keep_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`shuffle` of `fit` must be False .*Batches\(x, y\)"):
        in_random_order(2, tmp_path / "run.npz")


# The order of the data


@given(st.integers(1, 20), st.integers(1, 7), st.none() | st.integers(1, 9), st.booleans(), st.integers(0, 2**70))
def test_each_pass_has_each_sample_once(samples, batch_size, per_epoch, shuffle, seed):
    def made():
        return ArrayBatches(
            {"a": np.arange(samples)},
            np.arange(samples),
            batch_size=batch_size,
            batches_per_epoch=per_epoch,
            shuffle=shuffle,
            seed=seed,
        )

    data, seen = made(), []
    for _ in range(-(-3 * samples // len(data)) + 3):
        data.on_epoch_begin()
        for index in range(len(data)):
            x, y = data[index]
            np.testing.assert_array_equal(x["a"], y)
            seen += y.tolist()
    for number in range(3):
        assert sorted(seen[number * samples : (number + 1) * samples]) == list(range(samples))
    assert shuffle or seen[:samples] == list(range(samples))
    other = made()
    other.epoch = 2
    np.testing.assert_array_equal(other[0][1], seen[_begin(2, other, samples) :][: len(other[0][1])])


def _begin(epoch, data, samples):
    passes, place = divmod(epoch * len(data), -(-samples // data.batch_size))
    return passes * samples + place * data.batch_size


def test_weights_of_samples_and_no_targets():
    data = ArrayBatches(X, None, np.arange(24), batch_size=24, shuffle=False)
    x, y, weights = data[0]
    assert y is None
    np.testing.assert_array_equal(weights, np.arange(24))
    np.testing.assert_array_equal(x, X)


# Kills


def test_killed_at_any_moment(tmp_path):
    """A process that is killed while it trains or writes; the numbers of the last one are those of one that was not."""
    from benchmarks import killed_runs

    found = killed_runs.killed("fit", kills=2, seed=0, folder=tmp_path)
    assert found["kills"] == 2
    assert found["same"], found
