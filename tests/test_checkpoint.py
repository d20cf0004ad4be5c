"""Checkpoints: read whole or not at all, whatever the file is."""

import contextlib
import errno
import json
import pathlib
import random
import resource
import types

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_rnn_ext import MyDense, MyGRU
from keras_rnn_ext.training import Checkpoint
from tests.resumed_nets import X, compiled, everything, net


@pytest.fixture
def saved(tmp_path):
    model = net()
    checkpoint = Checkpoint(tmp_path / "run.npz", model, {"data": "x"})
    checkpoint.save([1, "a"])
    return checkpoint


def test_settings_and_notes(saved):
    assert Checkpoint(saved.path, net(), {"data": "x"}).restore() == [1, "a"]
    with pytest.raises(ValueError, match="of one with other settings: data was 'x' and is 'y'"):
        Checkpoint(saved.path, net(), {"data": "y"}).restore()
    with pytest.raises(ValueError, match="`settings` must be something that JSON can hold"):
        Checkpoint(saved.path, net(), {"data": X})
    with pytest.raises(ValueError, match="`notes` must be something that JSON can hold"):
        saved.save(X)


def test_random_numbers_go_on(saved):
    def drawn():
        return random.random(), np.random.rand(), np.random.normal()  # noqa: NPY002

    saved.save()
    expected = drawn()
    keras.utils.set_random_seed(2)
    saved.restore()
    assert drawn() == expected


def test_other_models_are_refused_and_nothing_changes(saved):
    other = compiled([keras.Input((6, 2)), MyGRU(4, dropout=0.2), keras.layers.Dropout(0.2), MyDense(1)])
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


def _numbers():
    return random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002


def _about(**changes):
    def change(arrays):
        about = json.loads(str(arrays["about"]))
        arrays["about"] = np.array(json.dumps(about | changes))

    return change


def _array(name, value):
    def change(arrays):
        arrays[name] = value

    return change


def _numpy_state(arrays):
    name, keys, *place = json.loads(str(arrays["numpy_random"]))
    arrays["numpy_random"] = np.array(json.dumps([name, keys[:-1], *place]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_array("about", np.array("{}")), "which is damaged or something else: 'format'"),
        (_array("about", np.array("[3]")), "which is damaged or something else"),
        (_array("about", np.array("[" * 100_000)), "which is damaged or something else"),
        (_about(format=2), "of format 2, of another version"),
        (_about(settings=3), "which is damaged or something else"),
        (_about(variables=3), "which is damaged or something else"),
        (_about(variables=[3]), "which is damaged or something else"),
        (_about(variables=[]), "with .* variables. Received: .* with 0"),
        (_array("1", np.ones((3, 9), "float64")), r"with \(3, 9\), float64. Delete it"),
        (_array("1", np.ones((1, 9), "float32")), r"with \(1, 9\), float32. Delete it"),
        (_array("1", np.array("x")), "as it says itself"),
        (lambda arrays: arrays.pop("1"), "which is damaged or something else"),
        (lambda arrays: arrays.pop("python_random"), "which is damaged or something else"),
        (_array("python_random", np.array("[3, [1, 2], null]")), "which is damaged or something else"),
        (_array("python_random", np.array("[3, 1]")), "which is damaged or something else"),
        (_array("numpy_random", np.array('["PCG64", [1], 1, 0, 0.0]')), "which is damaged or something else"),
        (_array("numpy_random", np.array("3")), "which is damaged or something else"),
        (_numpy_state, "which is damaged or something else"),
        *(
            [(_array("torch_random", np.zeros(3, "uint8")), "which is damaged or something else")]
            if keras.backend.backend() == "torch"
            else []
        ),
    ],
)
def test_a_file_that_somebody_made_is_read_whole_or_not_at_all(change, message, saved):
    with np.load(saved.path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    # All weights differ from those in the model, so that a single one that is set would be seen.
    for name in arrays:
        if name.isdigit():
            arrays[name] = (arrays[name] + 1).astype(arrays[name].dtype)
    change(arrays)
    np.savez(saved.path, **arrays)
    before, numbers = everything(saved.model), _numbers()
    with pytest.raises(ValueError, match=message):
        saved.restore()
    assert all(map(np.array_equal, before, everything(saved.model)))
    assert numbers == _numbers()


def test_arguments_that_do_not_fit():
    with pytest.raises(TypeError, match="`model` must be a Keras model. Received: 3"):
        Checkpoint("a.npz", 3)
    with pytest.raises(ValueError, match="which is not built"):
        Checkpoint("a.npz", keras.Sequential([MyGRU(3)]))
