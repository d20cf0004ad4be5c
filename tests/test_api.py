"""The public face: names, signatures, registration, the stub, documentation."""

import importlib.util
import inspect
import pathlib
import re
import subprocess
import sys

import keras
import pytest

import keras_rnn_ext
from keras_rnn_ext.core.arguments import parameters
from tests.helpers import KERAS

ROOT = pathlib.Path(__file__).parents[1]
TWINS = {
    f"My{name}": getattr(keras.layers, name)
    for name in (
        "SimpleRNNCell", "SimpleRNN", "LSTMCell", "LSTM", "GRUCell", "GRU", "RNN", "StackedRNNCells", "Bidirectional",
        "Dense", "Embedding",
    )
}  # fmt: skip
CLASSES = [getattr(keras_rnn_ext, name) for name in keras_rnn_ext.__all__ if name.startswith("My")]


def positional(cls):
    return {
        name: parameter.default
        for name, parameter in parameters(cls).items()
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    }


@pytest.mark.parametrize(("name", "theirs"), TWINS.items())
def test_same_arguments_in_the_same_order_with_the_same_defaults(name, theirs):
    ours = positional(getattr(keras_rnn_ext, name))
    if KERAS < (3, 13):
        # The last argument of Dense and Embedding came with Keras 3.13.
        ours.pop("quantization_config", None)
    assert list(ours.items()) == list(positional(theirs).items())


@pytest.mark.parametrize("cls", CLASSES)
def test_registered_under_a_name_that_never_changes(cls):
    assert keras.saving.get_registered_name(cls) == f"keras_rnn_ext>{cls.__name__}"
    assert issubclass(cls, keras.layers.Layer)


def test_names_can_be_star_imported_beside_keras():
    assert not set(keras_rnn_ext.__all__) & set(dir(keras.layers))
    assert set(TWINS) <= set(keras_rnn_ext.__all__)


def test_one_import_registers_everything_that_can_be_saved():
    # In a process of its own: here the tests have imported it all.
    program = "import keras, keras_rnn_ext; print(*keras.saving.get_custom_objects())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    registered = done.stdout.split()
    for name in ("MyGRU", "TruncatedBPTT", "HoldThenDecay", "Perplexity", "Vocabulary"):
        assert f"keras_rnn_ext>{name}" in registered


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_stub_is_fresh():
    make_stub = load(ROOT / "tools" / "make_stub.py")
    assert make_stub.PATH.read_text() == make_stub.stub(), "run: python tools/make_stub.py"


@pytest.mark.parametrize("name", keras_rnn_ext.__all__)
def test_docstrings_are_whole(name):
    public = getattr(keras_rnn_ext, name)
    text = inspect.getdoc(public)
    for section in ("Args:", "Raises:", ">>> "):
        assert section in text, f"{name} has no {section}"
    signature = parameters(public) if inspect.isclass(public) else inspect.signature(public).parameters
    entries = text.split("Args:")[1]
    for argument in signature:
        assert f"    {argument}: " in entries or f", {argument}" in entries, f"{name} does not describe {argument}"
    if name in TWINS:
        assert re.search(rf"[Dd]rop-in for `keras\.layers\.{name.removeprefix('My')}`", text)
        assert "$" in text, f"{name} shows no equation"


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if hasattr(cls, "cell_class")])
def test_layers_show_the_signature_of_their_cell(cls):
    shown = inspect.signature(cls).parameters
    for name in parameters(cls.cell_class):
        assert name in shown
        if name != "self":
            assert shown[name].default == parameters(cls.cell_class)[name].default
    for extra in ("time_major", "save_states", "learned_initial_state", "zero_output_for_mask"):
        assert shown[extra].kind is inspect.Parameter.KEYWORD_ONLY
