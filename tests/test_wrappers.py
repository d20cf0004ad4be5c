"""`ResidualWrapper`, `DropoutWrapper` and DropConnect: what they compute, their statistics, how they go together."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_rnn_ext import (
    LRUCell,
    MinGRUCell,
    MyBidirectional,
    MyGRU,
    MyGRUCell,
    MyLSTM,
    MyLSTMCell,
    MyRNN,
    MySimpleRNN,
    MySimpleRNNCell,
    MyStackedRNNCells,
    SLSTMCell,
    ZoneoutWrapper,
)
from keras_rnn_ext.core import strategy
from keras_rnn_ext.custom import State
from keras_rnn_ext.layers.dropout import DropoutWrapper
from keras_rnn_ext.layers.residual import ResidualWrapper
from keras_rnn_ext.registry import ROWS, get
from keras_rnn_ext.testing import Case, verify_contract
from keras_rnn_ext.testing.contract import (
    masked_is_truncated,
    recomputed_is_kept,
    saved_is_loaded,
    strategies_agree_in_training,
)
from tests.helpers import BACKEND, assert_close, gradients, to_numpy

X = np.random.default_rng(0).normal(size=(3, 9, 4)).astype("float32")
MASK = np.array([[1, 1, 1, 1, 1, 1, 1, 1, 1], [1, 1, 0, 1, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0]], "bool")

AROUND = {
    "residual": ResidualWrapper,
    "dropout": lambda cell: DropoutWrapper(cell, 0.3, 0.3, 0.3, seed=1),
    "dropout_per_step": lambda cell: DropoutWrapper(cell, 0.3, 0.3, 0.3, per_step=True, seed=1),
}
TOGETHER = {
    "zoneout_of_residual_of_dropout": lambda: ZoneoutWrapper(
        ResidualWrapper(DropoutWrapper(MyLSTMCell(2), 0.2, 0.3, 0.4, seed=2)), 0.2, 0.3, seed=3
    ),
    "dropout_of_residual_of_zoneout": lambda: DropoutWrapper(
        ResidualWrapper(ZoneoutWrapper(MyGRUCell(2), 0.2, seed=3)), 0.2, 0.3, 0.4, per_step=True, seed=2
    ),
    "of_a_stack": lambda: ResidualWrapper(
        DropoutWrapper(MyStackedRNNCells([ResidualWrapper(MyLSTMCell(2)), keras.layers.GRUCell(2)]), 0.2, 0.3, seed=2)
    ),
    "dropconnect": lambda: ResidualWrapper(MyGRUCell(2, recurrent_dropconnect=0.4, seed=1)),
}


# Both kinds of masks for each kind of cell.
IN_TRAINING = {
    "gated_per_step": lambda: AROUND["dropout_per_step"](MyLSTMCell(2)),
    "linear": lambda: AROUND["dropout"](MinGRUCell(2)),
    "keras": lambda: AROUND["dropout"](keras.layers.LSTMCell(2)),
    "simple": lambda: AROUND["dropout"](MySimpleRNNCell(2)),
    "heads": lambda: AROUND["dropout"](SLSTMCell(2)),
    "state_that_is_read_out": lambda: AROUND["dropout_per_step"](LRUCell(2)),
    "two_states_that_enter": lambda: AROUND["dropout_per_step"](get("co_rnn").cell(2, dt=0.3)),
    "with_zoneout": lambda: ZoneoutWrapper(AROUND["dropout"](get("co_rnn").cell(2, dt=0.3)), 0.3, 0.3),
}


# All of them together are held against all of it. `test_contract` has zoneout of a linear cell and of Keras's.
WHOLE = {"together": TOGETHER["zoneout_of_residual_of_dropout"]}
BESIDE = {
    "residual_of_linear": lambda: ResidualWrapper(MinGRUCell(2)),
    "dropout_of_keras": lambda: AROUND["dropout_per_step"](keras.layers.LSTMCell(2)),
    "residual_of_keras": lambda: ResidualWrapper(keras.layers.LSTMCell(2)),
    "dropout_of_linear": lambda: AROUND["dropout_per_step"](MinGRUCell(2)),
    **{name: make_cell for name, make_cell in TOGETHER.items() if make_cell not in WHOLE.values()},
}


@pytest.mark.parametrize("make_cell", WHOLE.values(), ids=WHOLE)
def test_wrappers_keep_the_contract(make_cell):
    verify_contract(make_cell)


@pytest.mark.deep
@pytest.mark.parametrize("make_cell", BESIDE.values(), ids=BESIDE)
def test_wrappers_keep_the_whole_contract(make_cell):
    verify_contract(make_cell)


@pytest.mark.parametrize("check", [masked_is_truncated, saved_is_loaded, strategies_agree_in_training])
@pytest.mark.parametrize("make_cell", BESIDE.values(), ids=BESIDE)
def test_wrappers_mask_train_and_are_saved(make_cell, check):
    check(make_cell, Case())


@pytest.mark.parametrize("make_cell", IN_TRAINING.values(), ids=IN_TRAINING)
def test_loops_agree_in_training(make_cell):
    strategies_agree_in_training(make_cell, Case())
    recomputed_is_kept(make_cell, Case())


# Residual


def residual_and_plain(cell, **options):
    """A layer with the inputs added and one without, of the same weights."""
    layers = [MyRNN(ResidualWrapper(cell), **options), MyRNN(cell, **options)]
    for layer in layers:
        layer.build(X.shape)
    return layers


def repeated(values, mask):
    """At each step the values of the last valid one, zeros before the first: of `(batch, steps, size)`."""
    found = np.zeros_like(values)
    for row, step in np.ndindex(mask.shape):
        if mask[row, step]:
            found[row, step:] = values[row, step]
    return found


@pytest.mark.parametrize("cell", [MyLSTMCell, MyGRUCell, MinGRUCell, keras.layers.LSTMCell])
def test_residual_adds_the_inputs_to_the_outputs_alone(cell):
    residual, plain = residual_and_plain(cell(4), return_sequences=True, return_state=True)
    (outputs, *states), (expected, *expected_states) = to_numpy(residual(X)), to_numpy(plain(X))
    assert_close(outputs, expected + X, 1e-6)
    assert_close(states, expected_states, 1e-6)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("cell", [MyLSTMCell, MinGRUCell, keras.layers.LSTMCell])
def test_residual_of_masked_steps(cell, backwards):
    residual, plain = residual_and_plain(cell(4), return_sequences=True, go_backwards=backwards)
    inputs, mask = (each[:, ::-1] if backwards else each for each in (X, MASK))
    expected = to_numpy(plain(X, mask=MASK)) + repeated(inputs, mask)
    dirty = np.where(MASK[..., None], X, np.nan).astype("float32")
    assert_close(to_numpy(residual(dirty, mask=MASK)), expected, 1e-6)
    residual.return_sequences = False
    assert_close(to_numpy(residual(dirty, mask=MASK)), expected[:, -1], 1e-6)
    assert_close(to_numpy(residual(X)), to_numpy(plain(X))[:, -1] + inputs[:, -1], 1e-6)


def test_residual_of_another_size():
    with pytest.raises(ValueError, match=r"inputs of shape \(None, 4\), outputs of shape \(None, 5\). Give the cell"):
        MyRNN(ResidualWrapper(MyLSTMCell(5)))(X)


def test_the_gradient_goes_around_a_residual_cell():
    residual, plain = residual_and_plain(MyGRUCell(4), return_sequences=True)
    with_it, without = (gradients(lambda x, layer=layer: ops.sum(layer(x)), [X])[0] for layer in (residual, plain))
    difference = with_it - without
    assert_close(difference, np.full_like(difference, difference.flat[0]), 1e-5)
    assert abs(difference.flat[0]) > 0


# Dropout: cells that show what they get


@keras.saving.register_keras_serializable("test_wrappers")
class Echo(keras.layers.Layer):
    """The output is the input; the state is ones."""

    state_size = 5

    def call(self, inputs, states):
        return inputs, [ops.ones_like(states[0])]


@keras.saving.register_keras_serializable("test_wrappers")
class Shown(Echo):
    """The output is the state as the step gets it."""

    output_size = 5

    def call(self, inputs, states):
        return states[0], [ops.ones_like(states[0])]


ONES = np.ones((400, 6, 5), "float32")


def masks_of(cell, layer=MyRNN):
    """What 400 rows, 6 steps and 5 features of ones become in training."""
    layer = layer(cell, return_sequences=True)
    return to_numpy(layer(ONES, training=True, initial_state=np.ones((400, 5), "float32")))


def check_masks(masks, rate, per_step):
    assert set(np.unique(masks)) == {0, np.float32(1 / (1 - rate))}
    # Six standard deviations of a mean of 2,000 or more draws, as each counts once.
    draws = masks if per_step else masks[:, 0]
    assert abs((draws == 0).mean() - rate) < 6 * np.sqrt(rate * (1 - rate) / draws.size)
    assert abs(draws.mean() - 1) < 6 * np.sqrt(rate / (1 - rate) / draws.size)
    # A row is no copy of another, nor a unit of another.
    assert (masks[1:] == masks[:-1]).mean() < 0.9
    assert (masks[..., 1:] == masks[..., :-1]).mean() < 0.9
    same = (masks[:, 1:] == masks[:, :-1]).mean()
    assert same < 0.9 if per_step else same == 1


@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize(
    ("cell", "rates"),
    [(Echo, {"input_dropout": 0.3}), (Echo, {"output_dropout": 0.3}), (Shown, {"state_dropout": 0.3})],
)
def test_dropout_of_inputs_outputs_and_state(cell, rates, per_step):
    wrapped = DropoutWrapper(cell(), **rates, per_step=per_step, seed=5)
    check_masks(masks_of(wrapped), 0.3, per_step)
    if not (per_step and BACKEND == "jax"):
        check_masks(masks_of(wrapped, keras.layers.RNN), 0.3, per_step)


def test_inputs_outputs_and_state_have_masks_of_their_own():
    layer = MyRNN(DropoutWrapper(Echo(), 0.5, 0.5, seed=1), return_sequences=True)
    both = to_numpy(layer(ONES, training=True))
    assert abs((both[:, 0] == 4).mean() - 0.25) < 6 * np.sqrt(0.25 * 0.75 / 2000)
    first, second = (to_numpy(layer(ONES, training=True)) for _ in range(2))
    assert (first != second).any()


@pytest.mark.parametrize("layer", [MyRNN, keras.layers.RNN])
def test_the_masks_of_a_stack_inside(layer):
    stack = keras.layers.StackedRNNCells([Echo(), DropoutWrapper(Echo(), 0.3, seed=1)])
    outputs = to_numpy(layer(ResidualWrapper(stack), return_sequences=True)(ONES, training=True))
    assert set(np.unique(outputs)) == {1, np.float32(1 + np.float32(1 / 0.7))}
    np.testing.assert_array_equal(outputs, np.repeat(outputs[:, :1], 6, axis=1))


def test_seeds_of_dropout():
    first, again, other = (masks_of(DropoutWrapper(Echo(), 0.5, seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("cell", [MyLSTMCell, MinGRUCell, keras.layers.GRUCell])
def test_dropout_is_nothing_at_inference(cell):
    inner = cell(5)
    dropped, plain = (
        MyRNN(DropoutWrapper(inner, 0.5, 0.5, 0.5), return_sequences=True),
        MyRNN(inner, return_sequences=True),
    )
    np.testing.assert_array_equal(to_numpy(dropped(X)), to_numpy(plain(X)))
    assert np.abs(to_numpy(dropped(X, training=True)) - to_numpy(plain(X))).max() > 1e-3


@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("cell", [MyLSTMCell, MySimpleRNNCell, MinGRUCell])
def test_dropout_step_by_step(cell, per_step):
    """The equations, with the masks that a layer draws."""
    inner = cell(5)
    layer = MyRNN(DropoutWrapper(inner, 0.3, 0.4, 0.5, per_step=per_step, seed=2), return_sequences=True)
    layer.build(X.shape)
    _, plan, feed, _ = layer.prepare(ops.convert_to_tensor(X), training=True)
    around, mix = to_numpy(feed.noise["around"][0]), to_numpy(feed.noise["cell"]["steps"])
    masks = around["steps"] if per_step else {name: [mask] * 9 for name, mask in around.items()}
    states = [np.zeros((3, 5), "float32")] * (2 if cell is MyLSTMCell else 1)
    expected = []
    for step in range(9):
        got = [mix["masks"]["0"][step] * states[0], *states[1:]]
        output, states = inner(X[:, step] * masks["inputs"][step], got)
        states = to_numpy(states)
        expected.append(to_numpy(output) * masks["outputs"][step])
    outputs, last = strategy.run(plan, feed)
    assert_close(to_numpy(outputs), np.stack(expected), 1e-5)
    # The state that is handed on is whole.
    assert_close(to_numpy(last), states, 1e-5)


def test_dropout_of_masked_steps():
    layer = MyRNN(DropoutWrapper(MyLSTMCell(4), 0.3, 0.3, 0.3, per_step=True, seed=1), return_sequences=True)
    outputs = to_numpy(layer(X, mask=MASK, training=True))
    np.testing.assert_array_equal(outputs, repeated(outputs, MASK))
    assert not outputs[2].any()


def test_zoneout_keeps_the_whole_state():
    """What zoneout leaves as it is was not dropped, whichever wrapper is the outer one."""
    for wrapped in (
        ZoneoutWrapper(DropoutWrapper(Shown(), state_dropout=0.5, seed=1), 0.5, seed=2),
        DropoutWrapper(ZoneoutWrapper(Shown(), 0.5, seed=2), state_dropout=0.5, seed=1),
    ):
        layer = MyRNN(wrapped, return_state=True)
        _, state = layer(ONES, training=True, initial_state=np.full((400, 5), 3.0, "float32"))
        # After six steps with one half new, 1 in 64 is as it was: three, not six or zero.
        state = to_numpy(state)
        assert set(np.unique(state)) == {1, 3}
        assert abs((state == 3).mean() - 1 / 64) < 0.02


@pytest.mark.parametrize("training", [False, True])
def test_the_order_of_zoneout_and_residual_does_not_matter(training):
    inner = MyLSTMCell(4)
    orders = (
        ZoneoutWrapper(ResidualWrapper(inner), 0.2, 0.3, seed=1),
        ResidualWrapper(ZoneoutWrapper(inner, 0.2, 0.3, seed=1)),
    )
    one, other = (to_numpy(MyRNN(cell, return_sequences=True)(X, training=training)) for cell in orders)
    np.testing.assert_array_equal(one, other)
    state = to_numpy(MyRNN(orders[0], return_sequences=True, return_state=True)(X)[1])
    assert_close(to_numpy(MyRNN(orders[0])(X)), state + X[:, -1], 1e-6)


# DropConnect


def shown_kernel(training=True, layer=MyRNN, copies=1, steps=1, **options):
    """What a step makes of a state of one in each unit by turns: the recurrent kernel, row by row."""
    cell = MySimpleRNNCell(50, activation="linear", recurrent_initializer="ones", use_bias=False, **options)
    start = np.tile(np.eye(50, dtype="float32"), (copies, 1))
    layer = layer(cell)
    nothing = np.zeros((50 * copies, steps, 2), "float32")
    return lambda: to_numpy(layer(nothing, initial_state=start, training=training))


@pytest.mark.parametrize("layer", [MyRNN, keras.layers.RNN])
def test_dropconnect(layer):
    run = shown_kernel(layer=layer, copies=2, recurrent_dropconnect=0.3, seed=1)
    kernel = run()
    assert set(np.unique(kernel)) == {0, np.float32(1 / 0.7)}
    assert abs((kernel == 0).mean() - 0.3) < 6 * np.sqrt(0.3 * 0.7 / 2500)
    assert abs(kernel.mean() - 1) < 6 * np.sqrt(0.3 / 0.7 / 2500)
    # One mask for all rows, another one for each call.
    np.testing.assert_array_equal(kernel[:50], kernel[50:])
    assert (run() != kernel).any()
    np.testing.assert_array_equal(shown_kernel(training=False, layer=layer, recurrent_dropconnect=0.3)(), 1)


@pytest.mark.parametrize("layer", [MyRNN, keras.layers.RNN])
def test_dropconnect_is_the_same_at_all_steps(layer):
    one, two = (shown_kernel(layer=layer, steps=steps, recurrent_dropconnect=0.3, seed=1)() for steps in (1, 2))
    assert_close(two, one @ one, 1e-6)


@pytest.mark.parametrize("layer", [MyLSTM, MyGRU, MySimpleRNN])
def test_dropconnect_of_the_drop_in_layers(layer):
    assert "recurrent_dropconnect" not in layer(4).get_config()
    dropped = layer(4, recurrent_dropconnect=0.5, seed=1, return_sequences=True)
    assert layer.from_config(dropped.get_config()).recurrent_dropconnect == 0.5
    dropped.build(X.shape)
    _, _, feed, _ = dropped.prepare(ops.convert_to_tensor(X), training=True)
    kernel = to_numpy(feed.weights["recurrent_kernel"])
    assert 0.3 < (kernel == 0).mean() < 0.7
    plain = layer(4, return_sequences=True)
    plain.build(X.shape)
    plain.set_weights(dropped.get_weights())
    np.testing.assert_array_equal(to_numpy(dropped(X)), to_numpy(plain(X)))
    # The fast way stays, and it gets the masked weight.
    assert dropped.explain(3, 9, training=True) == plain.explain(3, 9, training=True)
    weight = next(each for each in plain.weights if each.name == "recurrent_kernel")
    weight.assign(kernel)
    twin = layer(4, recurrent_dropconnect=0.5, seed=1, return_sequences=True)
    twin.build(X.shape)
    twin.set_weights(dropped.get_weights())
    assert_close(to_numpy(twin(X, training=True)), to_numpy(plain(X)), 1e-6)


def test_the_gradient_of_what_dropconnect_drops_is_zero():
    for rate in (0.0, 0.5):
        layer = MyLSTM(6, recurrent_dropconnect=rate, return_sequences=True)
        layer.build(X.shape)
        kernel = layer.cell.recurrent_kernel
        (found,) = gradients(lambda layer=layer: layer(X, training=True), variables=[kernel])
        assert abs((found == 0).mean() - rate) < 0.25 if rate else (found != 0).all()


WITH_KERNEL = [row for row in ROWS if "recurrent_kernel" in row.cell.declared_weights()]


@pytest.mark.parametrize("row", WITH_KERNEL, ids=lambda row: row.name)
def test_every_cell_with_a_recurrent_kernel_has_dropconnect(row):
    # So many units that the sparse kernel of an echo state network is not all zeros.
    cell = row.cell(16 * row.multiple, **row.variants[0], recurrent_dropconnect=0.5, seed=1)
    cell.build((3, 4))
    assert cell.noisy
    noise = cell.draw_noise(None, None, True)
    assert tuple(noise["weights"]["recurrent_kernel"].shape) == tuple(cell.recurrent_kernel.shape)
    plain, dropped = (keras.tree.flatten(to_numpy(cell.gather_weights(each))) for each in (None, noise))
    assert any((one != other).any() for one, other in zip(dropped, plain, strict=True))


def test_a_cell_without_a_recurrent_kernel_has_no_dropconnect():
    for row in ROWS:
        has = "recurrent_kernel" in row.cell.declared_weights()
        assert ("recurrent_dropconnect" in row.cell.declared_arguments()) == has


@pytest.mark.parametrize(
    ("value", "message"), [("a", "`recurrent_dropconnect`"), (None, "`recurrent_dropconnect`")], ids=["text", "none"]
)
def test_a_wrong_rate_of_dropconnect(value, message):
    with pytest.raises(ValueError, match=message):
        MyLSTM(3, recurrent_dropconnect=value)


# All of them in layers, models and files


@pytest.mark.parametrize("wrapper", AROUND.values(), ids=AROUND)
def test_the_fast_rows_stay(wrapper):
    for inner in (MyLSTMCell(64), MinGRUCell(64)):
        layer = MyRNN(wrapper(inner))
        plain = MyRNN(inner)
        fast = plain.explain(2, 9, training=True).splitlines()[0].replace("fused layer", "projected loop")
        text = layer.explain(2, 9, training=True).replace("fused layer: runs", "projected loop: runs")
        assert "cell inside: runs" in text
        assert fast in text.replace("inside: backend torch: fused layer", "inside: backend torch: projected loop")


def test_dropout_of_states_leaves_inference_to_the_library():
    layer = MyRNN(DropoutWrapper(MyLSTMCell(8), state_dropout=0.5))
    if BACKEND == "torch":
        assert "inside: backend torch: fused layer" in layer.explain(2, 9)
        reason = "fused layer: not used: torch's layers have no zoneout and no dropout of states from step to step"
        assert reason in layer.explain(2, 9, training=True)


def test_in_both_directions_in_a_stack_and_with_a_state():
    cell = ResidualWrapper(DropoutWrapper(MyLSTMCell(4, recurrent_dropconnect=0.2), 0.1, 0.1, 0.1))
    stack = MyStackedRNNCells([cell, ZoneoutWrapper(ResidualWrapper(keras.layers.GRUCell(4)), 0.2)])
    assert tuple(MyRNN(stack)(X, training=True).shape) == (3, 4)
    both = MyBidirectional(MyRNN(ResidualWrapper(MyGRUCell(4)), return_sequences=True))
    assert tuple(both(X, training=True).shape) == (3, 9, 8)
    stateful = MyRNN(ResidualWrapper(MyGRUCell(4)), stateful=True)
    first, second = to_numpy(stateful(X)), to_numpy(stateful(X))
    assert_close(stateful.get_state()[0], second - X[:, -1], 1e-5)
    assert np.abs(first - second).max() > 1e-4
    assert_close(to_numpy(keras.layers.RNN(stack)(X)), to_numpy(MyRNN(stack)(X)), 1e-5)


def test_constants_reach_the_cell_inside():
    class Scaled(keras.layers.Layer):
        state_size = 4

        def call(self, inputs, states, constants):
            return inputs * constants[0], states

    layer = MyRNN(ResidualWrapper(Scaled()), return_sequences=True)
    assert_close(to_numpy(layer(X, constants=[np.float32(3)])), 4 * X, 1e-6)
    with pytest.raises(ValueError, match="has no use for `constants`"):
        MyRNN(ResidualWrapper(MyLSTMCell(4)))(X, constants=[np.float32(3)])


def test_training_and_saving(tmp_path):
    cell = ResidualWrapper(DropoutWrapper(MyLSTMCell(8, recurrent_dropconnect=0.1), 0.1, 0.2, 0.1, per_step=True))
    layers = [MyRNN(MyGRUCell(8), return_sequences=True), MyRNN(cell), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((None, 4)), *layers])
    model.compile(keras.optimizers.Adam(0.02), "mse", jit_compile=BACKEND == "jax")
    y = X.mean(axis=(1, 2))
    before = model.evaluate(X, y, verbose=0)
    model.fit(X, y, epochs=30, verbose=0)
    assert model.evaluate(X, y, verbose=0) < before
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))
    dropout = loaded.layers[1].cell.cell
    rates = dropout.input_dropout, dropout.output_dropout, dropout.state_dropout, dropout.per_step
    assert rates == (0.1, 0.2, 0.1, True)
    assert dropout.cell.recurrent_dropconnect == 0.1


class Whole(MySimpleRNNCell):
    """Its state is whole or nothing."""

    states = (State("h", mixes=False),)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DropoutWrapper(MyLSTMCell(2), 1.0), "`input_dropout` must be a number >= 0 and < 1. Received: "),
        (lambda: DropoutWrapper(MyLSTMCell(2), 0, "a"), "`output_dropout` must be a number"),
        (lambda: DropoutWrapper(MyLSTMCell(2), per_step=2), "`per_step` must be True or False"),
        (lambda: DropoutWrapper(MyLSTMCell(2), seed="a"), "`seed` must be an int, or None"),
        (lambda: DropoutWrapper(Whole(2), state_dropout=0.1), r"`state_dropout` must be 0 for Whole: .* \['h'\]"),
        (
            lambda: DropoutWrapper(MyStackedRNNCells([MyGRUCell(2)]), state_dropout=0.1),
            "`cell` must be one cell. For a stack, wrap each cell",
        ),
        (lambda: DropoutWrapper(3), "`cell` must have `call` and `state_size`. Received: cell=3"),
        (lambda: ResidualWrapper("lstm"), "`cell` must have `call` and `state_size`. Received: cell='lstm'"),
        (lambda: ZoneoutWrapper(ResidualWrapper(ZoneoutWrapper(MyGRUCell(2)))), "must not be a ZoneoutWrapper"),
        (lambda: ZoneoutWrapper(ResidualWrapper(SLSTMCell(2)), 0, 0.1), "`zoneout_c` must be 0 for SLSTMCell"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.skipif(BACKEND != "jax", reason="the other backends draw random numbers in a loop")
@pytest.mark.parametrize(
    "cell", [lambda: DropoutWrapper(MyGRUCell(4), 0.1, per_step=True), lambda: ZoneoutWrapper(MyGRUCell(4), 0.1)]
)
def test_random_numbers_in_the_loop_of_keras(cell):
    layer = keras.layers.RNN(ResidualWrapper(cell()))
    layer(X)
    with pytest.raises(ValueError, match=r"draws random numbers at each step.*Use `keras_rnn_ext.MyRNN`"):
        layer(X, training=True)
    layer(X)
