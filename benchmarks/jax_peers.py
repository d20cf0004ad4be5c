"""The peers on JAX: Keras's layer and ours under `jit`, the same called eagerly, and a plain `lax.scan`."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from benchmarks.measure import Peer
from benchmarks.workloads import GRAPH, Problem, can_recompute, keras_layer, our_layer, sum_of_squares, with_weights

MODES = (*GRAPH, "eager forward")


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
    if workload.plain and not workload.bidirectional and not mode.startswith("eager"):
        makers["lax.scan"] = functools.partial(_scan_peer, problem, mode)
    return makers


def layer_peer(problem: Problem, mode: str, make: Callable[[], keras.Layer]) -> Peer:
    """A layer, compiled."""
    layer = with_weights(make(), problem)
    mask = None if problem.mask is None else jnp.asarray(problem.mask)
    if mode.startswith("eager"):
        inputs = jnp.asarray(problem.inputs)
        return _waited(lambda: [layer(inputs, mask=mask, training=False)], ["outputs"])
    others = [variable.value for variable in layer.non_trainable_variables]

    def outputs(inputs: Any, weights: list) -> Any:
        training = mode == "gradient"
        return layer.stateless_call(weights, others, inputs, mask=mask, training=training)[0]

    return _compiled(problem, mode, outputs)


def _compiled(problem: Problem, mode: str, outputs: Callable[[Any, list], Any]) -> Peer:
    """The peer of a function of inputs and weights."""
    inputs, weights = jnp.asarray(problem.inputs), [jnp.asarray(weight) for weight in problem.weights]
    if mode == "forward":
        forward = jax.jit(outputs)
        return _waited(lambda: [forward(inputs, weights)], ["outputs"])

    def loss(inputs: Any, weights: list) -> Any:
        return sum_of_squares(outputs(inputs, weights))

    gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
    return _waited(lambda: gradient(inputs, weights), problem.result_names)


def _waited(run: Callable[[], Any], names: list[str]) -> Peer:
    def read(results: Any) -> dict[str, np.ndarray]:
        flat = [np.asarray(each, "float32") for each in jax.tree.leaves(results)]
        return dict(zip(names, flat, strict=True))

    return Peer(lambda: jax.block_until_ready(run()), read)


# The layers as one would write them


def _scan_peer(problem: Problem, mode: str) -> Peer:
    step, states = _STEPS[problem.workload.layer]

    def outputs(inputs: Any, weights: list) -> Any:
        kernel, recurrent_kernel, bias = weights
        input_bias, recurrent_bias = bias if bias.ndim == 2 else (bias, 0.0)
        projected = jnp.swapaxes(inputs, 0, 1) @ kernel + input_bias
        zeros = jnp.zeros((inputs.shape[0], problem.workload.units), inputs.dtype)

        def body(carry: tuple, x: Any) -> tuple[tuple, Any]:
            carry = step(x, carry[0] @ recurrent_kernel + recurrent_bias, carry)
            return carry, carry[0]

        return jnp.swapaxes(jax.lax.scan(body, (zeros,) * states, projected)[1], 0, 1)

    return _compiled(problem, mode, outputs)


def _simple_rnn(x: Any, recurrent: Any, carry: tuple) -> tuple:
    return (jnp.tanh(x + recurrent),)


def _lstm(x: Any, recurrent: Any, carry: tuple) -> tuple:
    input_gate, forget_gate, candidate, output_gate = jnp.split(x + recurrent, 4, axis=-1)
    cell = jax.nn.sigmoid(forget_gate) * carry[1] + jax.nn.sigmoid(input_gate) * jnp.tanh(candidate)
    return jax.nn.sigmoid(output_gate) * jnp.tanh(cell), cell


def _gru(x: Any, recurrent: Any, carry: tuple) -> tuple:
    x_update, x_reset, x_candidate = jnp.split(x, 3, axis=-1)
    update, reset, candidate = jnp.split(recurrent, 3, axis=-1)
    update = jax.nn.sigmoid(x_update + update)
    candidate = jnp.tanh(x_candidate + jax.nn.sigmoid(x_reset + reset) * candidate)
    return (update * carry[0] + (1 - update) * candidate,)


# The step, and how many states it has.
_STEPS: dict[str, tuple[Callable, int]] = {"SimpleRNN": (_simple_rnn, 1), "LSTM": (_lstm, 2), "GRU": (_gru, 1)}


def large_product(size: int, dtype: str) -> Peer:
    """One product of two square matrices."""
    matrix = jax.random.normal(jax.random.key(0), (size, size), dtype)
    product = jax.jit(jnp.matmul)
    return Peer(lambda: jax.block_until_ready(product(matrix, matrix)))
