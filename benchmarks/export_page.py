"""The measured part of `docs/export.md`, made from the results of `python -m benchmarks.exports`."""

import pathlib
from typing import Any

ROOT = pathlib.Path(__file__).parents[1]
PAGE = ROOT / "docs" / "export.md"
BEGIN, END = (f"<!-- Written by `python -m benchmarks.exports --page` {word} here. -->" for word in ("from", "to"))


def write(kept: dict[str, Any]) -> None:
    """Puts the tables between their marks on the page."""
    raise NotImplementedError
