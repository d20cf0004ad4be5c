"""Eager calls, graphs, XLA, tapes, unknown shapes, tf.data, ragged tensors, export."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_rnn_ext
from keras_rnn_ext import (
    LRU,
    MinGRU,
    MyBidirectional,
    MyDense,
    MyEmbedding,
    MyGRU,
    MyGRUCell,
    MyLSTM,
    MyLSTMCell,
    MyRNN,
    MySimpleRNN,
)
from tests.helpers import assert_close

NAMES = ["SimpleRNN", "LSTM", "GRU"]
SEQUENCES = tf.constant(np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32"))
MASK = tf.constant([[True, True, False, True, False], [False, True, True, True, True]])


def twins(name, **options):
    ours, theirs = getattr(keras_rnn_ext, f"My{name}")(4, **options), getattr(keras.layers, name)(4, **options)
    ours.build((None, None, 3))
    theirs.build((None, None, 3))
    ours.set_weights(theirs.get_weights())
    return ours, theirs


CALLS = {
    "eager": lambda function: function,
    "graph": tf.function,
    "XLA": lambda function: tf.function(function, jit_compile=True),
}


def gradients(layer):
    """First and second order, from a persistent tape."""

    def compute(sequences, mask):
        with tf.GradientTape(persistent=True) as outer:
            outer.watch(sequences)
            with tf.GradientTape() as inner:
                inner.watch(sequences)
                loss = tf.reduce_sum(layer(sequences, mask=mask) ** 2)
            first = inner.gradient(loss, sequences)
            size = tf.reduce_sum(first**2)
        return [first, outer.gradient(size, sequences), *outer.gradient(size, layer.trainable_variables)]

    return compute


@pytest.mark.parametrize("style", CALLS)
@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_however_it_is_called(name, style):
    wrap = CALLS[style]
    ours, theirs = twins(name, return_sequences=True)
    actual = wrap(lambda: ours(SEQUENCES, mask=MASK))()
    assert_close(actual, theirs(SEQUENCES, mask=MASK), 1e-6)
    expected = gradients(theirs)(SEQUENCES, MASK)
    # XLA rounds products otherwise, and these are gradients of gradients.
    assert_close(wrap(gradients(ours))(SEQUENCES, MASK), expected, 1e-4 if style == "XLA" else 1e-5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_unknown_batch_and_steps(name, return_sequences, masked):
    ours, theirs = twins(name, return_sequences=return_sequences)
    sequences, mask = tf.TensorSpec((None, None, 3)), tf.TensorSpec((None, None), tf.bool)

    @tf.function(input_signature=[sequences, mask] if masked else [sequences])
    def call(sequences, mask=None):
        return ours(sequences, mask=mask)

    arguments = (SEQUENCES, MASK) if masked else (SEQUENCES,)
    assert_close(call(*arguments), theirs(SEQUENCES, mask=MASK if masked else None), 1e-6)
    for batch, steps in ((2, 0), (0, 5), (1, 1), (0, 0)):
        outputs = call(*(argument[:batch, :steps] for argument in arguments))
        assert tuple(outputs.shape) == ((batch, steps, 4) if return_sequences else (batch, 4))


def test_unknown_shapes_of_a_stack_with_its_states():
    layer = MyRNN([MyLSTMCell(4), keras.layers.GRUCell(3)], return_sequences=True, return_state=True)
    expected = layer(SEQUENCES)
    call = tf.function(layer, input_signature=[tf.TensorSpec((None, None, 3))])
    assert_close(tf.nest.flatten(call(SEQUENCES)), tf.nest.flatten(expected), 1e-6)
    states = expected[1:]
    shape = tf.function(lambda inputs, states: layer(inputs, initial_state=states))
    assert tuple(shape(SEQUENCES[:, :0], states)[0].shape) == (2, 0, 3)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_fit_on_tf_data_with_lengths_that_differ(jit_compile):
    generator = np.random.default_rng(0)
    # XLA compiles the whole training anew for each.
    lengths = (3, 6) if jit_compile else (3, 6, 4)

    def batches():
        for steps in lengths:
            words = generator.integers(1, 9, (8, steps))
            yield words, (words[:, -1:] > 4).astype("float32")

    signature = (tf.TensorSpec((8, None), tf.int64), tf.TensorSpec((8, 1)))
    data = tf.data.Dataset.from_generator(batches, output_signature=signature).cache().repeat(10)
    data = data.apply(tf.data.experimental.assert_cardinality(10 * len(lengths)))
    recurrent = MyLSTM(6, dropout=0.1, recurrent_dropout=0.1, return_sequences=True)
    model = keras.Sequential([MyEmbedding(9, 4), recurrent, MyBidirectional(MyGRU(4)), MyDense(1)])
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.02), loss, jit_compile=jit_compile)
    losses = model.fit(data, epochs=3, shuffle=False, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[0]


def test_eager_calls_run_one_graph():
    layer = MyLSTM(4, return_sequences=True)
    layer(SEQUENCES)
    (program,) = layer._programs.value.values()
    layer(2 * SEQUENCES)
    assert program.experimental_get_tracing_count() == 1
    for steps in (4, 3, 2, 1):
        layer(SEQUENCES[:, :steps])
    # The second new length makes the number of steps a free one.
    assert program.experimental_get_tracing_count() == 2
    tf.config.run_functions_eagerly(True)
    try:
        eagerly = layer(SEQUENCES)
    finally:
        tf.config.run_functions_eagerly(False)
    assert_close(eagerly, layer(SEQUENCES), 1e-6)


def test_weights_are_read_at_each_call():
    layer = MyGRU(4)
    before = layer(SEQUENCES).numpy()
    layer.set_weights([2 * weight for weight in layer.get_weights()])
    assert not np.allclose(before, layer(SEQUENCES))


def test_hand_written_training_loop():
    keras.utils.set_random_seed(0)
    layer, head = MySimpleRNN(8), MyDense(1)
    optimizer = keras.optimizers.Adam(0.02)
    losses = []
    for _ in range(15):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((head(layer(SEQUENCES, training=True)) - SEQUENCES[:, 0, :1]) ** 2)
        variables = layer.trainable_variables + head.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("kind", [MyGRUCell, MyLSTMCell])
def test_cells_by_hand_in_functions_traced_again(kind):
    """A mask cached in one graph must not be used in the next."""
    cell = kind(4, dropout=0.5, recurrent_dropout=0.5)

    @tf.function
    def unrolled(sequences):
        states = cell.get_initial_state(tf.shape(sequences)[0])
        for step in range(5):
            output, states = cell(sequences[:, step], states, training=True)
        return output

    for rows in (2, 1, 2):
        assert unrolled(SEQUENCES[:rows]).shape == (rows, 4)
    output, _ = cell(SEQUENCES[:, 0], cell.get_initial_state(2), training=True)
    assert np.isfinite(output).all()


def test_stateful_layers_in_a_graph():
    layer, other = MyGRU(4, stateful=True), MyGRU(4)
    layer.build(SEQUENCES.shape)
    other.build(SEQUENCES.shape)
    other.set_weights(layer.get_weights())
    call = tf.function(layer)
    call(SEQUENCES)
    assert_close(call(SEQUENCES), other(tf.concat([SEQUENCES, SEQUENCES], axis=1)), 1e-6)


@pytest.mark.parametrize("go_backwards", [False, True])
def test_ragged_sequences(go_backwards):
    rows = [SEQUENCES[0, :2], SEQUENCES[1, :5], SEQUENCES[1, :0]]
    ragged = tf.RaggedTensor.from_row_lengths(tf.concat(rows, axis=0), [2, 5, 0])
    layer = MyLSTM(4, return_sequences=True, return_state=True, go_backwards=go_backwards)
    for call in (layer, tf.function(layer)):
        outputs, *states = call(ragged)
        assert outputs.row_lengths().numpy().tolist() == [2, 5, 0]
        for row in range(3):
            expected, *expected_states = layer(rows[row][None])
            assert_close(outputs[row].numpy(), expected[0].numpy(), 1e-6, scale=1.0)
            assert_close([state[row] for state in states], [state[0] for state in expected_states], 1e-6, scale=1.0)
    last = MyGRU(4)
    assert_close(last(ragged)[0], last(rows[0][None])[0], 1e-6, scale=1.0)


def test_ragged_sequences_through_fit():
    words = tf.ragged.constant([[1, 2, 3], [4], [5, 6]] * 4)
    labels = np.array([[0.0], [1.0], [1.0]] * 4)
    inputs = keras.Input((None,), dtype="int32", ragged=True)
    model = keras.Model(inputs, MyDense(1)(MyGRU(6)(MyEmbedding(9, 4)(inputs))))
    model.compile(keras.optimizers.Adam(0.02), "mse")
    data = tf.data.Dataset.from_tensor_slices((words, labels)).batch(4)
    losses = model.fit(data, epochs=6, shuffle=False, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("layer", [MySimpleRNN, MyLSTM, MyGRU])
def test_export(layer, stateful, tmp_path):
    model = keras.Sequential([keras.Input(batch_shape=(2, 5, 3)), layer(4, stateful=stateful), MyDense(1)])
    expected = model(SEQUENCES)
    if stateful:
        model.layers[0].reset_state()
    model.export(tmp_path, verbose=False)
    served = tf.saved_model.load(tmp_path)
    assert_close(served.serve(SEQUENCES), expected, 1e-6)


@pytest.mark.parametrize("layer", [MySimpleRNN, MyLSTM, MyGRU])
def test_a_saved_model_has_its_gradient(layer, tmp_path):
    model = keras.Sequential([keras.Input((None, 3)), layer(4, return_sequences=True), layer(4)])
    model.export(tmp_path, verbose=False)
    served = tf.saved_model.load(tmp_path)

    def gradient(call):
        with tf.GradientTape() as tape:
            tape.watch(SEQUENCES)
            loss = tf.reduce_sum(call(SEQUENCES) ** 2)
        return tape.gradient(loss, SEQUENCES)

    assert_close(gradient(served.serve), gradient(model), 1e-5)


@pytest.mark.parametrize("layer", [MyLSTM, MyGRU, LRU])
def test_an_exported_graph_has_no_trace_of_training(layer, tmp_path):
    model = keras.Sequential([keras.Input((None, 3)), layer(4, return_sequences=True)])
    model.export(tmp_path, verbose=False)
    # So TensorFlow calls a gradient of one's own, which it would trace and write to the file.
    assert b"CustomGradient" not in (tmp_path / "saved_model.pb").read_bytes()


def test_what_is_exported_of_a_linear_cell_is_explained():
    layers = [MinGRU(4), LRU(4)]
    for layer in layers:
        layer.build((2, 5, 3))
    real, complex_numbers = (layer.explain(exported=True) for layer in layers)
    assert real.startswith("backend tensorflow: parallel scan")
    assert "  exported: without the gradient of its own" in real
    assert "parallel scan: not used: the model is being exported, and most files hold no complex" in complex_numbers
    assert layers[1].explain().startswith("backend tensorflow: parallel scan")


# TensorFlow points at the package that LiteRT has become.
@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
@pytest.mark.parametrize("layer", [MySimpleRNN, MyLSTM, MyGRU])
def test_a_stateful_model_in_litert_needs_its_own_operators_alone(layer, tmp_path):
    model = keras.Sequential([keras.Input(batch_shape=(1, 4, 3)), layer(4, stateful=True), MyDense(1)])
    sequences = SEQUENCES[:1, :4]
    expected = [model(sequences), model(sequences)]
    model.layers[0].reset_state()
    path = tmp_path / "model.tflite"
    own = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    model.export(path.as_posix(), format="litert", verbose=False, target_spec=own)
    interpreter = tf.lite.Interpreter(path.as_posix())
    interpreter.allocate_tensors()
    for each in expected:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sequences.numpy())
        interpreter.invoke()
        assert_close(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), each, 1e-5)


def test_programs_of_an_eager_layer_are_for_what_the_call_needs():
    layer = MyRNN([MyLSTMCell(4, recurrent_dropout=0.5), MyLSTMCell(4)])
    layer(SEQUENCES)
    with tf.GradientTape():
        layer(SEQUENCES)
        layer(SEQUENCES, training=True)
        layer(SEQUENCES, training=True)
    assert len(layer._programs.value) == 3


@pytest.mark.parametrize("fused", [False, True])
def test_a_stateful_layer_refuses_another_batch_size_when_it_runs(fused):
    layer = MyGRU(4, stateful=True)
    layer.build((2, None, 3))
    signature = [tf.TensorSpec((None, None, 3))]
    run = tf.function(lambda sequences: layer(sequences), input_signature=signature, jit_compile=fused)
    assert run(SEQUENCES).shape == (2, 4)
    with pytest.raises(tf.errors.InvalidArgumentError, match="stateful" if not fused else "reshape"):
        run(tf.zeros((4, 3, 3)))


def test_a_functional_model_hands_the_mask_to_a_layer_with_an_initial_state():
    words = keras.Input((None,), dtype="int32")
    embedded = MyEmbedding(9, 3, mask_zero=True)(words)
    _, *states = MyLSTM(4, return_state=True)(embedded)
    model = keras.Model(words, MyLSTM(4)(embedded, initial_state=states))
    padded = model.predict(np.array([[1, 2, 0, 0]]), verbose=0)
    assert_close(padded, model.predict(np.array([[1, 2]]), verbose=0), 1e-6)


@pytest.mark.parametrize("steps", [1, 4, 5])
def test_integer_unroll_trains_under_xla(steps):
    model = keras.Sequential([keras.Input((steps, 3)), MyLSTM(4, unroll=2)])
    model.compile("sgd", "mse", jit_compile=True)
    history = model.fit(SEQUENCES[:, :steps].numpy(), np.zeros((2, 4)), verbose=0).history
    assert np.isfinite(history["loss"]).all()


def test_carried_states_are_found_by_tensorflow(tmp_path):
    model = keras.Sequential([keras.Input(batch_shape=(2, 5, 3)), MyLSTM(4, stateful=True)])
    model(SEQUENCES)
    states = model.layers[0].get_state()
    path = tf.train.Checkpoint(model=model).save(tmp_path / "checkpoint")
    model.layers[0].reset_state()
    tf.train.Checkpoint(model=model).restore(path).assert_existing_objects_matched()
    assert_close(model.layers[0].get_state(), states, 0)
    tf.saved_model.save(model, tmp_path / "saved")
    assert len(model.weights) == 3
    assert [variable.name for variable in model.layers[0].states] == ["rnn_state_0", "rnn_state_1"]
    model.compile("sgd", "mse")
    assert len(keras.tree.flatten(model.get_state_tree()["non_trainable_variables"])) == 3
