"""Measures the layers of keras_rnn_ext against their peers, in one process and in turns.

    python -m benchmarks                                   # everything, half an hour or more
    python -m benchmarks W3 W8 --peers keras torch.nn      # some workloads, some peers
    python -m benchmarks cells                             # every cell of the catalogue
    python -m benchmarks torchrecurrent                    # every cell that torchrecurrent has too; see its --help
    python -m benchmarks --memory --json tensorflow.json   # with peak memory; keeps the results
    python -m benchmarks --page benchmarks/results/*.json  # writes docs/benchmarks.md from such files, oldest first
    python -m benchmarks probes                            # which cell learns what; see its --help

Peers that do not compute the same values and gradients are refused, and the exit status is then 1. The backend is that
of `KERAS_BACKEND`. Run it on a machine that does nothing else.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workloads", nargs="*", help="such as W3; none: all; see --list")
    parser.add_argument("--list", action="store_true", help="list the workloads and peers of this backend, and stop")
    parser.add_argument("--peers", nargs="+", default=[], help="to measure besides Keras and ours (default: all)")
    parser.add_argument("--seconds", type=_positive, default=10.0, help="for a workload in a mode (default: 10)")
    parser.add_argument("--memory", action="store_true", help="measure peak memory too, each in a process of its own")
    parser.add_argument("--json", type=pathlib.Path, help="file for the results")
    parser.add_argument(
        "--page", nargs="+", type=pathlib.Path, metavar="FILE", help="make the page of these results, measure nothing"
    )
    parser.add_argument("--page-to", type=pathlib.Path, help="the page (default: docs/benchmarks.md)")
    return parser


def _positive(given: str) -> float:
    value = float(given)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected seconds above zero, got {given!r}")
    return value


def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    """Runs the jobs one after the other, prints each, and keeps the file up to date."""
    from benchmarks import backend, run

    jobs, settings = run.jobs(options.workloads), run.Settings(options.seconds, tuple(options.peers), options.memory)
    found: dict[str, Any] = {"about": backend.about(), "results": []}
    start = time.monotonic()
    for place, job in enumerate(jobs):
        gone = time.monotonic() - start
        left = f"about {gone / place * (len(jobs) - place) / 60:.0f} min left" if place else ""
        print(f"[{place + 1}/{len(jobs)}] {job.workload} {job.mode}: {job.title}  {left}", flush=True)
        result = job.result(settings)
        found["results"].append(result)
        show(result)
        if options.json:
            partial = options.json.with_name(f"partial-{options.json.name}")
            partial.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            os.replace(partial, options.json)
    show_means(found["results"])
    return found


def show(result: dict[str, Any]) -> None:
    """Prints a table of one job."""
    for name, peer in result["peers"].items():
        low, high = peer["quartiles"]
        line = f"    {name:28} {peer['median']:9.3f} ms ({low:.3f}-{high:.3f}, {peer['rounds']} rounds)"
        line += f"  {peer['ratio']:6.2f} x ours"
        if peer["ratio_quartiles"]:
            line += " ({:.2f}-{:.2f})".format(*peer["ratio_quartiles"])
        if peer.get("share") is not None:
            line += f"  {peer['share']:4.0%} of the limit"
        if peer["first_call"] is not None:
            line += f"  first call {peer['first_call'] / 1e3:.2f} s"
        if peer["memory"] is not None:
            line += f"  {peer['memory']:.0f} MiB"
        print(line)
    for name, reason in result["refused"].items():
        print(f"    {name:28} not measured: {reason}")
    print(flush=True)


def show_means(results: Sequence[dict[str, Any]]) -> None:
    """Prints the geometric means over W1-W6, where all six were measured."""
    from benchmarks.targets import SIX

    for mode in dict.fromkeys(result["mode"] for result in results):
        six = [result["peers"] for result in results if result["mode"] == mode and result["workload"] in SIX]
        names = [name for name in (six[0] if six else {}) if all(name in peers for peers in six)]
        for name in names if len(six) == len(SIX) else []:
            mean = statistics.geometric_mean(peers[name]["ratio"] for peers in six)
            print(f"W1-W6, {mode}: {name} takes {mean:.2f} times as long as ours, geometric mean")


def show_list() -> None:
    """Prints the workloads, and the peers of each."""
    from benchmarks import backend, run, workloads

    table = {workload.id: workload for workload in workloads.WORKLOADS}
    for job in run.jobs():
        peers = ""
        if job.workload in table:
            problem = workloads.Problem(table[job.workload], None, None, [], [])  # type: ignore[arg-type]
            peers = ": " + "; ".join(backend.peers_module().peers(problem, job.mode))
        print(f"{job.workload:12} {job.mode:15} {job.title}{peers}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and gives the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["torchrecurrent"]:
        from benchmarks import torch_cells

        return torch_cells.main(given[1:])
    if given[:1] == ["probes"]:
        from benchmarks import probes

        return probes.main(given[1:])
    parser = make_parser()
    options = parser.parse_args(given)
    try:
        if options.page:
            from benchmarks import page

            page.write([page.load(path) for path in options.page], options.page_to or page.PAGE)
            return 0
        if options.list:
            show_list()
            return 0
        if options.json and not options.json.absolute().parent.is_dir():
            raise ValueError(f"--json: expected a file in a folder that exists, got {str(options.json)!r}")
        found = measure_all(options)
    except ValueError as error:
        parser.error(str(error))
    return int(any(result["refused"] for result in found["results"]))


if __name__ == "__main__":
    raise SystemExit(main())
