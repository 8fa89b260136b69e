"""One self-contained HTML page: counts, a table of repositories, a table of findings; sort, filter, light and dark.

Rendered by Jinja with autoescaping on. The page's own script and style are allowed by their hashes and
nothing else is, so markup that slipped through could still not run or load anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from importlib import resources
from importlib.metadata import version

from padfix.errors import MissingDependencyError
from padfix.render import plain
from padfix.render.escape import safe
from padfix.types import Report


def render(reports: Iterable[Report]) -> str:
    """All reports as one page. Raises `MissingDependencyError` where jinja2 is not installed."""
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise MissingDependencyError(
            "-f html needs jinja2; install it with: pip install 'padfix[html]'"
        ) from error
    every = list(reports)
    findings = [f for report in every for f in report.findings]
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
        counts={s: sum(f.severity == s for f in findings) for s in ("error", "warning", "info")},
        reports=[_row(report) for report in every],
        findings=[
            (report.source, f, plain.place_text(f))
            for report in every
            for f in plain.by_severity(report.findings)
        ],
        skips=[skip for report in every for skip in report.skipped],
        rules=sorted({f.code for f in findings}),
    )


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
