"""Laws of `check` that hold for every state, however odd."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from suggestions import suggested

from padfix.errors import ConfigError, StrategyError
from padfix.rules import RULES, TASKS, check, check_pair, check_verdict
from padfix.rules.messages import find_rule
from padfix.strategies import plan
from padfix.types import (
    ABSENT,
    BackendPadding,
    BadValue,
    Candidate,
    Check,
    Finding,
    Location,
    PadRow,
    PadState,
    Token,
    Verdict,
)
from states import states

SETTINGS = settings(max_examples=100, deadline=None)

nasty = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["<pad>", "", "\x1b[31m", "[bold]x[/]", "‮", "<script>", "\ud800", "a" * 5000, "`|", "!", "<unk>"]
    ),
)
ints = st.one_of(st.integers(-3, 70), st.integers(), st.sampled_from([2**63, -(2**200), 10**5000, 50256]))
tokens = st.builds(Token, nasty, st.none() | ints)
config_ids = st.one_of(st.none(), st.just(ABSENT), ints, st.builds(BadValue, nasty, nasty))
floats = st.none() | st.floats()

KINDS: dict[str, st.SearchStrategy[Any]] = {
    "pad": st.none() | tokens,
    "eos": st.none() | tokens,
    "unk": st.none() | tokens,
    "bos": st.none() | tokens,
    "specials": st.lists(st.tuples(st.sampled_from(["cls", "sep", "mask", "additional", "image"]), tokens), max_size=3).map(tuple),
    "n_tokens": st.none() | ints,
    "max_id": st.none() | ints,
    "next_id": st.none() | ints,
    "padding_side": st.sampled_from(["left", "right"]),
    "backend_padding": st.none() | st.builds(BackendPadding, ints, nasty, nasty, st.none() | ints),
    "unk_emitted": st.none() | st.booleans(),
    "appends_eos": st.none() | st.booleans(),
    "pad_is_added": st.none() | st.booleans(),
    "pad_uses": st.none() | st.lists(st.sampled_from(["text", "post-processor", "chat-template"]) | nasty, max_size=2).map(tuple),
    "candidates": st.lists(st.builds(Candidate, tokens, st.sampled_from(["config", "named", "reserved", "unk", "eos"])), max_size=3).map(tuple),
    "pad_by_major": st.lists(st.tuples(nasty, st.none() | nasty), max_size=2).map(tuple),
    "config_pad_id": config_ids,
    "text_config_pad_ids": st.lists(st.tuples(nasty, config_ids), max_size=2).map(tuple),
    "generation_pad_id": config_ids,
    "config_eos_ids": st.lists(ints, max_size=3).map(tuple),
    "generation_eos_ids": st.lists(ints, max_size=3).map(tuple),
    "config_token_ids": st.lists(st.tuples(nasty | st.just("image_token_id"), ints), max_size=3).map(tuple),
    "vocab_size": st.none() | ints,
    "model_type": st.none() | nasty | st.sampled_from(["llama", "fnet", "rwkv", "gpt2"]),
    "head": st.sampled_from([None, "causal", "masked", "seq2seq", "classifier", "token-classifier", "base"]),
    "is_encoder_decoder": st.booleans(),
    "traits": st.lists(st.sampled_from(["ignores-mask", "leaks-state", "mixes-positions", "pools-on-pad", "pools-on-eos", "pad-is-semantic",
                                        "absolute-positions", "positions-from-pad", "padding-idx-from-config"]), max_size=4).map(tuple),
    "input_rows": st.none() | ints,
    "output_rows": st.none() | ints,
    "output_bias_rows": st.none() | ints,
    "tied": st.none() | st.booleans(),
    "quantized": st.none() | nasty | st.just("gguf"),
    "adapter": st.none() | nasty,
    "adapter_rows": st.lists(st.tuples(nasty, ints), max_size=3).map(tuple),
    "padding_idx": st.none() | ints,
    "pad_row": st.none() | st.builds(PadRow, floats, floats, st.booleans(), st.booleans(), st.none() | ints),
    "live": st.booleans(),
    "pad_settable": st.booleans(),
    "sharded": st.booleans(),
    "source": nasty,
    "tokenizer_class": st.none() | nasty,
    "dtype": st.none() | nasty,
    "device": st.none() | nasty,
    "locations": st.lists(st.tuples(st.sampled_from(["pad", "config_pad_id"]), st.builds(Location, nasty, nasty, ints)), max_size=2).map(tuple),
}  # fmt: skip


@st.composite
def odd_states(draw: st.DrawFn) -> PadState:
    """Any values that the types allow, consistent or not: a hostile repository, or a reader's mistake."""
    chosen = draw(st.sets(st.sampled_from(sorted(KINDS)), max_size=len(KINDS)))
    return PadState(**{name: draw(KINDS[name]) for name in sorted(chosen)})


verdicts = st.builds(
    Verdict,
    st.lists(
        st.builds(
            Check,
            st.sampled_from(["pad-unlikely", "round-trip", "padding-left", "padding-left-bare", "pad-invisible", "pooled-kept", "weights-kept"]),
            st.booleans(),
            st.booleans(),
            observed=floats,
            limit=floats,
            unit=st.sampled_from(["", "nats"]),
            cause=st.none() | nasty,
        ),
        max_size=4,
    ).map(tuple),
)  # fmt: skip


def assert_sound(findings: tuple[Finding, ...]) -> None:
    """Graded, sorted, printable and bounded; nothing of the source's own bytes reaches a screen."""
    rank = {"error": 0, "warning": 1, "info": 2}
    assert list(findings) == sorted(
        findings, key=lambda f: (rank[f.severity], f.code, f.message, f.file or "", f.key or "")
    )
    assert len(set(findings)) == len(findings)
    for found in findings:
        assert found.message.isprintable(), found
        assert len(found.message) < 1500
        if found.fix is not None:
            assert found.fix.isprintable(), found
            assert len(found.fix) < 6000


@SETTINGS
@given(odd_states() | states(), st.sampled_from(TASKS))
def test_no_state_makes_a_rule_raise(state: PadState, task: str) -> None:
    """Rules answer about any record of facts; twice the same."""
    found = check(state, task=task)
    assert_sound(found)
    assert found == check(state, task=task)
    assert {f.code for f in found} <= {code for code, rule in RULES.items() if rule.severity[task]}  # type: ignore[index]


@SETTINGS
@given(odd_states(), verdicts, st.sampled_from(TASKS))
def test_no_verdict_makes_a_rule_raise(state: PadState, verdict: Verdict, task: str) -> None:
    """A measured NaN included; a proof in which everything passed gives nothing."""
    assert_sound(check_verdict(state, verdict, task=task))
    fine = Verdict(tuple(dataclasses.replace(c, passed=True) for c in verdict.checks))
    assert check_verdict(state, fine, task=task) == ()


@SETTINGS
@given(odd_states() | states(), odd_states() | states(), st.sampled_from(TASKS))
def test_no_pair_makes_a_rule_raise(state: PadState, other: PadState, task: str) -> None:
    """And a checkpoint never differs from itself, unless its adapter already disagrees with its own rows."""
    assert_sound(check_pair(state, other, draft=other, task=task))
    same = check_pair(state, state, draft=state, task=task)
    assert {f.code for f in same} <= (
        {"PAD601"} if state.adapter_rows or state.adapter is not None else set()
    )


selections = st.lists(
    st.sampled_from(["PAD", "PAD0", "PAD1", "PAD20", "PAD001", "missing-pad-token", "PAD5", "PAD305"]),
    max_size=4,
)


@SETTINGS
@given(states(), selections, selections, st.sampled_from(TASKS))
def test_selection_is_set_algebra(state: PadState, some: list[str], more: list[str], task: str) -> None:
    """Selecting a union finds the union; ignoring removes exactly what selecting would find."""

    def run(**options: Any) -> set[Finding]:
        return set(check(state, task=task, **options))

    assert run(select=[*some, *more]) == run(select=some) | run(select=more)
    assert run(select=some, ignore=more) == run(select=some) - run(select=more)
    assert run(ignore=some) == run() - run(select=some)
    assert run(select="PAD") == run()


@SETTINGS
@given(st.text(max_size=20))
def test_a_selector_matches_or_is_refused(text: str) -> None:
    """No other exception, whatever stands in a configuration file."""
    try:
        check(PadState(), select=[text])
    except ConfigError as error:
        assert str(error).isprintable()


@SETTINGS
@given(states())
def test_the_portable_facts_decide(state: PadState) -> None:
    """Where a state came from changes how a finding is placed and repaired, not whether a file rule speaks."""
    files = [
        code
        for code, rule in RULES.items()
        if "F" in rule.reads and code not in ("PAD006", "PAD303", "PAD203", "PAD005")
    ]
    here = {f.code for f in check(state, task="training", select=files)}
    portable = dataclasses.replace(state.portable(), live=state.live)
    there = {f.code for f in check(portable, task="training", select=files)}
    assert here == there


@SETTINGS
@given(states(), st.sampled_from(TASKS))
def test_what_a_finding_tells_to_run_does_something(state: PadState, task: str) -> None:
    """The planner agrees to the line that a finding names, and its plan is not empty: nobody is sent in circles."""
    for found in check(state, task=task):
        options = suggested(found.fix or "")
        if options is None:
            continue
        known = next(
            (
                Candidate(c.token, "wanted", c.evidence, c.refused)
                for c in state.candidates
                if c.token.text == options.get("pad_token")
            ),
            None,
        )
        asked = dataclasses.replace(
            state,
            candidates=(*(c for c in state.candidates if c.kind != "wanted"), *([known] if known else [])),
        )
        try:
            made = plan(asked, **options)
        except StrategyError as error:
            excuses = (
                "does not let",
                "must stay",
                "must be the id",
                "cannot be",
                "not known",
                "which is taken",
            )
            assert any(excuse in str(error) for excuse in excuses), (found, error)
            continue
        assert made, found


@SETTINGS
@given(st.text(max_size=300) | nasty)
def test_any_text_may_be_explained(text: str) -> None:
    """Scores are shares; the answer does not depend on the case or on colours."""
    found = find_rule(text)
    assert all(0 < score <= 1 and math.isfinite(score) for _, score in found)
    assert [rule.code for rule, _ in find_rule(f"\x1b[1m{text}\x1b[0m")] == [rule.code for rule, _ in found]
