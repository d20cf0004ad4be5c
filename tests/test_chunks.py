"""Many steps at once: beside the loop, with gradients, at any length, and only where the class means it."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_rnn_ext import MyRNN, ZoneoutWrapper
from keras_rnn_ext.cells.mlstm import MLSTM, MLSTMCell
from keras_rnn_ext.core import strategy
from keras_rnn_ext.core.kernel_cell import ProjectedCell
from keras_rnn_ext.custom import Rate, Real, State
from keras_rnn_ext.testing import contract
from keras_rnn_ext.testing.contract import Case, assert_same
from tests.helpers import BACKEND, WIDEST, assert_close, gradients, precision, to_numpy
from tests.oracles import mlstm as oracle

# Of eleven steps, chunks of four make three of them that are not full.
CASE = Case(steps=11)
ROWS = {row.name: row for row in strategy.engine().strategies}


class FastWeights(ProjectedCell):
    """Outer products of keys and values, of which a share is forgotten at each step. It has no parts of a chunk."""

    gates = 3
    states = (State("S", ("units", "units")),)
    pure = True
    chunk_length = 4
    output_size = property(lambda self: self.units)

    decay = Real(0.8, "what is kept at a step", above=0, below=1)
    recurrent_dropout = Rate(0.0, "for nothing")

    def draw_noise(self, inputs, states, training, steps=None):
        return {}

    def recur(self, projected, states, weights, noise):
        query, key, value = ops.split(projected, 3, axis=-1)
        memory = self.decay * states[0] + key[:, :, None] * value[:, None]
        return ops.sum(query[:, :, None] * memory, axis=1), [memory]

    def recur_chunk(self, projected, valid, states, weights):
        query, key, value = ops.split(projected, 3, axis=-1)
        valid = ops.ones_like(query[..., 0]) if valid is None else ops.cast(valid, query.dtype)
        count, steps = ops.cumsum(valid, axis=0), ops.arange(ops.shape(projected)[0])
        is_past = ops.cast(steps[:, None, None] >= steps[None, :, None], query.dtype)
        kept = is_past * valid * self.decay ** (count[:, None] - count)
        weight = kept * ops.sum(query[:, None] * key, axis=-1)
        outputs = ops.sum(weight[..., None] * value, axis=1)
        of_start = self.decay**count
        outputs = outputs + of_start[..., None] * ops.sum(query[..., None] * states[0], axis=-2)
        added = ops.sum((kept[-1][..., None] * key)[..., None] * value[:, :, None], axis=0)
        return outputs, [of_start[-1][:, None, None] * states[0] + added]


class OneByOne(MLSTMCell):
    """Says anew what a chunk is, so that the parts of its parent are no longer known to be its own."""

    def recur_chunk(self, projected, valid, states, weights):
        return super().recur_chunk(projected, valid, states, weights)


class Stepped(MLSTMCell):
    """Overrides the step."""

    def recur(self, projected, states, weights, noise):
        output, states = super().recur(projected, states, weights, noise)
        return 2 * output, states


def with_bias(cell, **options):
    return lambda: cell(4, heads=2, bias_initializer="random_normal", **options)


CELLS = {"mlstm": with_bias(MLSTMCell), "one by one": with_bias(OneByOne), "fast weights": lambda: FastWeights(3)}
OF_ALL = (
    contract.strategies_agree,
    contract.strategies_agree_in_training,
    contract.long_sequences_agree,
    contract.recomputed_is_kept,
)
CHECKS = [(name, check) for check in OF_ALL for name in CELLS]
CHECKS += [("mlstm", check) for check in contract.FOR_EVERY_KIND if check not in OF_ALL]


@pytest.fixture
def policy():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(WIDEST)
    with precision(WIDEST):
        yield
    keras.config.set_dtype_policy(before)


@pytest.fixture
def short_chunks(monkeypatch):
    monkeypatch.setattr(MLSTMCell, "chunk_length", 4)


@pytest.mark.parametrize(("name", "check"), CHECKS, ids=lambda each: getattr(each, "__name__", each))
def test_the_contract_where_chunks_run(name, check, policy, short_chunks):
    assert explained(MyRNN(CELLS[name]()), steps=CASE.steps).startswith(f"backend {BACKEND}: chunks")
    check(CELLS[name], CASE)


def explained(layer, **options):
    layer.build((None, None, 3))
    return layer.explain(batch=3, **{"steps": 100, **options})


def test_which_row_runs():
    assert explained(MLSTM(4)).startswith(f"backend {BACKEND}: chunks")
    assert explained(MLSTM(4), steps=None).startswith(f"backend {BACKEND}: chunks")
    assert "chunks: not used: fewer than 8 steps" in explained(MLSTM(4), steps=7)
    assert "chunks: not used: `unroll=True`" in explained(MLSTM(4, unroll=True))
    assert "chunks: not used: only for a cell that has `recur_chunk`" in explained(MyRNN(keras.layers.GRUCell(4)))
    assert "chunks: not used: the class overrides `recur`, but not `recur_chunk`" in explained(MyRNN(Stepped(4)))
    assert "a wrapper does something to the states at each step" in explained(
        MyRNN(ZoneoutWrapper(FastWeights(4), 0.5))
    )
    dropped = MyRNN(FastWeights(4, recurrent_dropout=0.5))
    assert "`recurrent_dropout`, which `recur_chunk` knows nothing of" in explained(dropped, training=True)
    assert explained(dropped).startswith(f"backend {BACKEND}: chunks")


def test_a_class_that_overrides_the_step_is_what_it_says():
    x = np.random.default_rng(0).normal(size=(2, 12, 3)).astype("float32")
    layer, doubled = MLSTM(4, return_sequences=True), MyRNN(Stepped(4), return_sequences=True)
    layer.build(x.shape)
    doubled.build(x.shape)
    doubled.set_weights(layer.get_weights())
    assert_close(to_numpy(doubled(x)), 2 * to_numpy(layer(x)), 1e-6)


def gated(scale, **options):
    """A layer whose gates are `scale` before they are gates, and whose keys and queries are mostly positive.

    Where the sum of their products is near zero, what is divided by it amplifies any rounding.
    """
    random = np.random.default_rng(7)
    layer = MLSTM(8, heads=2, return_sequences=True, return_state=True, **options)
    layer.build((2, 4096, 5))
    bias = np.repeat([2.5, 2.5, 0.0, 0.0], 8) + 0.3 * random.normal(size=32)
    kernel = random.uniform(-1, 1, size=(5, 4))
    layer.cell.bias.assign(bias.astype("float32"))
    layer.cell.gate_kernel.assign((scale * kernel / np.abs(kernel).sum(axis=0)).astype("float32"))
    return layer


def step_by_step(plan):
    run = functools.partial(ROWS["projected loop" if BACKEND != "jax" else "loop"].run, plan)
    return strategy.engine().compile(run) if strategy.engine().compile else run


@pytest.mark.parametrize(
    ("scale", "masked", "options"),
    [(0, False, {}), (3, True, {}), (30, True, {}), (3, True, {"exponential_forget_gate": True})],
    ids=str,
)
def test_thousands_of_steps_in_float32_are_exact(scale, masked, options):
    """With initial states, and with gates of up to `scale` before they are gates."""
    random = np.random.default_rng(0)
    # Signs, so that gates come near `scale` at times.
    x = np.sign(random.normal(size=(2, 4096, 5))).astype("float32")
    mask = random.random((2, 4096)) < (0.9 if masked else 1.1)
    layer = gated(scale, **options)
    states = [random.normal(size=(2, *np.shape(state)[1:])).astype("float32") for state in layer.get_initial_state(2)]
    _, plan, feed, _ = layer.prepare(ops.convert_to_tensor(x), states, ops.convert_to_tensor(mask) if masked else None)
    outputs, last = ROWS["chunks"].run(plan, feed)
    expected, expected_last = reference(layer, x, states, mask)
    assert_same(outputs, expected, "outputs", rtol=1e-5)
    assert_same(last, expected_last, "states", rtol=1e-5)


def reference(layer, x, states, mask):
    """Outputs and last states in float64. In float32 the loop itself is up to 1e-5 beside them where gates stay."""
    weights = {weight.name: to_numpy(weight).astype("float64") for weight in layer.cell.weights}
    states, output, outputs = [state.astype("float64") for state in states], np.zeros((len(x), 8)), []
    for values, valid in zip(x.astype("float64").swapaxes(0, 1), mask.T, strict=True):
        new = oracle.step(values, states, weights, layer.cell.get_config())
        output, *states = (
            np.where(valid.reshape(-1, *(1,) * (old.ndim - 1)), each, old)
            for each, old in zip((new[0], *new[1]), (output, *states), strict=True)
        )
        outputs.append(output)
    return np.stack(outputs), states


def test_gradients_of_thousands_of_steps_equal_those_of_the_loop_in_float32():
    random = np.random.default_rng(0)
    x = np.sign(random.normal(size=(2, 4096, 5))).astype("float32")
    mask = ops.convert_to_tensor(random.random((2, 4096)) < 0.9)
    layer = gated(30)
    states = [random.normal(size=(2, *np.shape(state)[1:])).astype("float32") for state in layer.get_initial_state(2)]
    _, plan, feed, _ = layer.prepare(ops.convert_to_tensor(x), states, mask, True)
    upstream = ops.convert_to_tensor(random.normal(size=(4096, 2, 8)).astype("float32"))
    parts = (feed.inputs, feed.states, feed.weights)

    def loss(run, tensors):
        inputs, states, weights = keras.tree.pack_sequence_as(parts, list(tensors))
        outputs, last = run(feed._replace(inputs=inputs, states=states, weights=weights))
        return ops.sum(outputs * upstream) + sum(ops.sum(ops.square(state)) for state in last[:2])

    found, expected = (
        to_numpy(strategy.engine().gradients(functools.partial(loss, run), keras.tree.flatten(parts)))
        for run in (functools.partial(ROWS["chunks"].run, plan), step_by_step(plan))
    )
    for place, (left, right) in enumerate(zip(found, expected, strict=True)):
        assert_close(left, right, 1e-5, f"gradient {place}", scale=1e-3)


def test_a_sequence_in_calls_and_in_one(short_chunks):
    x = np.random.default_rng(0).normal(size=(2, 29, 3)).astype("float32")
    layer, carried = MLSTM(4, heads=2, return_state=True), MLSTM(4, heads=2, stateful=True, return_state=True)
    layer.build(x.shape)
    carried.build(x.shape)
    carried.set_weights(layer.get_weights())
    for first, end in ((0, 9), (9, 10), (10, 29)):
        found = carried(x[:, first:end])
    assert_close(to_numpy(found), to_numpy(layer(x)), 1e-5)


def test_what_is_masked_altogether_changes_nothing(short_chunks):
    layer = MLSTM(4, heads=2, return_sequences=True, return_state=True)
    x = np.random.default_rng(0).normal(size=(2, 20, 3)).astype("float32")
    start = layer(x)[1:]
    mask = np.zeros((2, 20), bool)
    mask[1, 13:] = True
    outputs, *states = layer(x, mask=mask, initial_state=start)
    for before, after in zip(start, states, strict=True):
        assert (to_numpy(before)[0] == to_numpy(after)[0]).all()
    assert not to_numpy(outputs)[0].any()
    assert not to_numpy(outputs)[1, :13].any()
    # From a stabilizer far below all gates, too.
    _, memory, normalizer, stabilizer = layer(x, mask=np.zeros((2, 20), bool))
    assert not to_numpy(memory).any()
    assert not to_numpy(normalizer).any()
    assert (to_numpy(stabilizer) == np.float32(-1e30)).all()


@pytest.mark.parametrize("steps", [4, 40])
@pytest.mark.parametrize("options", [{}, {"exponential_forget_gate": True}], ids=str)
def test_what_exponentials_would_not_survive(options, steps):
    random = np.random.default_rng(0)
    layer = MLSTM(4, heads=2, return_sequences=True, gate_initializer="random_normal", **options)
    x = 1e4 * random.normal(size=(2, steps, 3)).astype("float32")
    # Queries of zeros are no reason to divide by zero.
    x[:, steps // 2 :] = 0
    assert np.isfinite(to_numpy(layer(x))).all()
    variables = layer.trainable_variables
    for gradient in gradients(lambda x: layer(x, training=True), [x], variables):
        assert np.isfinite(gradient).all()


def test_small_gates_of_the_first_step(short_chunks):
    """What is read is small where all that was written is: as much of it as the bound in the divisor lets through."""
    layer = MLSTM(2, return_sequences=True)
    layer.build((1, 9, 1))
    cell = layer.cell
    cell.kernel.assign(np.zeros((1, 8), "float32"))
    cell.bias.assign(np.array([1, 1, 1, 1, 3, 3, 0, 0], "float32"))
    cell.gate_bias.assign(np.array([-30, 30], "float32"))
    expected = 0.5 * 3 * 2 * np.exp(-30.0) * np.arange(1, 10)
    assert_close(to_numpy(layer(np.ones((1, 9, 1), "float32")))[0, :, 0], expected.astype("float32"), 1e-5)


@pytest.mark.parametrize("steps", [4, 40])
def test_compiled_by_xla(steps):
    fused = strategy.engine().compile_fused
    if fused is None:
        pytest.skip("of the backends, TensorFlow alone has a choice")
    x = np.random.default_rng(0).normal(size=(2, steps, 3)).astype("float32")
    layer = MLSTM(4, heads=2, return_sequences=True)
    expected = to_numpy(layer(x))
    assert_close(to_numpy(fused(lambda x: layer(x))(ops.convert_to_tensor(x))), expected, 1e-5)


def test_where_the_gates_start():
    for options, expected in (
        ({}, lambda gate: gate),
        ({"exponential_forget_gate": True}, lambda g: -np.log1p(np.exp(-g))),
    ):
        layer = MLSTM(60, heads=20, use_bias=False, **options)
        layer.build((None, None, 3))
        weights = {weight.name: to_numpy(weight) for weight in layer.weights}
        assert sorted(weights) == ["gate_bias", "gate_kernel", "kernel"]
        input_gate, forget_gate = np.split(weights["gate_bias"], 2)
        assert_close(forget_gate, expected(np.linspace(3, 6, 20)).astype("float32"), 1e-5)
        assert 0.03 < input_gate.std() < 0.2
        assert not weights["gate_kernel"].any()


def test_heads_divide_the_units():
    with pytest.raises(ValueError, match="`heads` must divide `units`. Received: heads=4, units=6"):
        MLSTM(6, heads=4)


def test_what_is_wide_stays_so():
    layer = MLSTM(4, heads=2, dtype="mixed_bfloat16", return_state=True, return_sequences=True)
    outputs, *states = layer(np.random.default_rng(0).normal(size=(2, 40, 3)).astype("float32"))
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
    assert {keras.backend.standardize_dtype(state.dtype) for state in states} == {"float32"}
    assert [tuple(state.shape) for state in states] == [(2, 2, 2, 2), (2, 2, 2), (2, 2)]
