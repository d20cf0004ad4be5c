"""The diagnostics in the course of a training."""

import keras
import numpy as np

from keras_rnn_ext.diagnostics.gradients import GradientNorms
from keras_rnn_ext.diagnostics.saturation import saturation_of
from keras_rnn_ext.diagnostics.spectrum import jacobians_of, lyapunov_exponents
from keras_rnn_ext.diagnostics.watch import Watch

MEASURES = ("gradients", "saturation", "spectrum")


class RecurrentDiagnostics(keras.callbacks.Callback):
    """Measures gradients, gates and spectra of a model at the end of epochs, always on the same batch.

    A few numbers of each recurrent layer go into the logs of the epoch, where `History`, `CSVLogger`, `TensorBoard`
    and the progress bar find them; all else is kept in `records`. For a layer `lstm` and 20 steps the logs get

    - `lstm/gradient_lag_0`, `lstm/gradient_lag_19`: see `gradient_norms`, of the first state, which is h. The second is
      left out of the logs where no row has so long a lag;
    - `lstm/saturated_forget_gate`, and so on for each gate: the mean share of steps at which a unit is near an end; see
      `gate_saturation`;
    - `lstm/lyapunov`: the mean over the rows of the largest of the `lyapunov_exponents`, in nats a step.

    Epochs that are not measured have no such entries, as with `validation_freq`. Put this callback before those that
    are to see its numbers; `History` sees them anyway.

    Args:
        x: a batch of inputs, as the model takes them.
        y: its targets.
        loss: as for `gradient_norms`. Default: the loss of the model that is trained.
        every: measure at the end of the first epoch and of each `every`-th after it. Default 1.
        measures: which of "gradients", "saturation" and "spectrum". The last costs most: it takes the Jacobian of each
            step and row, so give a batch of a few rows where states are large. Default: the first two.
        near: as for `gate_saturation`. Default 0.1.
        model: the model to be measured, e.g. `trainer.model` with a `TruncatedBPTT`. Default: the one that is trained.

    Attributes:
        records: a list with a dict for each epoch that was measured: `epoch`, from 0, and for each measure what
            its function gives; "spectrum" the Jacobians' `lyapunov_exponents` by layer.

    Raises:
        ValueError: naming the argument, if one is out of range; and in `fit` as the functions do.

    >>> import keras
    >>> import numpy as np
    >>> from keras_rnn_ext import MyDense, MyGRU
    >>> from keras_rnn_ext.diagnostics import RecurrentDiagnostics
    >>> x, y = np.ones((8, 5, 2)), np.ones((8, 1))
    >>> model = keras.Sequential([keras.Input((5, 2)), MyGRU(3, name="gru"), MyDense(1)])
    >>> model.compile("adam", "mse")
    >>> diagnostics = RecurrentDiagnostics(x[:4], y[:4])
    >>> history = model.fit(x, y, epochs=2, callbacks=[diagnostics], verbose=0).history
    >>> [name for name in history if name.startswith("gru/gradient")], len(diagnostics.records)
    (['gru/gradient_lag_0', 'gru/gradient_lag_4'], 2)
    """

    def __init__(self, x, y, loss=None, every=1, measures=MEASURES[:2], near=0.1, model=None):
        super().__init__()
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(f"Argument `every` must be an integer above zero. Received: every={every!r}")
        measures = (measures,) if isinstance(measures, str) else tuple(measures)
        if not measures or set(measures) - set(MEASURES):
            raise ValueError(f"Argument `measures` must hold some of {MEASURES}. Received: measures={measures!r}")
        self.records = []
        self._x, self._y, self._loss, self._near = x, y, loss, near
        self._every, self._measures, self._watched = every, measures, model
        self._watch = self._norms = None

    def on_train_begin(self, logs=None):
        self._watch = Watch(self.model if self._watched is None else self._watched)
        if "gradients" in self._measures:
            self._norms = GradientNorms(self.model, self._loss, self._watch)

    def on_epoch_end(self, epoch, logs=None):
        if epoch % self._every:
            return
        record, scalars = {"epoch": epoch}, {}
        if "gradients" in self._measures:
            norms = record["gradients"] = self._norms.measure(self._x, self._y)
            for name, each in norms.items():
                scalars.update({f"{name}/gradient_lag_{lag}": each[0, lag] for lag in (0, each.shape[1] - 1)})
        if "saturation" in self._measures:
            shares = record["saturation"] = saturation_of(self._watch, self._x, self._near)
            for name, gates in shares.items():
                scalars.update({f"{name}/saturated_{gate}": np.mean(sum(both)) for gate, both in gates.items()})
        if "spectrum" in self._measures:
            jacobians = jacobians_of(self._watch, self._x)
            record["spectrum"] = {name: lyapunov_exponents(each) for name, each in jacobians.items()}
            scalars.update({f"{name}/lyapunov": each[..., 0].mean() for name, each in record["spectrum"].items()})
        self.records.append(record)
        if logs is not None:
            logs.update({name: float(value) for name, value in scalars.items()})
