"""Tools for NumPy reference implementations of cells: functions, the loop over time, and exact gradients.

A reference implementation is one function, `step(x, states, weights, options)`, that returns the output and the list of
new states. Here `x` has the shape `(batch, features)`, `weights` maps names to arrays, and `options` maps the names of
the cell's arguments to their values.

Gradients come from the complex step: the derivative of a real analytic function is `f(x + ih).imag / h`. Nothing is
subtracted, so `h` can be as small as 1e-30 and the result is exact to rounding. A `step` supports this if it takes
complex numbers, and if it neither takes absolute values nor compares anything but real parts. The functions of this
module do so.
"""

import numpy as np

_STEP = 1e-30


def maximum(a, b):
    """The larger of two values, elementwise, by their real parts.

    Args:
        a: array, real or complex. It wins a tie.
        b: array, real or complex, that broadcasts with `a`.

    Returns:
        An array with the broadcast shape.
    """
    return np.where(np.real(a) >= np.real(b), a, b)


def _minus_absolute(values):
    return np.where(np.real(values) >= 0.0, -values, values)


def sigmoid(values):
    """The logistic function, without overflow.

    Args:
        values: array, real or complex.

    Returns:
        `1 / (1 + exp(-values))`, an array with the shape of `values`.
    """
    decay = np.exp(_minus_absolute(values))
    return np.where(np.real(values) >= 0.0, 1.0, decay) / (1.0 + decay)


def tanh(values):
    """The hyperbolic tangent.

    Args:
        values: array, real or complex.

    Returns:
        An array with the shape of `values`.
    """
    return np.tanh(values)


def relu(values):
    """The positive part. Its derivative at zero is zero.

    Args:
        values: array, real or complex.

    Returns:
        An array with the shape of `values`.
    """
    return maximum(0.0, values)


def softplus(values):
    """The smooth positive part, without overflow.

    Args:
        values: array, real or complex.

    Returns:
        `log(1 + exp(values))`, an array with the shape of `values`.
    """
    return maximum(values, 0.0) + np.log1p(np.exp(_minus_absolute(values)))


def log_sigmoid(values):
    """The logarithm of the logistic function, finite where the function itself underflows.

    Args:
        values: array, real or complex.

    Returns:
        `log(sigmoid(values))`, an array with the shape of `values`.
    """
    return -softplus(-values)


def softsign(values):
    """A bounded function with slower saturation than the hyperbolic tangent.

    Args:
        values: array, real or complex.

    Returns:
        `values / (1 + |values|)`, an array with the shape of `values`.
    """
    return values / (1.0 - _minus_absolute(values))


def hard_sigmoid(values):
    """Keras 3's piecewise linear approximation of the logistic function.

    Args:
        values: array, real or complex.

    Returns:
        `values / 6 + 0.5`, cut to the range from 0 to 1, an array with the shape of `values`.
    """
    return 1.0 - relu(1.0 - relu(values / 6.0 + 0.5))


def linear(values):
    """The identity.

    Args:
        values: array, real or complex.

    Returns:
        `values`.
    """
    return values


_FUNCTIONS = {
    None: linear,
    "hard_sigmoid": hard_sigmoid,
    "linear": linear,
    "log_sigmoid": log_sigmoid,
    "relu": relu,
    "sigmoid": sigmoid,
    "softplus": softplus,
    "softsign": softsign,
    "tanh": tanh,
}


def function(name):
    """The NumPy function of a Keras activation.

    Args:
        name: name of the activation as in `keras.activations`. `None` means linear.

    Returns:
        A function of one array that is safe under complex-step differentiation.

    Raises:
        ValueError: if this module has no such function.
    """
    if name not in _FUNCTIONS:
        expected = ", ".join(map(repr, _FUNCTIONS))
        raise ValueError(f"Argument `name` must be one of {expected}. Received: name={name!r}")
    return _FUNCTIONS[name]


def layer_norm(values, gain, offset=None, epsilon=0.0):
    """Layer normalization over the last axis (Ba, Kiros, Hinton 2016, arXiv 1607.06450).

    Args:
        values: array, real or complex.
        gain: factors after the normalization, as long as the last axis.
        offset: terms after the factors, as long as the last axis. Default: none.
        epsilon: number added to the variance.

    Returns:
        An array with the shape of `values`.
    """
    centered = values - np.mean(values, axis=-1, keepdims=True)
    variance = np.mean(centered * centered, axis=-1, keepdims=True)
    normalized = gain * centered / np.sqrt(variance + epsilon)
    return normalized if offset is None else normalized + offset


def run(step, inputs, states, weights, options):
    """Runs a reference implementation over the time steps of a batch.

    Args:
        step: function `step(x, states, weights, options)` that returns the output and the list of new states.
        inputs: array of shape `(batch, steps, features)`.
        states: list of initial states, each of shape `(batch, ...)`.
        weights: dictionary from names to arrays.
        options: dictionary from names to arguments of the cell.

    Returns:
        The outputs, an array of shape `(batch, steps, ...)`, and the list of states after the last step.
    """
    batch, steps, features = inputs.shape
    if steps == 0:
        # Only a step knows the shape of its output.
        output, _ = step(np.zeros((batch, features)), states, weights, options)
        return np.zeros((batch, 0, *output.shape[1:])), list(states)
    outputs = []
    for x in np.swapaxes(inputs, 0, 1):
        output, states = step(x, states, weights, options)
        outputs.append(output)
    return np.stack(outputs, axis=1), list(states)


def gradients(step, inputs, states, weights, options, cotangents):
    """Gradients of a reference implementation, exact to rounding.

    The function to differentiate is the sum of all outputs and last states, each times its cotangent. It runs once for
    each number in the inputs, states and weights, so keep them small.

    Args:
        step: function `step(x, states, weights, options)` that returns the output and the list of new states.
        inputs: array of shape `(batch, steps, features)`.
        states: list of initial states, each of shape `(batch, ...)`.
        weights: dictionary from names to arrays.
        options: dictionary from names to arguments of the cell.
        cotangents: a pair: an array with the shape of the outputs, and a list of arrays with the shapes of the states.

    Returns:
        The gradients by inputs (an array), by initial states (a list) and by weights (a dictionary).
    """
    output_cotangent, state_cotangents = cotangents
    places = [inputs, *states, *weights.values()]

    def loss(arrays):
        new_states, new_weights = arrays[1 : 1 + len(states)], arrays[1 + len(states) :]
        named = dict(zip(weights, new_weights, strict=True))
        outputs, last_states = run(step, arrays[0], new_states, named, options)
        total = np.sum(outputs * output_cotangent)
        for state, cotangent in zip(last_states, state_cotangents, strict=True):
            total = total + np.sum(state * cotangent)
        return total

    results = []
    for position, array in enumerate(places):
        gradient = np.zeros(np.shape(array))
        for index in np.ndindex(gradient.shape):
            moved = np.array(array, dtype=complex)
            moved[index] += 1j * _STEP
            value = loss([*places[:position], moved, *places[position + 1 :]])
            gradient[index] = np.imag(value) / _STEP
        results.append(gradient)
    d_inputs, d_states, d_weights = results[0], results[1 : 1 + len(states)], results[1 + len(states) :]
    return d_inputs, d_states, dict(zip(weights, d_weights, strict=True))
