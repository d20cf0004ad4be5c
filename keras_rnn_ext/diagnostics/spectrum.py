"""What a step does to small changes of its state: Jacobians, their spectra and Lyapunov exponents."""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_rnn_ext.core import strategy
from keras_rnn_ext.diagnostics.watch import Watch


class Spectrum(NamedTuple):
    """Singular values and eigenvalues of matrices `(..., size, size)`."""

    singular_values: Any  # (..., size), largest first
    eigenvalues: Any  # (..., size), complex, largest modulus first


def state_jacobians(model, x, steps=None):
    r"""The Jacobian of each step's states by those before it, for each recurrent layer of a model.

    $$J_t = \frac{\partial s_t}{\partial s_{t - 1}}$$

    with $s_t$ all states of a cell behind each other, so $(h, c)$ for an LSTM, and the layer's inputs $x_t$ held. At a
    masked step the state stays, and $J_t$ is the identity. Dropout is off.

    Args:
        model: a Keras model, as for `gradient_norms`; layers that read backward are welcome.
        x: a batch of inputs, as the model takes them. For a few rows give only these: a Jacobian costs as much as a
            step and its gradient with `size` rows for each row.
        steps: list of steps in the order in which the layer reads them, negative ones count from the end. Default: all.

    Returns:
        A dict: the name of each recurrent layer, `"layer/cell"` for each cell of a stack, to an array
        `(steps, batch, size, size)`, with `size` that of all states together; the last axis is that of $s_{t - 1}$.

    Raises:
        TypeError: if `model` is no Keras model.
        ValueError: if the model has no recurrent layer, calls one twice or has one that cannot be opened; or if a
            step is out of range.

    Source: Pascanu, Mikolov, Bengio 2013, arXiv 1211.5063, equation 5.

    >>> import keras
    >>> import numpy as np
    >>> from keras_rnn_ext import MySimpleRNN
    >>> from keras_rnn_ext.diagnostics import spectrum, state_jacobians
    >>> model = keras.Sequential([keras.Input((6, 3)), MySimpleRNN(4, activation="linear", name="rnn")])
    >>> jacobians = state_jacobians(model, np.ones((2, 6, 3)))["rnn"]
    >>> jacobians.shape
    (6, 2, 4, 4)
    >>> abs(spectrum(jacobians).eigenvalues[0, 0]).round(5)  # Keras's first recurrent kernel is orthogonal
    array([1., 1., 1., 1.])
    """
    return jacobians_of(Watch(model), x, steps)


def jacobians_of(watch, x, steps=None):
    """As `state_jacobians`, of a `Watch`."""
    _, traces = watch.trace(keras.tree.map_structure(ops.convert_to_tensor, x))
    return {name: _jacobians(watch, name, trace, steps) for name, trace in traces.items()}


def _jacobians(watch, name, trace, steps):
    count, batch = trace.valid.shape
    steps = range(count) if steps is None else steps
    if not all(isinstance(step, (int, np.integer)) and -count <= step < count for step in steps):
        raise ValueError(
            f"Argument `steps` must be a list of integers from {-count} to {count - 1}, the steps of layer {name!r}. "
            f"Received: steps={steps!r}"
        )
    before = trace.before()
    size = sum(state.shape[-1] for state in before)

    def gradients(values, inputs, states):
        return _row_gradients(watch, name, values, inputs, states)

    program = watch.program(("jacobians", name), gradients)
    found = []
    for step in steps:
        # Each row `size` times, one for each entry of the new states.
        inputs, *states = (np.repeat(each[step], size, axis=0) for each in (trace.inputs, *before))
        parts = program(watch.values(), ops.convert_to_tensor(inputs), [ops.convert_to_tensor(each) for each in states])
        jacobian = np.concatenate([ops.convert_to_numpy(part) for part in parts], axis=-1).reshape(batch, size, size)
        found.append(np.where(trace.valid[step][:, None, None], jacobian, np.eye(size, dtype=jacobian.dtype)))
    return np.stack(found) if found else np.zeros((0, batch, size, size), before[0].dtype)


def _row_gradients(watch, name, values, inputs, states):
    """In each row, the gradient by the states of one entry of the new states, of the next one in each row."""

    def loss(states):
        with watch.with_values(values):
            _, new_states = watch.parts[name].step(inputs, list(states))
        new_states = ops.concatenate(new_states, axis=-1)
        rows, size = new_states.shape
        chosen = np.tile(np.eye(size), (rows // size, 1))
        return ops.sum(new_states * ops.convert_to_tensor(chosen, dtype=new_states.dtype))

    return strategy.engine().gradients(loss, states)


def spectrum(jacobians, product=1):
    r"""Singular values and eigenvalues of Jacobians, or of the products of successive ones.

    Over $k$ steps the chain rule makes $\partial s_t / \partial s_{t - k} = J_t J_{t - 1} \cdots J_{t - k + 1}$. Its
    largest singular value is the most by which a change, or a gradient, can grow over them.

    Args:
        jacobians: array `(steps, ..., size, size)` as in the dict that `state_jacobians` gives.
        product: $k$, how many successive steps, from 1 to all. Default 1.

    Returns:
        A `Spectrum(singular_values, eigenvalues)` of arrays `(steps - product + 1, ..., size)`, float64 and complex128,
        by falling size and falling modulus.

    Raises:
        ValueError: if `jacobians` has another shape or `product` is out of range.

    >>> import numpy as np
    >>> half = np.tile(np.eye(2) / 2, (5, 1, 1))
    >>> spectrum(half, product=3).singular_values[0]
    array([0.125, 0.125])
    """
    jacobians = _checked(jacobians)
    if isinstance(product, bool) or not isinstance(product, int) or not 1 <= product <= len(jacobians):
        raise ValueError(
            f"Argument `product` must be an integer from 1 to the number of steps, {len(jacobians)}. Received: "
            f"product={product!r}"
        )
    count = len(jacobians) - product + 1
    matrices = jacobians[:count]
    for back in range(1, product):
        matrices = jacobians[back : back + count] @ matrices
    eigenvalues = np.linalg.eigvals(matrices).astype("complex128")
    order = np.argsort(-np.abs(eigenvalues), axis=-1)
    return Spectrum(np.linalg.svd(matrices, compute_uv=False), np.take_along_axis(eigenvalues, order, axis=-1))


def lyapunov_exponents(jacobians):
    r"""The Lyapunov exponents of a run: how fast small changes of the state grow, in nats a step.

    $$\lambda_i = \frac{1}{T} \sum_t \log \left| (R_t)_{ii} \right|, \qquad Q_t R_t = J_t Q_{t - 1}$$

    with $Q_0$ the identity. Above zero a change grows and gradients explode, below it both vanish. Over few steps this
    is an estimate that depends on $Q_0$ still.

    Args:
        jacobians: array `(steps, ..., size, size)` as in the dict that `state_jacobians` gives.

    Returns:
        An array `(..., size)`, largest first; minus infinity where a direction is lost at once.

    Raises:
        ValueError: if `jacobians` has another shape or no steps.

    Source: Benettin et al. 1980, doi 10.1007/BF02128236; for recurrent networks Engelken, Wolf, Abbott 2020, arXiv
    2006.02427.

    >>> import numpy as np
    >>> lyapunov_exponents(np.tile(np.diag([2.0, 0.5]), (10, 1, 1)))
    array([ 0.69, -0.69])
    """
    jacobians = _checked(jacobians)
    if not len(jacobians):
        raise ValueError("Argument `jacobians` must hold at least one step. Received: none.")
    directions = np.broadcast_to(np.eye(jacobians.shape[-1]), jacobians.shape[1:])
    total = np.zeros(jacobians.shape[1:-1])
    for jacobian in jacobians:
        directions, stretched = np.linalg.qr(jacobian @ directions)
        with np.errstate(divide="ignore"):
            total += np.log(np.abs(np.diagonal(stretched, axis1=-2, axis2=-1)))
    return -np.sort(-total / len(jacobians), axis=-1)


def _checked(jacobians):
    jacobians = np.asarray(jacobians, "float64")
    if jacobians.ndim < 3 or jacobians.shape[-1] != jacobians.shape[-2]:
        raise ValueError(
            "Argument `jacobians` must be an array (steps, ..., size, size), one entry of the dict that "
            f"`state_jacobians` gives. Received: shape {jacobians.shape}."
        )
    return jacobians
