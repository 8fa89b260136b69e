"""One self-contained HTML page: a run in four tables, then findings and repositories; sort, filter, light and dark.

Rendered by Jinja with autoescaping on. The page's own script and style are allowed by their hashes and
nothing else is, so markup that slipped through could still not run or load anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from importlib.metadata import version
from typing import Any, Final

from padfix.errors import MissingDependencyError
from padfix.render import plain
from padfix.render.escape import safe
from padfix.render.summary import PADS, Summary
from padfix.types import Report

_MOST: Final = 5_000  # repositories with rows of their own; a page of 10,000 takes a browser 4 s
_FAMILIES: Final = 40
_FEW: Final = 20


def render(reports: Iterable[Report]) -> str:
    """All reports as one page. Raises `MissingDependencyError` where jinja2 is not installed."""
    page = Page()
    for report in reports:
        page.add(report)
    return page.render()


class Page:
    """A page fed report by report: it counts all, and keeps the worst 5,000, so its memory is bounded."""

    def __init__(self) -> None:
        self._summary = Summary()
        self._count = 0
        self._kept: list[tuple[tuple[int, int, int], int, Report]] = []

    def add(self, report: Report) -> None:
        """Take one report."""
        self._summary.add(report)
        self._kept.append((_badness(report), self._count, report))
        self._count += 1
        if len(self._kept) > 2 * _MOST:
            self._keep_worst()

    def _keep_worst(self) -> None:
        self._kept = sorted(self._kept, key=lambda entry: entry[:2])[:_MOST]

    def render(self) -> str:
        """The page. Raises `MissingDependencyError` where jinja2 is not installed."""
        try:
            from jinja2 import Environment, StrictUndefined
        except ImportError as error:
            raise MissingDependencyError(
                "-f html needs jinja2; install it with: pip install 'padfix[html]'"
            ) from error
        if self._count > _MOST:
            self._keep_worst()
        shown = [report for _, _, report in self._kept]
        findings = [f for report in shown for f in report.findings]
        templates = resources.files("padfix.render").joinpath("templates")
        style, script = (templates.joinpath(name).read_text("utf-8") for name in ("report.css", "report.js"))
        environment = Environment(
            autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_clean
        )
        page = environment.from_string(templates.joinpath("report.html.j2").read_text("utf-8"))
        return page.render(
            style=style,
            script=script,
            policy=f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'",
            version=version("padfix"),
            counts={s: self._summary.severities[s] for s in ("error", "warning", "info")},
            n_repositories=self._count,
            run=_run(self._summary) if self._count > 1 else None,
            reports=[_row(report) for report in shown],
            findings=[
                (report.source, f, plain.place_text(f))
                for report in shown
                for f in plain.by_severity(report.findings)
            ],
            skips=[skip for report in shown for skip in report.skipped],
            unread=_unread(shown),
            rules=sorted({f.code for f in findings}),
        )


def _unread(reports: Sequence[Report]) -> list[tuple[str, list[str]]]:
    """What was not read and why: of each repository, or in a run how often each of it was said."""
    said = [(report.source, list(report.state.problems)) for report in reports if report.state is not None]
    if len(reports) <= _FEW:
        return [(source, lines) for source, lines in said if lines]
    counts = Counter(line for _, lines in said for line in set(lines))
    return [
        (f"{n} repositories" if n > 1 else "1 repository", [line]) for line, n in counts.most_common(_FEW)
    ]


def _badness(report: Report) -> tuple[int, int, int]:
    """Sorts the worst first; the order of the run where two are equally bad."""
    counts = [sum(f.severity == s for f in report.findings) for s in ("error", "warning", "info")]
    return -counts[0], -counts[1], -counts[2]


def _run(summary: Summary) -> dict[str, Any]:
    """The tables of a whole run: pads by family, findings by rule, the worst repositories, what was skipped."""
    families = sorted(summary.families.items(), key=lambda item: (-item[1].total(), item[0]))
    rules = sorted(summary.rules.items(), key=lambda item: (-item[1].total(), item[0]))
    return {
        "pads": PADS,
        "families": [
            {"name": name, "counts": counts, "total": counts.total(), "bars": _bars(counts)}
            for name, counts in families[:_FAMILIES]
        ],
        "other_families": max(0, len(families) - _FAMILIES),
        "rules": [
            {"code": code, "name": name, "counts": counts, "total": counts.total()}
            for (code, name), counts in rules
        ],
        "worst": summary.worst,
        "skipped": summary.skipped.most_common(),
        "audited": summary.repositories - summary.skipped.total(),
    }


def _bars(counts: Mapping[str, int]) -> list[tuple[str, float, float]]:
    """``(kind of pad, start, width)`` of a bar that is 100 wide."""
    bars, start, total = [], 0.0, sum(counts.values())
    for pad in PADS:
        width = 100 * counts.get(pad, 0) / total if total else 0.0
        if width:
            bars.append((pad, round(start, 2), round(width, 2)))
        start += width
    return bars


def _row(report: Report) -> dict[str, object]:
    state = report.state
    return {
        "source": report.source,
        "type": "" if state is None else state.model_type or "",
        "pad": "" if state is None else plain.token_text(state.pad),
        "eos": "" if state is None else plain.token_text(state.eos),
        "error": sum(f.severity == "error" for f in report.findings),
        "warning": sum(f.severity == "warning" for f in report.findings),
        "info": sum(f.severity == "info" for f in report.findings),
        "skipped": report.state is None,
    }


def _clean(value: object) -> object:
    """Sanitise every string on its way into the page; the style and script are marked safe and stay."""
    return safe(value) if type(value) is str else value


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
