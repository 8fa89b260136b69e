"""The format for people: one block per repository, worst finding first.

Colours are this module's own few escape codes; everything from a repository went through `safe`, so no
other escape code can reach the terminal. A repository without findings prints nothing: the summary on
stderr counts it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from padfix.render import plain
from padfix.render.escape import safe
from padfix.types import Report

_COLOURS: Final = {"error": "1;31", "warning": "33", "info": "36", "skipped": "35", "source": "1", "fix": "2"}


def render(reports: Iterable[Report], *, colour: bool = False, clean: bool = False) -> str:
    """All reports as text; ``clean=True`` also names repositories without findings."""
    return "".join(one(report, colour=colour, clean=clean) for report in reports)


def one(report: Report, *, colour: bool = False, clean: bool = False) -> str:
    r"""One report as text, with a final newline; empty when there is nothing to say.

    >>> one(Report("gpt2", None))
    ''
    >>> one(Report("gpt2", None), clean=True)
    'gpt2: no findings\n'
    """
    if not (report.findings or report.skipped):
        return f"{safe(report.source)}: no findings\n" if clean else ""
    if not report.findings and report.state is None:
        return "".join(
            f"{_paint('skipped', 'skipped', colour)} {safe(skip.source)}: {safe(skip.reason)}\n"
            for skip in report.skipped
        )
    lines = [f"{_paint(safe(report.source), 'source', colour)}: {plain.count_text(report.findings)}"]
    for finding in plain.by_severity(report.findings):
        head, *rest = plain.finding_lines(finding)
        severity = finding.severity
        lines.append(head.replace(severity, _paint(severity, severity, colour), 1))
        lines += [_paint(line, "fix", colour) if line.lstrip().startswith("fix: ") else line for line in rest]
    lines += [
        f"  {_paint('skipped', 'skipped', colour)} {safe(skip.source)}: {safe(skip.reason)}"
        for skip in report.skipped
    ]
    return "\n".join(lines) + "\n"


def _paint(text: str, role: str, colour: bool) -> str:
    return f"\x1b[{_COLOURS[role]}m{text}\x1b[0m" if colour else text
