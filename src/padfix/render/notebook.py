"""HTML fragments for notebooks: the same facts as `plain`, as tables.

Each fragment brings its own few lines of style, uses the page's colours (light and dark) and loads
nothing. Every value is sanitised, then escaped.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from padfix.render import plain
from padfix.render.escape import safe
from padfix.types import Finding, PadReport, Plan, Report, Verdict

_STYLE = """<style>
.padfix{font-size:13px;line-height:1.45;max-width:72em}
.padfix table{border-collapse:collapse;margin:.4em 0}
.padfix th,.padfix td{text-align:left;vertical-align:top;padding:.2em .8em .2em 0;border-bottom:1px solid rgba(128,128,128,.3)}
.padfix th{font-weight:600;opacity:.75}
.padfix code{font-size:95%;background:rgba(128,128,128,.15);padding:0 .25em;border-radius:3px}
.padfix ul{margin:.3em 0;padding-left:1.4em}
.padfix .good{color:#2a8a3e}.padfix .bad{color:#d1383d;font-weight:600}.padfix .warn{color:#b7791f}
</style>"""

_CLASS = {"PASS": "good", "FAIL": "bad", "note": "warn", "error": "bad", "warning": "warn", "info": ""}


def plan_html(plan: Plan) -> str:
    """A plan as an HTML fragment."""
    head, *_ = plain.plan_text(plan).split("\n")
    return _fragment(_p(head), _plan_body(plan))


def report_html(report: Report) -> str:
    """A report as an HTML fragment: one row per finding, worst first."""
    skips = _list("skipped", (f"{skip.source}: {skip.reason}" for skip in report.skipped))
    head = f"{safe(report.source)}: {plain.count_text(report.findings)}"
    return _fragment(_p(head), _findings(report.findings), skips)


def verdict_html(verdict: Verdict) -> str:
    """A proof's answer as an HTML fragment: one row per check."""
    return _fragment(_p(f"proof: {plain.verdict_summary(verdict)}"), _checks(verdict))


def pad_report_html(report: PadReport) -> str:
    """What `ensure_pad` found, did and proved, as an HTML fragment."""
    states = [[_text(cell) for cell in row] for row in plain.state_rows(report.before, report.after)]
    proof = (
        ""
        if report.verdict is None
        else _p(f"proof: {plain.verdict_summary(report.verdict)}") + _checks(report.verdict)
    )
    return _fragment(
        _p(plain.headline(report)),
        _table(("", "before", "after"), states),
        _plan_body(report.plan),
        proof,
        _findings(report.findings),
    )


def _plan_body(plan: Plan) -> str:
    edits = [
        [_code(f"{edit.target}.{edit.key}"), _text(old), _text(new)]
        for edit in plan.edits
        for old, new in [plain.edit_values(edit)]
    ]
    return (
        _list("why", plan.reasons)
        + _table(("change", "from", "to"), edits)
        + _list("what to know", plan.warnings)
    )


def _checks(verdict: Verdict) -> str:
    rows = []
    for check in verdict.checks:
        said = (
            check.detail,
            check.cause and f"cause: {check.cause}",
            check.remedy and f"remedy: {check.remedy}",
        )
        notes = "<br>".join(_text(text) for text in said if text)
        rows.append([_mark(plain.mark(check)), _code(check.name), _text(plain.check_text(check)), notes])
    return _table(("", "check", "measured", ""), rows) + _list("not tested", verdict.untested)


def _findings(findings: Iterable[Finding]) -> str:
    rows = []
    for finding in plain.by_severity(findings):
        fix = "" if finding.fix is None else f"<br>fix: {_code(finding.fix)}"
        rows.append(
            [
                _mark(finding.severity),
                _text(f"{finding.code} {finding.name}"),
                _text(plain.place_text(finding)),
                _text(finding.message) + fix,
            ]
        )
    return _table(("", "rule", "where", "finding"), rows)


def _fragment(*parts: str) -> str:
    return f'<div class="padfix">{_STYLE}{"".join(parts)}</div>'


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """``rows`` hold finished HTML, ``header`` holds text."""
    if not rows:
        return ""
    head = "".join(f"<th>{_text(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _list(title: str, items: Iterable[str]) -> str:
    entries = "".join(f"<li>{_text(item)}</li>" for item in items)
    return f"{_p(title)}<ul>{entries}</ul>" if entries else ""


def _p(text: str) -> str:
    return f"<div>{_text(text)}</div>"


def _mark(text: str) -> str:
    return f'<span class="{_CLASS[text]}">{_text(text)}</span>'


def _code(text: str) -> str:
    return f"<code>{_text(text)}</code>"


def _text(text: object) -> str:
    return html.escape(safe(text))
