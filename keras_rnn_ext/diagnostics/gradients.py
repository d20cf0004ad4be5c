"""How far back a gradient reaches: its norm against the lag."""

import keras
import numpy as np
from keras import ops

from keras_rnn_ext.core import strategy
from keras_rnn_ext.diagnostics.watch import Watch


def gradient_norms(model, x, y, loss=None, steps=None):
    r"""The norm of a loss's gradient by the states of each recurrent layer, against the lag.

    For each recurrent layer, each of its states $s$ and each lag $k$ this is

    $$g_k = \operatorname{mean}_{b, t} \left\lVert \frac{\partial L_{b, t}}{\partial s_{b, t - k}} \right\rVert_2$$

    with $L_{b, t}$ the loss of row $b$ of the batch at step $t$ and $s_{b, t - k}$ the state as it leaves step
    $t - k$. It is the total derivative: by all ways from that state to the loss, later steps and layers above included;
    where the state is the layer's output too, as h of an LSTM is, the way through the output counts. Dropout is off.

    Lags count valid steps: masked ones are no steps, and a row whose step $t$ is masked has no loss there. In a layer
    that reads backward they count in its own order. Stateful layers start from their initial states; what they carry
    stays as it is.

    Args:
        model: a Keras model with one output, made of any layers; its recurrent layers are `MyRNN` and its kind or
            Keras's own, in any number and depth, also in a `MyBidirectional`.
        x: a batch of inputs, as the model takes them: an array or a nest of arrays.
        y: the targets, `(batch, ...)`, or `(batch, steps, ...)` where the output has steps.
        loss: a Keras loss, its name, or a function of targets and outputs that gives a number for each row. Default:
            the loss that the model was compiled with.
        steps: where the output has steps, a list of those at which the loss is taken; negative ones count from the
            end. Default: the last one, `[-1]`.

    Returns:
        A dict: the name of each recurrent layer, `"layer/cell"` for each cell of a stack, to an array
        `(states, lags)`, the states in the order of the cell's. Lags that no row has are left out.

    Raises:
        TypeError: if `model` is no Keras model.
        ValueError: naming the argument, if the model has no recurrent layer, calls one twice, or has one that cannot be
            opened, or that reads backward and gives all outputs; or if loss, targets or steps do not fit.

    Source: Pascanu, Mikolov, Bengio 2013, arXiv 1211.5063, section 2; Bengio, Simard, Frasconi 1994, doi
    10.1109/72.279181.

    >>> import keras
    >>> import numpy as np
    >>> from keras_rnn_ext import MyDense, MyLSTM
    >>> from keras_rnn_ext.diagnostics import gradient_norms
    >>> model = keras.Sequential([keras.Input((20, 3)), MyLSTM(8, name="lstm"), MyDense(1)])
    >>> norms = gradient_norms(model, np.ones((4, 20, 3)), np.ones((4, 1)), "mse")
    >>> norms["lstm"].shape  # the states h and c, lags 0 to 19
    (2, 20)
    """
    return GradientNorms(model, loss).measure(x, y, steps)


class GradientNorms:
    """`gradient_norms` to be taken again and again, compiled once for each shape."""

    def __init__(self, model, loss=None, watch=None):
        self.watch = Watch(model) if watch is None else watch
        self.loss = _loss_function(model, loss)

    def measure(self, x, y, steps=None):
        """As `gradient_norms`."""
        x, y = keras.tree.map_structure(ops.convert_to_tensor, (x, y))
        outputs, traces = self.watch.trace(x)
        _check_directions(self.watch.parts)
        places = _places(self.watch, outputs, traces, y, steps)
        probes = {
            name: [ops.zeros(state.shape, state.dtype) for state in trace.states] for name, trace in traces.items()
        }
        means = {name: _MeanByLag(trace) for name, trace in traces.items()}
        has_steps = places != [None]
        program = self.watch.program(("gradients", has_steps), lambda *tensors: self._gradients(*tensors, has_steps))
        for place in places:
            found = program(self.watch.values(), x, y, probes, ops.convert_to_tensor(place or 0, dtype="int32"))
            for name, gradients in found.items():
                is_at_place = has_steps and self.watch.parts[name].layer.return_sequences
                means[name].add(gradients, place if is_at_place else None)
        return {name: mean.result() for name, mean in means.items()}

    def _gradients(self, values, x, y, probes, place, has_steps):
        """The gradients of the sum of all rows' losses at one step by the probes, in their structure."""

        def loss(flat):
            outputs, _ = self.watch.run(values, x, keras.tree.pack_sequence_as(probes, list(flat)))
            if has_steps:
                outputs, targets = (ops.take(each, place, axis=1) for each in (outputs, y))
            else:
                targets = y
            losses = self.loss(targets, outputs)
            if len(losses.shape) == 0:
                raise ValueError(
                    "Argument `loss` must give a number for each row of the batch. Received: a loss that gives one "
                    "number. Leave out its mean over the rows."
                )
            return ops.sum(losses)

        return keras.tree.pack_sequence_as(probes, strategy.engine().gradients(loss, keras.tree.flatten(probes)))


class _MeanByLag:
    """The mean of norms over rows and steps of the loss, by lag."""

    def __init__(self, trace):
        self.valid = trace.valid
        # How many valid steps there are up to each, itself included.
        self.position = np.cumsum(self.valid, axis=0)
        self.sums = np.zeros((len(trace.states), len(self.valid)))
        self.count = np.zeros(len(self.valid))

    def add(self, gradients, place):
        """Gradients by the states, `(steps, batch, size)`, of losses at step `place`, or at the row's last step."""
        end = self.position[-1] if place is None else self.position[place] * self.valid[place]
        lags = end - self.position
        used = self.valid & (lags >= 0)
        self.count += np.bincount(lags[used], minlength=len(self.count))
        for total, gradient in zip(self.sums, gradients, strict=True):
            norms = np.linalg.norm(ops.convert_to_numpy(gradient).astype("float64"), axis=-1)
            total += np.bincount(lags[used], weights=norms[used], minlength=len(total))

    def result(self):
        # A row that has a lag has all shorter ones too.
        lags = np.count_nonzero(self.count)
        return self.sums[:, :lags] / self.count[:lags]


def _places(watch, outputs, traces, y, steps):
    """The steps at which the loss is taken, from 0; `[None]` where the output has none."""
    if not ops.is_tensor(outputs) or len(outputs.shape) < 2:
        raise ValueError(
            f"Argument `model` must have one output, with the batch first. Received: model {watch.model.name!r}, which "
            f"gives {keras.tree.map_structure(lambda each: tuple(each.shape), outputs)}. Take "
            "`keras.Model(model.inputs, model.outputs[0])`."
        )
    count = outputs.shape[1] if len(outputs.shape) > 2 else None
    expected = tuple(outputs.shape[: 1 if count is None else 2])
    if tuple(y.shape[: len(expected)]) != expected:
        raise ValueError(
            f"Argument `y` must begin with the axes {expected} of the model's output. Received: shape {tuple(y.shape)}."
        )
    if count is None:
        if steps is not None:
            raise ValueError(
                "Argument `steps` is for outputs (batch, steps, ...). Received: a model that gives the shape "
                f"{tuple(outputs.shape)}, and steps={steps!r}."
            )
        return [None]
    for name, part in watch.parts.items():
        own = len(traces[name].valid)
        if part.layer.return_sequences and own != count:
            raise ValueError(
                f"Layer {part.layer.name!r} reads {own} steps, and the model's output has {count}, so there is no lag "
                "between them."
            )
    steps = [-1] if steps is None else list(steps)
    if not steps or not all(isinstance(step, (int, np.integer)) and -count <= step < count for step in steps):
        raise ValueError(
            f"Argument `steps` must be a list of integers from {-count} to {count - 1}. Received: steps={steps!r}"
        )
    return [int(step) % count for step in steps]


def _check_directions(parts):
    backward = [part.layer.name for part in parts.values() if part.layer.go_backwards and part.layer.return_sequences]
    if backward:
        raise ValueError(
            "Argument `model` has layers that read backward and give all outputs, so that a loss depends on later "
            f"steps: {backward}. Lags are measured for layers that read forward, or give their last output only."
        )


def _loss_function(model, loss):
    """A function of targets and outputs that gives a number for each row."""
    if loss is None:
        loss = getattr(model, "loss", None)
        if loss is None or isinstance(loss, (list, tuple, dict)):
            raise ValueError(
                f"Argument `loss` must be given: model {model.name!r} is compiled with no loss, or with several."
            )
    loss = keras.losses.get(loss)
    return loss.call if isinstance(loss, keras.losses.Loss) else loss
