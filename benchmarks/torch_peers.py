"""The peers on PyTorch: Keras's layer and ours, and the library's own. There every call is an eager one."""

import functools
from collections.abc import Callable

import keras
import torch

from benchmarks import torch_library
from benchmarks.measure import Peer
from benchmarks.workloads import GRAPH, Problem, can_recompute, keras_layer, our_layer, sum_of_squares, with_weights

MODES = GRAPH


def peers(problem: Problem, mode: str) -> dict[str, Callable[[], Peer]]:
    """How to make each peer; the first one defines what is right."""
    workload = problem.workload
    keras_here, ours = functools.partial(keras_layer, workload), functools.partial(our_layer, workload)
    layers: dict[str, Callable[[], keras.Layer]] = {"keras": keras_here, "ours": ours}
    if workload.policy != "float32":
        layers = {"keras float32": functools.partial(keras_here, policy="float32"), **layers}
    if workload.recompute and can_recompute():
        layers["ours, recompute"] = functools.partial(ours, recompute=True)
    makers: dict[str, Callable[[], Peer]] = {
        name: functools.partial(layer_peer, problem, mode, make) for name, make in layers.items()
    }
    return makers | torch_library.peers(problem, mode)


def layer_peer(problem: Problem, mode: str, make: Callable[[], keras.Layer]) -> Peer:
    """A layer, called as everything is on PyTorch."""
    layer = with_weights(make(), problem)
    inputs = torch.tensor(problem.inputs)
    mask = None if problem.mask is None else torch.tensor(problem.mask)
    read = functools.partial(torch_library.as_arrays, problem.result_names if mode == "gradient" else ["outputs"])
    if mode == "forward":

        def forward() -> list:
            with torch.no_grad():
                return [layer(inputs, mask=mask, training=False)]

        return Peer(forward, read)
    inputs.requires_grad_()
    sources = [inputs, *(variable.value for variable in layer.trainable_variables)]

    def gradient() -> list:
        loss = sum_of_squares(layer(inputs, mask=mask, training=True))
        return [loss, *torch.autograd.grad(loss, sources)]

    return Peer(gradient, read)


large_product = torch_library.large_product
