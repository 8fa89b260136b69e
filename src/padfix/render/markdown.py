"""Markdown tables, for a pull request comment or ``$GITHUB_STEP_SUMMARY``.

Every character that Markdown or HTML could read as markup is escaped, and an ``@name`` cannot notify anybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from padfix.render import plain
from padfix.render.escape import safe
from padfix.types import Report

_MARKS = {"error": "❌ error", "warning": "⚠️ warning", "info": "ℹ️ note"}


def render(reports: Iterable[Report]) -> str:
    """All reports: a count, then one table per repository that has findings, then what was skipped."""
    every = list(reports)
    findings = [f for report in every for f in report.findings]
    repositories = f"{len(every)} {'repository' if len(every) == 1 else 'repositories'}"
    lines = ["## padfix", "", f"{repositories}: {plain.count_text(findings)}.", ""]
    for report in every:
        if report.findings:
            lines += [f"### {escape(report.source)}", "", *_table(report), ""]
    skips = [skip for report in every for skip in report.skipped]
    if skips:
        lines += ["### Not audited", "", *(f"- {escape(s.source)}: {escape(s.reason)}" for s in skips), ""]
    return "\n".join(lines)


def _table(report: Report) -> list[str]:
    lines = ["| | Rule | Where | Finding | Fix |", "|---|---|---|---|---|"]
    for finding in plain.by_severity(report.findings):
        fix = "" if finding.fix is None else _code(finding.fix)
        where = escape(plain.place_text(finding))
        rule = f"{escape(finding.code)} {escape(finding.name)}"
        lines.append(f"| {_MARKS[finding.severity]} | {rule} | {where} | {escape(finding.message)} | {fix} |")
    return lines


def escape(text: str) -> str:
    r"""Text that shows as itself.

    >>> escape("<pad> | *x* @everyone")
    '\\<pad\\> \\| \\*x\\* @<!-- -->everyone'
    """
    escaped = re.sub(r"([\\`*_{}\[\]<>()#+!|~$&])", r"\\\1", safe(text))
    return escaped.replace("@", "@<!-- -->").replace("://", ":<!-- -->//")


def _code(text: str) -> str:
    """Inline code that may hold backticks and pipes (a pipe ends a cell even inside code)."""
    shown = safe(text).replace("|", "\\|")
    runs = re.findall(r"`+", shown)
    fence = "`" * (1 + max(map(len, runs), default=0))
    pad = " " if runs else ""
    return f"{fence}{pad}{shown}{pad}{fence}"
