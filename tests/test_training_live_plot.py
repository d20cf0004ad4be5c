"""The live plot, in files, in a window and in a notebook, without a screen."""

import sys
import types

import keras
import numpy as np
import pytest

from keras_rnn_ext import MyDense, MyGRU
from keras_rnn_ext.training import LivePlot, TruncatedBPTT

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

PNG = b"\x89PNG\r\n\x1a\n"


def plain():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), MyDense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    return model, np.ones((8, 2)), np.zeros((8, 1))


def recurrent():
    keras.utils.set_random_seed(0)
    gru = MyGRU(3, stateful=True, return_sequences=True)
    trainer = TruncatedBPTT(keras.Sequential([keras.Input(batch_shape=(2, None, 1)), gru]), 2, windows_per_call=2)
    trainer.compile("sgd", "mse")
    return trainer, np.ones((2, 10, 1)), np.zeros((2, 10, 3))


def frames(path):
    from PIL import Image

    with Image.open(path) as image:
        return image.n_frames


def test_png_shows_a_panel_for_each_metric(tmp_path):
    model, x, y = plain()
    seen = []

    def draw(figure, plot):
        from keras_rnn_ext.training.live_plot import draw_curves

        draw_curves(figure, plot)
        seen.append([(axes.get_ylabel(), len(axes.lines), len(axes.lines[0].get_xdata())) for axes in figure.axes])

    path = tmp_path / "curves.png"
    model.fit(x, y, epochs=3, validation_data=(x, y), callbacks=[LivePlot(path, draw=draw)], verbose=0)
    assert path.read_bytes().startswith(PNG)
    assert seen == [[("loss", 2, epochs), ("mae", 2, epochs)] for epochs in (1, 2, 3)]
    assert [each.name for each in tmp_path.iterdir()] == ["curves.png"]


def test_windows_of_the_trainer_are_all_there_with_the_epochs_starts(tmp_path):
    trainer, x, y = recurrent()
    trainer.fit(x, y, verbose=0)
    plot = LivePlot(tmp_path / "curves.png", unit="batch")
    trainer.fit(x, y, epochs=2, callbacks=[plot], verbose=0)
    assert len(plot.window_losses) == 10
    assert plot.epoch_starts == [0, 5]
    assert plot.window_losses[-2:] == trainer.window_losses.tolist()
    assert np.mean(plot.window_losses[5:]) == pytest.approx(plot.history["loss"][1], rel=1e-5)


def test_default_picture_of_a_trainer_has_the_losses_of_the_windows(tmp_path):
    trainer, x, y = recurrent()
    labels = []

    class Spy(LivePlot):
        def on_train_end(self, logs=None):
            super().on_train_end(logs)
            labels.extend(axes.get_ylabel() for axes in self._canvas.figure.axes)

    trainer.fit(x, y, callbacks=[Spy(tmp_path / "curves.png")], verbose=0)
    assert labels == ["loss of a window", "loss"]


@pytest.mark.parametrize(
    ("options", "pictures"),
    [({}, 4), ({"every": 2}, 2), ({"every": 3}, 2), ({"unit": "batch"}, 9), ({"seconds": 1000}, 2)],
)
def test_pictures_of_a_gif(tmp_path, options, pictures):
    model, x, y = plain()
    number = []

    def draw(figure, plot):
        number.append(len(number))
        figure.text(0.1 + 0.08 * len(number), 0.5, str(len(number)))

    path = tmp_path / "curves.gif"
    callback = LivePlot(path, draw=draw, size=(2, 1), **options)
    model.fit(x, y, epochs=4, batch_size=4, callbacks=[callback], verbose=0)
    assert frames(path) == len(number) == pictures
    assert [each.name for each in tmp_path.iterdir()] == ["curves.gif"]


def test_notebook_shows_one_picture_and_renews_it(monkeypatch):
    calls = []

    def display(figure, display_id):
        calls.append(("shown", figure, display_id))
        return types.SimpleNamespace(update=lambda again: calls.append(("renewed", again, None)))

    module = types.ModuleType("IPython.display")
    module.display = display
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    model, x, y = plain()
    model.fit(x, y, epochs=3, callbacks=[LivePlot("notebook")], verbose=0)
    assert [kind for kind, _, _ in calls] == ["shown", "renewed", "renewed"]
    assert len({id(figure) for _, figure, _ in calls}) == 1


def test_window_is_drawn_and_answers(monkeypatch):
    from matplotlib import pyplot
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    done = []

    class Canvas(FigureCanvasAgg):
        def draw_idle(self):
            done.append("drawn")

        def flush_events(self):
            done.append("answered")

    screen = types.ModuleType("a_screen")
    screen.FigureCanvas = Canvas
    monkeypatch.setitem(sys.modules, "a_screen", screen)
    monkeypatch.setattr(matplotlib.figure.Figure, "show", lambda figure: done.append("opened"))
    pyplot.switch_backend("module://a_screen")
    try:
        model, x, y = plain()
        model.fit(x, y, epochs=2, callbacks=[LivePlot("window")], verbose=0)
    finally:
        pyplot.close("all")
        pyplot.switch_backend("Agg")
    assert done == ["opened", "drawn", "answered", "drawn", "answered"]


def test_window_without_a_screen_is_refused():
    from matplotlib import pyplot

    with pytest.raises(ValueError, match=r"needs a screen.*'[aA]gg'.*\.png or \.gif"):
        LivePlot("window")
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize(("module", "to"), [("matplotlib", "loss.png"), ("IPython", "notebook")])
def test_missing_packages_are_named(monkeypatch, module, to):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=f"needs {module}: python -m pip install {module.lower()}"):
        LivePlot(to)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"to": "loss.jpg"}, "ends in .png or .gif. Received: to='loss.jpg'"),
        ({"to": "no_such_folder/loss.png"}, "a folder that is there"),
        ({"to": "loss.png", "unit": "step"}, "`unit` must be .* Received: unit='step'"),
        ({"to": "loss.png", "every": 0}, "`every` must be an integer above zero. Received: every=0"),
    ],
)
def test_errors_name_the_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        LivePlot(**arguments)
