"""The states that a model carries from window to window, and what happens to them around an evaluation."""

import keras
import numpy as np
from keras import ops

from keras_rnn_ext.core.compat import all_layers


class CarriedStates:
    """The state variables of a model's stateful recurrent layers, as one flat list.

    Args:
        model: a built Keras model.

    Raises:
        TypeError: if `model` is no Keras model.
        ValueError: if the model is not built, or its recurrent layers cannot carry a state from window to window.
    """

    def __init__(self, model):
        if not isinstance(model, keras.Model):
            raise TypeError(
                f"Argument `model` must be a Keras model. Received: {model!r} (of type {type(model).__name__})"
            )
        recurrent = [layer for layer in all_layers(model) if isinstance(layer, keras.layers.RNN)]
        self.layers = [layer for layer in recurrent if layer.stateful]
        _check_layers(model, self.layers)
        sizes = {variable.shape[0] for variable in self.variables}
        if len(sizes) > 1:
            raise ValueError(
                "Argument `model` must have the same batch size in all stateful layers. Received: layers with the "
                f"batch sizes {sorted(sizes)}."
            )
        self.batch_size = sizes.pop()

    @property
    def variables(self):
        return [variable for layer in self.layers for variable in keras.tree.flatten(layer.states)]

    def fresh(self):
        """What a series starts with: a tensor for each variable."""
        states = [layer.get_initial_state(self.batch_size) for layer in self.layers]
        pairs = zip(keras.tree.flatten(states), self.variables, strict=True)
        return [ops.cast(state, variable.dtype) for state, variable in pairs]

    def read(self):
        """Copies, as NumPy arrays."""
        return [np.array(ops.convert_to_numpy(variable.value)) for variable in self.variables]

    def write(self, values):
        for variable, value in zip(self.variables, values, strict=True):
            variable.assign(value)


def _check_layers(model, stateful):
    if not stateful:
        raise ValueError(
            f"Argument `model` must have a recurrent layer that carries its state from window to window, made with "
            f"`stateful=True`. Received: model {model.name!r} with none."
        )
    if not model.built or any(layer.states is None for layer in stateful):
        raise ValueError(
            f"Argument `model` must be built, with a known batch size: begin it with, for instance, "
            f"`keras.Input(batch_shape=(32, None, 8))`. Received: model {model.name!r}, which is not built."
        )
    forgetful = [layer.name for layer in _direct_layers(model) if isinstance(layer, keras.layers.RNN)]
    forgetful = [name for name in forgetful if name not in {layer.name for layer in stateful}]
    if forgetful:
        raise ValueError(
            f"Argument `model` has recurrent layers that would forget their state at the end of each window: "
            f"{forgetful}. Make them with `stateful=True`."
        )
    backward = [layer.name for layer in stateful if layer.go_backwards]
    if backward:
        raise ValueError(
            "Argument `model` has stateful layers that go backwards, so that the state at a window's beginning would "
            f"be carried to the next window's end: {backward}. Windows need layers that go forwards."
        )
    known = {id(variable) for variable in model.variables}
    if keras.config.backend() == "jax":
        hidden = [layer.name for layer in stateful if id(keras.tree.flatten(layer.states)[0]) not in known]
        if hidden:
            raise ValueError(
                f"Argument `model` has stateful layers whose states Keras forgets on JAX: {hidden}. Use their twins in "
                "keras_rnn_ext (`MyLSTM` for `LSTM`)."
            )


def _direct_layers(model):
    """The layers of a model and of the models in it, but not those inside of wrappers."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _direct_layers(layer)
        else:
            yield layer


class CarryKeeper(keras.callbacks.Callback):
    """Resets the states where an epoch, an evaluation or a prediction starts, and keeps those of the training.

    Args:
        carried: the `CarriedStates`.
        reset: the trainer's argument of that name.
    """

    def __init__(self, carried, reset):
        super().__init__()
        self._carried, self._reset, self._kept = carried, reset, None

    def _begin(self):
        self._kept = self._carried.read()
        if self._reset != "never":
            self._carried.write(self._carried.fresh())

    def _end(self):
        self._carried.write(self._kept)

    def on_epoch_begin(self, epoch, logs=None):
        if self._reset == "epoch":
            self._carried.write(self._carried.fresh())

    def on_test_begin(self, logs=None):
        self._begin()

    def on_test_end(self, logs=None):
        self._end()

    def on_predict_begin(self, logs=None):
        self._begin()

    def on_predict_end(self, logs=None):
        self._end()
