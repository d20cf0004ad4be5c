"""Damaged and malicious files, a few of those that `python -m benchmarks.hostile_files` tries; and `verify_file`."""

import io
import json
import random
import zipfile

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import hostile_files
from keras_rnn_ext import MyGRU, verify_file


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "model.keras"
    keras.Sequential([keras.Input((None, 3)), MyGRU(2)]).save(path)
    return path.read_bytes()


def parts_of(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_some_files():
    counts, bad = hostile_files.tried(12, seed=3)
    assert bad == []
    assert counts["error"] + counts["same"] + counts["loaded as the file says"] == 12


def test_what_a_file_runs_is_seen():
    hostile_files._seen.clear()
    hostile_files._watch("os.listdir", ())
    assert not hostile_files._seen
    hostile_files._watch("subprocess.Popen", ())
    assert hostile_files._seen == ["subprocess.Popen"]
    hostile_files._seen.clear()


@pytest.mark.parametrize("malicious", hostile_files.MALICIOUS, ids=lambda each: each["class_name"])
@pytest.mark.parametrize("place", ["layer", "kernel_initializer", "activation"])
def test_names_of_functions_run_nothing(malicious, place, whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts = parts_of(whole)
    config = json.loads(parts["config.json"])
    if place == "layer":
        config["config"]["layers"][1] = malicious
    else:
        config["config"]["layers"][1]["config"][place] = malicious
    with zipfile.ZipFile("changed.keras", "w") as archive:
        for name, content in (parts | {"config.json": json.dumps(config).encode()}).items():
            archive.writestr(name, content)
    with pytest.raises((TypeError, ValueError)) as error:
        keras.models.load_model("changed.keras")
    assert str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["changed.keras"]


@given(st.integers(0, 10**6), st.sampled_from(["config", "weights"]))
def test_checksums_fit_where_an_attacker_would_make_them(whole, number, kind):
    changed = hostile_files.changed(whole, kind, random.Random(number))
    with zipfile.ZipFile(io.BytesIO(changed)) as archive:
        assert archive.testzip() is None
    json.loads(parts_of(changed)["config.json"])


@given(st.data())
@settings(max_examples=max(60, settings().max_examples))
def test_a_changed_byte_is_found_or_changes_no_number(whole, tmp_path_factory, data):
    place = data.draw(st.integers(0, len(whole) - 1))
    content = bytearray(whole)
    content[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "flipped.keras"
    path.write_bytes(bytes(content))
    try:
        verify_file(path)
    except ValueError:
        return
    # What describes the parts, such as their dates, may differ.
    assert list(parts_of(bytes(content)).values()) == list(parts_of(whole).values())


def test_errors_name_the_part(whole, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(whole)
    verify_file(path)
    place = whole.index(b"model.weights.h5") + 400
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(ValueError, match=r"of which 'model.weights.h5' is damaged"):
        verify_file(path)
    for content in (b"", b"text", whole[:1000]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="damaged or something else"):
            verify_file(path)
    with pytest.raises(FileNotFoundError):
        verify_file(tmp_path / "none")
    np.savez(tmp_path / "arrays.npz", a=np.ones(3))
    verify_file(tmp_path / "arrays.npz")
