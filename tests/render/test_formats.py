"""Every format: what it must hold, and what a hostile repository must not get into it."""

from __future__ import annotations

import json
import re
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import pytest

from padfix.render import FORMATS, github, html, jsonl, markdown, sarif, text
from padfix.render import json as json_format
from padfix.render.escape import safe
from padfix.types import Finding, PadState, Report, Skip, Token

HOSTILE = (
    "\x1b[31m\x1b]0;title\x07 \x9b31m \u202egnp.exe \u2066x\u2069 \u200b \x00 \x7f \r\n::error::forged\n"
    "<script>alert(1)</script> <img src=x onerror=alert(1)> {{ 7*7 }} {% raw %} [bold red]rich[/] | `code` "
    "[link](javascript:alert(1)) @everyone https://evil.example \ud800 100% ,: \U000e0041"
)
FINDINGS = (
    Finding(
        "PAD101",
        "pad-id-out-of-range",
        "error",
        "pad id 9 of 9 rows",
        "config.json",
        "pad_token_id",
        12,
        "padfix fix x",
    ),
    Finding("PAD002", "pad-equals-eos", "warning", "pad is EOS", "tokenizer_config.json"),
    Finding("PAD012", "pad-depends-on-transformers-version", "info", "none in 4"),
)
REPORTS = (
    Report("models/gpt 2", PadState(pad=Token("<|endoftext|>", 50256), model_type="gpt2"), FINDINGS),
    Report("models/clean", PadState(pad=Token("<pad>", 0))),
    Report("models/gone", None, (), (Skip("models/gone", "no such folder"),)),
)
EVIL = (
    Report(
        HOSTILE,
        PadState(pad=Token(HOSTILE, 1), eos=Token(HOSTILE, 2), model_type=HOSTILE),
        (Finding("PAD001", "missing-pad-token", "error", HOSTILE, HOSTILE, HOSTILE, 1, HOSTILE),),
        (Skip(HOSTILE, HOSTILE),),
    ),
)


@pytest.mark.parametrize("name", FORMATS)
def test_no_control_character_leaves_any_format(name: str) -> None:
    """Only line breaks and printable characters are written: no escape sequence, bidi override or surrogate."""
    written = FORMATS[name].render(EVIL)
    bad = {c for c in written if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert not bad
    written.encode("utf-8")


def test_the_sanitiser_can_fail() -> None:
    """The check above sees what it looks for."""
    assert any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in HOSTILE)
    assert safe(HOSTILE).isprintable()
    assert safe("x" * 5000).endswith("(1000 more characters)")


@pytest.mark.parametrize("name", FORMATS)
def test_every_finding_is_in_every_format(name: str) -> None:
    """Codes, messages and skips are there, whatever the format."""
    written = FORMATS[name].render(REPORTS)
    for expected in ("PAD101", "PAD002", "PAD012", "no such folder"):
        assert expected in written


@pytest.mark.parametrize("name", [name for name, known in FORMATS.items() if known.streams])
def test_a_streamed_format_is_the_sum_of_its_reports(name: str) -> None:
    """Written report by report or at once, the text is the same."""
    assert FORMATS[name].render(REPORTS) == "".join(map(FORMATS[name].one, REPORTS))


def test_text() -> None:
    """The format for people: worst first, the place, the fix whole on one line, nothing for a clean one."""
    assert text.render(REPORTS) == (
        "models/gpt 2: 1 error, 1 warning, 1 note\n"
        "  error   PAD101 pad-id-out-of-range  config.json:12 (pad_token_id)\n"
        "          pad id 9 of 9 rows\n"
        "          fix: padfix fix x\n"
        "  warning PAD002 pad-equals-eos  tokenizer_config.json\n"
        "          pad is EOS\n"
        "  info    PAD012 pad-depends-on-transformers-version\n"
        "          none in 4\n"
        "skipped models/gone: no such folder\n"
    )
    assert "models/clean: no findings\n" in text.render(REPORTS, clean=True)
    coloured = text.render(REPORTS, colour=True)
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == text.render(REPORTS)
    assert coloured != text.render(REPORTS)


def test_json_and_jsonl() -> None:
    """Both are strict JSON with a schema number, the tool, each report and its answer."""
    document = json.loads(json_format.render(REPORTS))
    assert document["schema"] == 1
    assert document["tool"]["name"] == "padfix"
    assert [report["ok"] for report in document["reports"]] == [False, True, True]
    assert document["reports"][0]["findings"][0]["line"] == 12
    assert document["reports"][0]["state"]["config_pad_id"] == "absent"
    lines = [json.loads(line) for line in jsonl.render(REPORTS).splitlines()]
    assert [{k: v for k, v in line.items() if k != "schema"} for line in lines] == document["reports"]
    assert json.loads(json_format.render(EVIL))["reports"][0]["source"] == HOSTILE


def test_sarif_validates_against_the_official_schema() -> None:
    """SARIF 2.1.0 by its own schema, hostile text and empty runs included."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((Path(__file__).parent / "data" / "sarif-2.1.0-rtm.5.json").read_text("utf-8"))
    validator = jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker())
    for reports in (REPORTS, EVIL, ()):
        log = json.loads(sarif.render(reports, docs={"PAD101": "The pad id.\n\n## Example\nx"}))
        assert list(validator.iter_errors(log)) == []
    broken = json.loads(sarif.render(REPORTS))
    broken["runs"][0]["results"][0]["level"] = "fatal"
    assert list(validator.iter_errors(broken)), "the validator can say no"


def test_sarif_places() -> None:
    """Each result has a URI, a line and a fingerprint; each refers to its rule; what was skipped is a notification."""
    run = json.loads(sarif.render(REPORTS))["runs"][0]
    first, second, third = run["results"]
    assert first["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "models/gpt%202/config.json"},
        "region": {"startLine": 12},
    }
    assert second["locations"][0]["physicalLocation"]["region"] == {"startLine": 1}
    assert [r["level"] for r in run["results"]] == ["error", "warning", "note"]
    assert [run["tool"]["driver"]["rules"][r["ruleIndex"]]["id"] for r in run["results"]] == [
        r["ruleId"] for r in run["results"]
    ]
    assert len({r["partialFingerprints"]["padfix/v1"] for r in run["results"]}) == 3
    assert third["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "models/gpt%202"
    assert "no such folder" in run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]


def test_github_commands_cannot_be_forged() -> None:
    """One command per finding and line; a line break, a colon or a comma in a text cannot start another."""
    written = github.render(EVIL)
    lines = written.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("::error file=")
    properties = lines[0].removeprefix("::error ").split("::")[0]
    assert [part.split("=")[0] for part in properties.split(",")] == ["file", "line", "title"]
    assert github.render(REPORTS).splitlines()[0] == (
        "::error file=models/gpt 2/config.json,line=12,title=PAD101 pad-id-out-of-range::pad id 9 of 9 rows%0Afix: padfix fix x"
    )


def test_markdown_shows_text_as_text() -> None:
    """No tag, link, table cell, mention or automatic link of a repository survives."""
    written = markdown.render(EVIL)
    row = next(line for line in written.splitlines() if line.startswith("| ❌"))
    assert len(re.findall(r"(?<!\\)\|", row)) == 6
    outside_code = re.sub(r"(`+) .*? \1", "", written)
    assert "<script" not in outside_code.replace("\\<", "")
    assert not re.search(r"(?<!\\)\[link\]", outside_code)
    assert "@everyone" not in outside_code
    assert "https://" not in outside_code


class Page(HTMLParser):
    """Tags and attributes of a page, and the text of its cells."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.data: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.data.append(data)


def test_html_is_one_self_contained_page() -> None:
    """Nothing is loaded from anywhere, one script and one style, and hostile text is text."""
    pytest.importorskip("jinja2")
    for reports in (REPORTS, EVIL, ()):
        page = Page(html.render(reports))
        names = [tag for tag, _ in page.tags]
        assert names.count("script") == names.count("style") == 1
        assert not {"img", "link", "iframe", "object", "form", "base"} & set(names)
        assert not [
            a for _, attrs in page.tags for a in attrs if a in ("src", "href", "action") or a.startswith("on")
        ]
    shown = "".join(Page(html.render(EVIL)).data)
    assert "<script>alert(1)</script>" in shown
    assert "{{ 7*7 }}" in shown


def test_html_allows_its_own_script_only() -> None:
    """The content security policy names the hash of the very script and style in the page."""
    pytest.importorskip("jinja2")
    import base64
    import hashlib

    page = html.render(REPORTS)
    policy = next(attrs["content"] for tag, attrs in Page(page).tags if attrs.get("http-equiv"))
    assert policy is not None
    for tag in ("script", "style"):
        inner = re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert inner is not None
        digest = base64.b64encode(hashlib.sha256(inner[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")


def test_html_without_jinja2_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message holds the command."""
    import sys

    from padfix.errors import MissingDependencyError

    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'padfix\[html\]'"):
        html.render(REPORTS)
