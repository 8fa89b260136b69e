"""A whole run in one screen: pads by family, findings by rule, what was skipped, worst repositories first.

Fed report by report, from a run or from a results file, so its memory grows with the number of families,
rules and reasons, not with that of repositories.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from padfix.types import Report

PADS: Final = ("own", "eos", "unk", "none")  # what a family pads with
_WORST: Final = 20
_SEVERITIES: Final = ("error", "warning", "info")


@dataclass
class Summary:
    """Counts over a run. ``families``: per ``model_type``, how many pad with what of `PADS`."""

    repositories: int = 0
    skipped: Counter[str] = field(default_factory=Counter)  # by kind
    families: dict[str, Counter[str]] = field(default_factory=dict)
    rules: dict[tuple[str, str], Counter[str]] = field(
        default_factory=dict
    )  # (code, name) -> severity -> repositories
    severities: Counter[str] = field(default_factory=Counter)
    _worst: list[tuple[int, int, int, str]] = field(default_factory=list)  # a heap

    def add(self, report: Report) -> None:
        """Count one report."""
        self.add_record(report.to_dict())

    def add_record(self, record: Mapping[str, Any]) -> None:
        """Count one line of a results file."""
        self.repositories += 1
        state = record.get("state")
        if not isinstance(state, Mapping):
            reasons = [str(s.get("reason", "")) for s in record.get("skipped", ()) if isinstance(s, Mapping)]
            self.skipped[kind_of(reasons[0]) if reasons else "unknown"] += 1
            return
        family = str(state.get("model_type") or "no model_type")
        self.families.setdefault(family, Counter())[_pad_of(state)] += 1
        counts: Counter[str] = Counter()
        seen: set[tuple[str, str, str]] = set()
        for finding in record.get("findings", ()):
            severity = str(finding["severity"])
            counts[severity] += 1
            key = (str(finding["code"]), str(finding["name"]), severity)
            if key not in seen:  # a rule counts once per repository
                seen.add(key)
                self.rules.setdefault(key[:2], Counter())[severity] += 1
        self.severities.update(counts)
        entry = (counts["error"], counts["warning"], counts["info"], str(record["source"]))
        if any(entry[:2]):
            if len(self._worst) < _WORST:
                heapq.heappush(self._worst, entry)
            else:
                heapq.heappushpop(self._worst, entry)

    @property
    def worst(self) -> list[tuple[str, int, int, int]]:
        """``(source, errors, warnings, infos)`` of the worst repositories, worst first."""
        ordered = sorted(self._worst, key=lambda e: (-e[0], -e[1], -e[2], e[3]))
        return [(source, errors, warnings, infos) for errors, warnings, infos, source in ordered]

    def text(self, *, most: int = 15) -> str:
        """Aligned tables for a terminal; names from repositories are made printable."""
        from padfix.render.escape import safe

        audited = self.repositories - sum(self.skipped.values())
        lines = [
            f"{self.repositories:,} repositories: {audited:,} audited, {self.repositories - audited:,} skipped; "
            f"{self.severities['error']:,} errors, {self.severities['warning']:,} warnings, {self.severities['info']:,} notes"
        ]
        if self.families:
            by_size = sorted(self.families.items(), key=lambda item: (-item[1].total(), item[0]))
            rows = [
                (safe(name, limit=30), *(f"{c[p]:,}" for p in PADS), f"{c.total():,}")
                for name, c in by_size[:most]
            ]
            lines += _table(("family", *(f"pad: {p}" for p in PADS), "all"), rows, len(by_size) - most)
        if self.rules:
            by_count = sorted(self.rules.items(), key=lambda item: (-item[1].total(), item[0]))
            found = [(code, name, *(f"{c[s]:,}" for s in _SEVERITIES)) for (code, name), c in by_count[:most]]
            lines += _table(("rule", "name", "errors", "warnings", "notes"), found, len(by_count) - most)
        if self.skipped:
            lines += _table(
                ("skipped", "repositories"),
                [(safe(k, limit=40), f"{n:,}") for k, n in self.skipped.most_common()],
                0,
            )
        if self.worst:
            worst = [
                (safe(name, limit=70), f"{e:,}", f"{w:,}", f"{i:,}") for name, e, w, i in self.worst[:most]
            ]
            lines += _table(("worst first", "errors", "warnings", "notes"), worst, 0)
        return "\n".join(lines) + "\n"


def kind_of(reason: str) -> str:
    """The kind of a refusal: the words before the first colon, where they are one of ours.

    >>> kind_of("gated: org/name: log in")
    'gated'
    """
    head, colon, _ = reason.partition(":")
    return head if colon and head.replace("-", "").isalpha() and len(head) < 30 else "other"


def _pad_of(state: Mapping[str, Any]) -> str:
    pad, eos, unk = (_text(state.get(role)) for role in ("pad", "eos", "unk"))
    if pad is None:
        return "none"
    return "eos" if pad == eos else "unk" if pad == unk else "own"


def _text(token: Any) -> str | None:
    value = token.get("text") if isinstance(token, Mapping) else None
    return value if isinstance(value, str) else None


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], more: int) -> list[str]:
    """Left-aligned names, right-aligned numbers."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    numeric = [all(row[i].replace(",", "").isdigit() for row in rows) for i in range(len(head))]

    def shown(row: tuple[str, ...]) -> str:
        cells = (
            cell.rjust(w) if right else cell.ljust(w)
            for cell, w, right in zip(row, widths, numeric, strict=True)
        )
        return "  ".join(cells).rstrip()

    return ["", shown(head), *map(shown, rows), *([f"... and {more:,} more"] if more > 0 else [])]
