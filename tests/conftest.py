"""Profiles of hypothesis, and the marks that Keras's own tests carry."""

import gc
import os
import pathlib

import pytest
from hypothesis import settings

settings.register_profile("ci", max_examples=10, deadline=None, derandomize=True)
settings.register_profile("deep", max_examples=200, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


# The tests compile thousands of small programs on JAX, many of them alike, and run each once. What one test has
# compiled the others load, in other workers and in the next run too (`pytest --cache-clear` forgets it). In the
# environment, so that processes which tests start do the same.
os.environ |= {
    "JAX_COMPILATION_CACHE_DIR": str(pathlib.Path(__file__).parents[1] / ".pytest_cache" / "d" / "jax"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    # The same for what TensorFlow compiles with XLA; `XLA_FLAGS= python -m pytest` tests with all optimizations.
    "XLA_FLAGS": os.environ.get(
        "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    ),
}


def _backend():
    import keras

    return keras.backend.backend()


# Tests of what one backend alone has are collected on that backend.
collect_ignore_glob = [f"backends/test_{name}*.py" for name in ("tensorflow", "jax", "torch") if name != _backend()]


@pytest.fixture(autouse=True)
def same_numbers_in_each_run():
    """Weights are drawn from a seed, so that a test which passes at the edge of its bound does so always."""
    import keras

    keras.utils.set_random_seed(0)


def pytest_addoption(parser):
    parser.addoption("--deep", action="store_true", help="hold every cell against every property")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    # The runs that the tests of an example look at are made once, by one worker.
    for item in items:
        if item.path.name.startswith("test_example"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    if not config.getoption("--deep"):
        deep = [item for item in items if item.get_closest_marker("deep")]
        items[:] = [item for item in items if item not in set(deep)]
        config.hook.pytest_deselected(items=deep)


def pytest_collection_finish(session):
    # Graphs are made of many objects, which live as long as a test: on TensorFlow, Python's own idea of when to look
    # for garbage takes a fifth of the time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 50, 50)


def pytest_configure(config):
    config.addinivalue_line("markers", "deep: runs with --deep only")
    config.addinivalue_line(
        "markers", "requires_trainable_backend: a test of Keras's that trains, as all our backends do"
    )
