"""Trainings that are cut off go on exactly: the callback, the order of the data, and kills."""

import errno

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_rnn_ext import MyDense, MyGRU, MyLSTM
from keras_rnn_ext.training import ArrayBatches, Checkpoint, ResumeTraining, TruncatedBPTT
from tests.resumed_nets import X, Y, assert_same, compiled, everything, net

BACKEND = keras.config.backend()


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
    return _fit(net(), epochs, path, cut, ArrayBatches(X, Y, batch_size=5, seed=3), **options)


def parts_of_a_pass(epochs, path=None, cut=None):
    return _fit(net(), epochs, path, cut, ArrayBatches(X, Y, batch_size=5, seed=3, batches_per_epoch=3))


def kept_in_order(epochs, path=None, cut=None):
    return _fit(net(), epochs, path, cut, X, Y, shuffle=False)


def in_random_order(epochs, path=None, cut=None):
    return _fit(net(), epochs, path, cut, X, Y)


def own_dataset(epochs, path=None, cut=None):
    class Own(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return X[6 * index : 6 * index + 6], Y[6 * index : 6 * index + 6]

    return _fit(net(), epochs, path, cut, Own())


def stateful(epochs, path=None, cut=None):
    """States that go on from batch to batch, and from epoch to epoch."""
    model = compiled(
        [keras.Input(batch_shape=(6, 6, 2)), MyLSTM(3, stateful=True, recurrent_dropout=0.3, seed=1), MyDense(1)]
    )
    return _fit(model, epochs, path, cut, X, Y, batch_size=6, shuffle=False)


def keras_stateful(epochs, path=None, cut=None):
    layers = keras.layers
    model = compiled(
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
    model = compiled([keras.Input((6, 2)), MyGRU(3, dtype="bfloat16"), MyDense(1)])
    return _fit(model, epochs, path, cut, X, Y, shuffle=False)


def scaled(epochs, path=None, cut=None):
    model = compiled([keras.Input((6, 2)), MyGRU(3, dtype="mixed_float16"), MyDense(1)], scaled=True)
    return _fit(model, epochs, path, cut, X, Y, shuffle=False)


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


@pytest.mark.parametrize(("every", "epochs"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (9, [5])])
def test_the_file_is_written_once_an_epoch(every, epochs, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(Checkpoint, "save", lambda self, notes: written.append(notes["done"]))
    plain(5, tmp_path / "run.npz", every=every)
    assert written == epochs


def test_the_file_is_written_once_where_training_stops_by_itself(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(Checkpoint, "save", lambda self, notes: written.append((notes["done"], notes["stopped"])))
    stopping = keras.callbacks.EarlyStopping("loss", patience=1, min_delta=1e9)
    plain(9, tmp_path / "run.npz", others=(stopping,))
    assert written == [(1, False), (2, True)]


@pytest.mark.parametrize(
    "notes",
    [
        {"done": "many"},
        {"epochs": 3},
        {"logs": []},
        {"callbacks": [3]},
        {"callbacks": [{"wait": {"array": [1, 2], "dtype": "float32", "shape": [3]}}]},
        {"callbacks": [{"wait": {"list": 3}}]},
        {"callbacks": [{"wait": {}}]},
    ],
    ids=str,
)
def test_notes_that_somebody_made_change_nothing(notes, tmp_path):
    model, stopping = net(), keras.callbacks.EarlyStopping("loss")
    good = {"done": 1, "epochs": [0], "logs": {}, "stopped": False, "callbacks": [{}]}
    Checkpoint(tmp_path / "run.npz", model).save(good | notes)
    other = net()
    before = everything(other)
    resume = ResumeTraining(tmp_path / "run.npz", callbacks=[stopping])
    with pytest.raises(ValueError, match="a file that `ResumeTraining` wrote.* Delete it to begin anew"):
        other.fit(X, Y, shuffle=False, callbacks=[stopping, resume], verbose=0)
    assert all(map(np.array_equal, before, everything(other)))


def test_other_callbacks_and_other_files_are_refused(tmp_path):
    plain(1, tmp_path / "run.npz")
    with pytest.raises(ValueError, match="with as many `callbacks`, 1. Received: .*run.npz' with 0"):
        plain(2, tmp_path / "run.npz", others=(keras.callbacks.EarlyStopping("loss"),))
    Checkpoint(tmp_path / "own.npz", net()).save([1])
    with pytest.raises(ValueError, match="a file that `ResumeTraining` wrote.*of something else"):
        plain(2, tmp_path / "own.npz")


def test_every_few_epochs(tmp_path, capsys):
    path = tmp_path / "run.npz"
    with pytest.raises(Cut):
        plain(5, path, cut=3, every=2)
    model = net()
    assert Checkpoint(path, model).restore()["done"] == 2
    resume = ResumeTraining(path, every=2)
    model.fit(X, Y, epochs=5, shuffle=False, callbacks=[resume], verbose=0)
    assert f"{path}: going on after 2 epochs, 3 of 5 left." in capsys.readouterr().out
    assert Checkpoint(path, model).restore()["done"] == 5


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

    found = killed_runs.killed("fit", kills=1, seed=0, folder=tmp_path)
    assert found["epochs"][0] > 0
    assert found["same"], found
