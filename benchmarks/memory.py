"""Peak memory of one peer, measured in a process of its own.

    python -m benchmarks.memory W3 gradient keras

prints one line of JSON: `{"memory": MiB}`.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys
from collections.abc import Sequence

PROCESSES = 3  # whose median is taken: where pieces of memory come to lie is chance
CALLS = 3  # the first one traces and compiles; the rest show what is left behind
TIMEOUT = 1800  # seconds


def peak() -> float:
    """The largest memory that this process ever held, in MiB."""
    # On Linux `ru_maxrss` begins with that of the process which started this one.
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 1024


def measured_apart(workload: str, mode: str, peer: str) -> float:
    """MiB above what a new process held before the first call.

    Raises:
        RuntimeError: if that process fails.
    """
    command = [sys.executable, "-m", "benchmarks.memory", workload, mode, peer]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])}: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.splitlines()[-1])["memory"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one peer and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("workload", "mode", "peer"):
        parser.add_argument(name)
    options = parser.parse_args(arguments)

    from benchmarks.backend import peers_module
    from benchmarks.workloads import WORKLOADS, Problem

    workload = next(each for each in WORKLOADS if each.id == options.workload)
    peer = peers_module().peers(Problem.of(workload), options.mode)[options.peer]()
    before = peak()
    for _ in range(CALLS):
        peer.run()
    print(json.dumps({"memory": round(peak() - before, 1)}))


if __name__ == "__main__":
    main()
