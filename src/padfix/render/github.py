"""GitHub Actions workflow commands: each finding becomes an annotation on its file and line.

Escaping follows actions/toolkit (``%``, CR and LF in the message; ``:`` and ``,`` too in properties), so
a message from a hostile repository cannot start a command of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from padfix.render import plain
from padfix.render.escape import safe
from padfix.render.places import path_of
from padfix.types import Finding, Report

_LEVELS: Final = {"error": "error", "warning": "warning", "info": "notice"}


def render(reports: Iterable[Report]) -> str:
    """All findings as workflow commands, one per line."""
    return "".join(map(one, reports))


def one(report: Report) -> str:
    """One report's findings as workflow commands.

    >>> print(one(Report("ckpt", None, (Finding("PAD001", "missing-pad-token", "error", "100% wrong"),))), end="")
    ::error file=ckpt,title=PAD001 missing-pad-token::100%25 wrong
    """
    lines = [_command(report, finding) for finding in plain.by_severity(report.findings)]
    lines += [
        f"::warning title=padfix could not read {_property(skip.source)}::{_data(skip.reason)}"
        for skip in report.skipped
    ]
    return "".join(f"{line}\n" for line in lines)


def _command(report: Report, finding: Finding) -> str:
    place = f"file={_property(path_of(report.source, finding.file))}"
    if finding.line is not None:
        place += f",line={finding.line}"
    fix = "" if finding.fix is None else f"\nfix: {safe(finding.fix)}"
    title = _property(f"{finding.code} {finding.name}")
    return f"::{_LEVELS[finding.severity]} {place},title={title}::{_escape(safe(finding.message) + fix)}"


def _data(text: str) -> str:
    return _escape(safe(text))


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
