"""The command that looks for growth, for a few steps."""

import pytest

import keras_rnn_ext
from benchmarks import soak


@pytest.mark.parametrize("kind", soak.KINDS)
def test_every_kind_runs(kind):
    run = soak.KINDS[kind](keras_rnn_ext)
    for step in range(3):
        run(step)


def test_what_grows_is_found(monkeypatch):
    kept = []
    monkeypatch.setitem(soak.KINDS, "grows", lambda ext: lambda step: kept.append(bytearray(2**20)))
    found = soak.soak("grows", 1000)
    assert found["growth"] > soak.MOST_GROWTH
    assert not found["passed"]
