"""The peers of the backend that Keras runs on, and what the machine and the libraries are."""

import datetime
import importlib
import importlib.metadata
import os
import pathlib
import platform
from typing import Any

import keras

VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2", "asimd": "NEON"}
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
    """The model name of the CPU, what vectors it has, and its caches, as far as the system tells."""
    path = pathlib.Path("/proc/cpuinfo")
    facts: dict[str, str] = {}
    if path.exists():
        for line in path.read_text().splitlines():
            name, _, value = line.partition(":")
            facts.setdefault(name.strip(), value.strip())
    flags = facts.get("flags", "").split()
    notes = [next((text for flag, text in VECTORS.items() if flag in flags), ""), *_caches()]
    name = facts.get("model name") or platform.processor() or platform.machine()
    return f"{name} ({', '.join(filter(None, notes))})" if any(notes) else name


def _caches() -> list[str]:
    folders = sorted(pathlib.Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"))
    found = [[(folder / name).read_text().strip() for name in ("level", "type", "size")] for folder in folders]
    return [f"L{level} {size}" for level, kind, size in found if kind == "Unified"]
