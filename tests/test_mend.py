"""Where Keras is wrong: its answer and ours, side by side. Row by row of `docs/differences.md`."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_rnn_ext
from keras_rnn_ext import (
    MyBidirectional,
    MyGRU,
    MyGRUCell,
    MyLSTM,
    MyLSTMCell,
    MyRNN,
    MySimpleRNN,
    get_states,
    reset_states,
    set_states,
)
from tests.helpers import BACKEND, assert_close, to_numpy

SEQUENCES = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
ONLY_KERAS_ON_JAX_IS_WRONG = BACKEND == "jax"


def same_weights(ours, theirs, inputs=SEQUENCES):
    theirs.build(inputs.shape)
    ours.build(inputs.shape)
    ours.set_weights(theirs.get_weights())


def stateful_model(layer):
    return keras.Sequential([keras.Input(batch_shape=SEQUENCES.shape), layer])


# G1


def test_g1_stateful_layers_carry_their_state_through_predict():
    ours, theirs = stateful_model(MyGRU(4, stateful=True)), stateful_model(layers.GRU(4, stateful=True))
    ours.set_weights(theirs.get_weights())
    once = layers.GRU(4)
    once.build(SEQUENCES.shape)
    once.set_weights(theirs.get_weights())
    expected = [once(SEQUENCES), once(np.concatenate([SEQUENCES, SEQUENCES], axis=1))]
    for number in range(2):
        assert_close(ours.predict(SEQUENCES, verbose=0), to_numpy(expected[number]), 1e-6)
    answers = [theirs.predict(SEQUENCES, verbose=0) for _ in range(2)]
    # Keras on JAX starts from zeros again.
    assert np.array_equal(*answers) == ONLY_KERAS_ON_JAX_IS_WRONG


def test_g1_stateful_layers_carry_their_state_through_fit_and_evaluate():
    def train(layer):
        model = stateful_model(layer)
        model.compile(keras.optimizers.SGD(0.0), "mse")
        model.fit(SEQUENCES, np.zeros((2, 4)), epochs=3, shuffle=False, verbose=0)
        model.evaluate(SEQUENCES, np.zeros((2, 4)), verbose=0)
        return layer

    ours = train(MyLSTM(4, stateful=True))
    once = MyLSTM(4, return_state=True)
    once.build(SEQUENCES.shape)
    once.set_weights(ours.get_weights())
    _, *expected = once(np.concatenate([SEQUENCES] * 4, axis=1))
    assert_close(ours.get_state(), to_numpy(expected), 1e-6)
    if BACKEND == "torch":
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            train(layers.LSTM(4, stateful=True))
        return
    theirs = train(layers.LSTM(4, stateful=True))
    assert (not to_numpy(theirs.states[0]).any()) == ONLY_KERAS_ON_JAX_IS_WRONG


def test_g1_the_state_is_no_weight():
    layer = MyLSTM(4, stateful=True)
    layer.build(SEQUENCES.shape)
    assert len(layer.weights) == len(layer.get_weights()) == 3
    assert len(layer.non_trainable_variables) == 3  # h, c and the seed


# G2


@pytest.mark.parametrize("layer", [MySimpleRNN, MyLSTM, MyGRU])
def test_g2_going_backwards_keeps_the_order_of_processing(layer):
    outputs, state, *_ = layer(4, go_backwards=True, return_sequences=True, return_state=True)(SEQUENCES)
    np.testing.assert_array_equal(to_numpy(outputs)[:, -1], to_numpy(state))


# G3


@keras.saving.register_keras_serializable("tests")
class NoisyCell(layers.Layer):
    """Draws inside its step."""

    state_size = output_size = 2

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(1)

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

    def call(self, inputs, states):
        noise = keras.random.normal(ops.shape(states[0]), seed=self.seed_generator)
        return self.scale * noise, [states[0]]


def test_g3_noise_inside_a_step_differs_from_step_to_step():
    outputs = to_numpy(MyRNN(NoisyCell(), return_sequences=True)(SEQUENCES))
    assert len(np.unique(outputs)) == outputs.size
    if ONLY_KERAS_ON_JAX_IS_WRONG:
        outputs = to_numpy(layers.RNN(NoisyCell(), return_sequences=True)(SEQUENCES))
        assert len(np.unique(outputs)) == outputs.size // SEQUENCES.shape[1]


def test_g3_noise_inside_a_step_serves_fit_and_predict():
    model = stateful_model(MyRNN(NoisyCell(), return_sequences=True))
    model.compile("sgd", "mse")
    model.fit(SEQUENCES, np.zeros((2, 5, 2)), verbose=0)
    first, second = model.predict(SEQUENCES, verbose=0), model.predict(SEQUENCES, verbose=0)
    assert len(np.unique([first, second])) == 2 * first.size
    if ONLY_KERAS_ON_JAX_IS_WRONG:
        import jax

        with pytest.raises(jax.errors.UnexpectedTracerError):
            theirs = stateful_model(layers.RNN(NoisyCell(), return_sequences=True))
            theirs.predict(SEQUENCES, verbose=0)
            theirs.predict(SEQUENCES, verbose=0)


@pytest.mark.parametrize("steps", [1, 7])
def test_g3_our_layers_draw_once_per_call_however_many_steps(steps):
    layer = MyLSTM(4, dropout=0.3, recurrent_dropout=0.3, seed=5)
    layer.build((2, None, 3))
    before = to_numpy(layer.cell.seed_generator.state)
    layer(np.ones((2, steps, 3), "float32"), training=True)
    # One draw for the inputs, one for the state.
    np.testing.assert_array_equal(to_numpy(layer.cell.seed_generator.state) - before, [0, 2])


# G4


@pytest.mark.parametrize(("ours", "theirs"), [(MyLSTM, layers.LSTM), (MyGRU, layers.GRU)])
def test_g4_dropout_with_one_mask_per_gate_trains(ours, theirs):
    layer = ours(4, dropout=0.5, implementation=1)
    assert np.isfinite(to_numpy(layer(SEQUENCES, training=True))).all()
    noise = layer.cell.draw_noise(ops.ones((2, 3)), [ops.ones((2, 4))], True)
    assert tuple(noise["inputs"].shape) == (layer.cell.gates, 2, 3)
    # Its mask has one axis too many.
    with pytest.raises(Exception, match=r"Rank of input|Cannot broadcast|number of sizes provided"):
        theirs(4, dropout=0.5, implementation=1)(SEQUENCES, training=True)


# G5


@keras.saving.register_keras_serializable("tests")
class SwappedCell(layers.Layer):
    """Its output is not its first state."""

    state_size = (2, 3)
    output_size = 3

    def call(self, inputs, states):
        short, long = states
        return 2 * long + inputs, [short + inputs[:, :2], long + inputs]


def test_g5_masked_steps_mean_the_same_for_every_cell():
    mask = np.array([[False, True, False, True, False], [True, True, False, False, False]])
    start = [np.ones((2, 2), "float32"), np.ones((2, 3), "float32")]
    outputs, short, long = MyRNN(SwappedCell(), return_sequences=True, return_state=True)(
        SEQUENCES, mask=mask, initial_state=start
    )
    h = np.ones((2, 3), "float32")
    last, expected = np.zeros((2, 3), "float32"), []
    for step in range(5):
        valid = mask[:, step, None]
        last = np.where(valid, 2 * h + SEQUENCES[:, step], last)
        h = np.where(valid, h + SEQUENCES[:, step], h)
        expected.append(last)
    assert_close(to_numpy([outputs, short, long]), [np.stack(expected, axis=1), h[:, :2], h], 1e-6)
    if ONLY_KERAS_ON_JAX_IS_WRONG:
        with pytest.raises((TypeError, ValueError)):
            layers.RNN(SwappedCell(), return_sequences=True)(SEQUENCES, mask=mask, initial_state=start)


def test_g5_masked_steps_before_the_first_valid_one_give_zeros():
    ours, theirs = MyGRU(4, return_sequences=True), layers.GRU(4, return_sequences=True)
    same_weights(ours, theirs)
    mask = np.array([[False, False, True, True, True]] * 2)
    start = np.ones((2, 4), "float32")
    assert not to_numpy(ours(SEQUENCES, mask=mask, initial_state=start))[:, :2].any()
    answer = to_numpy(theirs(SEQUENCES, mask=mask, initial_state=start))[:, :2]
    assert answer.any() == ONLY_KERAS_ON_JAX_IS_WRONG


# G6


@pytest.mark.parametrize("unroll", [False, True, 2])
def test_g6_zero_output_for_mask_holds_when_unrolled(unroll):
    mask = np.array([[True, False, True, False, False]] * 2)
    options = {"return_sequences": True, "zero_output_for_mask": True}
    outputs = to_numpy(MyLSTM(4, unroll=unroll, **options)(SEQUENCES, mask=mask))
    assert not outputs[:, [1, 3, 4]].any()
    assert outputs[:, [0, 2]].all()
    if unroll is True:
        answer = to_numpy(layers.LSTM(4, unroll=True, **options)(SEQUENCES, mask=mask))
        assert answer[:, [1, 3, 4]].any() == ONLY_KERAS_ON_JAX_IS_WRONG


# G7


def test_g7_a_stack_of_one_cell():
    layer = MyRNN([MyGRUCell(4)], return_state=True)
    output, state = layer(SEQUENCES)
    np.testing.assert_array_equal(to_numpy(output), to_numpy(keras.tree.flatten(state)[0]))
    if ONLY_KERAS_ON_JAX_IS_WRONG:
        with pytest.raises(TypeError):
            layers.RNN([layers.GRUCell(4)])(SEQUENCES)


# G8


def test_g8_stacked_states_can_be_reset():
    model = stateful_model(MyRNN([MyLSTMCell(4), MyGRUCell(3)], stateful=True))
    model.predict(SEQUENCES, verbose=0)
    layer = model.layers[0]
    assert all(value.any() for value in keras.tree.flatten(layer.get_state()))
    layer.reset_state()
    assert not any(value.any() for value in keras.tree.flatten(layer.get_state()))
    theirs = layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)], stateful=True)
    theirs(SEQUENCES)
    with pytest.raises(AttributeError):
        theirs.reset_state()


class OnesCell(layers.Layer):
    """Starts at ones."""

    state_size = 3

    def get_initial_state(self, batch_size=None):
        return [ops.ones((batch_size, 3))]

    def call(self, inputs, states):
        return states[0] + inputs, [states[0] + inputs]


def test_g8_reset_gives_the_initial_state_of_the_cell():
    ours, theirs = MyRNN(OnesCell(), stateful=True), layers.RNN(OnesCell(), stateful=True)
    for layer in (ours, theirs):
        layer(SEQUENCES)
        layer.reset_state()
    np.testing.assert_array_equal(ours.get_state()[0], np.ones((2, 3)))
    np.testing.assert_array_equal(to_numpy(theirs.states[0]), np.zeros((2, 3)))


def test_g8_states_can_be_set():
    ours, theirs = MyLSTM(4, stateful=True), layers.LSTM(4, stateful=True)
    same_weights(ours, theirs)
    states = [np.full((2, 4), number, "float32") for number in (1, 2)]
    ours.reset_state(states=states)
    assert_close(ours.get_state(), states, 0)
    ours.set_state([3 * states[0], states[1]])
    assert_close(ours.get_state(), [3 * states[0], states[1]], 0)
    with pytest.raises(TypeError):
        theirs.reset_state(states=states)


# G9


def test_g9_simple_rnn_keeps_activity_regularizer_and_seed():
    ours = MySimpleRNN(4, activity_regularizer="l2", seed=7)
    theirs = layers.SimpleRNN(4, activity_regularizer="l2", seed=7)
    same_weights(ours, theirs)
    output = to_numpy(ours(SEQUENCES))
    np.testing.assert_allclose(to_numpy(ours.losses[0]), 0.01 * np.sum(output**2) / len(output), rtol=1e-6)
    assert ours.get_config()["seed"] == 7
    assert MySimpleRNN.from_config(ours.get_config()).activity_regularizer is not None
    theirs(SEQUENCES)
    assert theirs.losses == []
    assert "seed" not in theirs.get_config()


# G10


@pytest.mark.parametrize(("ours", "theirs"), [(MySimpleRNN, layers.SimpleRNN), (MyLSTM, layers.LSTM)])
def test_g10_sequences_of_length_zero(ours, theirs):
    layer = ours(4, return_sequences=True, return_state=True)
    states = [np.full((2, 4), number, "float32") for number, _ in enumerate(layer.state_size, 1)]
    outputs, *last_states = layer(SEQUENCES[:, :0], initial_state=states)
    assert tuple(outputs.shape) == (2, 0, 4)
    assert_close(to_numpy(last_states), states, 0)
    assert not to_numpy(ours(4)(SEQUENCES[:, :0])).any()
    with pytest.raises(Exception, match=r"index.* out of bounds"):
        theirs(4, return_sequences=True)(SEQUENCES[:, :0])


def test_g10_one_state_for_a_layer_with_two():
    with pytest.raises(ValueError, match=r"Argument `initial_state` must hold 2 tensor\(s\)"):
        MyLSTM(4)(SEQUENCES, initial_state=np.zeros((2, 4), "float32"))
    with pytest.raises(IndexError):
        layers.LSTM(4)(SEQUENCES, initial_state=ops.zeros((2, 4)))


class PlainCell:
    """No Layer at all."""

    state_size = 3

    def call(self, inputs, states):
        return states[0] + inputs, [states[0] + inputs]


@pytest.mark.parametrize("stacked", [False, True])
def test_g10_a_cell_that_is_no_layer(stacked):
    cell = [PlainCell(), PlainCell()] if stacked else PlainCell()
    output = to_numpy(MyRNN(cell)(SEQUENCES))
    expected = np.cumsum(SEQUENCES, axis=1)
    assert_close(output, np.cumsum(expected, axis=1)[:, -1] if stacked else expected[:, -1], 1e-6)
    if not stacked:
        with pytest.raises(AttributeError):
            layers.RNN(PlainCell())(SEQUENCES)


# G11


def test_g11_the_mask_goes_backwards_with_the_outputs():
    sequences = SEQUENCES.copy()
    sequences[:, 3:] = 0.0
    masked = layers.Masking()(sequences)

    def handed_on(layer):
        outputs = layer(masked)
        return to_numpy(outputs._keras_mask if BACKEND != "jax" else layer.compute_mask(masked, mask))

    mask = ops.convert_to_tensor(np.array([[True, True, True, False, False]] * 2))
    options = {"go_backwards": True, "return_sequences": True}
    np.testing.assert_array_equal(handed_on(MyGRU(4, **options)), to_numpy(mask)[:, ::-1])
    np.testing.assert_array_equal(handed_on(layers.GRU(4, **options)), to_numpy(mask))


def test_g11_a_second_layer_sees_the_right_steps():
    sequences = SEQUENCES.copy()
    sequences[:, 3:] = 0.0
    inner = [MyGRU(4, go_backwards=True, return_sequences=True, seed=1), MyGRU(4)]
    model = keras.Sequential([layers.Masking(), *inner])
    short = keras.Sequential(inner)
    assert_close(to_numpy(model(sequences)), to_numpy(short(sequences[:, :3])), 1e-6)


# G12


def test_g12_the_last_valid_output_where_the_last_step_is_masked():
    ours, theirs = MyLSTM(4, zero_output_for_mask=True), layers.LSTM(4, zero_output_for_mask=True)
    same_weights(ours, theirs)
    mask = np.array([[True, True, False, False, False]] * 2)
    assert_close(to_numpy(ours(SEQUENCES, mask=mask)), to_numpy(ours(SEQUENCES[:, :2])), 1e-6)
    if BACKEND != "jax":
        assert not to_numpy(theirs(SEQUENCES, mask=mask)).any()


# G13


def test_g13_bidirectional_stateful_with_states():
    def build(wrapper, layer):
        return stateful_model(wrapper(layer(4, stateful=True, return_state=True)))

    outputs = build(MyBidirectional, MyLSTM)(SEQUENCES)
    assert [tuple(output.shape) for output in outputs] == [(2, 8)] + 4 * [(2, 4)]
    with pytest.raises(TypeError):
        build(layers.Bidirectional, layers.LSTM)(SEQUENCES)


def test_g13_bidirectional_keeps_use_cudnn():
    ours = MyBidirectional(MyGRU(4, use_cudnn=False))
    assert MyBidirectional.from_config(ours.get_config()).forward_layer.use_cudnn is False
    of_theirs = MyBidirectional(layers.GRU(4, use_cudnn=False))
    assert MyBidirectional.from_config(of_theirs.get_config()).backward_layer.use_cudnn is False
    theirs = layers.Bidirectional(layers.GRU(4, use_cudnn=False))
    assert layers.Bidirectional.from_config(theirs.get_config()).forward_layer.use_cudnn == "auto"


# G14


@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU"])
def test_g14_nothing_is_drawn_at_inference(name):
    ours = getattr(keras_rnn_ext, f"My{name}")(4, dropout=0.5, recurrent_dropout=0.5, seed=3)
    theirs = getattr(layers, name)(4, dropout=0.5, recurrent_dropout=0.5, seed=3)
    for layer, is_ours in ((ours, True), (theirs, False)):
        layer.build(SEQUENCES.shape)
        before = to_numpy(layer.cell.seed_generator.state)
        layer(SEQUENCES, training=False)
        assert np.array_equal(before, to_numpy(layer.cell.seed_generator.state)) == is_ours


# G15


@pytest.mark.parametrize("save_states", [True, False])
def test_g15_states_are_saved_on_request(save_states, tmp_path):
    model = stateful_model(MyLSTM(4, stateful=True, save_states=save_states))
    model.predict(SEQUENCES, verbose=0)
    states = model.layers[0].get_state()
    for path in (tmp_path / "model.keras", tmp_path / "model.weights.h5"):
        if path.name.endswith(".keras"):
            model.save(path)
            loaded = keras.models.load_model(path)
        else:
            model.save_weights(path)
            loaded = keras.models.clone_model(model)
            loaded.load_weights(path)
        expected = states if save_states else [np.zeros_like(state) for state in states]
        assert_close(loaded.layers[0].get_state(), expected, 0)
        assert loaded.layers[0].save_states == save_states


def test_g15_states_of_a_whole_model():
    inner = keras.Sequential([keras.Input(batch_shape=(2, 5, 3)), MyGRU(4, stateful=True, return_sequences=True)])
    model = keras.Sequential([keras.Input(batch_shape=(2, 5, 3)), inner, MyBidirectional(MyLSTM(3, stateful=True))])
    model.predict(SEQUENCES, verbose=0)
    states = get_states(model)
    assert len(states) == 3
    reset_states(model, rows=[1])
    for path, after in get_states(model).items():
        for left, right in zip(after, states[path], strict=True):
            np.testing.assert_array_equal(left[0], right[0])
            assert not left[1].any()
    reset_states(model)
    assert not any(value.any() for value in keras.tree.flatten(get_states(model)))
    set_states(model, states)
    assert_close(get_states(model), states, 0)
    assert not hasattr(model, "reset_states")


# G16


def test_g16_integer_unroll():
    ours = MyLSTM(4, unroll=2)
    other = MyLSTM(4)
    same_weights(ours, other)
    assert_close(to_numpy(ours(SEQUENCES)), to_numpy(other(SEQUENCES)), 1e-6)


class CellWithConstants(layers.Layer):
    state_size = 3

    def call(self, inputs, states, constants=None):
        return states[0] + inputs * constants, [states[0] + inputs * constants]


def test_g16_constants():
    constants = np.full((2, 3), 2.0, "float32")
    output = MyRNN(CellWithConstants())(SEQUENCES, constants=constants)
    assert_close(to_numpy(output), 2 * SEQUENCES.sum(axis=1), 1e-6)
    with pytest.raises(ValueError, match="MyGRUCell has no use for `constants`"):
        MyGRU(4)(SEQUENCES, constants=constants)
    with pytest.raises(TypeError):
        layers.RNN(CellWithConstants())(SEQUENCES, constants=constants)


@pytest.mark.parametrize("wrap", [lambda layer: layer, MyBidirectional])
def test_g16_time_major(wrap):
    mask = np.array([[True, True, True, False, False], [True] * 5])
    ours = wrap(MyGRU(4, return_sequences=True, time_major=True))
    other = wrap(MyGRU(4, return_sequences=True))
    turned = SEQUENCES.transpose(1, 0, 2)
    same_weights(other, ours, turned)
    outputs = to_numpy(ours(turned, mask=mask.T))
    assert tuple(ours.compute_output_shape(turned.shape)) == outputs.shape
    assert_close(outputs.transpose(1, 0, 2), to_numpy(other(SEQUENCES, mask=mask)), 1e-6)


def test_g16_learned_initial_state(tmp_path):
    model = keras.Sequential([keras.Input((5, 3)), MyLSTM(4, learned_initial_state=True)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    layer = model.layers[0]
    assert [weight.name for weight in layer.weights[:2]] == ["initial_state_0", "initial_state_1"]
    model.fit(SEQUENCES, np.ones((2, 4)), verbose=0)
    assert all(to_numpy(weight).any() for weight in layer.weights[:2])
    assert_close(to_numpy(layer.get_initial_state(1)[0])[0], to_numpy(layer.weights[0]), 0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_close(loaded.predict(SEQUENCES, verbose=0), model.predict(SEQUENCES, verbose=0), 1e-6)


@pytest.mark.parametrize("rows", [[1], np.array([False, True]), [-1]])
def test_g16_single_rows_can_be_reset(rows):
    layer = MyLSTM(4, stateful=True)
    layer(SEQUENCES)
    before = layer.get_state()
    layer.reset_state(rows=rows)
    for left, right in zip(layer.get_state(), before, strict=True):
        np.testing.assert_array_equal(left[0], right[0])
        assert not left[1].any()


# G17, as far as it can be seen without a GPU


@pytest.mark.parametrize("layer", [MyLSTM, MyGRU])
def test_g17_the_layer_leaves_compilation_to_the_model(layer):
    assert layer(4).supports_jit is True


@pytest.mark.parametrize("masked", [False, True])
def test_g17_a_mask_does_not_leave_the_fast_path(masked):
    fast = {"tensorflow": "block loop", "jax": "projected loop", "torch": "fused layer"}[BACKEND]
    assert MyLSTM(4).explain(batch=2, steps=5, masked=masked).startswith(f"backend {BACKEND}: {fast}")


# Found here: a mask that comes with the sequences is dropped by Keras where there is an initial state as well.


def test_attached_mask_is_seen_beside_an_initial_state():
    sequences = SEQUENCES.copy()
    sequences[:, 3:] = 0.0
    ours, theirs = MyGRU(4), layers.GRU(4)
    same_weights(ours, theirs)
    start = ops.ones((2, 4))
    expected = to_numpy(ours(sequences[:, :3], initial_state=start))
    assert_close(to_numpy(ours(layers.Masking()(sequences), initial_state=start)), expected, 1e-6)
    assert not np.allclose(to_numpy(theirs(layers.Masking()(sequences), initial_state=start)), expected, rtol=1e-3)


# Found here: unrolled and going backwards, Keras zeroes the outputs of the wrong steps.


def test_unrolled_backwards_zeroes_the_masked_steps():
    options = {"unroll": True, "go_backwards": True, "return_sequences": True, "zero_output_for_mask": True}
    mask = np.array([[True, True, True, False, False]] * 2)
    zero = (to_numpy(MyGRU(4, **options)(SEQUENCES, mask=mask)) == 0).all(axis=(0, 2))
    np.testing.assert_array_equal(zero, [True, True, False, False, False])
    if BACKEND == "tensorflow":
        zero = (to_numpy(layers.GRU(4, **options)(SEQUENCES, mask=mask)) == 0).all(axis=(0, 2))
        np.testing.assert_array_equal(zero, [True, True, False, True, True])
