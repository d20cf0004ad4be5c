"""PyTorch: its own fused layers where they serve, else a Python loop."""

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from keras_rnn_ext.core.strategy import Engine, Strategy, enrol
from keras_rnn_ext.engine.loops import CellByCell, Loop, ProjectedLoop, python_scan


class FusedLayer(Strategy):
    """`torch._VF.lstm`, `gru`, `rnn_tanh` or `rnn_relu`: the kernels behind `torch.nn`.

    They know no mask, but they know rows of different lengths. As a masked step changes nothing, a row is the same as
    its valid steps alone: these are moved to the front, run, and their outputs put back where they belong.
    """

    name = "fused layer"
    summary = "the kernel behind torch.nn's layer of that kind"

    @property
    def is_cudnn(self):
        return torch.cuda.is_available()

    def obstacle(self, plan):
        recurrence = plan.recurrence
        if getattr(recurrence, "library_name", None) is None:
            return "torch has no layer for this cell with these activations"
        if not recurrence.is_plain:
            return "a subclass computes something else"
        if not recurrence.pure:
            return "the cell is a subclass, which may use variables of its own"
        if plan.noisy and recurrence.recurrent_dropout:
            return "torch's layers have no recurrent dropout"
        if plan.noisy and recurrence.dropout_mask_count is not None:
            return "torch's layers have no dropout per gate"
        if plan.steps == 0 or plan.batch == 0:
            return "there are no steps"
        if _preparing_costs_more(recurrence, plan.steps):
            return "preparing so many weights for so few steps costs more than it gains"
        if plan.use_cudnn is False and torch.cuda.is_available():
            return "`use_cudnn=False`"
        return None

    def run(self, plan, feed):
        inputs = feed.inputs * feed.noise["inputs"] if "inputs" in feed.noise else feed.inputs
        if feed.mask is None:
            outputs, states = _call_kernel(plan.recurrence, feed, inputs)
            return (outputs if plan.return_sequences else outputs[-1]), states
        return _run_masked(plan, feed, inputs)


# The kernels bring the weights of an LSTM into another layout at each call, and we the columns of a GRU. How many
# weights that may be for each step, measured on two cores.
_MOST_WEIGHTS = {"lstm": 130_000, "gru": 40_000}


def _preparing_costs_more(recurrence, steps):
    most = _MOST_WEIGHTS.get(recurrence.library_name)
    if most is None or steps is None or torch.cuda.is_available():
        return False
    return ((recurrence.features or 0) + recurrence.units) * recurrence.gates * recurrence.units > most * steps


def _run_masked(plan, feed, inputs):
    steps = inputs.shape[0]
    lengths = feed.mask.sum(0)
    # The valid steps of each row first, in their order.
    order = torch.argsort((~feed.mask).to(torch.uint8), dim=0, stable=True)
    compact = torch.take_along_dim(inputs, order.unsqueeze(-1), dim=0)
    # The kernel takes no empty row: one step is run there, and not looked at.
    packed = pack_padded_sequence(compact, lengths.clamp(min=1).cpu(), enforce_sorted=False)
    sorted_feed = feed._replace(states=[state[packed.sorted_indices] for state in feed.states])
    data, states = _call_kernel(plan.recurrence, sorted_feed, packed.data, packed.batch_sizes)
    compact, _ = pad_packed_sequence(packed._replace(data=data), total_length=steps)
    states = [state[packed.unsorted_indices] for state in states]
    states = [torch.where(lengths.unsqueeze(-1) > 0, new, old) for new, old in zip(states, feed.states, strict=True)]
    # How many valid steps there were up to each step: the output of the last of them, zeros before the first.
    count = feed.mask.cumsum(0) if plan.return_sequences else lengths.unsqueeze(0)
    outputs = torch.take_along_dim(compact, (count - 1).clamp(min=0).unsqueeze(-1), dim=0)
    outputs = torch.where(count.unsqueeze(-1) > 0, outputs, torch.zeros_like(outputs))
    return (outputs if plan.return_sequences else outputs[0]), states


def _call_kernel(recurrence, feed, inputs, batch_sizes=None):
    """Outputs and last states, of sequences `(steps, batch, features)` or of packed ones."""
    weights, order = feed.weights, _COLUMN_ORDER[recurrence.library_name]
    kernels = [_columns(weights[name], order).T for name in ("kernel", "recurrent_kernel")]
    rows = inputs.shape[:-1].numel()
    if inputs.is_cuda or rows > recurrence.features:
        # A copy in torch's own layout is read faster, but for a few rows it costs more than it gains.
        kernels = [kernel.contiguous() for kernel in kernels]
    biases = []
    if recurrence.use_bias:
        bias = weights["bias"]
        biases = [_columns(part, order) for part in (bias, weights.get("recurrent_bias", torch.zeros_like(bias)))]
    states = [state.unsqueeze(0).contiguous() for state in feed.states]
    outputs, *new_states = getattr(torch._VF, recurrence.library_name)(
        inputs,
        *(() if batch_sizes is None else (batch_sizes,)),
        states if len(states) > 1 else states[0],
        [*kernels, *biases],
        bool(biases),  # has_biases
        1,  # num_layers
        0.0,  # dropout between layers
        torch.is_grad_enabled(),  # train
        False,  # bidirectional
        *((False,) if batch_sizes is None else ()),  # batch_first
    )
    return outputs, [state.squeeze(0) for state in new_states]


# Where torch's gates stand among ours: i, f, c, o as ours; r, z, n where we have z, r, h.
_COLUMN_ORDER = {"lstm": (0, 1, 2, 3), "gru": (1, 0, 2), "rnn_tanh": (0,), "rnn_relu": (0,)}


def _columns(weight, order):
    if order == tuple(range(len(order))):
        return weight
    parts = weight.chunk(len(order), dim=-1)
    return torch.cat([parts[place] for place in order], dim=-1)


def gradients(loss, tensors):
    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    found = torch.autograd.grad(loss(leaves), leaves, allow_unused=True)
    return [
        torch.zeros_like(leaf) if gradient is None else gradient for leaf, gradient in zip(leaves, found, strict=True)
    ]


enrol(
    "torch",
    Engine(
        strategies=(CellByCell(), FusedLayer(), ProjectedLoop(python_scan), Loop(python_scan)),
        runs_eagerly=lambda sequences: True,
        gradients=gradients,
    ),
)
