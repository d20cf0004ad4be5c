"""PyTorch: its own fused layers where they serve, else a Python loop."""

import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from keras_rnn_ext.core.compat import recording
from keras_rnn_ext.core.strategy import Engine, enrol
from keras_rnn_ext.engine.chunks import Chunks
from keras_rnn_ext.engine.library import LibraryLayer, biases, kernels
from keras_rnn_ext.engine.loops import CellByCell, CellInside, Loop, ParallelScan, ProjectedLoop, python_scan
from keras_rnn_ext.engine.torch.linear import is_traced, linear_scan


class FusedLayer(LibraryLayer):
    """`torch._VF.lstm`, `gru`, `rnn_tanh` or `rnn_relu`: the kernels behind `torch.nn`."""

    name = "fused layer"
    summary = "the kernel behind torch.nn's layer of that kind"
    library = "torch"

    @property
    def is_cudnn(self):
        return torch.cuda.is_available()

    def obstacle(self, plan):
        reason = super().obstacle(plan)
        if reason is None and plan.use_cudnn is False and torch.cuda.is_available():
            return "`use_cudnn=False`"
        if reason is None and plan.exported:
            return "the model is being exported, and the kernel would allow the batch size of the example alone"
        if reason is None and plan.masked and is_traced():
            return "a model is being exported or recorded, and rows of different lengths depend on the data"
        return reason

    def reluctance(self, plan):
        if _preparing_costs_more(plan.recurrence, plan.steps):
            return "preparing so many weights for so few steps costs more than it gains"
        return None

    def call_kernel(self, recurrence, inputs, lengths, states, weights):
        if lengths is None:
            return _call_kernel(recurrence, inputs, states, weights)
        packed = pack_padded_sequence(inputs, lengths.cpu(), enforce_sorted=False)
        states = [state[packed.sorted_indices] for state in states]
        data, states = _call_kernel(recurrence, packed.data, states, weights, packed.batch_sizes)
        outputs, _ = pad_packed_sequence(packed._replace(data=data), total_length=inputs.shape[0])
        return outputs, [state[packed.unsorted_indices] for state in states]


# The kernels bring the weights of an LSTM into another layout at each call, and we the columns of a GRU. How many
# weights that may be for each step, measured on two cores.
_MOST_WEIGHTS = {"lstm": 130_000, "gru": 40_000}


def _preparing_costs_more(recurrence, steps):
    most = _MOST_WEIGHTS.get(recurrence.library)
    if most is None or steps is None or torch.cuda.is_available():
        return False
    return ((recurrence.features or 0) + recurrence.units) * recurrence.gates * recurrence.units > most * steps


def _call_kernel(recurrence, inputs, states, weights, batch_sizes=None):
    """Outputs and last states, of sequences `(steps, batch, features)` or of packed ones."""
    parameters = kernels(recurrence, weights)
    rows = inputs.shape[:-1].numel()
    if inputs.is_cuda or rows > recurrence.features:
        # A copy in torch's own layout is read faster, but for a few rows it costs more than it gains.
        parameters = [kernel.contiguous() for kernel in parameters]
    states = [state.unsqueeze(0).contiguous() for state in states]
    outputs, *new_states = getattr(torch._VF, recurrence.library)(
        inputs,
        *(() if batch_sizes is None else (batch_sizes,)),
        states if len(states) > 1 else states[0],
        [*parameters, *biases(recurrence, weights)],
        recurrence.use_bias,  # has_biases
        1,  # num_layers
        0.0,  # dropout between layers
        torch.is_grad_enabled(),  # train
        False,  # bidirectional
        *((False,) if batch_sizes is None else ()),  # batch_first
    )
    return outputs, [state.squeeze(0) for state in new_states]


def recorded(program, tensors):
    """The operations of a program for tensors of these shapes, without the Python around them.

    For a small step that takes 25 times as long as they do. Where a program asks for values, it stays as it is.
    """
    try:
        with recording():
            # With tensors that have shapes alone, so that no value of now gets into it.
            return make_fx(program, tracing_mode="fake", _allow_non_fake_inputs=True)(*tensors)
    except RuntimeError:
        return program


def gradients(loss, tensors):
    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    found = torch.autograd.grad(loss(leaves), leaves, allow_unused=True)
    return [
        torch.zeros_like(leaf) if gradient is None else gradient for leaf, gradient in zip(leaves, found, strict=True)
    ]


enrol(
    "torch",
    Engine(
        strategies=(
            CellByCell(),
            CellInside(),
            FusedLayer(),
            ParallelScan(linear_scan, torch.complex),
            Chunks(python_scan),
            ProjectedLoop(python_scan),
            Loop(python_scan),
        ),
        runs_eagerly=lambda sequences: True,
        gradients=gradients,
        reads_variables=False,
        settle=recorded,
        being_exported=torch.compiler.is_exporting,
        inference=torch.no_grad,
    ),
)
