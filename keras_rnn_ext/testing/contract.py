"""Properties that every cell has in `MyRNN`, each a function that raises an AssertionError where one is broken.

Each takes `make_cell`, a function without arguments that gives a new cell, and `case`, the sizes to try. A cell of your
own is held against all of them, and against a reference implementation in NumPy, by `verify_contract`.
"""

import dataclasses
import functools
import pathlib
import tempfile

import keras
import numpy as np
from keras import ops

from keras_rnn_ext.core import strategy
from keras_rnn_ext.core.layer import MyRNN
from keras_rnn_ext.core.state import listed
from keras_rnn_ext.testing import oracle as reference
from keras_rnn_ext.testing.cases import Case, assert_same, compute_dtype, tolerance


def _layer(make_cell, case, **options):
    layer = MyRNN(make_cell(), return_sequences=True, return_state=True, **options)
    layer.build((case.batch, case.steps, case.features))
    return layer


def _with_weights_of(layer, other):
    layer.set_weights(other.get_weights())
    return layer


def _some_states(layer, case):
    """States that are not zero: those after some other steps."""
    other = dataclasses.replace(case, seed=case.seed + 7, steps=2)
    return list(layer(other.sequences())[1:])


def layer_is_cell_step_by_step(make_cell, case):
    layer = _layer(make_cell, case)
    inputs, states = case.sequences(), _some_states(layer, case)
    outputs, *last_states = layer(inputs, initial_state=states)
    expected = []
    for step in range(case.steps):
        output, states = layer.cell(ops.convert_to_tensor(inputs[:, step]), states)
        states = listed(states)
        expected.append(ops.convert_to_numpy(output))
    assert_same(outputs, np.stack(expected, axis=1), "outputs")
    assert_same(last_states, states, "states")


def layer_is_block_by_block(make_cell, case):
    layer = _layer(make_cell, case)
    inputs, cut = case.sequences(), case.steps // 2
    outputs, *states = layer(inputs)
    first, *middle_states = layer(inputs[:, :cut])
    second, *last_states = layer(inputs[:, cut:], initial_state=middle_states)
    both = np.concatenate([ops.convert_to_numpy(first), ops.convert_to_numpy(second)], axis=1)
    assert_same(both, outputs, "outputs")
    assert_same(last_states, states, "states")


def _loss_and_gradients(strategy_row, plan, feed):
    """Values and gradients of a strategy: of inputs, states, weights and noise."""
    backend = strategy.engine()
    parts = (feed.inputs, feed.states, feed.weights)
    run = functools.partial(strategy_row.run, plan)
    # As it runs in a model, not as it would be debugged.
    run = backend.compile(run) if backend.compile else run

    def loss(tensors):
        inputs, states, weights = keras.tree.pack_sequence_as(parts, list(tensors))
        outputs, last_states = run(feed._replace(inputs=inputs, states=states, weights=weights))
        total = ops.sum(ops.square(outputs))
        for position, state in enumerate(keras.tree.flatten(last_states)):
            total = total + (position + 2) * ops.sum(state)
        return total

    return run(feed), backend.gradients(loss, keras.tree.flatten(parts))


def _with_dropout(make_cell):
    """`make_cell` with random masks of every kind that the cell knows."""

    def make():
        cell = make_cell()
        for each in (cell, getattr(cell, "cell", None)):
            for name in ("dropout", "recurrent_dropout"):
                if hasattr(each, name):
                    setattr(each, name, 0.4)
        return cell

    return make


def _compare_strategies(layer, case, mask=None, training=None, rtol=None):
    """Every row that can serve the call against the plain loop: values and gradients."""
    inputs = ops.convert_to_tensor(case.sequences())
    mask = None if mask is None else ops.convert_to_tensor(mask)
    _, plan, feed, _ = layer.prepare(inputs, _some_states(layer, case), mask, training)
    *rows, loop = [row for row in strategy.engine().strategies if row.obstacle(plan) is None]
    expected, expected_gradients = _loss_and_gradients(loop, plan, feed)
    for row in rows:
        values, gradients = _loss_and_gradients(row, plan, feed)
        what = f"{row.name}, masked={mask is not None}, return_sequences={plan.return_sequences}, {case.steps} steps"
        assert_same(values, expected, what, rtol or case.tolerance)
        # Sums over all steps, taken in another order.
        assert_same(gradients, expected_gradients, f"gradients of {what}", 10 * (rtol or case.tolerance))


def strategies_agree(make_cell, case):
    for masked, return_sequences, steps in (
        (False, True, case.steps),
        (False, False, case.steps),
        (True, True, case.steps),
        (False, False, 0),
    ):
        case = dataclasses.replace(case, steps=steps)
        layer = _layer(make_cell, case)
        layer.return_sequences = return_sequences
        _compare_strategies(layer, case, case.mask() if masked else None)


def strategies_agree_in_training(make_cell, case):
    """With a mask, and with dropout where the cell has it."""
    layer = _layer(_with_dropout(make_cell), case)
    _compare_strategies(layer, case, case.mask(), training=True)


def long_sequences_agree(make_cell, case):
    """More steps than fit in one block of any loop."""
    case = dataclasses.replace(case, steps=43)
    # Rounding adds up over the steps.
    _compare_strategies(_layer(make_cell, case), case, rtol=10 * case.tolerance)


def recomputed_is_kept(make_cell, case):
    """With `recompute=True` the same values and gradients, with dropout too."""
    results = []
    plain = _layer(_with_dropout(make_cell), case)
    inputs, states = ops.convert_to_tensor(case.sequences()), _some_states(plain, case)
    _, _, feed, _ = plain.prepare(inputs, states, training=True)
    for recompute in (False, True):
        plain.recompute = recompute
        _, plan, _, _ = plain.prepare(inputs, states, training=True)
        results.append(_loss_and_gradients(strategy.choose(plan), plan, feed))
    (values, gradients), (again, gradients_again) = results
    assert_same(again, values, "values with recompute=True")
    assert_same(gradients_again, gradients, "gradients with recompute=True", 10 * tolerance())


def unknown_lengths_are_known_ones(make_cell, case):
    """A model for any batch size and number of steps gives what the layer gives."""
    inputs = keras.Input((None, case.features))
    layer = MyRNN(make_cell(), return_sequences=True, return_state=True)
    model = keras.Model(inputs, layer(inputs))
    for steps in (case.steps, case.steps + 3):
        # Numbers that are the same in float32, which `predict` makes of them.
        sequences = dataclasses.replace(case, steps=steps).sequences().astype("float32").astype(compute_dtype())
        assert_same(model.predict(sequences, verbose=0), layer(sequences), f"what `predict` gives for {steps} steps")


def sixteen_bits_are_close(make_cell, case):
    """Under `mixed_bfloat16` the numbers are near, and states that are declared wide stay in float32."""
    layer = _layer(make_cell, case)
    expected = layer(case.sequences())
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = _layer(make_cell, case)
        mixed.set_weights(layer.get_weights())
        found = mixed(case.sequences())
    finally:
        keras.config.set_dtype_policy(policy)
    dtypes = [keras.backend.standardize_dtype(each.dtype) for each in keras.tree.flatten(mixed.get_initial_state(1))]
    assert keras.backend.standardize_dtype(found[0].dtype) == "bfloat16", f"outputs are {found[0].dtype}"
    received = [keras.backend.standardize_dtype(each.dtype) for each in keras.tree.flatten(list(found[1:]))]
    assert received == dtypes, f"states are {received}, and start as {dtypes}"
    pairs = zip(*(keras.tree.flatten(list(each)) for each in (found, expected)), strict=True)
    found, expected = zip(*((ops.cast(new, "float32"), ops.cast(old, "float32")) for new, old in pairs), strict=True)
    # Eight bits of a number are 0.4 per cent, over some steps.
    assert_same(list(found), list(expected), "values in 16 bits", rtol=0.1)


def unrolled_is_loop(make_cell, case):
    layer = _layer(make_cell, case)
    inputs, mask = case.sequences(), case.mask()
    for options in ({}, {"mask": mask}):
        expected = layer(inputs, **options)
        for unroll in (True, 2, 3):
            other = _with_weights_of(_layer(make_cell, case, unroll=unroll), layer)
            assert_same(other(inputs, **options), expected, f"unroll={unroll}")


def masked_is_truncated(make_cell, case):
    layer = _layer(make_cell, case)
    inputs, lengths = case.sequences(), case.lengths()
    steps = np.arange(case.steps)
    right = layer(inputs, mask=steps[None] < lengths[:, None])
    left = layer(inputs, mask=steps[None] >= case.steps - lengths[:, None])
    for row, length in enumerate(lengths):
        one = inputs[row : row + 1]
        for (outputs, *states), part, place in (
            (right, one[:, :length], slice(0, length)),
            (left, one[:, case.steps - length :], slice(case.steps - length, None)),
        ):
            expected, *expected_states = layer(part)
            # A short row may hold small numbers only; their rounding is that of the layer's other numbers.
            scale = float(np.abs(ops.convert_to_numpy(outputs)).max(initial=0.0))
            outputs = ops.convert_to_numpy(outputs)[row : row + 1]
            assert_same(outputs[:, place], expected, f"outputs of a row of length {length}", scale=scale)
            states = [ops.convert_to_numpy(state)[row : row + 1] for state in keras.tree.flatten(states)]
            assert_same(states, expected_states, f"states of a row of length {length}", scale=scale)
            # The output repeats the last valid one, zeros before the first.
            last = ops.convert_to_numpy(expected)[:, -1:] if length else np.zeros_like(outputs[:, :1])
            rest = np.broadcast_to(last, outputs[:, length:].shape)
            if place.start == 0:
                assert_same(outputs[:, length:], rest, "outputs after the last valid step", scale=scale)
            else:
                before = outputs[:, : case.steps - length]
                assert_same(before, np.zeros_like(before), "outputs before the first valid step")


def padding_cannot_leak(make_cell, case):
    layer = _layer(make_cell, case)
    clean, mask = case.sequences(), case.mask()
    dirty = np.where(mask[..., None], clean, np.nan).astype(clean.dtype)
    variables = layer.trainable_variables
    weights = [ops.convert_to_tensor(ops.convert_to_numpy(variable)) for variable in variables]
    results = []
    for inputs in (clean, dirty):

        def loss(tensors):
            pairs = list(zip(variables, tensors[1:], strict=True))
            with keras.StatelessScope(state_mapping=pairs):
                outputs, *states = layer(tensors[0], mask=mask)
            return ops.sum(ops.square(outputs)) + sum(ops.sum(state) for state in keras.tree.flatten(states))

        gradients = strategy.engine().gradients(loss, [ops.convert_to_tensor(inputs), *weights])
        results.append((layer(inputs, mask=mask), gradients))
    assert_same(results[1][0], results[0][0], "values with NaN in masked steps")
    assert_same(results[1][1], results[0][1], "gradients with NaN in masked steps")


def saved_is_loaded(make_cell, case):
    inputs = keras.Input((None, case.features))
    model = keras.Model(inputs, MyRNN(make_cell(), return_sequences=True, return_state=True)(inputs))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.keras"
        model.save(path)
        loaded = keras.models.load_model(path)
    assert_same(loaded(case.sequences()), model(case.sequences()), "the loaded model's values", rtol=1e-30)


def no_steps_give_initial_state(make_cell, case):
    layer = _layer(make_cell, case)
    states, nothing = _some_states(layer, case), case.sequences()[:, :0]
    outputs, *last_states = layer(nothing, initial_state=states)
    assert tuple(outputs.shape)[:2] == (case.batch, 0), f"outputs of no steps: shape {tuple(outputs.shape)}"
    assert_same(last_states, states, "states after no steps")
    layer.return_sequences = False
    for training in (False, True):
        output, *last_states = layer(nothing, initial_state=states, training=training)
        assert_same(output, np.zeros(output.shape, compute_dtype()), "the last output of no steps")
        assert_same(last_states, states, "states after no steps")


def equals_oracle(make_cell, case, step):
    """Values and gradients are those of a reference implementation.

    Args:
        make_cell: function without arguments that gives a new cell of a `RecurrentCell`.
        case: the sizes.
        step: the reference, as `keras_rnn_ext.testing.oracle` describes it. Its `weights` have the names of the cell's,
            its `options` are the cell's config.
    """
    layer = _layer(make_cell, case)
    cell, inputs = layer.cell, case.sequences()
    random = np.random.default_rng(case.seed)
    variables = [variable for variable in cell.weights if variable.name in cell.declared_weights()]
    for variable in variables:
        # Zeros and ones, as many weights are at first, would hide what they do.
        change = 0.3 * random.normal(size=variable.shape)
        variable.assign(ops.convert_to_numpy(variable) + change.astype(compute_dtype()))
    weights = {variable.name: ops.convert_to_numpy(variable) for variable in variables}
    states = []
    for state, shape in zip(cell.own_states(), cell.get_initial_state(case.batch), strict=True):
        drawn = random.normal(size=tuple(shape.shape))
        states.append((np.abs(drawn) + 0.5 if state.positive else drawn).astype(compute_dtype()))
    exact = [each.astype("float64") for each in (inputs, *states)]
    exact_weights = {name: value.astype("float64") for name, value in weights.items()}
    options = cell.get_config()
    expected = reference.run(step, exact[0], exact[1:], exact_weights, options)
    cotangents = random.normal(size=expected[0].shape), [random.normal(size=state.shape) for state in expected[1]]

    def loss(tensors):
        own_inputs, *rest = tensors
        own_states, own_weights = rest[: len(states)], rest[len(states) :]
        with keras.StatelessScope(state_mapping=list(zip(variables, own_weights, strict=True))):
            outputs, *last = layer(own_inputs, initial_state=own_states)
        weighted = zip((outputs, *last), (cotangents[0], *cotangents[1]), strict=True)
        return sum(ops.sum(each * ops.cast(ops.convert_to_tensor(weight), each.dtype)) for each, weight in weighted)

    tensors = [ops.convert_to_tensor(each) for each in (inputs, *states, *weights.values())]
    gradients = strategy.engine().gradients(loss, tensors)
    outputs, *last = layer(inputs, initial_state=states)
    # A state is a mix of the one before and of the candidate: they can cancel.
    assert_same((outputs, last), list(expected), "values beside the oracle's", case.tolerance, scale=1.0)
    by_inputs, by_states, by_weights = reference.gradients(
        step, exact[0], exact[1:], exact_weights, options, cotangents
    )
    wanted = [by_inputs, *by_states, *by_weights.values()]
    assert_same(gradients, wanted, "gradients beside the oracle's", 10 * case.tolerance, scale=1.0)


# Held for every cell of the catalogue in each variant, beside its oracle.
FOR_EVERY_CELL = (strategies_agree_in_training, saved_is_loaded)

# Held for one cell of each kind as well; for every cell with `pytest --deep`.
FOR_EVERY_KIND = (
    layer_is_cell_step_by_step,
    layer_is_block_by_block,
    strategies_agree,
    long_sequences_agree,
    recomputed_is_kept,
    unknown_lengths_are_known_ones,
    sixteen_bits_are_close,
    unrolled_is_loop,
    masked_is_truncated,
    padding_cannot_leak,
    no_steps_give_initial_state,
)

PROPERTIES = {function.__name__: function for function in (*FOR_EVERY_KIND, *FOR_EVERY_CELL)}


def verify_contract(make_cell, case=None, oracle=None):
    """Holds a cell against all properties, in the widest type that the backend computes in throughout.

    Args:
        make_cell: function without arguments that gives a new cell. For `saved_is_loaded` its class must be
            registered with Keras.
        case: a `Case`. Default: 3 rows of 5 steps of 2 features.
        oracle: a reference implementation in NumPy, `step(x, states, weights, options)`, for a `RecurrentCell`: see
            `keras_rnn_ext.testing.oracle`. Default: none.

    Raises:
        AssertionError: naming the property and the difference.
    """
    checks = dict(PROPERTIES)
    if oracle is not None:
        checks["equals_oracle"] = functools.partial(equals_oracle, step=oracle)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64" if keras.config.backend() == "tensorflow" else "float32")
    try:
        for name, check in checks.items():
            try:
                check(make_cell, case or Case())
            except AssertionError as error:
                raise AssertionError(f"{name}: {error}") from error
    finally:
        keras.config.set_dtype_policy(policy)
