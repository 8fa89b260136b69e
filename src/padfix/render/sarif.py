"""SARIF 2.1.0, for code scanning services.

One run; every result has a location with a line (the key's, else 1, since GitHub drops results without
one) and a fingerprint that survives a move of the line. What could not be read is a notification.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any, Final

from padfix.render import plain
from padfix.render.escape import safe
from padfix.render.places import uri_of
from padfix.types import Finding, Report

_LEVELS: Final = {"error": "error", "warning": "warning", "info": "note"}
_HOME: Final = "https://github.com/padfix/padfix"


def render(reports: Iterable[Report], *, docs: Mapping[str, str] | None = None) -> str:
    """All reports as one SARIF log; ``docs`` holds rule documentation (Markdown) by code."""
    results: list[dict[str, Any]] = []
    notifications: list[dict[str, Any]] = []
    rules: dict[str, Finding] = {}
    for report in reports:
        for finding in plain.by_severity(report.findings):
            rules.setdefault(finding.code, finding)
            results.append(_result(report, finding, list(rules).index(finding.code)))
        notifications += [
            {"level": "warning", "message": {"text": safe(f"{skip.source}: {skip.reason}")}}
            for skip in report.skipped
        ]
    driver = {
        "name": "padfix",
        "version": version("padfix"),
        "informationUri": _HOME,
        "rules": [_rule(code, finding, (docs or {}).get(code)) for code, finding in rules.items()],
    }
    invocation = {"executionSuccessful": True, "toolExecutionNotifications": notifications}
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "invocations": [invocation], "results": results}],
    }
    return json.dumps(log, indent=2) + "\n"


def _rule(code: str, finding: Finding, doc: str | None) -> dict[str, Any]:
    words = safe(finding.name).replace("-", " ")
    rule: dict[str, Any] = {
        "id": safe(code),
        "name": safe(finding.name),
        "shortDescription": {"text": f"{words[:1].upper()}{words[1:]}."},
    }
    if doc:
        rule["fullDescription"] = {"text": doc.strip().split("\n\n")[0]}
        rule["help"] = {"text": doc, "markdown": doc}
    return rule


def _result(report: Report, finding: Finding, index: int) -> dict[str, Any]:
    fix = "" if finding.fix is None else f"\nFix: {safe(finding.fix)}"
    location: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": uri_of(report.source, finding.file)},
            "region": {"startLine": finding.line or 1},
        }
    }
    if finding.key is not None:
        location["logicalLocations"] = [{"fullyQualifiedName": safe(finding.key), "kind": "member"}]
    identity = "\0".join((finding.code, report.source, finding.file or "", finding.key or ""))
    return {
        "ruleId": safe(finding.code),
        "ruleIndex": index,
        "level": _LEVELS[finding.severity],
        "message": {"text": safe(finding.message) + fix},
        "locations": [location],
        "partialFingerprints": {
            "padfix/v1": hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        },
    }
