"""Counting what an audit finds: the summary, and the exit code. Flat in the number of repositories."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from padfix.cli import console
from padfix.hub.errors import LEFT_OUT
from padfix.render.summary import Summary
from padfix.types import Report

if TYPE_CHECKING:
    from padfix.cli.sources import Sources
    from padfix.config import Config


_FEW = 5  # repositories of which is said what was not looked at; of more, the results file says it


@dataclass
class Tally:
    """Counts, and the answer: which exit code."""

    settings: Config
    sources: Sources
    repositories: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    unread: int = 0
    failed: bool = False  # one that the user named could not be read
    tables: Summary = field(default_factory=Summary)
    left_out: list[str] = field(default_factory=list)  # of the first few: what a hub's budget kept unread

    def take(self, report: Report) -> Report:
        """Count a report, without the findings that the configuration ignores for its source."""
        from padfix.rules import resolve

        self.repositories += 1
        if report.state is None:
            self.unread += 1
            self.failed = self.failed or self.sources.named(report.source)
        if ignored := self.settings.ignored_here(report.source):
            codes = resolve(ignored)
            report = dataclasses.replace(
                report, findings=tuple(f for f in report.findings if f.code not in codes)
            )
        if self.repositories <= _FEW:
            self.left_out += _left_out(report)
        self.findings.update(f.severity for f in report.findings)
        self.tables.add(report)
        return report

    def summary(self, *, interrupted: bool) -> str:
        """The end of a run: one line, and for a few repositories what a hub's budget kept unread."""
        from padfix.render.plain import counts_text

        n = self.repositories - self.unread
        line = f"audited {n} {'repository' if n == 1 else 'repositories'}: {counts_text(self.findings)}"
        if self.unread:
            line = f"{line}; {self.unread} could not be audited" if n else "nothing could be audited"
        if interrupted:
            line += "; interrupted"
        if not self.left_out or self.repositories > _FEW:
            return line
        return "\n".join([*self.left_out, "to look at everything: --requests 0", line])

    def exit_code(self, *, exit_zero: bool) -> int:
        """2 where a source that the user named could not be read, else 1 for findings, else 0."""
        if self.failed:
            return console.COULD_NOT_RUN
        ranks = ("error", "warning", "info")
        counted = ranks[: ranks.index(self.settings.fail_on) + 1] if self.settings.fail_on in ranks else ()
        return console.FOUND if any(self.findings[s] for s in counted) and not exit_zero else console.CLEAN


def _left_out(report: Report) -> list[str]:
    from padfix.render.escape import safe

    state = report.state
    lines = [p for p in state.problems if p.startswith(LEFT_OUT)] if state is not None else []
    named = ", ".join(line.removeprefix(LEFT_OUT) for line in lines)
    return [f"{safe(report.source)}: {LEFT_OUT}{safe(named, limit=600)}"] if lines else []
