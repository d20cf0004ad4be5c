"""The linear recurrence of each backend: beside a loop in NumPy, with gradients, at any length."""

import functools
import importlib

import keras
import numpy as np
import pytest
from keras import ops

from keras_rnn_ext import LRU, QRNN, RGLRU, MinGRU, MinLSTM
from keras_rnn_ext.core import strategy
from keras_rnn_ext.testing.cases import assert_same
from tests.helpers import BACKEND, RTOL, WIDEST, assert_close, precision, to_numpy, values_and_gradients

linear_scan = importlib.import_module(f"keras_rnn_ext.engine.{BACKEND}.linear").linear_scan


@pytest.fixture(autouse=True)
def wide():
    with precision(WIDEST):
        yield


def numbers(steps, batch=3, size=2, dtype=WIDEST):
    random = np.random.default_rng(steps)
    decay, inputs = random.normal(size=(2, steps, batch, size))
    # Zeros, ones and negative ones are decays like others.
    decay = np.clip(decay, -1, 1) * (random.random(decay.shape) < 0.9)
    return [each.astype(dtype) for each in (decay, inputs, random.normal(size=(batch, size)))]


def loop(decay, inputs, start):
    states = [start]
    for factor, value in zip(decay, inputs, strict=True):
        states.append(factor * states[-1] + value)
    return np.array(states[1:]).reshape(decay.shape)


def gradients_of_loop(decay, states, start, upstream):
    """By the textbook: from the last step to the first."""
    later, by_decay, by_inputs = np.zeros_like(start), [], []
    befores = [start, *states[:-1]] if len(states) else []
    for factor, before, own in reversed(list(zip(decay, befores, upstream, strict=True))):
        later = later + own
        by_decay.append(later * before)
        by_inputs.append(later)
        later = later * factor
    shaped = [np.array(each[::-1]).reshape(decay.shape) for each in (by_decay, by_inputs)]
    return [*shaped, later]


@pytest.mark.parametrize("steps", [0, 1, 2, 15, 16, 17, 100, 131])
def test_values_and_gradients(steps):
    arrays = numbers(steps)
    states = loop(*arrays)
    found, gradients = values_and_gradients(linear_scan, arrays)
    assert_close(found, states, RTOL[WIDEST])
    # The weights of the sum that `values_and_gradients` takes.
    upstream = np.round(8 * np.random.default_rng(0).normal(size=states.shape)) / 8
    assert_close(gradients, gradients_of_loop(arrays[0], states, arrays[2], upstream), 10 * RTOL[WIDEST])


def test_complex_numbers():
    parts = {"tensorflow": "complex", "jax": "lax", "torch": "complex"}
    module = importlib.import_module(BACKEND)
    join = getattr(module, parts[BACKEND])
    join = join.complex if BACKEND == "jax" else join
    real, imaginary = numbers(40), numbers(40, size=2)
    imaginary = [0.3 * each[:, ::-1].copy() if each.ndim == 2 else 0.3 * each[::-1].copy() for each in imaginary]

    def scan(*parts):
        states = linear_scan(*(join(*pair) for pair in zip(parts[:3], parts[3:], strict=True)))
        return ops.real(states), ops.imag(states)

    (found_real, found_imaginary), gradients = values_and_gradients(scan, [*real, *imaginary])
    states = loop(*(left + 1j * right for left, right in zip(real, imaginary, strict=True)))
    assert_close([found_real, found_imaginary], [states.real, states.imag], 10 * RTOL[WIDEST])
    # Central differences of the same weighted sum, in a few places.
    random = np.random.default_rng(0)
    weights = [np.round(8 * random.normal(size=states.shape)) / 8 for _ in range(2)]

    def total(parts):
        made = loop(*(np.asarray(left, complex) + 1j * right for left, right in zip(parts[:3], parts[3:], strict=True)))
        return (made.real * weights[0]).sum() + (made.imag * weights[1]).sum()

    arrays = [each.astype("float64") for each in (*real, *imaginary)]
    for position, gradient in enumerate(gradients):
        for index in ((0,) * gradient.ndim, (-1,) * gradient.ndim):
            moved = [[each.copy() for each in arrays] for _ in range(2)]
            moved[0][position][index] += 1e-6
            moved[1][position][index] -= 1e-6
            expected = (total(moved[0]) - total(moved[1])) / 2e-6
            assert abs(gradient[index] - expected) <= 1e-5 * max(1, abs(expected))


def test_second_derivatives():
    arrays = numbers(20)
    backend = strategy.engine()

    def squared_gradient(tensors):
        first = backend.gradients(lambda each: ops.sum(linear_scan(*each) ** 2), tensors)
        return sum(ops.sum(each**2) for each in first)

    if BACKEND == "torch":
        import torch

        tensors = [torch.tensor(each, dtype=torch.float64).requires_grad_() for each in arrays]
        assert torch.autograd.gradgradcheck(linear_scan, tensors)
        return
    tensors = [ops.convert_to_tensor(each) for each in arrays]
    found = to_numpy(backend.gradients(squared_gradient, tensors))
    place, step = (3, 1, 1), 1e-6 if WIDEST == "float64" else 1e-2
    moved = []
    for sign in (1, -1):
        decay = arrays[0].copy()
        decay[place] += sign * step
        moved.append(float(squared_gradient([ops.convert_to_tensor(each) for each in (decay, *arrays[1:])])))
    expected = (moved[0] - moved[1]) / (2 * step)
    assert abs(found[0][place] - expected) <= (1e-5 if WIDEST == "float64" else 1e-2) * max(1, abs(expected))


@pytest.mark.parametrize("layer_class", [MinGRU, MinLSTM, LRU, QRNN, RGLRU])
def test_thousands_of_steps_with_masks_and_states_equal_the_loop(layer_class):
    """Step by step, side by side, and in blocks with the states carried on, in float32."""
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 4096, 3)).astype("float32")
    mask = random.random((2, 4096)) < 0.9
    layer = layer_class(4, return_sequences=True, return_state=True)
    layer.build(x.shape)
    states = [random.normal(size=(2, *np.shape(state)[1:])).astype("float32") for state in layer.get_initial_state(2)]
    for masked in (None, ops.convert_to_tensor(mask)):
        _, plan, feed, _ = layer.prepare(ops.convert_to_tensor(x), states, masked)
        rows = {row.name: row for row in strategy.engine().strategies}
        outputs, last = rows["parallel scan"].run(plan, feed)
        step_by_step = functools.partial(rows["projected loop" if BACKEND != "jax" else "loop"].run, plan)
        compiled = strategy.engine().compile
        expected, expected_last = (compiled(step_by_step) if compiled else step_by_step)(feed)
        assert_same(outputs, expected, "outputs", rtol=1e-5)
        assert_same(last, expected_last, "states", rtol=1e-5)
    whole = layer(x, initial_state=states)[0]
    blocks = []
    for first in range(0, 4096, 1000):
        outputs, *states = layer(x[:, first : first + 1000], initial_state=states)
        blocks.append(to_numpy(outputs))
    assert_same(np.concatenate(blocks, 1), whole, "block by block", rtol=1e-5)


def test_the_fast_row_runs():
    layer = MinGRU(8)
    layer.build((4, 100, 3))
    assert layer.explain(4, 100, training=True).startswith(f"backend {BACKEND}: parallel scan")
    assert "not used: `unroll=True`" in MinGRU(8, unroll=True).explain(4, 100)
    assert keras.backend.standardize_dtype(MinGRU(8, dtype="mixed_bfloat16").get_initial_state(2)[0].dtype) == "float32"
