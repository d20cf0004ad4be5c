"""PyTorch's own layers as peers, with Keras's weights, on whatever backend Keras runs on.

`torch.nn` is the layer as one uses it; `torch._VF` is the fused operation behind it, called directly.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.measure import Peer
from benchmarks.torch_mapping import to_keras, to_torch
from benchmarks.workloads import Problem

_KERNELS = {"SimpleRNN": "rnn_tanh", "LSTM": "lstm", "GRU": "gru"}


def peers(problem: Problem, mode: str) -> dict[str, Callable[[], Peer]]:
    """How to make each peer; none where PyTorch's layers cannot do the work."""
    if not problem.workload.plain:
        return {}
    return {
        "torch.nn": functools.partial(_peer, problem, mode, _module),
        "torch._VF": functools.partial(_peer, problem, mode, _fused),
    }


def _peer(problem: Problem, mode: str, make: Callable) -> Peer:
    inputs = torch.tensor(problem.inputs)
    weights = [torch.tensor(weight) for weight in to_torch(problem.workload.layer, problem.weights)]
    run_all, weights = make(problem.workload, weights)

    def run(inputs: torch.Tensor) -> torch.Tensor:
        outputs = run_all(inputs)
        return outputs if problem.workload.return_sequences else outputs[:, -1]

    if mode == "forward":

        def forward() -> list:
            with torch.no_grad():
                return [run(inputs)]

        return Peer(forward, functools.partial(as_arrays, ["outputs"]))
    sources = [inputs.requires_grad_(), *weights]
    for source in sources:
        source.requires_grad_()

    def gradient() -> list:
        loss = run(inputs).square().sum()
        return [loss, *torch.autograd.grad(loss, sources)]

    def read(results: list) -> dict[str, np.ndarray]:
        loss, of_inputs, *of_weights = (each.detach().numpy() for each in results)
        return dict(
            zip(
                problem.result_names,
                [loss, of_inputs, *to_keras(problem.workload.layer, of_weights)],
                strict=True,
            )
        )

    return Peer(gradient, read)


def _module(workload: Any, weights: list) -> tuple[Callable, list]:
    kind = {"SimpleRNN": torch.nn.RNN, "LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU}[workload.layer]
    module = kind(workload.features, workload.units, batch_first=True, bidirectional=workload.bidirectional)
    with torch.no_grad():
        for own, given in zip(module.parameters(), weights, strict=True):
            own.copy_(given)
    return lambda inputs: module(inputs)[0], list(module.parameters())


def _fused(workload: Any, weights: list) -> tuple[Callable, list]:
    kernel = getattr(torch._VF, _KERNELS[workload.layer])
    state = torch.zeros(2 if workload.bidirectional else 1, workload.batch, workload.units)
    states = [state, state] if workload.layer == "LSTM" else state

    def run(inputs: Any) -> Any:
        # has_biases, num_layers, dropout, train, bidirectional, batch_first
        train = torch.is_grad_enabled()
        return kernel(inputs, states, weights, True, 1, 0.0, train, workload.bidirectional, True)[0]

    return run, weights


def as_arrays(names: list[str], results: list) -> dict[str, np.ndarray]:
    """Tensors as arrays by name."""
    return {name: each.detach().float().numpy() for name, each in zip(names, results, strict=True)}


def large_product(size: int, dtype: str) -> Peer:
    """One product of two square matrices."""
    matrix = torch.randn(size, size).to(getattr(torch, dtype))
    return Peer(lambda: matrix @ matrix)
