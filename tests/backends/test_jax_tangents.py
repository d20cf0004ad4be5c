"""The loop with a derivative of its own, against the one that JAX differentiates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import keras_rnn_ext
from keras_rnn_ext import MySimpleRNN
from keras_rnn_ext.core import strategy
from keras_rnn_ext.engine.jax.tangents import TangentLoop
from tests.helpers import assert_close

NAMES = ["SimpleRNN", "LSTM", "GRU"]
SEQUENCES = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32"))
OPTIONS = [
    {},
    {"return_sequences": True},
    {"return_sequences": True, "dropout": 0.4, "recurrent_dropout": 0.3},
    {"use_bias": False, "unroll": 3},
]


def outcome(row, plan, feed):
    """Outputs, states and derivatives: reverse mode, forward mode, and forward over reverse."""

    def compute(inputs, states, weights):
        return row.run(plan, feed._replace(inputs=inputs, states=states, weights=weights))

    def loss(*sources):
        outputs, states = compute(*sources)
        return jnp.sum(outputs**2) + sum(jnp.sum(state) * (2 + place) for place, state in enumerate(states))

    sources = (feed.inputs, feed.states, feed.weights)
    direction = jax.tree.map(jnp.cos, sources)
    gradient = jax.grad(loss, argnums=(0, 1, 2))
    return [
        jax.jit(compute)(*sources),
        jax.jit(gradient)(*sources),
        jax.jit(lambda *sources: jax.jvp(compute, sources, direction)[1])(*sources),
        jax.jit(lambda *sources: jax.jvp(gradient, sources, direction)[1])(*sources),
    ]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_own_derivative_is_that_of_the_loop(name, options, masked):
    layer = getattr(keras_rnn_ext, f"My{name}")(4, bias_initializer="random_normal", **options)
    random = np.random.default_rng(0)
    layer.build((3, 6, 2))
    states = [jnp.asarray(random.normal(size=(3, 4)), "float32") for _ in layer.cell.state_sizes]
    # The last row has no valid step.
    mask = jnp.asarray([[1, 1, 1, 1, 1, 1], [0, 1, 0, 0, 1, 0], [0] * 6], bool) if masked else None
    inputs = random.normal(size=(3, 6, 2)).astype("float32")
    _, plan, feed, _ = layer.prepare(inputs, states, mask, training=True)
    own, loop = TangentLoop(), strategy.engine().strategies[-1]
    assert own.obstacle(plan) is None
    assert_close(outcome(own, plan, feed), outcome(loop, plan, feed), 1e-6, scale=1.0)


@pytest.mark.parametrize("name", NAMES)
def test_own_derivative_makes_no_sum_of_weights_in_its_loops(name):
    """The gradient of a weight is one product over all steps: no loop carries anything of its size."""
    layer = getattr(keras_rnn_ext, f"My{name}")(64)
    layer.build((2, 5, 48))
    _, plan, feed, _ = layer.prepare(np.zeros((2, 5, 48), "float32"), training=True)

    def carried(row):
        def loss(weights):
            return jnp.sum(row.run(plan, feed._replace(weights=weights))[0])

        program = jax.make_jaxpr(jax.grad(loss))(feed.weights)
        turns = [each for each in program.jaxpr.eqns if each.primitive.name == "scan"]
        assert turns
        first = [each.params["num_consts"] for each in turns]
        count = [each.params["num_carry"] for each in turns]
        return {
            tuple(variable.aval.shape)
            for each, start, number in zip(turns, first, count, strict=True)
            for variable in each.invars[start : start + number]
        }

    sizes = {tuple(weight.shape) for weight in feed.weights.values()}
    assert not carried(TangentLoop()) & sizes
    assert carried(strategy.engine().strategies[-1]) & sizes


def test_own_derivative_over_many_examples():
    layer = MySimpleRNN(4)
    layer.build((2, 5, 3))
    weights = [variable.value for variable in layer.trainable_variables]
    other = [variable.value for variable in layer.non_trainable_variables]
    assert layer.explain(batch=1, training=True).startswith("backend jax: tangent loop")

    def loss(weights, one):
        return jnp.sum(layer.stateless_call(weights, other, one[None], training=True)[0] ** 2)

    per_example = jax.vmap(jax.grad(loss), in_axes=(None, 0))(weights, SEQUENCES)
    for row in range(2):
        expected = jax.grad(loss)(weights, SEQUENCES[row])
        assert_close([each[row] for each in per_example], expected, 1e-5)


@pytest.mark.parametrize(("said", "runs"), [({}, 1), ({"training": True}, 1), ({"training": False}, 0)])
def test_a_call_that_does_not_say_training_may_be_differentiated(said, runs, monkeypatch):
    layer = MySimpleRNN(4)
    layer.build((2, 5, 3))
    weights = [variable.value for variable in layer.trainable_variables]
    other = [variable.value for variable in layer.non_trainable_variables]
    found, run = [], TangentLoop.run
    monkeypatch.setattr(TangentLoop, "run", lambda *arguments: found.append(1) or run(*arguments))
    jax.jit(jax.grad(lambda weights: jnp.sum(layer.stateless_call(weights, other, SEQUENCES, **said)[0])))(weights)
    assert len(found) == runs
