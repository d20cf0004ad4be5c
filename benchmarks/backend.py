"""The peers of the backend that Keras runs on, and what the machine and the libraries are."""

import datetime
import importlib
import importlib.metadata
import os
import pathlib
import platform
from typing import Any

import keras

LIBRARIES = ("keras-rnn-ext", "keras", "tensorflow", "jax", "torch", "numpy")


def peers_module() -> Any:
    """The module of `benchmarks` with `peers`, `MODES` and `large_product` for this backend."""
    return importlib.import_module(f"benchmarks.{keras.config.backend()}_peers")


def about() -> dict[str, Any]:
    """What a measurement has to say of where it was made."""
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    import keras_rnn_ext

    versions["keras-rnn-ext"] = keras_rnn_ext.__version__
    return {
        "backend": keras.config.backend(),
        "versions": versions,
        "python": platform.python_version(),
        "processor": processor(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        # Above 1 when a run begins, something else was running.
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }


def processor() -> str:
    """The model name of the CPU."""
    path = pathlib.Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
