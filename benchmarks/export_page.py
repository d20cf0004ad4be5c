"""The measured part of `docs/export.md`, made from the results of `python -m benchmarks.exports`."""

import pathlib
import re
import statistics
from typing import Any

from benchmarks.export_models import KINDS, WEIGHTS, Kind

ROOT = pathlib.Path(__file__).parents[1]
PAGE = ROOT / "docs" / "export.md"
BEGIN, END = (f"<!-- Written by `python -m benchmarks.exports --page` {word} here. -->" for word in ("from", "to"))
# By backend, its name and the formats that it can write.
COLUMNS = {
    "tensorflow": ("TensorFlow", ("SavedModel", "ONNX", "LiteRT")),
    "jax": ("JAX", ("SavedModel", "ONNX")),
    "torch": ("PyTorch", ("torch.export", "ONNX")),
}
BOTH = ("ours", "keras")
LETTERS = 200  # of a reason


def write(kept: dict[str, Any]) -> None:
    """Puts the tables between their marks on the page."""
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.index(BEGIN) + len(BEGIN), page.index(END)
    PAGE.write_text(f"{page[:before]}\n\n{measured(kept)}\n{page[after:]}", encoding="utf-8")


def measured(kept: dict[str, Any]) -> str:
    """All that stands between the marks."""
    results, reasons = kept["results"], Reasons()
    known = {key.partition(" | ")[0] for key in results}
    blocks = [_formats(results, backend, reasons) for backend in COLUMNS if backend in known]
    if missing := [title for backend, (title, _) in COLUMNS.items() if backend not in known]:
        blocks.append(f"Not measured yet: {' and '.join(missing)}.")
    blocks += [reasons.listed(), _seconds(results), _bits(results)]
    versions = ", ".join(f"{name} {version}" for name, version in kept.get("versions", {}).items())
    return "\n\n".join([block for block in blocks if block] + [f"Versions: {versions}."]) + "\n"


class Reasons:
    """Numbers the reasons why something cannot be exported, the same one once."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def number(self, reason: str) -> int:
        """The number of a reason, which may have come before with other numbers, names and paths in it."""
        text = re.sub(r"\S*/\S*/\S+", "...", " ".join(reason.split()))
        key = re.sub(r"[\d_]+|0x\w+", "", text)[:LETTERS]
        self.found.setdefault(key, text if len(text) <= LETTERS else text[:LETTERS].rsplit(" ", 1)[0] + " ...")
        return list(self.found).index(key) + 1

    def listed(self) -> str:
        """All of them, as they were told."""
        if not self.found:
            return ""
        lines = [f"{number}. `{text.replace('`', chr(39))}`" for number, text in enumerate(self.found.values(), 1)]
        return "\n".join(["### Reasons", "", "What was said where the tables have a number:", "", *lines])


def _formats(results: dict[str, Any], backend: str, reasons: Reasons) -> str:
    title, names = COLUMNS[backend]
    lines = [f"### {title}", "", f"| model | {' | '.join(names)} |", f"| --- |{' --- |' * len(names)}"]
    for kind, made in KINDS.items():
        if made.only is None:
            cells = [_pair(results, backend, kind, made, name, reasons) for name in names]
            lines.append(f"| {made.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _pair(results: dict[str, Any], backend: str, kind: str, made: Kind, name: str, reasons: Reasons) -> str:
    """A cell: one word where Keras has no such layer or can do the same."""
    who = BOTH if made.in_keras else BOTH[:1]
    marks = [_mark(results, _key(backend, kind, each, name), reasons) for each in who]
    return marks[0] if len(set(marks)) == 1 else " / ".join(marks)


def _key(backend: str, kind: str, who: str, name: str) -> str:
    return " | ".join((backend, kind, who, name))


def _mark(results: dict[str, Any], key: str, reasons: Reasons) -> str:
    found, with_more = results.get(key), results.get(f"{key}, Select operators")
    if found is None or found.get("failed", "").startswith("not tried"):
        return "not tried"
    if "failed" in found:
        if with_more is not None and "failed" not in with_more:
            return "Select"
        return f"no ({reasons.number(found['failed'])})"
    shapes = found["other_shapes"]
    if shapes in (None, True, "batch"):
        return "any batch" if shapes == "batch" else "yes"
    return f"fixed shapes ({reasons.number(found.get('not_for_all_shapes') or shapes)})"


def _seconds(results: dict[str, Any]) -> str:
    """How long the converter of LiteRT takes."""
    lines, ratios = [], []
    for kind, made in KINDS.items():
        ours, keras = (
            results.get(_key("tensorflow", kind, who, "LiteRT"), {}).get("seconds") for who in ("ours", "keras")
        )
        if made.only is not None or ours is None:
            continue
        ratio = f"{ours / keras:.1f}" if keras else ""
        ratios += [ours / keras] if keras else []
        lines.append(f"| {made.title} | {ours} | {keras or ''} | {ratio} |")
    if not lines:
        return ""
    middle = f" The median of the ratios is {statistics.median(ratios):.1f}." if ratios else ""
    return "\n".join(
        [
            "### Seconds of the conversion to LiteRT",
            "",
            f"Seconds of computing, of all cores together.{middle}",
            "",
            "| model | our layers | Keras's | ratio |",
            "| --- | --- | --- | --- |",
            *lines,
        ]
    )


def _bits(results: dict[str, Any]) -> str:
    """Files of LiteRT with weights in fewer bits."""
    lines = []
    for kind, made in KINDS.items():
        for name in WEIGHTS if made.only == WEIGHTS else ():
            for who in BOTH if made.in_keras else BOTH[:1]:
                found = results.get(_key("tensorflow", kind, who, name))
                if found is None:
                    continue
                sizes = ("", "") if "failed" in found else (f"{found['bytes']:,}", f"{found['error']:.0e}")
                said = f"no: {found['failed']}"[:LETTERS] if "failed" in found else "yes"
                weights = name.partition(", ")[2] or "float32"
                lines.append(f"| {made.title} | {who} | {weights} | {said} | {' | '.join(sizes)} |")
    if not lines:
        return ""
    return "\n".join(
        [
            "### LiteRT files with fewer bits",
            "",
            "With LiteRT's built-in operators alone. The error is the largest one, relative to the largest output.",
            "",
            "| model | layers | numbers | runs | bytes | error |",
            "| --- | --- | --- | --- | --- | --- |",
            *lines,
        ]
    )
