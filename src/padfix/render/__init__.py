"""Reports in, text out: one module per format, each with ``render(reports) -> str``.

Formats that stream also have ``one(report) -> str``, and their ``render`` is its concatenation: a
reader sees each repository as soon as it was audited, and memory stays flat over a million of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from padfix.types import Report


@dataclass(frozen=True, slots=True)
class Format:
    """A name for ``-f``, the module that renders it, and whether it can go report by report."""

    name: str
    summary: str
    streams: bool = False

    @property
    def render(self) -> Callable[[Iterable[Report]], str]:
        """All reports as one text."""
        found: Callable[[Iterable[Report]], str] = importlib.import_module(f"{__name__}.{self.name}").render
        return found

    @property
    def one(self) -> Callable[[Report], str]:
        """One report as text; only for a format that streams."""
        found: Callable[[Report], str] = importlib.import_module(f"{__name__}.{self.name}").one
        return found


FORMATS: Final = {
    f.name: f
    for f in (
        Format("text", "one block per repository, for people", streams=True),
        Format("json", "one object with every report"),
        Format("jsonl", "one object per line and repository, flushed as found", streams=True),
        Format("markdown", "tables, for a pull request or a step summary"),
        Format("sarif", "SARIF 2.1.0, for code scanning"),
        Format("github", "workflow commands that annotate files", streams=True),
        Format("html", "one self-contained page: sortable, filterable, light and dark"),
    )
}
