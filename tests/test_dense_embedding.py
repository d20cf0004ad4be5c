"""MyDense and MyEmbedding: parity with Keras, what is better than in Keras, and the errors."""

import inspect
import pickle

import keras
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from keras import ops

from keras_rnn_ext import MyDense, MyEmbedding
from tests.helpers import BACKEND, KERAS, RTOL, assert_close, gradients, precision, to_numpy

TWINS = [(MyDense, keras.layers.Dense), (MyEmbedding, keras.layers.Embedding)]
POLICIES = ["float64", "float32", "mixed_bfloat16", "mixed_float16", "bfloat16"]
# As ours are, whatever the policy. Before 3.15 they had the dtype of the other variables.
FACTORS_OF_KERAS_ARE_FLOAT32 = KERAS >= (3, 15)

sizes = st.integers(1, 6)
dtypes = st.sampled_from(["float32", "float64"])
lora = st.sampled_from([{}, {"lora_rank": 1}, {"lora_rank": 3}])
regularizers = st.sampled_from([None, "l2", {"class_name": "L1L2", "config": {"l1": 0.1, "l2": 0.2}}])
dense_options = st.fixed_dictionaries(
    {
        "units": sizes,
        "activation": st.sampled_from([None, "tanh", "relu", "sigmoid", "softmax"]),
        "use_bias": st.booleans(),
        "kernel_regularizer": regularizers,
        "bias_regularizer": regularizers,
        "activity_regularizer": regularizers,
    }
).filter(lambda options: options["activation"] != "softmax" or options["units"] > 1)  # Keras warns of that
embedding_options = st.fixed_dictionaries(
    {
        "input_dim": st.integers(1, 9),
        "output_dim": sizes,
        "mask_zero": st.booleans(),
        "embeddings_regularizer": regularizers,
    }
)


def random(shape, seed=0, dtype="float32"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def built_pair(ours, theirs, options, input_shape, seed=0, whole=False):
    """One layer of each class, with the same random weights, `whole` numbers or not."""
    pair = ours(**options), theirs(**options)
    for layer in pair:
        layer.build(input_shape)
        weights = [random(weight.shape, seed + place) for place, weight in enumerate(layer.weights)]
        layer.set_weights([np.round(weight) if whole else weight for weight in weights])
    return pair


def names_and_shapes(layer):
    return [(weight.name, tuple(weight.shape), weight.trainable) for weight in layer.weights]


# Parity with Keras


@pytest.mark.parametrize(("ours", "theirs"), TWINS)
@pytest.mark.parametrize("method", ["__init__", "build", "call", "compute_mask", "enable_lora", "quantize"])
def test_the_signatures_are_keras_s(ours, theirs, method):
    if KERAS < (3, 13) and method in ("__init__", "quantize"):
        pytest.skip("configs of quantization came with Keras 3.13")
    assert inspect.signature(getattr(ours, method)) == inspect.signature(getattr(theirs, method))


@given(
    options=dense_options,
    lora=lora,
    dtype=dtypes,
    leading=st.lists(st.integers(0, 4), min_size=1, max_size=3),
    features=sizes,
    seed=st.integers(0, 99),
)
def test_dense_equals_keras_s(options, lora, dtype, leading, features, seed):
    assume(not lora or dtype == "float32" or FACTORS_OF_KERAS_ARE_FLOAT32)
    with precision(dtype):
        x = random((*leading, features), seed, dtype)
        ours, theirs = built_pair(MyDense, keras.layers.Dense, {**options, **lora, "dtype": dtype}, x.shape, seed)
        assert names_and_shapes(ours) == names_and_shapes(theirs)
        assert_close(ours(x), theirs(x), RTOL[dtype])
        assert_close(ours.losses, theirs.losses, RTOL[dtype])
        assert_close(
            gradients(ours, [x], ours.trainable_weights),
            gradients(theirs, [x], theirs.trainable_weights),
            RTOL[dtype],
        )


@given(
    options=embedding_options,
    lora=lora,
    dtype=dtypes,
    id_dtype=st.sampled_from(["int32", "int64", "uint8", "float32"]),
    shape=st.lists(st.integers(0, 4), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
def test_embedding_equals_keras_s(options, lora, dtype, id_dtype, shape, seed):
    with precision(dtype):
        x = np.random.default_rng(seed).integers(options["input_dim"], size=shape).astype(id_dtype)
        options = {**options, **lora, "dtype": dtype}
        # With LoRA, Keras adds whole matrices and we add the rows asked for. Sums of whole numbers do not tell.
        ours, theirs = built_pair(MyEmbedding, keras.layers.Embedding, options, x.shape, seed, whole=bool(lora))
        assert names_and_shapes(ours) == names_and_shapes(theirs)
        assert_close(ours(x), theirs(x), RTOL[dtype])
        assert_close(ours.losses, theirs.losses, RTOL[dtype])
        assert_close(
            gradients(lambda: ours(x), [], ours.trainable_weights),
            gradients(lambda: theirs(x), [], theirs.trainable_weights),
            RTOL[dtype],
        )
        assert ours.supports_masking == theirs.supports_masking
        masks = ours.compute_mask(x), theirs.compute_mask(x)
        if options["mask_zero"]:
            np.testing.assert_array_equal(*to_numpy(masks))
        else:
            assert masks == (None, None)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("lora", [{}, {"lora_rank": 2}])
@pytest.mark.parametrize(("ours", "theirs"), TWINS)
def test_policies(policy, lora, ours, theirs):
    if lora and policy in ("float64", "bfloat16") and not FACTORS_OF_KERAS_ARE_FLOAT32:
        pytest.skip("the factors of Keras's LoRA are float32 from Keras 3.15 on")
    dtype = "float64" if policy == "float64" else "float32"
    compute_dtype = policy.removeprefix("mixed_")
    rtol = RTOL.get(compute_dtype, 0.0)
    if lora and ours is MyEmbedding:
        # Keras adds whole matrices, we the rows asked for, both in float32; then the sums are rounded to the 8 or 11
        # bits of a half precision, and one that lies between two such numbers may go to the other.
        rtol = {"bfloat16": 2.0**-7, "float16": 2.0**-10}.get(compute_dtype, RTOL["float32"])
    with precision(dtype):
        options = {"input_dim": 7, "output_dim": 6} if ours is MyEmbedding else {"units": 6}
        x = np.random.default_rng(0).integers(7, size=(4, 5)) if ours is MyEmbedding else random((4, 5, 3), dtype=dtype)
        layer, built_in = built_pair(ours, theirs, {**options, **lora, "dtype": policy}, x.shape)
        outputs = layer(x)
        assert keras.backend.standardize_dtype(outputs.dtype) == compute_dtype
        assert [weight.dtype for weight in layer.weights] == [weight.dtype for weight in built_in.weights]
        assert_close(outputs, built_in(x), rtol)
        found = gradients(lambda: layer(x), [], layer.trainable_weights)
        assert all(np.isfinite(gradient.astype("float32")).all() for gradient in found)
        assert_close(found, gradients(lambda: built_in(x), [], built_in.trainable_weights), rtol)


@pytest.mark.parametrize("lora", [{}, {"lora_rank": 2}])
def test_training_equals_keras_s(lora):
    def model(embedding, dense):
        layers = [
            keras.Input((None,), dtype="int32"),
            embedding(9, 4, mask_zero=True, embeddings_regularizer="l2", **lora),
            dense(5, activation="tanh", **lora),
            keras.layers.GlobalAveragePooling1D(),  # this one uses the mask
            dense(1, kernel_constraint="non_neg"),
        ]
        return keras.Sequential(layers)

    ours, theirs = model(MyEmbedding, MyDense), model(keras.layers.Embedding, keras.layers.Dense)
    ours.set_weights([random(weight.shape, place) for place, weight in enumerate(theirs.weights)])
    theirs.set_weights(ours.get_weights())
    ids = np.random.default_rng(0).integers(9, size=(12, 6))
    ids[:, 0] = 1  # a row of padding alone has no average
    for each in (ours, theirs):
        each.compile(keras.optimizers.SGD(0.01), "mse")
        each.fit(ids, random((12, 1)), epochs=2, batch_size=4, shuffle=False, verbose=0)
    assert_close(ours.get_weights(), theirs.get_weights(), RTOL["float32"] * 6)  # six updates, an error in each
    for other in (ids[:3], ids[:5, :2]):
        assert_close(ours.predict(other, verbose=0), theirs.predict(other, verbose=0), RTOL["float32"] * 6)


@pytest.mark.parametrize("shape", [(None, None), (None, 4), (2, None), (2, 4)])
def test_unknown_shapes(shape):
    ids = keras.KerasTensor(shape, dtype="int32")
    vectors = MyEmbedding(5, 3)(ids)
    assert vectors.shape == (*shape, 3)
    assert MyDense(2)(vectors).shape == (*shape, 2)
    assert MyDense(2, dtype="mixed_bfloat16")(vectors).dtype == "bfloat16"


# Configs and files


@pytest.mark.parametrize("lora", [{}, {"lora_rank": 2, "lora_alpha": 4}])
@given(options=dense_options)
def test_dense_configs_are_keras_s(lora, options):
    check_configs(MyDense, keras.layers.Dense, {**options, **lora}, (None, 3))


@pytest.mark.parametrize("lora", [{}, {"lora_rank": 2, "lora_alpha": 4}])
@given(options=embedding_options)
def test_embedding_configs_are_keras_s(lora, options):
    check_configs(MyEmbedding, keras.layers.Embedding, {**options, **lora}, (None, 3))


def check_configs(ours, theirs, options, input_shape):
    layer, built_in = ours(**options, name="same"), theirs(**options, name="same")
    config, built_in_config = layer.get_config(), built_in.get_config()
    # Keras is not of one mind whether a None stands in a config.
    assert without_none(config) == without_none(built_in_config)
    assert ours.from_config(config).get_config() == config
    assert ours.from_config(built_in_config).get_config() == config
    assert theirs.from_config(config).get_config() == built_in_config
    layer.build(input_shape)
    assert layer.get_config() == config


def without_none(config):
    return {name: value for name, value in config.items() if value is not None}


@pytest.mark.parametrize(("ours", "theirs"), TWINS)
def test_the_registered_name(ours, theirs):
    assert keras.saving.get_registered_name(ours) == f"keras_rnn_ext>{ours.__name__}"


@keras.saving.register_keras_serializable("tests")
class Scaled(MyDense):
    """A subclass with arguments of its own."""

    def __init__(self, units, scale=1.0, **kwargs):
        super().__init__(units, **kwargs)
        self.scale = scale

    def call(self, inputs, training=None):
        return self.scale * super().call(inputs, training)

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


def saved_model(lora):
    options = {"lora_rank": 2, "lora_alpha": 3} if lora else {}
    model = keras.Sequential(
        [
            keras.Input((4,), dtype="int32"),
            MyEmbedding(9, 5, mask_zero=True, **options),
            MyDense(3, activation="tanh", kernel_regularizer="l2", **options),
            Scaled(2, scale=2.0, use_bias=False),
        ]
    )
    model.set_weights([random(weight.shape, place) for place, weight in enumerate(model.weights)])
    return model


IDS = np.random.default_rng(0).integers(9, size=(3, 4))


@pytest.mark.parametrize("lora", [False, True])
def test_save_and_load(tmp_path, lora):
    model = saved_model(lora)
    expected = to_numpy(model(IDS))
    # Merging the delta of LoRA adds in another order.
    rtol = RTOL["float32"] if lora else 0.0
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_close(loaded(IDS), expected, rtol)
    assert [layer.get_config() for layer in loaded.layers] == [layer.get_config() for layer in model.layers]
    assert_close(pickle.loads(pickle.dumps(model))(IDS), expected, rtol)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    assert_close(clone(IDS), expected, 0.0)
    model.save_weights(tmp_path / "model.weights.h5")
    clone.set_weights([np.zeros_like(weight) for weight in clone.get_weights()])
    clone.load_weights(tmp_path / "model.weights.h5")
    assert_close(clone(IDS), expected, rtol)


def test_weights_saved_with_lora_load_without_it_and_back(tmp_path):
    with_lora, without = saved_model(True), saved_model(False)
    expected = to_numpy(with_lora(IDS))
    with_lora.save_weights(tmp_path / "lora.weights.h5")
    without.load_weights(tmp_path / "lora.weights.h5")
    assert_close(without(IDS), expected, RTOL["float32"])
    without.set_weights([weight + 1 for weight in without.get_weights()])
    without.save_weights(tmp_path / "plain.weights.h5")
    with_lora.load_weights(tmp_path / "plain.weights.h5")
    assert_close(with_lora(IDS), without(IDS), 0.0)


# LoRA, where Keras is wrong


@pytest.mark.parametrize(("ours", "theirs"), TWINS)
def test_lora_alpha_is_kept(ours, theirs):
    layers = [
        cls(4, 3, lora_rank=2, lora_alpha=6) if ours is MyEmbedding else cls(4, lora_rank=2, lora_alpha=6)
        for cls in (ours, theirs)
    ]
    for layer in layers:
        layer.build((None, 3))
    assert [layer.lora_alpha for layer in layers] == [6, 2]


@pytest.mark.parametrize(("ours", "theirs"), TWINS)
def test_loaded_weights_can_be_trained_with_lora(ours, theirs):
    options = {"input_dim": 4, "output_dim": 3} if ours is MyEmbedding else {"units": 3, "use_bias": False}
    inputs = np.array([[1, 2]]) if ours is MyEmbedding else random((2, 5))
    moving = []
    for cls in (ours, theirs):
        plain, layer = cls(**options), cls(**options)
        for each in (plain, layer):
            each.build(inputs.shape)
        layer.enable_lora(2)
        store = {}
        plain.save_own_variables(store)
        layer.load_own_variables(to_numpy(store))
        assert_close(layer(inputs), plain(inputs), 0.0)
        found = gradients(lambda layer=layer: layer(inputs), [], layer.trainable_weights)
        moving.append(any(np.abs(gradient).max() > 0 for gradient in found))
    assert moving == [True, False]


@pytest.mark.parametrize(("ours", "theirs"), TWINS)
def test_saving_with_lora_keeps_the_precision_of_the_variables(ours, theirs):
    options = {"input_dim": 4, "output_dim": 3} if ours is MyEmbedding else {"units": 3}
    dtypes = []
    for cls in (ours, theirs):
        layer = cls(**options, lora_rank=1, dtype="mixed_bfloat16")
        layer.build((None, 5))
        store = {}
        layer.save_own_variables(store)
        dtypes.append(keras.backend.standardize_dtype(store["0"].dtype))
    assert dtypes[0] == "float32"
    if KERAS >= (3, 15):
        assert dtypes[1] == "bfloat16"


def test_lora_cannot_be_loaded_from_a_file_of_another_layer():
    layer = MyDense(3, lora_rank=1)
    layer.build((None, 2))
    with pytest.raises(ValueError, match=r"expected 2 variables, but received 1 .* Expected: \['kernel', 'bias'\]"):
        layer.load_own_variables({"0": np.zeros((2, 3))})


# Arguments


@pytest.mark.parametrize("bad", [0, -1, 2.5, "a", None, True, 3.0])
def test_sizes_that_are_no_positive_integers(bad):
    for name, make in (
        ("units", lambda: MyDense(bad)),
        ("input_dim", lambda: MyEmbedding(bad, 2)),
        ("output_dim", lambda: MyEmbedding(2, bad)),
    ):
        with pytest.raises(
            ValueError, match=rf"`{name}` must be a positive integer. Received: {name}={bad!r} \(of type"
        ):
            make()


def test_integers_of_numpy_are_integers():
    assert MyDense(np.int64(3)).get_config()["units"] == 3
    assert type(MyEmbedding(np.int32(4), 2).input_dim) is int


@pytest.mark.parametrize(("ours", "theirs"), TWINS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lora_rank": -1}, "`lora_rank` must be a positive integer. Received: lora_rank=-1"),
        ({"lora_rank": 2.5}, "`lora_rank` must be a positive integer. Received: lora_rank=2.5"),
        ({"lora_rank": 2, "lora_alpha": "a"}, "`lora_alpha` must be a number. Received: lora_alpha='a'"),
        ({"quantization_config": {"a": 1}}, "`quantization_config` must be None. Received: .*: use keras.layers."),
        (
            {"dtype": "int8_from_float32"},
            "`dtype` must be a policy without quantization. Received: 'int8_from_float32'",
        ),
        ({"uints": 3}, "Unrecognized keyword arguments .*uints"),
    ],
)
def test_other_bad_arguments(ours, theirs, arguments, message):
    sizes = (4, 3) if ours is MyEmbedding else (4,)
    with pytest.raises(ValueError, match=message):
        ours(*sizes, **arguments)


@pytest.mark.parametrize(("ours", "theirs"), TWINS)
def test_quantization_is_refused(ours, theirs):
    layer = ours(4, 3) if ours is MyEmbedding else ours(4)
    layer.build((None, 3))
    with pytest.raises(NotImplementedError, match=f"{ours.__name__} offers no quantization: use keras.layers."):
        layer.quantize("int8")
    unbuilt = ours(4, 3) if ours is MyEmbedding else ours(4)
    unbuilt.dtype_policy = "int8_from_float32"
    with pytest.raises(ValueError, match="offers no quantization"):
        unbuilt.build((None, 3))


def test_dense_refuses_inputs_that_do_not_fit():
    with pytest.raises(ValueError, match=r"must have a known length.*input_shape="):
        MyDense(3).build((2, None))
    with pytest.raises(ValueError, match="min_ndim=2, found ndim=1"):
        MyDense(3)(np.zeros(4, "float32"))
    layer = MyDense(3)
    layer(np.zeros((2, 4), "float32"))
    with pytest.raises(ValueError, match=r"expected axis -1 of input shape to have value 4.*\(2, 5\)"):
        layer(np.zeros((2, 5), "float32"))


def test_embedding_starts_from_weights():
    matrix = random((4, 3))
    for weights in (matrix, [matrix], matrix.tolist(), ops.convert_to_tensor(matrix)):
        layer = MyEmbedding(4, 3, weights=weights)
        assert_close(layer.get_weights(), [matrix], 0.0)
        assert "weights" not in layer.get_config()
    # With LoRA, where Keras fails.
    assert_close(MyEmbedding(4, 3, weights=matrix, lora_rank=1, trainable=False)._embeddings, matrix, 0.0)
    with pytest.raises(ValueError, match=r"`weights` .* shape \(input_dim, output_dim\) = \(4, 3\).*\(3, 4\)"):
        MyEmbedding(4, 3, weights=matrix.T)


def test_input_length_is_ignored_with_a_warning():
    with pytest.warns(UserWarning, match="`input_length` is deprecated"):
        assert "input_length" not in MyEmbedding(4, 3, input_length=5).get_config()


# Ids outside of the range


@given(
    size=st.integers(1, 9),
    bad=st.sampled_from([-1, 0, 1]),
    dtype=st.sampled_from(["int32", "int64", "float32"]),
    shape=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    far=st.integers(0, 100),
)
def test_ids_outside_of_the_range_are_an_error(size, bad, dtype, shape, far):
    ids = np.zeros(shape, dtype)
    ids.flat[-1] = -1 - far if bad < 0 else size + far if bad else size - 1
    layer = MyEmbedding(size, 2)
    if not bad:
        assert tuple(layer(ids).shape) == (*shape, 2)
        return
    with pytest.raises(ValueError, match=rf"\[0, input_dim\) = \[0, {size}\). Received: ids from"):
        layer(ids)


def test_ids_that_are_no_numbers():
    with pytest.raises(ValueError, match="Received: ids from nan"):
        MyEmbedding(3, 2)(np.array([np.nan, 1]))
    # Not every backend has tensors of strings: Keras refuses them before the layer sees them.
    with pytest.raises((TypeError, ValueError), match=r"strings|string to float|dtype"):
        MyEmbedding(3, 2)(np.array(["a"]))


def test_floats_are_cut_as_in_keras():
    ours, theirs = built_pair(MyEmbedding, keras.layers.Embedding, {"input_dim": 3, "output_dim": 2}, (1, 3))
    ids = np.array([[-0.9, 0.9, 2.9]], "float32")
    assert_close(ours(ids), theirs(ids), 0.0)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow's graphs")
def test_ids_outside_of_the_range_in_graphs_of_tensorflow():
    import tensorflow as tf

    layer = MyEmbedding(3, 2, weights=[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    signature = [tf.TensorSpec([None], "int32")]
    graph = tf.function(layer, input_signature=signature)
    compiled = tf.function(layer, input_signature=signature, jit_compile=True)
    for bad in (3, -4):
        with pytest.raises(tf.errors.InvalidArgumentError):
            graph(tf.constant([bad]))
    assert_close(graph(tf.constant([-1])), np.array([[5, 6]]), 0.0)
    assert_close(compiled(tf.constant([-1, 3, 99, -4])), np.array([[5, 6], [5, 6], [5, 6], [1, 2]]), 0.0)


@pytest.mark.skipif(BACKEND != "jax", reason="JAX's jit")
def test_ids_outside_of_the_range_in_jit_of_jax():
    import jax

    layer = MyEmbedding(3, 2, weights=[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    nan = [np.nan, np.nan]
    np.testing.assert_array_equal(jax.jit(layer)(np.array([-1, 3, -4])), [[5, 6], nan, nan])


@pytest.mark.skipif(BACKEND != "torch", reason="PyTorch's compile")
def test_ids_outside_of_the_range_in_torch():
    import torch

    layer = MyEmbedding(3, 2, weights=[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    assert_close(compiled(torch.tensor([-1])), np.array([[5, 6]]), 0.0)
    with pytest.raises(IndexError):
        compiled(torch.tensor([3]))
    model = keras.Sequential([keras.Input((1,), dtype="int32"), layer])
    with pytest.raises(ValueError, match="must lie in"):
        model.predict(np.array([[3]]), verbose=0)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow has ragged tensors")
def test_ids_in_ragged_and_sparse_tensors():
    import tensorflow as tf

    layer = MyEmbedding(3, 2, weights=[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    vectors = layer(tf.ragged.constant([[1, 2], [0]]))
    assert vectors.to_list() == [[[3, 4], [5, 6]], [[1, 2]]]
    assert_close(layer(tf.SparseTensor([[0, 1]], [2], (1, 2))), np.array([[[1, 2], [5, 6]]]), 0.0)
    with pytest.raises(ValueError, match="Received: ids from 0 to 3"):
        layer(tf.ragged.constant([[1, 3], [0]]))
    with pytest.raises(ValueError, match="Received: ids from 0 to 3"):
        layer(tf.SparseTensor([[0, 1]], [3], (1, 2)))
