"""Truncated back-propagation through time as a Keras model: many windows in each call of the compiled step."""

import keras
from keras import ops

from keras_rnn_ext.training.carried_states import CarriedStates
from keras_rnn_ext.training.fitting import SeriesTrainer
from keras_rnn_ext.training.losses import RecentLosses
from keras_rnn_ext.training.series import check_counts, check_reset
from keras_rnn_ext.training.windows import (
    Masks,
    Windows,
    check_targets,
    cut,
    is_laid_out,
    lay_out,
    starting_rows,
    stretches,
    without_context,
)


@keras.saving.register_keras_serializable(package="keras_rnn_ext")
class TruncatedBPTT(SeriesTrainer):
    r"""Trains a recurrent model on long series by truncated back-propagation through time.

    A series of $T$ steps is cut into windows of $k_1$ steps. There is one update of the weights for each window, made
    from the loss of its steps, and the gradient reaches back $k_2 \ge k_1$ steps. With $\bar s$ for a state through
    which no gradient flows, window $n$, which ends at step $e = (n + 1) k_1$, computes

    $$s_{e - k_2} = \bar s_{e - k_2}, \quad y_t, s_t = f(x_t, s_{t-1}; \theta_n) \; (e - k_2 < t \le e), \quad
    \theta_{n+1} = \theta_n - \eta \nabla_\theta \sum_{t = e - k_1 + 1}^{e} L(y_t)$$

    (gradient descent stands for any optimizer), and hands on $\bar s_{e - k_2 + k_1}$. With $k_2 = k_1$, the common
    case, that is the state at the window's end; with $k_2 > k_1$ the steps before the window are run again with the
    new weights. A window as long as the series is full back-propagation.

    The model is wrapped, not changed: train it here, then go on with `trainer.model`. `fit` takes any optimizer, loss,
    metric and callback. Each step of Keras's `fit` runs `windows_per_call` windows in one compiled loop, and each
    window is one step of the optimizer, one entry of the metrics and so on.

    Args:
        model: a built model that gives an output for each step, `(batch, steps, ...)`, with recurrent layers that are
            made with `stateful=True` and so with a known batch size.
        window: $k_1$, in steps.
        length: $k_2$, in steps. Default: `window`.
        windows_per_call: how many windows a step of `fit` runs. Callbacks hear of each step of `fit`. Default 64.
        reset: when the carried state goes back to the initial one: "series": where a series starts, row by row;
            "epoch": at the start of each epoch; "never". Evaluation and prediction start like an epoch and leave the
            training's state alone. Default "series".
        name, dtype, trainable: as for every Keras model.

    Call arguments:
        inputs: `(batch, steps, ...)`. The model is called and its state goes on.
        training: whether dropout is on.

    Returns:
        What the model returns.

    Raises:
        TypeError: if `model` is no Keras model.
        ValueError: naming the argument, for a model that is not built or cannot carry a state, numbers out of range,
            and in `fit` for data that do not fit.

    Source: Williams and Peng, "An efficient gradient-based algorithm for on-line training of recurrent network
    trajectories", Neural Computation 2(4), 1990, doi:10.1162/neco.1990.2.4.490, there BPTT(h; h') with
    $h = k_2, h' = k_1$. Deviation: they keep the states of the last $h$ steps as they were computed, under the weights
    of then; here these steps are run again under the present weights.

    >>> import keras
    >>> import numpy as np
    >>> from keras_rnn_ext import MyDense, MyGRU
    >>> from keras_rnn_ext.training import TruncatedBPTT
    >>> gru = MyGRU(8, stateful=True, return_sequences=True)
    >>> model = keras.Sequential([keras.Input(batch_shape=(2, None, 1)), gru, MyDense(1)])
    >>> trainer = TruncatedBPTT(model, window=10)
    >>> trainer.compile("adam", "mse")
    >>> series = np.sin(np.arange(2 * 101)).reshape(2, 101, 1)
    >>> history = trainer.fit(series[:, :-1], series[:, 1:], epochs=2, verbose=0)
    >>> int(trainer.optimizer.iterations)
    20
    """

    def __init__(self, model, window, length=None, windows_per_call=64, reset="series", **kwargs):
        length = window if length is None else length
        check_counts(window=window, length=length, windows_per_call=windows_per_call)
        check_reset(reset, length > window)
        carried = CarriedStates(model)
        # Not the model's policy where that is mixed: the states would be rounded on their way through this model.
        kwargs.setdefault("dtype", model.variable_dtype)
        super().__init__(autocast=False, **kwargs)
        self.model = model
        self.window, self.length, self.windows_per_call, self.reset = window, length, windows_per_call, reset
        self._carried = carried
        self._recent_losses = RecentLosses(windows_per_call)
        self._masks = Masks(length - window)
        self.built = True

    @property
    def variables(self):
        """All state of the trainer: the model's, and the losses of the last windows, which are not saved."""
        return super().variables + self._recent_losses.variables

    @property
    def window_losses(self):
        """The losses of the last windows of the training, `windows_per_call` at most, oldest first: an array."""
        self._fetch_state()
        return self._recent_losses.read()

    @property
    def windows_trained(self):
        """How many windows the trainer has trained on."""
        self._fetch_state()
        return self._recent_losses.total()

    def _fetch_state(self):
        # On JAX, variables are behind while `fit` runs.
        if keras.config.backend() == "jax":
            self.jax_state_sync()

    # One window

    def call(self, inputs, training=None):
        if not is_laid_out(inputs):
            inputs = {"series": inputs}
        # One window; more are seen here only when Keras asks for the shapes of a batch.
        series = inputs["series"]
        if "context" in inputs:
            series = keras.tree.map_structure(lambda *parts: ops.concatenate(parts, axis=1), inputs["context"], series)
        variables = self._carried.variables
        states = carried = [ops.stop_gradient(ops.copy(variable.value)) for variable in variables]
        # On JAX the variables already have other values here, which a new scope would hide.
        before = [(variable, variable.value) for variable in self.model.variables]
        # What the model assigns stays in the scope, so that gradients can flow through its states.
        scope = keras.StatelessScope(before, collect_losses=True)
        parts = []
        for start, stop, back in stretches(self.window, self.length if "context" in inputs else self.window):
            if start == self.window:
                # The next window, `window` steps on, begins here.
                carried = states
            if back is not None and "starts" in inputs:
                states = self._reset_rows(states, starting_rows(inputs, back))
            for variable, state in zip(variables, states, strict=True):
                scope.add_update((variable, state))
            with scope:
                parts.append(self._run(cut(series, start, stop), training))
            states = [scope.get_current_value(variable) for variable in variables]
        carried = carried if "context" in inputs else states
        self._keep_updates(scope, before, carried)
        outputs = self._masks.join(parts)
        return self._masks.attach(outputs, inputs["valid"]) if "valid" in inputs else outputs

    def _reset_rows(self, states, rows):
        """The states, with those that a series starts with in the rows where the tensor of booleans is True."""

        def choose(fresh, state):
            return ops.where(ops.reshape(rows, (-1, *(1,) * (len(state.shape) - 1))), fresh, state)

        return [choose(*pair) for pair in zip(self._carried.fresh(), states, strict=True)]

    def _run(self, series, training):
        outputs = self.model(series, training=training)
        steps = keras.tree.flatten(series)[0].shape[1]
        for output in keras.tree.flatten(outputs):
            if len(output.shape) < 2 or (None not in (steps, output.shape[1]) and output.shape[1] != steps):
                raise ValueError(
                    f"Argument `model` must give an output for each step, with the shape (batch, {steps}, ...). "
                    f"Received: a model that gives the shape {tuple(output.shape)}. Is `return_sequences=True` missing?"
                )
        return outputs

    def _keep_updates(self, scope, before, carried):
        for variable, state in zip(self._carried.variables, carried, strict=True):
            scope.add_update((variable, ops.stop_gradient(state)))
        old = {id(variable): value for variable, value in before}
        for variable in [*self.model.variables, *self._carried.variables]:
            value = scope.get_current_value(variable)
            # A large table that is not trained would be copied for nothing.
            if value is not old.get(id(variable)):
                variable.assign(value)
        if scope.losses:
            # As one new tensor: Keras on JAX would find the old ones at the model's layers again.
            self.add_loss(ops.sum(ops.stack(scope.losses)))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        check_targets(y, y_pred)
        # On PyTorch Keras multiplies weights by the mask in place, and the metrics need them as they are.
        sample_weight = keras.tree.map_structure(lambda weight: weight if weight is None else weight * 1, sample_weight)
        loss = super().compute_loss(x, y, y_pred, sample_weight, training=training)
        if training:
            self._recent_losses.push(loss)
        return loss

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        if is_laid_out(x) and "valid" in x:
            # In training on JAX, Keras loses the mask of the outputs on their way here.
            y_pred = self._masks.attach(y_pred, x["valid"])
        return super().compute_metrics(x, y, y_pred, sample_weight)

    # The windows of a batch

    def train_step(self, *arguments):
        return self._each_window(super().train_step, arguments, self.length)

    def test_step(self, *arguments):
        return self._each_window(super().test_step, arguments, self.window)

    def predict_step(self, *arguments):
        *state, data = arguments
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        if not is_laid_out(x):
            batch = ops.shape(keras.tree.flatten(x)[0])[0]
            x = {"series": x, "starts": ops.full((batch, 1), int(self.reset == "series"), "int32")}
        if x["starts"].shape[1] != 1:
            raise ValueError(
                "`predict` takes arrays or lists of series, or batches of one window each. Received: batches of "
                f"{x['starts'].shape[1]} windows."
            )
        return super().predict_step(*state, (without_context(x),))

    def _each_window(self, step, arguments, length):
        """Keras's own step for each window in turn. On JAX a step takes and gives all state, elsewhere none."""
        *state, data = arguments
        data = keras.utils.unpack_x_y_sample_weight(data)
        x, y, sample_weight = lay_out(*data, self.window, self.length, self.reset)
        if length == self.window:
            x = without_context(x)
        windows = Windows(x, y, sample_weight, self._carried.batch_size, self.window, length)

        def body(number, *state):
            result = step(*state, windows[number])
            return (number + 1, result[1]) if state else (number + 1,)

        if self._replicas > 1:
            # Where copies of a model wait for each other, TensorFlow takes no loop: the windows are written out.
            for number in range(x["starts"].shape[1]):
                body(number)
        else:
            _, *state = ops.while_loop(lambda number, *_: number < windows.count, body, (0, *state))
        if not state:
            return self.get_metrics_result()
        metrics = state[0][-1]
        with keras.StatelessScope(list(zip(self.metrics_variables, metrics, strict=True))):
            return self.get_metrics_result(), state[0]

    # Saving

    def get_config(self):
        config = {name: getattr(self, name) for name in ("window", "length", "windows_per_call", "reset")}
        return {**super().get_config(), "model": keras.saving.serialize_keras_object(self.model), **config}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        model = keras.saving.deserialize_keras_object(config["model"], custom_objects=custom_objects)
        return cls(**{**config, "model": model})
