"""The loop over blocks with a gradient of its own: against the plain loop, in every form that it takes."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from keras_rnn_ext import MyBidirectional, MyGRU, MyGRUCell, MyLSTM, MyLSTMCell, MyRNN, MySimpleRNN
from keras_rnn_ext.core import strategy
from keras_rnn_ext.engine.tensorflow import blocks
from keras_rnn_ext.engine.tensorflow.block_loops import MOST_STEPS, BlockLoops, block_of
from keras_rnn_ext.engine.tensorflow.blocks import BlockLoop, parts_of
from keras_rnn_ext.engine.tensorflow.gates import AnyGate, gate_of
from tests.helpers import assert_close

LAYERS = [MySimpleRNN, MyLSTM, MyGRU]


def prepared(layer, batch=3, steps=25, features=2, masked=False, differentiable=True, seed=0):
    """A plan and the tensors of a call, as `strategy.run` gets them."""
    random = np.random.default_rng(seed)
    layer.build((batch, steps, features))
    mask = tf.constant(random.random((batch, steps)) < 0.6) if masked else None
    states = [tf.constant(random.normal(size=(batch, layer.cell.units))) for _ in layer.cell.state_sizes]
    inputs = tf.constant(random.normal(size=(batch, steps, features)))
    states = [tf.cast(state, layer.compute_dtype) for state in states]
    _, plan, feed, _ = layer.prepare(tf.cast(inputs, layer.compute_dtype), states, mask, training=True)
    return dataclasses.replace(plan, differentiable=differentiable), feed


def results(row, plan, feed):
    """Outputs, states, and the gradients of inputs, states and weights."""

    @tf.function
    def compute(inputs, states, weights):
        with tf.GradientTape() as tape:
            tape.watch((inputs, states, weights))
            outputs, last = row.run(plan, feed._replace(inputs=inputs, states=states, weights=weights))
            loss = tf.reduce_sum(outputs**2) + sum(tf.reduce_sum(state) * (2 + at) for at, state in enumerate(last))
        return outputs, last, tape.gradient(loss, (inputs, states, weights), unconnected_gradients="zero")

    return compute(feed.inputs, feed.states, feed.weights)


def assert_as_the_plain_loop(plan, feed, rtol=1e-12):
    assert BlockLoop().obstacle(plan) is None
    plain = strategy.engine().strategies[-1]
    assert_close(results(BlockLoop(), plan, feed), results(plain, plan, feed), rtol, scale=1.0)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("layer", LAYERS)
def test_blocks_and_a_rest(layer, return_sequences, masked):
    # Three blocks and two single steps.
    plan, feed = prepared(layer(4, return_sequences=return_sequences, dtype="float64"), steps=23, masked=masked)
    assert block_of(plan, feed.inputs) == (7, True, 1)
    assert_as_the_plain_loop(plan, feed)


@pytest.mark.parametrize("layer", LAYERS)
def test_products_of_the_whole_sequence_where_the_weights_are_large(layer):
    plan, feed = prepared(layer(40, return_sequences=True, dtype="float64"), batch=1, features=30)
    assert block_of(plan, feed.inputs)[1] is False
    assert_as_the_plain_loop(plan, feed)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("layer", LAYERS)
def test_products_of_portions_of_the_sequence(layer, masked):
    made = layer(16, return_sequences=True, dtype="float64")
    plan, feed = prepared(made, batch=1, features=10, steps=107, masked=masked)
    assert block_of(plan, feed.inputs)[1:] == (False, 4)
    assert_as_the_plain_loop(plan, feed)


@pytest.mark.parametrize(
    ("layer", "batch", "parts"),
    [
        (MySimpleRNN(64), 128, {2: 1, 4: 1}),  # too little for two
        (MyLSTM(64), 128, {1: 1, 2: 2, 3: 3, 4: 4, 64: 4}),
        (MyLSTM(64), 512, {2: 2, 16: 16}),
        (MyLSTM(64), 4096, {2: 1, 64: 64}),  # two threads share one operation as well
        (MyGRU(16), 512, {2: 2, 4: 3}),
    ],
)
def test_as_many_parts_of_the_batch_as_there_are_cores(layer, batch, parts, monkeypatch):
    plan, feed = prepared(layer, batch=batch, features=8)
    found = {}
    for count in parts:
        monkeypatch.setattr(blocks, "cores", lambda count=count: count)
        found[count] = parts_of(plan, feed)
        assert parts_of(dataclasses.replace(plan, differentiable=False), feed) == found[count]
        # The loop of the other direction runs at the same time.
        assert parts_of(dataclasses.replace(plan, accompanied=True), feed) == 1
    assert found == parts


def test_with_large_weights_a_gradient_takes_no_parts(monkeypatch):
    monkeypatch.setattr(blocks, "cores", lambda: 2)
    plan, feed = prepared(MyLSTM(256), batch=64, features=300)
    assert parts_of(dataclasses.replace(plan, differentiable=False), feed) > 1
    assert parts_of(plan, feed) == 1


def test_threads_that_the_user_set_count(monkeypatch):
    monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: 3)
    assert blocks.cores() == 3


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("layer", LAYERS)
def test_dropout_is_the_same_in_both(layer, masked):
    made = layer(4, dropout=0.4, recurrent_dropout=0.3, return_sequences=True, dtype="float64")
    plan, feed = prepared(made, masked=masked)
    assert feed.noise
    assert_as_the_plain_loop(plan, feed)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(
    ("layer", "options"),
    [
        (MySimpleRNN, {"activation": "softsign"}),
        (MyLSTM, {"activation": "softsign", "recurrent_activation": "hard_sigmoid"}),
        (MyGRU, {"activation": "elu"}),
        (MyGRU, {"activation": None, "use_bias": False}),
        (MySimpleRNN, {"activation": "softmax"}),
        (MyLSTM, {"activation": "softmax"}),
    ],
)
def test_a_cell_without_a_gradient_written_out(layer, options, recompute):
    made = layer(4, return_sequences=True, dtype="float64", recompute=recompute, **options)
    plan, feed = prepared(made, masked=True)
    assert isinstance(gate_of(plan), AnyGate)
    assert_as_the_plain_loop(plan, feed)


class Peeping(MyLSTMCell):
    """Has a weight that its gates read."""

    pure = summed = True

    def build(self, input_shape):
        super().build(input_shape)
        self.peephole_initializer = keras.initializers.RandomNormal(seed=0)
        self.peephole_regularizer = self.peephole_constraint = None
        self.peephole_kernel = self.add("peephole_kernel", (3, self.units))

    def gate(self, projected, recurrent, states, weights):
        carry, peepholes = states[1], tf.unstack(weights["peephole_kernel"])
        input_gate, forget_gate, candidate, output_gate = tf.split(projected + recurrent, 4, axis=-1)
        kept = tf.sigmoid(forget_gate + peepholes[1] * carry) * carry
        carry = kept + tf.sigmoid(input_gate + peepholes[0] * carry) * tf.tanh(candidate)
        hidden = tf.sigmoid(output_gate + peepholes[2] * carry) * tf.tanh(carry)
        return hidden, [hidden, carry]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("features", [2, 200])
def test_gates_with_weights_of_their_own(features, masked):
    plan, feed = prepared(
        MyRNN(Peeping(4, dtype="float64"), return_sequences=True, dtype="float64"), features=features, masked=masked
    )
    assert isinstance(gate_of(plan), AnyGate)
    assert_as_the_plain_loop(plan, feed)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("layer", LAYERS)
def test_recomputation_changes_no_number(layer, return_sequences, masked):
    options = {"return_sequences": return_sequences, "dropout": 0.4, "recurrent_dropout": 0.3, "dtype": "float64"}
    plan, feed = prepared(layer(4, recompute=True, **options), steps=23, masked=masked)
    assert plan.recompute
    assert_as_the_plain_loop(plan, feed)


@pytest.mark.parametrize("layer", LAYERS)
def test_gradient_outside_of_training(layer):
    plan, feed = prepared(layer(4, return_sequences=True, dtype="float64"), masked=True, differentiable=False)
    assert_as_the_plain_loop(plan, feed)


@pytest.mark.parametrize("differentiable", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("cores", [2, 3])
def test_parts_of_a_batch_that_cannot_be_shared_equally(cores, masked, differentiable, monkeypatch):
    monkeypatch.setattr(blocks, "cores", lambda: cores)
    options = {"dropout": 0.4, "recurrent_dropout": 0.3, "dtype": "float64"}
    layer = MyGRU(43, return_sequences=True, **options)
    plan, feed = prepared(layer, batch=331, steps=11, masked=masked, differentiable=differentiable)
    assert parts_of(plan, feed) == cores
    assert_as_the_plain_loop(plan, feed)
    assert_as_the_plain_loop(dataclasses.replace(plan, return_sequences=False), feed)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_parts_of_a_batch_of_unknown_size(jit_compile, monkeypatch):
    monkeypatch.setattr(blocks, "cores", lambda: 2)
    layer = MyGRU(50, return_sequences=True, return_state=True)
    layer.build((None, 7, 2))
    signature = [tf.TensorSpec((None, 7, 2)), tf.TensorSpec((None, 7), tf.bool)]
    compute = tf.function(lambda x, mask: layer(x, mask=mask), input_signature=signature, jit_compile=jit_compile)
    for batch in (1, 2, 7):
        sequences = tf.random.stateless_normal((batch, 7, 2), (batch, 0))
        mask = tf.random.stateless_uniform((batch, 7), (batch, 1)) < 0.6
        assert_close(compute(sequences, mask), layer(sequences, mask=mask), 1e-6)


def test_gradient_of_parts_without_a_row(monkeypatch):
    monkeypatch.setattr(blocks, "cores", lambda: 4)
    layer = MyLSTM(64, return_sequences=True)
    layer.build((None, 7, 2))
    runs, split = [], blocks._split
    monkeypatch.setattr(blocks, "_split", lambda feed, parts: runs.append(parts) or split(feed, parts))

    def gradient(sequences):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(sequences) ** 2)
        return tape.gradient(loss, layer.trainable_variables)

    compute = tf.function(gradient, input_signature=[tf.TensorSpec((None, 7, 2))])
    for batch in (1, 3):
        sequences = tf.random.stateless_normal((batch, 7, 2), (batch, 0))
        assert_close(compute(sequences), gradient(sequences), 1e-5, scale=1.0)
    assert 4 in runs


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("layer", LAYERS)
def test_inference_with_a_number_of_steps_unknown_when_it_is_traced(layer, jit_compile):
    made = layer(3, return_sequences=True, return_state=True)
    made.build((None, None, 2))
    signature = [tf.TensorSpec((None, None, 2))]
    compute = tf.function(lambda x: made(x, training=False), input_signature=signature, jit_compile=jit_compile)
    for steps in (3, 10, 20, 23):
        sequences = tf.random.stateless_normal((2, steps, 2), (0, steps))
        assert_close(compute(sequences), made(sequences), 1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("layer", LAYERS)
def test_number_of_steps_unknown_when_it_is_traced(layer, jit_compile):
    made = layer(3, return_sequences=True, return_state=True)
    made.build((None, None, 2))
    whole = tf.function(lambda x: made(x, training=True))

    @tf.function(input_signature=[tf.TensorSpec((None, None, 2))], jit_compile=jit_compile)
    def compute(sequences):
        with tf.GradientTape() as tape:
            tape.watch(sequences)
            outputs = made(sequences, training=True)
            loss = tf.add_n([tf.reduce_sum(each**2) for each in outputs])
        return outputs, tape.gradient(loss, sequences)

    # TensorFlow cannot compile a loop over no steps with XLA if their number was unknown when it was traced.
    for batch, steps in ((2, 23), (1, 3), (4, 10), *([] if jit_compile else [(2, 0)])):
        sequences = tf.random.stateless_normal((batch, steps, 2), (batch, steps))
        with tf.GradientTape() as tape:
            tape.watch(sequences)
            outputs = whole(sequences)
            loss = tf.add_n([tf.reduce_sum(each**2) for each in outputs])
        expected = (outputs, tape.gradient(loss, sequences, unconnected_gradients="zero"))
        assert_close(compute(sequences), expected, 1e-5)


@pytest.mark.parametrize("layer", LAYERS)
def test_last_output_of_an_unknown_number_of_steps(layer):
    made = layer(3)
    made.build((None, None, 2))
    state = tf.ones((2, 3))
    states = [state for _ in made.cell.state_sizes]

    @tf.function(input_signature=[tf.TensorSpec((2, None, 2))])
    def compute(sequences):
        return made(sequences, initial_state=states, training=True)

    sequences = tf.random.stateless_normal((2, 4, 2), (0, 0))
    assert_close(compute(sequences), made(sequences, initial_state=states), 1e-6)
    # No step, no output, whatever the state is.
    assert not compute(sequences[:, :0]).numpy().any()


@given(
    steps=st.none() | st.integers(0, 1000),
    batch=st.none() | st.integers(1, 512),
    units=st.integers(1, 2048),
    unroll=st.just(False) | st.integers(1, 30),
)
def test_a_block_has_some_steps(steps, batch, units, unroll):
    cell = MyGRUCell(units)
    cell.features = 8
    count, *_ = block_of(strategy.Plan(cell, unroll=unroll), tf.keras.Input((batch, 8), batch_size=steps))
    if unroll:
        assert count == unroll
    else:
        assert 1 <= count <= MOST_STEPS
        assert not steps or steps > MOST_STEPS or count <= steps


def test_a_subclass_runs_what_it_says():
    class Louder(MyGRUCell):
        pure = True

        def gate(self, projected, recurrent, states, weights):
            _, (hidden,) = super().gate(projected, recurrent, states, weights)
            hidden = 2 * hidden
            return hidden, (hidden,)

    plan, feed = prepared(MyRNN(Louder(4, dtype="float64"), return_sequences=True, dtype="float64"))
    assert isinstance(gate_of(plan), AnyGate)
    assert_as_the_plain_loop(plan, feed)


def test_a_gated_cell_gives_its_first_state():
    class Strange(MyGRUCell):
        def gate(self, projected, recurrent, states, weights):
            return -states[0], [states[0]]

    cell = Strange(2)
    with pytest.raises(ValueError, match="The output of a gated cell must be its first state"):
        AnyGate(cell).forward(tf.zeros((1, 6)), tf.zeros((1, 6)), [tf.zeros((1, 2))], {})


def test_steps_can_be_debugged():
    layer = MyLSTM(3, return_sequences=True)
    sequences = tf.random.stateless_normal((2, 5, 2), (0, 0))
    expected = layer(sequences)
    tf.config.run_functions_eagerly(True)
    try:
        assert_close(MyRNN(layer.cell, return_sequences=True)(sequences), expected, 1e-6)
    finally:
        tf.config.run_functions_eagerly(False)


def test_recompute_is_saved_with_the_layer():
    assert keras.layers.deserialize(keras.layers.serialize(MyLSTM(3, recompute=True))).recompute is True
    assert "recompute" not in MyLSTM(3).get_config()


@pytest.mark.parametrize("training", [None, False, True])
@pytest.mark.parametrize("where", ["tape in the graph", "tape around the graph", "eagerly"])
def test_one_run_forward_for_a_gradient_whether_or_not_training_is_said(where, training, monkeypatch):
    runs, forward = [], BlockLoops.forward
    monkeypatch.setattr(BlockLoops, "forward", lambda *arguments: runs.append(1) or forward(*arguments))
    inner = keras.Sequential([MyBidirectional(MyGRU(3, return_sequences=True)), keras.layers.Dense(2)])
    model = keras.Sequential([keras.Input((None, 2)), inner, MyLSTM(3)])
    inputs, said = tf.random.normal((2, 13, 2)), {} if training is None else {"training": training}

    def outputs(inputs):
        return model(inputs, **said)

    def gradient(inputs):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(called(inputs) ** 2)
        return tape.gradient(loss, model.trainable_variables)

    called = tf.function(outputs) if where == "tape around the graph" else outputs
    found = (tf.function(gradient) if where == "tape in the graph" else gradient)(inputs)
    assert len(runs) == 3
    monkeypatch.undo()
    row = strategy.engine().strategies[-1]
    monkeypatch.setattr(strategy, "choose", lambda plan: row)
    assert_close(found, gradient_by_plain_loop(model, inputs), 1e-5, scale=1.0)


def gradient_by_plain_loop(model, inputs):
    """The gradient, in a graph of its own."""

    @tf.function
    def gradient(inputs):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(inputs, training=True) ** 2)
        return tape.gradient(loss, model.trainable_variables)

    return gradient(inputs)
