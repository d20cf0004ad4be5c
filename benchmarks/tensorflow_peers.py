"""The peers on TensorFlow: Keras's layer and ours, in a graph as `fit` makes one on a CPU, under XLA, and eagerly."""

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks import tensorflow_choices
from benchmarks.measure import Peer
from benchmarks.workloads import (
    CHOICES,
    GRAPH,
    MODES,
    Problem,
    can_recompute,
    keras_layer,
    our_layer,
    sum_of_squares,
    with_weights,
)

__all__ = ["MODES", "large_product", "layer_peer", "peers"]


def peers(problem: Problem, mode: str) -> dict[str, Callable[[], Peer]]:
    """How to make each peer; the first one defines what is right."""
    workload = problem.workload
    if mode in CHOICES:
        ours = functools.partial(_peer, problem, mode.split()[1], functools.partial(our_layer, workload), False)
        return tensorflow_choices.peers(ours)
    keras_here, ours = functools.partial(keras_layer, workload), functools.partial(our_layer, workload)
    layers: dict[str, tuple[Callable[[], keras.Layer], bool]] = {"keras": (keras_here, False), "ours": (ours, False)}
    if workload.policy != "float32":
        layers = {"keras float32": (functools.partial(keras_here, policy="float32"), False), **layers}
    if workload.recompute and can_recompute():
        layers["ours, recompute"] = (functools.partial(ours, recompute=True), False)
    if workload.fused and mode in GRAPH:
        layers |= {"keras, XLA": (keras_here, True), "ours, XLA": (ours, True)}
    makers: dict[str, Callable[[], Peer]] = {
        name: functools.partial(_peer, problem, mode, make, fused) for name, (make, fused) in layers.items()
    }
    if mode in GRAPH and importlib.util.find_spec("torch"):
        from benchmarks import torch_library

        makers |= torch_library.peers(problem, mode)
    return makers


def layer_peer(problem: Problem, mode: str, make: Callable[[], keras.Layer]) -> Peer:
    """A layer in a graph that takes any batch size."""
    return _peer(problem, mode, make, False)


def _peer(problem: Problem, mode: str, make: Callable[[], keras.Layer], fused: bool) -> Peer:
    layer = with_weights(make(), problem)
    said = {} if mode == "unsaid gradient" else {"training": True}
    run: Callable[..., list]

    if mode.endswith("gradient"):

        def run(inputs: Any, mask: Any = None) -> list:
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                loss = sum_of_squares(layer(inputs, mask=mask, **said))
            return [loss, *tape.gradient(loss, [inputs, *layer.trainable_variables])]

    else:

        def run(inputs: Any, mask: Any = None) -> list:
            return [layer(inputs, mask=mask, training=False)]

    arguments = [tf.constant(each) for each in (problem.inputs, problem.mask) if each is not None]
    if not mode.startswith("eager"):
        batch = problem.workload.batch if problem.workload.known_batch else None
        signature = [tf.TensorSpec((batch, *each.shape[1:]), each.dtype) for each in arguments]
        run = tf.function(run, input_signature=signature, jit_compile=fused)
    names = problem.result_names if mode.endswith("gradient") else ["outputs"]
    return Peer(
        lambda: run(*arguments),
        lambda results: {
            name: np.asarray(tf.cast(each, tf.float32)) for name, each in zip(names, results, strict=True)
        },
    )


def large_product(size: int, dtype: str) -> Peer:
    """One product of two square matrices."""
    matrix = tf.random.normal((size, size))
    matrix = tf.cast(matrix, dtype)
    product = tf.function(lambda: tf.matmul(matrix, matrix))
    return Peer(product)
