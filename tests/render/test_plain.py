"""What `print` and a notebook show."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

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
    Skip,
    Token,
    Verdict,
)

EOS = Token("<|endoftext|>", 50256)
EVIL = Token("\x1b[2J<b>\u202e</b>", 7)


def plan(pad: Token = EOS) -> Plan:
    edits = (Edit("tokenizer", "pad_token", None, pad), Edit("config", "pad_token_id", ABSENT, pad.id))
    return Plan("auto", "eos", pad, edits, ("no reserved token",), ("mask labels by position",))


def verdict(*checks: Check) -> Verdict:
    return Verdict(checks or (Check("weights-kept", True, True),), ("bfloat16",))


def report(pad: Token = EOS, **changes: object) -> PadReport:
    before = PadState(
        source="x", eos=EOS, n_tokens=50257, input_rows=50257, config_pad_id=ABSENT, generation_pad_id=None
    )
    after = PadState(
        source="x",
        eos=EOS,
        n_tokens=50257,
        input_rows=50257,
        pad=pad,
        config_pad_id=pad.id,
        generation_pad_id=pad.id,
    )
    options: dict[str, object] = {"verdict": verdict(), "changed": True, **changes}
    return PadReport(before, after, plan(pad), **options)  # type: ignore[arg-type]


def test_a_fix_shows_before_and_after_the_rung_the_edits_and_the_proof() -> None:
    """The short table of a script: every fact that changed, why, and what was proved."""
    assert str(report()) == (
        "padfix: the pad is now '<|endoftext|>' (50256) (rung 'eos' of strategy 'auto')\n"
        "                  before  after\n"
        "  pad             none    '<|endoftext|>' (50256)\n"
        "  config pad      absent  50256\n"
        "  generation pad  none    50256\n"
        "  tokens          50257   50257\n"
        "  input rows      50257   50257\n"
        "  why     no reserved token\n"
        "  change  tokenizer.pad_token: none -> '<|endoftext|>' (50256)\n"
        "  change  config.pad_token_id: absent -> 50256\n"
        "  note    mask labels by position\n"
        "  proof   passed, 1 check\n"
        "    PASS  weights-kept\n"
        "    untested: bfloat16"
    )


@pytest.mark.parametrize(
    ("changes", "head"),
    [
        ({"changed": False, "dry_run": True}, "would be"),
        ({"changed": False}, "nothing was changed"),
        ({"changed": True, "verdict": None}, "is now"),
    ],
)
def test_the_headline_says_what_really_happened(changes: dict[str, object], head: str) -> None:
    """A dry run does not read like a fix, and an unproved fix says so."""
    shown = str(report(**changes))
    assert head in shown.splitlines()[0]
    assert ("not run" in shown) == (changes.get("changed") is True)


def test_marks_tell_gating_from_advisory() -> None:
    """PASS, FAIL (undoes a fix) and note (undoes nothing) differ; cause and remedy are shown."""
    shown = str(
        verdict(
            Check("outputs-kept", True, True, 0.0, 1e-4, "max |Δlogit|"),
            Check(
                "padding-left-bare",
                False,
                False,
                3.25,
                1e-4,
                "max |Δlogit|",
                "absolute positions",
                "pass position_ids",
            ),
            Check("pad-unlikely", False, True, 0.2, 1e-4, "probability"),
        )
    )
    assert shown.startswith("proof: FAILED, 1 of 3 checks\n")
    assert "PASS  outputs-kept       max |Δlogit| 0 (limit 0.0001)" in shown
    assert "note  padding-left-bare  max |Δlogit| 3.25 (limit 0.0001)" in shown
    assert "cause: absolute positions" in shown
    assert "remedy: pass position_ids" in shown
    assert "FAIL  pad-unlikely" in shown
    assert str(Verdict()) == "proof: nothing was checked"


def test_findings_and_skips_of_a_report() -> None:
    """Worst first, with place and fix; what was skipped is named."""
    shown = str(
        Report(
            "gpt2",
            None,
            (
                Finding("PAD012", "b", "info", "later"),
                Finding("PAD001", "a", "error", "first", "config.json", "k", 3, "do it"),
            ),
            (Skip("other", "gone"),),
        )
    )
    assert shown.index("first") < shown.index("later")
    assert "config.json:3 (k)" in shown
    assert "skipped other: gone" in shown


def test_odd_values_have_a_text() -> None:
    """A list where an id belongs, an absent key and a token without an id are told apart."""
    state = PadState(config_pad_id=BadValue("list", "[2, 3]"), pad=Token("<x>", None))
    shown = str(PadReport(state, state, Plan("auto", "keep", state.pad)))
    assert "[2, 3] (a list)" in shown
    assert "'<x>' (not in the vocabulary)" in shown


class Text(HTMLParser):
    def __init__(self, fragment: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.data = ""
        self.feed(fragment)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.data += data


@pytest.mark.parametrize(
    "shown",
    [
        plan(EVIL),
        verdict(Check(EVIL.text, False, True, 1.0, 0.0, EVIL.text, EVIL.text, EVIL.text, EVIL.text)),
        report(
            EVIL, findings=(Finding("PAD001", "a", "error", EVIL.text, EVIL.text, EVIL.text, 1, EVIL.text),)
        ),
        Report(EVIL.text, None, (Finding("PAD001", "a", "error", EVIL.text),), (Skip(EVIL.text, EVIL.text),)),
    ],
    ids=["plan", "verdict", "pad_report", "report"],
)
def test_hostile_text_is_shown_as_text(shown: object) -> None:
    """Neither a terminal nor a notebook interprets what came from a repository."""
    assert "\x1b" not in str(shown)
    assert "\u202e" not in str(shown)
    fragment = shown._repr_html_()  # type: ignore[attr-defined]
    parsed = Text(fragment)
    assert parsed.open == []
    assert "b" not in parsed.tags
    assert r"\x1b[2J<b>\u202e</b>" in parsed.data
    assert not re.search(r"https?://|\bsrc=|@import", fragment)
