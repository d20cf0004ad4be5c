"""Runs Keras's own tests with our classes in the place of Keras's.

A test module of the installed wheel is read, its `from keras.src import layers` is taken out, and the rest is executed
as a fresh module in which `layers` gives our class where we have a twin, and Keras's otherwise. Nothing of Keras's text
is kept here.
"""

import ast
import importlib.util
import sys
import types
import unittest
from collections import Counter
from pathlib import Path

import keras
import pytest

import keras_rnn_ext

TWINS = {
    name: getattr(keras_rnn_ext, f"My{name}")
    for name in (
        "SimpleRNN",
        "SimpleRNNCell",
        "LSTM",
        "LSTMCell",
        "GRU",
        "GRUCell",
        "RNN",
        "StackedRNNCells",
        "Bidirectional",
        "Dense",
        "Embedding",
    )
}

# The modules, and the twin that each of them is about.
MODULES = {
    "keras.src.layers.rnn.simple_rnn_test": "SimpleRNN",
    "keras.src.layers.rnn.lstm_test": "LSTM",
    "keras.src.layers.rnn.gru_test": "GRU",
    "keras.src.layers.rnn.rnn_test": "RNN",
    "keras.src.layers.rnn.bidirectional_test": "Bidirectional",
    "keras.src.layers.rnn.stacked_rnn_cells_test": "StackedRNNCells",
    "keras.src.layers.core.dense_test": "Dense",
    "keras.src.layers.core.embedding_test": "Embedding",
}

# Why a test may be excluded: a row G1 to G17 of the list of Keras's defects ("G7: ..."), or one of these. Nothing else.
PRIVATE = "private API"
QUANTIZATION = "quantization, which is not offered: `keras.layers` has it"

EXCLUDED = {
    "Bidirectional": {
        "test_fused_gru_eligibility": f"{PRIVATE}: `Bidirectional._can_attempt_fused_gru`",
        "test_fused_lstm_eligibility": f"{PRIVATE}: `Bidirectional._can_attempt_fused_lstm`",
    },
    "Dense": dict.fromkeys(
        (
            "test_awq_kernel_packing",
            "test_awq_serialization",
            "test_dense_int4_custom_quantizer",
            "test_dense_int8_custom_quantizer",
            "test_dense_int8_weight_only_quantizer",
            "test_dense_quantize_config",
            "test_gptq_kernel_packing",
            "test_gptq_serialization",
            "test_int4_awq_kernel_returns_unpacked_form",
            "test_int4_block_size_serialization",
            "test_int4_block_size_with_lora",
            "test_int4_gptq_kernel_returns_unpacked_form",
            "test_int4_grouped_vs_perchannel_scale_shapes",
            "test_int4_kernel_returns_unpacked_form",
            "test_int4_perchannel_no_g_idx",
            "test_int4_quantization_block_size",
            "test_int4_subchannel_g_idx_created",
            "test_int4_subchannel_g_idx_serialization",
            "test_legacy_load_own_variables",
            "test_quantize_by_setting_dtype_policy",
            "test_quantize_dtype_argument",
            "test_quantize_float8",
            "test_quantize_float8_fitting",
            "test_quantize_float8_inference",
            "test_quantize_int",
            "test_quantize_invalid_mode",
            "test_quantize_lora_integration",
            "test_quantize_on_subclass",
            "test_quantize_when_already_quantized",
        ),
        QUANTIZATION,
    ),
    "Embedding": dict.fromkeys(
        (
            "test_embedding_int8_custom_quantizer",
            "test_embedding_quantize_config",
            "test_int4_block_size_serialization",
            "test_int4_block_size_with_lora",
            "test_int4_grouped_vs_perchannel_scale_shapes",
            "test_int4_perchannel_no_g_idx",
            "test_int4_quantization_block_size",
            "test_int4_subchannel_g_idx_created",
            "test_int4_subchannel_g_idx_serialization",
            "test_legacy_load_own_variables",
            "test_quantize_by_setting_dtype_policy",
            "test_quantize_dtype_argument",
            "test_quantize_int",
            "test_quantize_invalid_mode",
            "test_quantize_lora_integration",
            "test_quantize_on_subclass",
            "test_quantize_when_already_quantized",
        ),
        QUANTIZATION,
    ),
}


class Layers:
    """`keras.layers` with some classes replaced; `requested` counts how often each of these was asked for."""

    def __init__(self, replacements):
        self.requested = Counter()
        self._replacements = replacements

    def __getattr__(self, name):
        if name not in self._replacements:
            return getattr(keras.layers, name)
        self.requested[name] += 1
        return self._replacements[name]


def parse(module):
    """The syntax tree of one of Keras's test modules, and the path of its file."""
    origin = importlib.util.find_spec(module).origin
    return ast.parse(Path(origin).read_text(encoding="utf-8"), origin), origin


def functions_of(tree):
    """The functions of a module that are tests, or become several."""
    return [
        function
        for test_case in tree.body
        if isinstance(test_case, ast.ClassDef)
        for function in test_case.body
        if isinstance(function, ast.FunctionDef) and function.name.startswith("test")
    ]


def load(module, replacements=TWINS, excluded=EXCLUDED):
    """One of Keras's test modules, executed with `replacements` in its `layers` and without the `excluded` tests."""
    tree, origin = parse(module)
    imports = [line for line in tree.body if ast.unparse(line) == "from keras.src import layers"]
    if len(imports) != 1:
        raise ImportError(f"{origin} has {len(imports)} lines `from keras.src import layers`, expected one.")
    tree.body.remove(imports[0])
    reasons = excluded.get(MODULES[module], {})
    for function in functions_of(tree):
        if function.name in reasons:
            # Innermost, where Keras's own marks stand: a decorator that makes several tests of one hands it on.
            function.decorator_list.append(ast.parse(f"_skip({reasons[function.name]!r})", mode="eval").body)
    # Keras loads the layers that its tests define from modules with this first name only.
    loaded = types.ModuleType(f"keras.twins.{module.rpartition('.')[2]}")
    sys.modules[loaded.__name__] = loaded
    loaded.__file__ = origin
    loaded.layers = Layers(replacements)
    loaded._skip = lambda reason: pytest.mark.skip(reason=reason)
    exec(compile(ast.fix_missing_locations(tree), origin, "exec"), vars(loaded))
    return loaded


def cases_of(loaded):
    """The TestCase classes that a module defines itself, by name."""
    return {
        name: value
        for name, value in vars(loaded).items()
        if isinstance(value, type) and issubclass(value, unittest.TestCase) and value.__module__ == loaded.__name__
    }
