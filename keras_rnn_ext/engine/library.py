"""What the kernels of other libraries, cuDNN's and torch's, have in common.

They know the plain SimpleRNN, LSTM and GRU, want their weights in one layout, and know no mask, but they know rows of
different lengths. As a masked step changes nothing, a row is the same as its valid steps alone: these are moved to the
front, run, and their outputs put back where they belong.
"""

import abc

from keras import ops

from keras_rnn_ext.core.masks import steps_of_rows, valid_first, zeros_before_first
from keras_rnn_ext.core.strategy import Strategy

# Where a library's gates stand among ours: i, f, c, o as ours; r, z, n where we have z, r, h.
GATE_ORDER = {"lstm": (0, 1, 2, 3), "gru": (1, 0, 2), "rnn_tanh": (0,), "rnn_relu": (0,)}


class LibraryLayer(Strategy):
    """Abstract: a layer of another library."""

    library: str

    def obstacle(self, plan):
        recurrence = plan.recurrence
        if recurrence.library is None:
            return f"{self.library} has no layer for this cell with these activations"
        if plan.mixed:
            return f"{self.library}'s layers have no zoneout and no dropout of states from step to step"
        if plan.noisy and recurrence.recurrent_dropout:
            return f"{self.library}'s layers have no recurrent dropout"
        if plan.noisy and recurrence.dropout_mask_count is not None:
            return f"{self.library}'s layers have no dropout per gate"
        if plan.steps == 0 or plan.batch == 0:
            return "there are no steps"
        return None

    @abc.abstractmethod
    def call_kernel(self, recurrence, inputs, lengths, states, weights):
        """`(outputs, states)` of sequences `(steps, batch, features)`.

        Args:
            recurrence: the cell.
            inputs: the sequences.
            lengths: how many steps of each row count, at least one; None: all. What outputs hold behind them does not
                matter.
            states: the states before the first step.
            weights: the cell's weights.
        """

    def run(self, plan, feed):
        inputs = feed.inputs * feed.noise["inputs"] if "inputs" in feed.noise else feed.inputs
        if feed.mask is None:
            outputs, states = self.call_kernel(plan.recurrence, inputs, None, feed.states, feed.weights)
            return (outputs if plan.return_sequences else outputs[-1]), states
        order, count = valid_first(feed.mask)
        lengths = count[-1]
        # No kernel takes an empty row: one step is run there, and not looked at.
        outputs, states = self.call_kernel(
            plan.recurrence, steps_of_rows(inputs, order), ops.maximum(lengths, 1), feed.states, feed.weights
        )
        some = ops.expand_dims(lengths > 0, -1)
        states = [ops.where(some, new, old) for new, old in zip(states, feed.states, strict=True)]
        count = count if plan.return_sequences else count[-1:]
        outputs = steps_of_rows(outputs, ops.maximum(count - 1, 0))
        return zeros_before_first(outputs if plan.return_sequences else outputs[0], feed.mask), states


class CudnnLayer(LibraryLayer):
    """Abstract: a layer of cuDNN on a GPU."""

    name = "cuDNN layer"
    library = "cuDNN"
    is_cudnn = True
    backend: str

    @abc.abstractmethod
    def sees_gpu(self):
        """Whether the backend computes on a GPU that has cuDNN."""

    def obstacle(self, plan):
        if not self.sees_gpu():
            return f"{self.backend} sees no GPU with CUDA"
        if plan.use_cudnn is False:
            return "`use_cudnn=False`"
        if plan.unroll is True:
            return "`unroll=True`"
        if plan.recompute:
            return "`recompute=True`, and cuDNN keeps what it needs"
        return super().obstacle(plan)


def kernels(recurrence, weights):
    """`[kernel, recurrent kernel]`, transposed, with the library's order of gates: `(gates * units, features)`."""
    order = GATE_ORDER[recurrence.library]
    return [ops.transpose(_columns(weights[name], order)) for name in ("kernel", "recurrent_kernel")]


def biases(recurrence, weights):
    """The bias of the input product and that of the recurrent one, `(gates * units,)` each; none without bias."""
    if not recurrence.use_bias:
        return []
    order, bias = GATE_ORDER[recurrence.library], weights["bias"]
    return [_columns(part, order) for part in (bias, weights.get("recurrent_bias", ops.zeros_like(bias)))]


def flat_parameters(recurrence, weights):
    """All weights as one vector, as cuDNN has them: kernels, then two biases."""
    parts = kernels(recurrence, weights)
    given = biases(recurrence, weights)
    if not given:
        given = [ops.zeros((2 * recurrence.gates * recurrence.units,), dtype=parts[0].dtype)]
    return ops.concatenate([ops.reshape(part, (-1,)) for part in (*parts, *given)])


def _columns(weight, order):
    if order == tuple(range(len(order))):
        return weight
    parts = ops.split(weight, len(order), axis=-1)
    return ops.concatenate([parts[place] for place in order], axis=-1)
