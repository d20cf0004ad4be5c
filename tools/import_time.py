"""How much longer `import keras_rnn_ext` takes than `import keras`: medians of new processes, in turns.

    python tools/import_time.py

The backend is that of `KERAS_BACKEND`. The aim is at most 5 % more.
"""

import argparse
import statistics
import subprocess
import sys
import time


def seconds(module: str) -> float:
    """Of a process that imports the module and ends."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True, capture_output=True)
    return time.perf_counter() - begin


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    times: dict[str, list[float]] = {"keras": [], "keras_rnn_ext": []}
    for _ in range(options.rounds):
        for module, found in times.items():
            found.append(seconds(module))
    keras, ours = (statistics.median(found) for found in times.values())
    ratios = [one / other for one, other in zip(times["keras_rnn_ext"], times["keras"], strict=True)]
    print(
        f"import keras {keras:.2f} s, import keras_rnn_ext {ours:.2f} s: {statistics.median(ratios):.3f} times as long"
    )


if __name__ == "__main__":
    main()
