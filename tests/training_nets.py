"""What the tests of the training share: a net with and without state, gradients recorded and data."""

import keras
import numpy as np
from keras import ops

from keras_rnn_ext import MyDense, MyGRU, MyLSTM
from keras_rnn_ext.training import TruncatedBPTT
from tests.helpers import gradients, to_numpy

ROWS, FEATURES, OUTPUTS = 3, 2, 2
# Sums of float32 gradients, taken in another order.
RTOL = 1e-5


class Recorder(keras.optimizers.Optimizer):
    """Leaves the weights alone and adds up the gradients."""

    def __init__(self):
        super().__init__(learning_rate=0.0)

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.sums = [self.add_variable_from_reference(variable, "sum") for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        self.assign_add(self.sums[self._get_variable_index(variable)], gradient)


class Net:
    """A stateful model and the same layers without state, to be run by hand."""

    def __init__(self, **options):
        def stack(**kinds):
            lstm = MyLSTM(3, return_sequences=True, **options, **kinds)
            gru = MyGRU(4, return_sequences=True, **options, **kinds)
            return lstm, gru, MyDense(OUTPUTS)

        keras.utils.set_random_seed(1)
        layers = stack(stateful=True)
        self.model = keras.Sequential([keras.Input(batch_shape=(ROWS, None, FEATURES)), *layers])
        self.lstm, self.gru, self.head = free = stack(return_state=True)
        for layer, twin, size in zip(layers, free, (FEATURES, 3, 4), strict=True):
            twin.build((ROWS, None, size))
            twin.set_weights(layer.get_weights())

    @property
    def variables(self):
        return [variable for layer in (self.lstm, self.gru, self.head) for variable in layer.trainable_variables]

    def run(self, x, states=None):
        """Outputs and states after the last step."""
        x = ops.convert_to_tensor(x)
        states = [None, None] if states is None else states
        inner, *lstm_states = self.lstm(x, initial_state=states[0])
        outer, *gru_states = self.gru(inner, initial_state=states[1])
        return self.head(outer), [lstm_states, gru_states]

    def states_after(self, x):
        """The states as arrays, through which no gradient flows."""
        _, states = self.run(x)
        return to_numpy(states)

    def gradients(self, loss):
        """The gradients of `loss()`, as arrays."""
        # `helpers.gradients` takes those of an eighth of a single number.
        return [8 * gradient for gradient in gradients(loss, variables=self.variables)]


def data(steps, series=ROWS, seed=0):
    generator = np.random.default_rng(seed)
    sizes = [(series, steps, FEATURES), (series, steps, OUTPUTS)]
    return [generator.normal(size=size).astype("float32") for size in sizes]


def squared_error(outputs, targets):
    return ops.mean(ops.square(outputs - ops.convert_to_tensor(targets)))


def recorded(net, x, y, window, compile_options=None, **options):
    """The sums of the gradients of all windows of one epoch."""
    trainer = TruncatedBPTT(net.model, window, **options)
    trainer.compile(Recorder(), "mse", **(compile_options or {}))
    trainer.fit(x, y, verbose=0)
    return to_numpy([total.value for total in trainer.optimizer.sums])


def total(parts):
    return [sum(each) for each in zip(*parts, strict=True)]


class Batches(keras.utils.PyDataset):
    """Batches of the user's own."""

    def __init__(self, *batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]
