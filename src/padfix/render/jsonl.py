"""One JSON object per line and repository, for streams: each line stands alone and carries ``schema``."""

from __future__ import annotations

import json
from collections.abc import Iterable

from padfix.render.json import SCHEMA, as_dict
from padfix.types import Report


def render(reports: Iterable[Report]) -> str:
    """All reports, one per line."""
    return "".join(map(one, reports))


def one(report: Report) -> str:
    r"""One report as a line.

    >>> one(Report("gpt2", None))
    '{"schema": 1, "source": "gpt2", "state": null, "findings": [], "skipped": [], "ok": true}\n'
    """
    return json.dumps({"schema": SCHEMA, **as_dict(report)}, allow_nan=False) + "\n"
