"""Counting what an audit finds: the summary, and the exit code. Flat in the number of repositories."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from padfix.cli import console
from padfix.hub.summary import Summary
from padfix.types import Report

if TYPE_CHECKING:
    from padfix.cli.sources import Sources
    from padfix.config import Config


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
        self.findings.update(f.severity for f in report.findings)
        self.tables.add(report)
        return report

    def summary(self, *, interrupted: bool) -> str:
        """One line for the end of a run."""
        from padfix.render.plain import counts_text

        n = self.repositories - self.unread
        line = f"audited {n} {'repository' if n == 1 else 'repositories'}: {counts_text(self.findings)}"
        if self.unread:
            line += f"; {self.unread} could not be audited"
        return f"{line}; interrupted" if interrupted else line

    def exit_code(self, *, exit_zero: bool) -> int:
        """2 where a source that the user named could not be read, else 1 for findings, else 0."""
        if self.failed:
            return console.COULD_NOT_RUN
        ranks = ("error", "warning", "info")
        counted = ranks[: ranks.index(self.settings.fail_on) + 1] if self.settings.fail_on in ranks else ()
        return console.FOUND if any(self.findings[s] for s in counted) and not exit_zero else console.CLEAN
