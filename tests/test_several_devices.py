"""Trainings on several devices are those on one. `python -m benchmarks.several_devices` runs all of them."""

import keras
import numpy as np
import pytest

from benchmarks import several_devices
from keras_rnn_ext import MyGRU
from keras_rnn_ext.training import SeriesWindows, TruncatedBPTT

# The one of each backend that has most in it.
CHOSEN = {
    "tensorflow": ("MirroredStrategy", "truncated"),
    "jax": ("ModelParallel", "truncated"),
    "torch": ("DDP", "stateful"),
}


def test_several_devices_train_as_one_does(tmp_path):
    found = several_devices.compared(*CHOSEN[keras.config.backend()], tmp_path, rounds=0)
    assert found["losses"] < several_devices.TOLERANCE, found
    assert found["weights"] < several_devices.TOLERANCE, found


@pytest.fixture
def trainer(monkeypatch):
    """As if TensorFlow had two copies of the model."""
    monkeypatch.setattr(TruncatedBPTT, "_replicas", 2)
    gru = MyGRU(2, stateful=True, return_sequences=True)

    def make(**options):
        trainer = TruncatedBPTT(keras.Sequential([keras.Input(batch_shape=(2, None, 1)), gru]), 3, **options)
        trainer.compile("sgd", "mse")
        return trainer

    return make


def test_windows_for_two_copies(trainer):
    series = np.zeros((4, 21, 1))
    windows = trainer(windows_per_call=6).as_windows(series, series)
    # Seven windows: six and one would leave a batch of which most is missing.
    assert (windows.rows, windows.windows_per_batch, len(windows)) == (4, 1, 7)
    assert trainer(windows_per_call=6).as_windows(series[:, :12], series[:, :12]).windows_per_batch == 4


def test_what_copies_cannot_do_is_refused(trainer):
    series = np.zeros((4, 21, 1))
    with pytest.raises(ValueError, match="`reset` of the trainer must be 'series' or 'epoch'"):
        trainer(reset="never").fit(series, series, verbose=0)
    windows = SeriesWindows(series, series, rows=4, window=3, windows_per_batch=6)
    with pytest.raises(ValueError, match="must have full batches .* Received: 7 windows, 6 a batch"):
        trainer().fit(windows, verbose=0)
    with pytest.raises(ValueError, match="`batch_size` must be None or the model's own, 4. Received: batch_size=2"):
        trainer().fit(series, series, batch_size=2, verbose=0)
