"""Which models can write, and that they write what the whole text read again would give."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_rnn_ext import MyBidirectional, MyEmbedding, MyGRU, MyLSTM, get_states
from keras_rnn_ext.text import Temperature, generate, step_model
from tests.helpers import assert_close, to_numpy
from tests.text_models import MODELS, TOKENS, embedding, head, sequential


@pytest.fixture(scope="module")
def models():
    """Each model once, with the loops that were compiled for it."""
    made = {}

    def get(name):
        if name not in made:
            keras.utils.set_random_seed(3)
            made[name] = MODELS[name]()
        return made[name]

    return get


def greedy_by_hand(model, prompt, length):
    """The whole text read again for each token, by a model of the same layers for any length."""
    ids = list(prompt)
    for _ in range(length):
        whole = step_model(model, len(ids))
        states = [np.zeros((1, *state.shape[1:]), "float32") for state in whole.inputs[1:]]
        outputs = to_numpy(whole([ops.convert_to_tensor(value) for value in ([ids], *states)]))[0].reshape(-1, TOKENS)[
            -1
        ]
        if any(getattr(layer, "mask_zero", False) for layer in whole.layers):
            outputs[0] = -np.inf
        ids.append(int(outputs.argmax()))
    return ids


@pytest.mark.parametrize("name", MODELS)
def test_text_is_that_of_the_whole_text_read_again(models, name):
    model = models(name)
    prompt = [3, 1, 6]
    assert generate(model, prompt, 3, "greedy").tolist() == greedy_by_hand(model, prompt, 3)


@pytest.mark.parametrize("name", [name for name in MODELS if "stateful" not in name])
def test_model_of_steps_gives_what_the_model_gives(models, name):
    model = models(name)
    ids = np.random.default_rng(0).integers(1, TOKENS, (2, 9)).astype("int32")
    step = step_model(model)
    states = [ops.zeros((2, *state.shape[1:])) for state in step.inputs[1:]]
    outputs = []
    for place in range(9):
        output, *states = step([ops.convert_to_tensor(ids[:, place : place + 1]), *states], training=False)
        outputs.append(to_numpy(output))
    expected = to_numpy(model(ids, training=False))
    assert_close(outputs[-1] if expected.ndim == 2 else np.concatenate(outputs, axis=1), expected, 1e-5)


def test_the_model_stays_as_it_is(models, tmp_path):
    model = models("stateful for another batch")
    model(np.ones((3, 4), "int32"))
    before = model.get_weights(), get_states(model)
    config = model.get_config()
    generate(model, [[1], [2, 3]], 4, seed=0)
    assert_close((model.get_weights(), get_states(model)), before, 0)
    assert model.get_config() == config
    model.save(tmp_path / "model.keras")
    assert_close(keras.models.load_model(tmp_path / "model.keras").get_weights(), before[0], 0)


def test_keras_s_layers_can_be_trained_afterwards(models):
    """Their cells keep dropout masks: one of the loop's would be of no use outside it."""
    model = models("Keras's own layers")
    generate(model, [1], 2)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert np.isfinite(model.train_on_batch(np.ones((2, 9)), np.ones((2, 9))))


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "bfloat16"])
def test_half_precision(dtype):
    options = {"dtype": keras.DTypePolicy(dtype)}
    layers = [embedding(**options), MyLSTM(5, return_sequences=True, **options), head(**options)]
    model = sequential(*layers, shape=(None,))
    assert len(generate(model, [1], 6, Temperature(), seed=1)) == 7


def test_learned_initial_state_is_where_a_text_starts():
    model = sequential(embedding(), MyGRU(5, return_sequences=True, learned_initial_state=True), head(), shape=(None,))
    texts = []
    for value in (-3.0, 3.0):
        for weight in model.layers[1].weights:
            if "initial_state" in weight.path:
                weight.assign(ops.full(weight.shape, value))
        texts.append(generate(model, [1], 6, "greedy").tolist())
        assert texts[-1][1] == int(to_numpy(model(np.array([[1]])))[0, -1].argmax())
    assert texts[0] != texts[1]


# What cannot be

IDS = (None,)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: sequential(embedding(), head(), shape=IDS), "has no recurrent layer"),
        (
            lambda: sequential(embedding(), MyBidirectional(MyGRU(3, return_sequences=True)), head(), shape=IDS),
            r"'my_bidirectional.*' \(MyBidirectional\) cannot run step by step: it reads its sequence from",
        ),
        (
            lambda: sequential(embedding(), MyGRU(3, return_sequences=True, go_backwards=True), head(), shape=IDS),
            r"cannot run step by step: it reads its sequence from the end \(go_backwards=True\)",
        ),
        (
            lambda: sequential(
                embedding(),
                MyGRU(3, return_sequences=True),
                keras.layers.Conv1D(4, 2, padding="same"),
                head(),
                shape=IDS,
            ),
            r"'conv1d.*' \(Conv1D\) cannot run step by step: with all steps at once it gives something else",
        ),
        (lambda: with_given_state(), r"the model hands it \['initial_state'\]. Leave them out"),
        (
            lambda: with_state_input(),
            r"must have one input, the ids. Received: a model with the inputs \['ids', 'state'\]",
        ),
        (lambda: keras.Sequential([embedding(), MyGRU(3), head()]), "has no weights yet"),
        (
            lambda: sequential(MyEmbedding(4, 3), MyGRU(3), head(), shape=IDS),
            "gives 7 outputs a step, and its embedding has input_dim=4",
        ),
    ],
    ids=[
        "no state",
        "both directions",
        "backward",
        "convolution",
        "own state",
        "state input",
        "not built",
        "small input",
    ],
)
def test_models_that_cannot_write(model, message):
    with pytest.raises(ValueError, match=message):
        generate(model(), [1], 3)


def with_given_state():
    ids = keras.Input((None,), dtype="int32")
    features = embedding()(ids)
    return keras.Model(ids, head()(MyGRU(4, return_sequences=True)(features, initial_state=MyGRU(4)(features))))


def with_state_input():
    ids, state = keras.Input((None,), dtype="int32", name="ids"), keras.Input((4,), name="state")
    return keras.Model([ids, state], head()(MyGRU(4)(embedding()(ids), initial_state=state)))


def test_prompts_hold_no_padding(models):
    with pytest.raises(ValueError, match="`prompt` must hold no padding, which is the id 0 in this model"):
        generate(models("padding"), [[0, 0, 1], [1, 2, 3]], 3)
