"""`jit`, `grad`, `stateless_call`, and what a trace must not leave behind."""

import functools

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from jax.experimental import rnn

import keras_rnn_ext
from keras_rnn_ext import MyDense, MyGRU, MyGRUCell, MyLSTM, MyRNN, MySimpleRNN
from keras_rnn_ext.core import strategy
from keras_rnn_ext.engine import jax as engine
from keras_rnn_ext.engine.jax import choices
from tests.helpers import assert_close, to_numpy

NAMES = ["SimpleRNN", "LSTM", "GRU"]
SEQUENCES = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32"))


@pytest.mark.parametrize("name", NAMES)
def test_jit_and_grad(name):
    layer = getattr(keras_rnn_ext, f"My{name}")(4)
    expected = layer(SEQUENCES)
    # The loop inside another program is compiled anew and may round otherwise.
    assert_close(to_numpy(jax.jit(layer)(SEQUENCES)), to_numpy(expected), 1e-6)

    def loss(sequences):
        return jnp.sum(layer(sequences) ** 2)

    gradient = jax.grad(loss)(SEQUENCES)
    assert_close(to_numpy(jax.jit(jax.grad(loss))(SEQUENCES)), to_numpy(gradient), 1e-5)
    assert jax.hessian(loss)(SEQUENCES).shape == 2 * SEQUENCES.shape
    assert jax.vmap(lambda one: layer(one[None])[0])(SEQUENCES).shape == (2, 4)


@pytest.mark.parametrize("name", NAMES)
def test_stateless_call_gives_the_new_state(name):
    layer = getattr(keras_rnn_ext, f"My{name}")(4, stateful=True, dropout=0.5, seed=1)
    layer.build(SEQUENCES.shape)
    before = layer.get_state()
    trainable = [variable.value for variable in layer.trainable_variables]
    other = [variable.value for variable in layer.non_trainable_variables]

    @jax.jit
    def call(other):
        return layer.stateless_call(trainable, other, SEQUENCES, training=True)

    first, other = call(other)
    second, _ = call(other)
    assert not np.allclose(first, second)
    # Nothing was written to the layer.
    assert_close(layer.get_state(), before, 0)


def test_gradients_of_weights():
    layer = MyGRU(4)
    layer.build(SEQUENCES.shape)
    values = [variable.value for variable in layer.trainable_variables]

    def loss(values):
        outputs, _ = layer.stateless_call(values, [v.value for v in layer.non_trainable_variables], SEQUENCES)
        return jnp.sum(outputs)

    gradients = jax.grad(loss)(values)
    assert all(np.abs(gradient).max() > 0 for gradient in gradients)


def test_a_cell_by_hand_in_programs_compiled_again():
    cell = MyGRUCell(4, dropout=0.5, recurrent_dropout=0.5, seed=1)
    cell.build((None, 3))

    def unrolled(sequences):
        states = cell.get_initial_state(sequences.shape[0])
        for step in range(5):
            output, states = cell(sequences[:, step], states, training=True)
        cell.reset_dropout_mask()
        cell.reset_recurrent_dropout_mask()
        return output

    seed = cell.seed_generator.state
    for rows in (2, 1, 2):
        with keras.StatelessScope(state_mapping=[(seed, seed.value)]):
            assert jax.jit(unrolled)(SEQUENCES[:rows]).shape == (rows, 4)


def test_eager_calls_compile_once():
    layer = MyLSTM(4)
    layer(SEQUENCES)
    (program,) = layer._programs.value.values()
    layer(2 * SEQUENCES)
    assert program._cache_size() == 1


@pytest.mark.parametrize("layer", [MyGRU(4, stateful=True), MyRNN([MyGRUCell(4), MyGRUCell(3)], stateful=True)])
def test_states_can_be_reset_between_epochs(layer):
    model = keras.Sequential([keras.Input(batch_shape=SEQUENCES.shape), layer, MyDense(1)])
    model.compile("sgd", "mse")
    seen = []

    class Reset(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            layer.reset_state()

        def on_epoch_end(self, epoch, logs=None):
            seen.append(keras.tree.flatten(layer.get_state()))

    model.optimizer.learning_rate = 0.0
    model.fit(SEQUENCES, np.zeros((2, 1)), epochs=2, shuffle=False, verbose=0, callbacks=[Reset()])
    assert_close(seen[1], seen[0], 1e-6)


# cuDNN's LSTM, without a GPU: in the place of the kernel stands JAX's own reference for it.


@pytest.fixture
def gpu(monkeypatch):
    """A machine with a GPU, as far as anybody asks."""

    def kernel(x, h_0, c_0, weights, seq_lengths, input_size, hidden_size, num_layers, dropout, bidirectional):
        parts = rnn.unpack_lstm_weights(weights, input_size, hidden_size, num_layers, bidirectional)
        return rnn.lstm_ref(
            x, h_0, c_0, *parts, seq_lengths, input_size, hidden_size, num_layers, dropout, bidirectional
        )

    monkeypatch.setattr(engine, "has_gpu", lambda: True)
    monkeypatch.setattr(rnn, "lstm", kernel)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", [{}, {"use_bias": False}, {"dropout": 0.5}, {"return_sequences": True}])
def test_cudnn_computes_what_the_loop_computes(gpu, options, masked):
    layer = MyLSTM(4, **options)
    sequences = np.random.default_rng(0).normal(size=(3, 6, 2)).astype("float32")
    mask = jnp.asarray([[1, 1, 1, 1, 1, 1], [0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]], bool) if masked else None
    layer.build(sequences.shape)
    states = [jnp.full((3, 4), 0.5), jnp.full((3, 4), -0.5)]
    _, plan, feed, _ = layer.prepare(sequences, states, mask, training=True)
    chosen, loop = strategy.choose(plan), strategy.engine().strategies[-1]
    assert chosen.name == "cuDNN layer"

    def loss(way, inputs, weights):
        outputs, states = way.run(plan, feed._replace(inputs=inputs, weights=weights))
        return sum(jnp.sum(jnp.sin(each)) for each in (outputs, *states)), (outputs, states)

    found = [
        jax.value_and_grad(functools.partial(loss, way), argnums=(0, 1), has_aux=True)(feed.inputs, feed.weights)
        for way in (chosen, loop)
    ]
    assert_close(*found, 1e-5)


@pytest.mark.parametrize(
    ("layer", "facts", "reason"),
    [
        (lambda: MyLSTM(4), {"training": True, "masked": True}, None),
        (lambda: MyLSTM(4, recurrent_dropout=0.5), {"training": True}, "cuDNN's layers have no recurrent dropout"),
        (lambda: MyGRU(4), {}, "of cuDNN's layers JAX has the LSTM alone"),
        (lambda: MyLSTM(4, dtype="mixed_bfloat16"), {}, "JAX calls cuDNN in float32 alone"),
        (lambda: MyLSTM(4, use_cudnn=False), {}, "`use_cudnn=False`"),
        (lambda: MyLSTM(4, recompute=True), {}, "`recompute=True`, and cuDNN keeps what it needs"),
        (lambda: MyLSTM(4, unroll=True), {}, "`unroll=True`"),
    ],
)
def test_when_cudnn_runs(gpu, layer, facts, reason):
    text = layer().explain(**facts)
    if reason is None:
        assert text.startswith("backend jax: cuDNN layer")
    else:
        assert f"cuDNN layer: not used: {reason} " in text
        assert not text.startswith("backend jax: cuDNN layer")


def test_without_a_gpu():
    assert "cuDNN layer: not used: JAX sees no GPU with CUDA " in MyLSTM(4).explain()


@pytest.mark.parametrize(
    ("layer", "facts", "name"),
    [
        # The product of the inputs is smaller than they are.
        (MySimpleRNN(4), {"batch": 64}, "projected loop"),
        (MySimpleRNN(32), {"batch": 64}, "loop"),
        (MyLSTM(8), {"batch": 64}, "loop"),
        # A small step.
        (MyLSTM(8), {"batch": 64, "training": True}, "projected loop"),
        (MyGRU(64), {"batch": 128, "training": True}, "loop"),
        # With masks per gate there is something to do beside the input product.
        (MyLSTM(32, recurrent_dropout=0.5), {"batch": 128, "training": True}, "loop"),
        (MyLSTM(31, recurrent_dropout=0.5), {"batch": 128, "training": True}, "projected loop"),
        # Few rows: the gradients of the weights are what costs.
        (MyLSTM(512), {"batch": 64, "training": True}, "tangent loop"),
        (MyLSTM(511), {"batch": 64, "training": True}, "loop"),
        (MyGRU(512), {"batch": 32, "training": True}, "tangent loop"),
        (MyGRU(511), {"batch": 32, "training": True}, "loop"),
        (MySimpleRNN(8), {"batch": 512, "training": True}, "tangent loop"),
        (MySimpleRNN(8, recompute=True), {"batch": 512, "training": True}, "projected loop"),
    ],
)
def test_what_runs_is_what_was_measured_to_be_fastest(layer, facts, name):
    layer.build((None, None, 16))
    assert layer.explain(**facts).startswith(f"backend jax: {name}\n")


def test_on_a_gpu_nothing_was_measured(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    layer = MyGRU(512)
    layer.build((None, None, 16))
    text = layer.explain(batch=32, training=True)
    assert text.startswith("backend jax: projected loop\n")
    assert "tangent loop: not used: it was measured on CPUs alone " in text


def test_wide_layers_take_two_steps_a_turn():
    cases = [(8, False), (choices.WIDE, False), (choices.WIDE, 4), (choices.WIDE, True)]
    turns = [choices.with_turns(strategy.Plan(built(units), unroll=unroll)).unroll for units, unroll in cases]
    assert turns == [False, 2, 4, True]


def built(units):
    layer = MyLSTM(units)
    layer.build((None, None, 3))
    return layer.cell


@pytest.mark.parametrize("training", [None, False, True])
@pytest.mark.parametrize("layer", [MySimpleRNN, MyLSTM, MyGRU])
def test_a_model_of_any_batch_size_is_built_whatever_training_says(layer, training):
    inputs = keras.Input((5, 3))
    said = {} if training is None else {"training": training}
    model = keras.Model(inputs, layer(4)(inputs, **said))
    assert model.output_shape == (None, 4)
