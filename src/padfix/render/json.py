"""One JSON object with every report: ``{"schema": 1, "tool": {...}, "reports": [...]}``.

Everything outside ASCII is a ``\\u`` escape, so no byte of it can steer a terminal and a lone surrogate
survives. ``schema`` counts up when a reader of the old output would break.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from padfix.types import Report

SCHEMA = 1


def render(reports: Iterable[Report]) -> str:
    """All reports as one JSON document, indented, with a final newline."""
    document = {
        "schema": SCHEMA,
        "tool": {"name": "padfix", "version": version("padfix")},
        "reports": [as_dict(report) for report in reports],
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def as_dict(report: Report) -> dict[str, Any]:
    """A report as JSON values, with its answer: ``ok`` is true when no finding is an error."""
    return {**report.to_dict(), "ok": report.ok}
