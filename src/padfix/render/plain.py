"""Plain text for ``print``: what a plan, a report, a verdict or a fix says, in a terminal or a log.

No colours and no box drawing, so the text survives a log file, a bug report and a diff. Lines wrap at
100 columns; everything goes through `safe`.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from padfix.render.escape import safe
from padfix.types import (
    ABSENT,
    BadValue,
    Check,
    Edit,
    Finding,
    PadReport,
    PadState,
    Plan,
    Report,
    Token,
    Verdict,
)

WIDTH = 100


def plan_text(plan: Plan) -> str:
    """A plan as text: the decision, why, the edits, what to know before training or serving.

    >>> print(plan_text(Plan("eos", "eos", Token("</s>", 2), (Edit("tokenizer", "pad_token", None, Token("</s>", 2)),))))
    plan 'eos': the pad will be '</s>' (2)
      change  tokenizer.pad_token: none -> '</s>' (2)
    """
    if plan:
        head = f"plan {safe(plan.strategy)!r}: the pad will be {token_text(plan.pad)}{_rung(plan)}"
    else:
        head = (
            f"plan {safe(plan.strategy)!r}: nothing to change, the pad is {token_text(plan.pad)}{_rung(plan)}"
        )
    return "\n".join([head, *_plan_body(plan)])


def report_text(report: Report) -> str:
    """An audit's or a sanity check's report as text: one block per finding, worst first.

    >>> print(report_text(Report("gpt2", PadState())))
    gpt2: no findings
    """
    lines = [f"{safe(report.source)}: {count_text(report.findings)}"]
    for finding in by_severity(report.findings):
        lines += finding_lines(finding)
    lines += [
        line
        for skip in report.skipped
        for line in _item("skipped", f"{safe(skip.source)}: {safe(skip.reason)}")
    ]
    return "\n".join(lines)


def verdict_text(verdict: Verdict) -> str:
    """A proof's answer as text: every check with its figure and limit, then what was not tested.

    >>> print(verdict_text(Verdict((Check("weights-kept", True, True),))))
    proof: passed, 1 check
      PASS  weights-kept
    """
    return "\n".join([f"proof: {verdict_summary(verdict)}", *_verdict_body(verdict)])


def pad_report_text(report: PadReport) -> str:
    """What `ensure_pad` found, did and proved, as text."""
    lines = [headline(report)]
    rows = state_rows(report.before, report.after)
    widths = [max(len(row[i]) for row in [("", "before", "after"), *rows]) for i in range(3)]
    lines.append(f"  {'':<{widths[0]}}  {'before':<{widths[1]}}  after")
    lines += [f"  {name:<{widths[0]}}  {old:<{widths[1]}}  {new}".rstrip() for name, old, new in rows]
    lines += _plan_body(report.plan)
    if report.verdict is not None:
        lines += [f"  proof   {verdict_summary(report.verdict)}", *_verdict_body(report.verdict, indent=4)]
    elif report.changed:
        lines.append("  proof   not run")
    for finding in by_severity(report.findings):
        lines += finding_lines(finding)
    return "\n".join(lines)


def headline(report: PadReport) -> str:
    """One sentence: what happened to the pad."""
    pad = token_text(report.after.pad if report.changed else report.plan.pad)
    if report.changed:
        return f"padfix: the pad is now {pad}{_rung(report.plan)}"
    if report.dry_run and report.plan:
        return f"padfix: the pad would be {pad}{_rung(report.plan)}; nothing was changed"
    if report.plan:
        return f"padfix: planned {pad}{_rung(report.plan)}; nothing was changed"
    return f"padfix: nothing to change, the pad is {pad}{_rung(report.plan)}"


def state_rows(before: PadState, after: PadState) -> tuple[tuple[str, str, str], ...]:
    """(fact, before, after), as text: the pad always, every other fact where one of the two has it."""
    facts = [("pad", token_text(before.pad), token_text(after.pad))]

    def add(name: str, old: object, new: object, absent: str) -> None:
        if not (old is new is ABSENT) and not (old is None and new is None):
            facts.append((name, _value(old, absent), _value(new, absent)))

    add("config pad", before.config_pad_id, after.config_pad_id, "absent")
    old_paths, new_paths = dict(before.text_config_pad_ids), dict(after.text_config_pad_ids)
    for path in dict.fromkeys([*old_paths, *new_paths]):
        if path:
            add(f"{safe(path)} pad", old_paths.get(path, ABSENT), new_paths.get(path, ABSENT), "absent")
    add("generation pad", before.generation_pad_id, after.generation_pad_id, "absent")
    for name in ("n_tokens", "input_rows", "output_rows", "padding_idx"):
        old, new = getattr(before, name), getattr(after, name)
        if old != new or name in ("n_tokens", "input_rows"):
            add(name.replace("_", " ").replace("n tokens", "tokens"), old, new, "none")
    return tuple(facts)


def token_text(token: Token | None) -> str:
    """A token as text; ``none`` where there is none.

    >>> token_text(Token("<pad>", 0)), token_text(None)
    ("'<pad>' (0)", 'none')
    """
    if token is None:
        return "none"
    return f"'{safe(token.text, limit=80)}' ({'not in the vocabulary' if token.id is None else token.id})"


def edit_text(edit: Edit) -> str:
    """An edit as text: the place, the old value, the new one."""
    old, new = edit_values(edit)
    return f"{safe(edit.target)}.{safe(edit.key)}: {old} -> {new}"


def edit_values(edit: Edit) -> tuple[str, str]:
    """An edit's old and new value, as text."""
    return _value(edit.before), _value(edit.after)


def check_text(check: Check) -> str:
    """A check's figure against its limit, or nothing where there is none.

    >>> check_text(Check("outputs-kept", True, True, 0.0, 1e-4, "max |Δlogit|"))
    'max |Δlogit| 0 (limit 0.0001)'
    """
    if check.observed is None:
        return ""
    limit = "" if check.limit is None else f" (limit {check.limit:.4g})"
    return f"{safe(check.unit)} {check.observed:.4g}{limit}".strip()


def mark(check: Check) -> str:
    """``PASS``, ``FAIL`` (undoes a fix) or ``note`` (advisory: reported, undoes nothing)."""
    if check.passed:
        return "PASS"
    return "FAIL" if check.gating else "note"


def verdict_summary(verdict: Verdict) -> str:
    """The answer and the count: ``passed, 9 checks (2 advisory ones did not hold)``."""
    n = len(verdict.checks)
    if not n:
        return "nothing was checked"
    notes = sum(1 for c in verdict.checks if not c.passed and not c.gating)
    counted = f"{n} check{'s' if n != 1 else ''}"
    if verdict.failed:
        return f"FAILED, {len(verdict.failed)} of {counted}"
    aside = f" ({notes} advisory {'ones' if notes != 1 else 'one'} did not hold)" if notes else ""
    return f"passed, {counted}{aside}"


def place_text(finding: Finding) -> str:
    """Where a finding is: ``config.json:12 (pad_token_id)``, or nothing."""
    if finding.file is None:
        return "" if finding.key is None else f"({safe(finding.key)})"
    line = "" if finding.line is None else f":{finding.line}"
    key = "" if finding.key is None else f" ({safe(finding.key)})"
    return f"{safe(finding.file)}{line}{key}"


def finding_lines(finding: Finding, indent: int = 2) -> list[str]:
    """A finding as lines: code, name and place; the message; the fix."""
    head = f"{finding.severity:<7} {safe(finding.code)} {safe(finding.name)}  {place_text(finding)}".rstrip()
    lines = [" " * indent + head, *wrap(safe(finding.message), indent + 8)]
    if finding.fix is not None:
        lines.append(
            f"{' ' * (indent + 8)}fix: {safe(finding.fix)}"
        )  # whole: a folded command cannot be copied
    return lines


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first, then warnings, then the rest; by code among equals."""
    rank = {"error": 0, "warning": 1, "info": 2}
    return sorted(findings, key=lambda f: (rank[f.severity], f.code))


def count_text(findings: Iterable[Finding]) -> str:
    """``1 error, 2 warnings, 3 notes``; ``no findings`` where there is none.

    >>> count_text([Finding("PAD001", "missing-pad-token", "error", "no pad")])
    '1 error'
    """
    return counts_text(Counter(f.severity for f in findings))


def counts_text(counts: Mapping[str, int]) -> str:
    """Counts by severity as text."""
    words = {"error": "error", "warning": "warning", "info": "note"}
    parts = [
        f"{n} {word}{'s' if n != 1 else ''}" for name, word in words.items() if (n := counts.get(name, 0))
    ]
    return ", ".join(parts) or "no findings"


def wrap(text: str, indent: int, *, hang: int = 0) -> list[str]:
    """Text folded at `WIDTH` columns; long words such as commands and paths stay whole."""
    space = " " * indent
    folded = textwrap.wrap(
        text, WIDTH, initial_indent=space, subsequent_indent=space + " " * hang,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return folded or [space.rstrip()]


def _rung(plan: Plan) -> str:
    return (
        ""
        if plan.rung in ("", plan.strategy)
        else f" (rung {safe(plan.rung)!r} of strategy {safe(plan.strategy)!r})"
    )


def _plan_body(plan: Plan) -> Iterator[str]:
    for reason in plan.reasons:
        yield from _item("why", safe(reason))
    for edit in plan.edits:
        yield from _item("change", edit_text(edit))
    for warning in plan.warnings:
        yield from _item("note", safe(warning))


def _verdict_body(verdict: Verdict, indent: int = 2) -> Iterator[str]:
    width = max((len(c.name) for c in verdict.checks), default=0)
    for check in verdict.checks:
        shown = f"{mark(check)}  {safe(check.name):<{width}}  {check_text(check)}"
        yield (" " * indent + shown).rstrip()
        for label, text in (("", check.detail), ("cause: ", check.cause), ("remedy: ", check.remedy)):
            if text:
                yield from wrap(label + safe(text), indent + 6, hang=len(label))
    for gap in verdict.untested:
        yield from wrap(f"untested: {safe(gap)}", indent, hang=10)


def _item(label: str, text: str) -> list[str]:
    lines = wrap(text, 10)
    return [f"  {label:<8}{lines[0][10:]}", *lines[1:]]


def _value(value: object, absent: str = "absent") -> str:
    if value is None:
        return "none"
    if value is ABSENT:
        return absent
    if isinstance(value, Token):
        return token_text(value)
    if isinstance(value, BadValue):
        return f"{safe(value.text)} (a {safe(value.kind)})"
    return safe(value)
