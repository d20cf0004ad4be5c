"""How a recurrence is run over time: rows for the table of strategies, one module per backend."""

import importlib

import keras

BACKENDS = ("tensorflow", "jax", "torch")

if keras.config.backend() in BACKENDS:
    importlib.import_module(f"{__name__}.{keras.config.backend()}")
