"""A picture of the training while it runs: in a window, in a notebook, or in a file."""

import os
import pathlib
import time

import keras

FILES = (".png", ".gif")


class LivePlot(keras.callbacks.Callback):
    """Draws the training's curves as it goes on.

    One panel for each metric, with its validation curve in it; with a `TruncatedBPTT`, one more with the loss of each
    window. Needs matplotlib, and for a notebook IPython.

    Args:
        to: "window" for a window on the screen; "notebook" for the output of a notebook's cell; or the path of a file:
            `.png` always holds the last picture, `.gif` gets all of them at the end.
        draw: function `draw(figure, plot)` that draws on an empty matplotlib figure in place of the curves. It finds
            the numbers in `plot.history`, a dict from metric to its value in each epoch; `plot.window_losses`, a
            list; `plot.epoch_starts`, for each epoch the place of its first window in that list; and in `plot.model`.
        every: one picture for so many units. Default 1.
        unit: "epoch" or "batch". Default "epoch".
        seconds: at least so many seconds from picture to picture, except for the last. Default 0.
        size: width and height in inches. Default (8, 4.5).
        fps: pictures per second of a GIF. Default 4.

    Raises:
        ImportError: without matplotlib, or for "notebook" without IPython.
        ValueError: naming the argument, or for "window" where matplotlib has no screen.

    >>> plot = LivePlot("loss.png", every=10, unit="batch")
    """

    def __init__(self, to, draw=None, every=1, unit="epoch", seconds=0, size=(8, 4.5), fps=4):
        super().__init__()
        self._canvas = _canvas(to, size, fps)
        if unit not in ("epoch", "batch"):
            raise ValueError(f'Argument `unit` must be "epoch" or "batch". Received: unit={unit!r}')
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(f"Argument `every` must be an integer above zero. Received: every={every!r}")
        self.draw = draw_curves if draw is None else draw
        self._every, self._unit, self._seconds = every, unit, seconds
        self.history, self.window_losses, self.epoch_starts = {}, [], []
        self._seen, self._batches = 0, 0
        self._drawn_at, self._is_drawn = None, False

    def on_train_begin(self, logs=None):
        self._seen = getattr(self.model, "windows_trained", 0)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch_starts.append(len(self.window_losses))

    def on_train_batch_end(self, batch, logs=None):
        self._batches += 1
        self._is_drawn = False
        if hasattr(self.model, "window_losses"):
            losses, total = self.model.window_losses, self.model.windows_trained
            fresh = min(total - self._seen, len(losses))
            self.window_losses.extend(losses[len(losses) - fresh :].tolist())
            self._seen = total
        if self._unit == "batch" and self._batches % self._every == 0:
            self._update()

    def on_epoch_end(self, epoch, logs=None):
        self._is_drawn = False
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
        if self._unit == "epoch" and (epoch + 1) % self._every == 0:
            self._update()

    def on_train_end(self, logs=None):
        if not self._is_drawn:
            self._draw()
        self._canvas.finish()

    def _update(self):
        if self._drawn_at is None or time.monotonic() - self._drawn_at >= self._seconds:
            self._draw()

    def _draw(self):
        self._canvas.figure.clear()
        self.draw(self._canvas.figure, self)
        self._canvas.show()
        self._drawn_at, self._is_drawn = time.monotonic(), True


def draw_curves(figure, plot):
    """What `LivePlot` draws by itself."""
    names = [name for name in plot.history if not name.startswith("val_")]
    panels = len(names) + bool(plot.window_losses)
    if panels == 0:
        return
    places = iter(figure.subplots(1, panels, squeeze=False)[0])
    if plot.window_losses:
        axes = next(places)
        axes.plot(plot.window_losses, linewidth=0.8)
        axes.set(xlabel="window", ylabel="loss of a window")
    for name, axes in zip(names, places, strict=True):
        for kind, label in ((name, "training"), (f"val_{name}", "validation")):
            if kind in plot.history:
                axes.plot(range(1, len(plot.history[kind]) + 1), plot.history[kind], marker=".", label=label)
        axes.set(xlabel="epoch", ylabel=name)
        axes.legend()


class _Window:
    def __init__(self, size):
        import matplotlib
        from matplotlib import pyplot

        self.figure = pyplot.figure(figsize=size, layout="constrained")
        if matplotlib.get_backend().lower() in ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template"):
            pyplot.close(self.figure)
            raise ValueError(
                'Argument `to`: "window" needs a screen, and matplotlib found none (its backend is '
                f"{matplotlib.get_backend()!r}). Give the path of a .png or .gif file."
            )
        self._pyplot = pyplot
        self.figure.show()

    def show(self):
        self.figure.canvas.draw_idle()
        # Lets the window answer, without waiting for it.
        self.figure.canvas.flush_events()

    def finish(self):
        pass


class _Notebook:
    def __init__(self, size):
        try:
            from IPython.display import display
        except ImportError as error:
            raise ImportError('LivePlot(to="notebook") needs IPython: python -m pip install ipython') from error
        self.figure = _figure(size)
        self._display, self._handle = display, None

    def show(self):
        if self._handle is None:
            self._handle = self._display(self.figure, display_id=True)
        else:
            self._handle.update(self.figure)

    def finish(self):
        pass


class _Png:
    def __init__(self, path, size):
        self.figure, self._path = _figure(size), path

    def show(self):
        _write_whole(self._path, lambda partial: self.figure.savefig(partial, dpi=100))

    def finish(self):
        pass


class _Gif:
    def __init__(self, path, size, fps):
        from matplotlib.animation import PillowWriter

        self.figure, self._path = _figure(size), path
        self._writer = PillowWriter(fps=fps)
        self._writer.setup(self.figure, path, dpi=80)

    def show(self):
        self._writer.grab_frame()

    def finish(self):
        def write(partial):
            self._writer.outfile = partial
            self._writer.finish()

        _write_whole(self._path, write)


def _figure(size):
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def _write_whole(path, write):
    """Calls `write` with a name beside `path`; a finished file takes the place of an older one."""
    partial = path.with_name(f"partial-{path.name}")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _canvas(to, size, fps):
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError("LivePlot needs matplotlib: python -m pip install matplotlib") from error
    if to == "window":
        return _Window(size)
    if to == "notebook":
        return _Notebook(size)
    path = pathlib.Path(to)
    if path.suffix.lower() not in FILES:
        raise ValueError(
            f'Argument `to` must be "window", "notebook" or the path of a file that ends in {" or ".join(FILES)}. '
            f"Received: to={to!r}"
        )
    if not path.parent.is_dir():
        raise ValueError(f"Argument `to` must be in a folder that is there. Received: to={str(to)!r}")
    return _Gif(path, size, fps) if path.suffix.lower() == ".gif" else _Png(path, size)
