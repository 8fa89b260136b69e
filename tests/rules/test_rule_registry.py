"""Registration, selection, grading and quoting."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from padfix.errors import ConfigError
from padfix.rules import READS, RULES, TASKS, Hit, check, default_task, resolve, rule, show
from padfix.rules.registry import SECTIONS, also
from padfix.types import BadValue, PadState, Token

# The catalogue as published; a code is never reused and never changes its name.
CATALOGUE = """
001 missing-pad-token 002 pad-equals-eos 003 pad-in-eos-list 004 pad-equals-unk 005 pad-aliases-structural-token
006 pad-is-ordinary-token 007 modality-pad-reused 008 pad-string-not-in-vocab 009 pad-token-immutable
010 pad-not-persisted 011 tokenizer-json-padding-conflict 012 pad-depends-on-transformers-version
101 pad-id-out-of-range 102 negative-pad-id 103 tokenizer-larger-than-embedding 104 embedding-larger-than-tokenizer
105 resize-shrinks-matrix 106 input-output-row-mismatch 107 dominant-pad-logit 108 degenerate-pad-row
109 vocab-not-divisible 110 padding-idx-freezes-live-token 111 head-reinitialised-or-untied
201 tokenizer-config-pad-mismatch 202 generation-config-pad-mismatch 203 config-pad-missing 204 pad-id-wrong-type
205 pad-at-wrong-config-level 301 mask-not-inferable 302 inferred-mask-hides-real-token 303 wrong-padding-side
304 position-ids-not-derived 305 left-pad-nan 308 pooled-at-wrong-position 401 eos-label-masked 402 eos-absent-from-data
403 pad-not-masked-in-loss 404 all-labels-masked 406 pad-id-inside-content 407 mask-disagrees-with-padding
408 moe-aux-loss-counts-pads 501 architecture-ignores-mask 502 recurrent-left-padding 503 pad-id-defines-positions
504 eos-pooled-encoder-decoder 505 pad-is-semantic 601 adapter-vocab-drift 603 quantized-vocab-matrix
604 gguf-pad-mismatch 605 draft-model-vocab-mismatch
"""

PAGE = "\n".join(["A rule.", "", *(line for title in SECTIONS for line in (f"## {title}", "Words.", ""))])


def documented(page: str = PAGE, parameters: str = "state") -> Any:
    """A rule function with this page."""
    scope: dict[str, Any] = {}
    exec(f"def found({parameters}):\n    yield from ()", scope)
    scope["found"].__doc__ = page
    return scope["found"]


def test_the_catalogue_is_registered() -> None:
    """Every published code exists under its published name."""
    words = CATALOGUE.split()
    names = {f"PAD{code}": name for code, name in zip(words[::2], words[1::2], strict=True)}
    assert {code: RULES[code].name for code in names} == names
    assert list(RULES) == sorted(RULES)


@pytest.mark.parametrize("code", RULES)
def test_a_page_is_complete(code: str) -> None:
    """All sections, an example, a repair, and words that fit a terminal."""
    page = RULES[code]
    assert page.summary.endswith(".")
    assert len(page.summary) <= 110
    for title in SECTIONS:
        assert len(page.section(title)) > 10
    assert all(len(line) <= 130 for line in page.documentation.splitlines())
    assert set(page.reads) <= set(READS)
    assert set(page.severity) == set(TASKS)


def test_a_page_mentions_only_codes_that_exist() -> None:
    """No dead cross-reference."""
    for page in RULES.values():
        assert set(re.findall(r"PAD\d{3}", page.documentation)) <= set(RULES), page.code


@pytest.mark.parametrize(
    ("code", "name", "arguments", "function", "words"),
    [
        ("PAD1", "x", {"reads": "F"}, documented(), "is not PAD and three digits"),
        ("PAD001", "x", {"reads": "F"}, documented(), "registered already"),
        ("PAD999", "missing-pad-token", {"reads": "F"}, documented(), "registered already"),
        ("PAD999", "Not Kebab", {"reads": "F"}, documented(), "kebab-case"),
        ("PAD999", "x", {"reads": "Z"}, documented(), "must be letters of"),
        ("PAD999", "x", {"reads": ""}, documented(), "must be letters of"),
        ("PAD999", "x", {"reads": "F", "severity": {"sleeping": "error"}}, documented(), "must map tasks"),
        ("PAD999", "x", {"reads": "F", "severity": {"training": "fatal"}}, documented(), "must map tasks"),
        ("PAD999", "x", {"reads": "F"}, documented("No sentence"), "one sentence"),
        ("PAD999", "x", {"reads": "F"}, documented("A rule.\n\n## Example\nWords."), "needs the sections"),
        ("PAD999", "x", {"reads": "F"}, documented(PAGE + "## References\n"), "empty section 'References'"),
        ("PAD999", "x", {"reads": "F"}, documented(parameters="state, model"), "a rule takes (state)"),
        ("PAD999", "x", {"reads": "F"}, documented(parameters="tokenizer"), "a rule takes (state)"),
    ],
)
def test_a_malformed_rule_is_refused(
    code: str, name: str, arguments: dict[str, Any], function: Any, words: str
) -> None:
    """Registration checks what a reader of the catalogue relies on, and refuses leave nothing behind."""
    before = dict(RULES)
    with pytest.raises(ConfigError, match=re.escape(words)):
        rule(code, name, **{"severity": {}, **arguments})(function)
    assert before == RULES


def test_a_new_rule_is_one_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registered, it runs, is selected by its prefix and its name, and can have a second source."""
    from padfix.rules import registry

    monkeypatch.setattr(registry, "RULES", dict(RULES))
    monkeypatch.setattr(registry, "_DETECTORS", dict(registry._DETECTORS))

    def own(state: PadState) -> Iterator[Hit]:
        yield Hit("seen", severity={"training": "warning", "serving": None})

    own.__doc__ = PAGE
    rule(
        "PAD999",
        "my-rule",
        reads="F",
        severity={"training": "error", "generation": "info", "serving": "info"},
    )(own)

    @also("PAD999")
    def batched(state: PadState, batch: Any) -> Iterator[Hit]:
        yield Hit(f"seen in {batch}")

    def grades(**options: Any) -> list[tuple[str, str]]:
        return [(f.message, f.severity) for f in check(PadState(), select="my-rule", **options)]

    assert grades(task="training") == [("seen", "warning")]
    assert grades(task="generation") == [("seen", "info")]
    assert grades(task="serving") == []
    assert grades(task="classification") == []
    assert grades(task="training", batch="a batch") == [("seen in a batch", "error"), ("seen", "warning")]


@pytest.mark.parametrize(
    ("head", "task"),
    [("classifier", "classification"), ("token-classifier", "classification"), ("causal", "generation"),
     ("seq2seq", "generation"), ("masked", "generation"), ("base", "generation"), (None, "generation")],
)  # fmt: skip
def test_the_default_task_follows_the_head(head: Any, task: str) -> None:
    """A classifier is judged as one, everything else by plain inference."""
    state = PadState(n_tokens=3, head=head)
    assert default_task(state) == task
    assert check(state) == check(state, task=task)


def test_selectors_are_prefixes_codes_and_names() -> None:
    """A string may hold several, separated by commas; ignore wins over select."""
    assert resolve("PAD10") == {code for code in RULES if code.startswith("PAD10")}
    assert resolve("PAD001,pad-equals-eos") == {"PAD001", "PAD002"}
    assert resolve([" PAD001 "]) == {"PAD001"}
    assert resolve([]) == frozenset()
    state = PadState(n_tokens=3)
    assert check(state, task="training", select="PAD0", ignore="PAD001") == ()
    assert [f.code for f in check(state, task="training", select=("PAD0",), ignore=())] == ["PAD001"]
    assert check(state, task="training", select=()) == ()


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("PAD999", "select: no rule matches 'PAD999'"),
        ("pad001", "did you mean PAD001"),
        ("missing-pad", "did you mean missing-pad-token"),
        ("zzz", "codes run from PAD001"),
        ("", "no rule matches ''"),
        ("\x1b[31m" * 99, "no rule matches"),
    ],
)
def test_an_unknown_selector_names_the_close_ones(wanted: str, words: str) -> None:
    """A typo in a configuration must not silently switch a rule off."""
    with pytest.raises(ConfigError, match=re.escape(words)) as caught:
        check(PadState(), select=[wanted])
    assert "\x1b" not in str(caught.value)
    with pytest.raises(ConfigError, match="ignore: "):
        check(PadState(), ignore=wanted)


def test_an_unknown_task_is_refused() -> None:
    """With the list of those there are."""
    with pytest.raises(ConfigError, match="unknown task 'sleep'; there are generation, training"):
        check(PadState(), task="sleep")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("<pad>", "'<pad>'"),
        ("\x1b]0;owned\x07", "'\\x1b]0;owned\\x07'"),
        ("a\nb", "'a\\nb'"),
        ("‮gnp", "'\\u202egnp'"),
        ("x" * 100, "'" + "x" * 60 + "'..."),
        ("\ud800", "'\\ud800'"),
        (Token("<pad>", 3), "'<pad>' (3)"),
        (Token("<pad>", None), "'<pad>' (no id)"),
        (BadValue("list", "[2]"), "the list [2]"),
        (BadValue("str", "'\x1b[0m'"), "the str '\\x1b[0m'"),
        (10**5000, "an integer of 16610 bits"),
        (-1, "-1"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_repository_says_is_quoted(value: object, shown: str) -> None:
    """One line, printable, bounded."""
    assert show(value) == shown


def test_the_pages_on_disk_are_the_docstrings() -> None:
    """docs/rules.md is what scripts/generate_rule_docs.py writes."""
    import importlib.util

    root = Path(__file__).resolve().parents[2]
    spec = importlib.util.spec_from_file_location(
        "generate_rule_docs", root / "scripts" / "generate_rule_docs.py"
    )
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert (root / "docs" / "rules.md").read_text("utf-8") == script.render()
