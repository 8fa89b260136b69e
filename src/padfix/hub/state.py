"""The state of a hub repository: what the folder's reader makes of it, less what was not really read.

A budget leaves files, or most of a vocabulary, unread. Such a fact becomes None, the default, or a line
in ``problems``; it is never reported as if it had been seen. With ``requests=None`` nothing is left out
and the state is the folder's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from padfix.errors import SourceError
from padfix.hub.complete import Completed
from padfix.hub.errors import ALL, LEFT_OUT
from padfix.hub.fetch import NotRead
from padfix.hub.source import HubSource
from padfix.read import defaults
from padfix.read.repo import read_repo
from padfix.read.tokenizer_build import default_major
from padfix.types import ABSENT, Finding, PadState, Token


def hub_state(source: HubSource) -> PadState:
    """The state of a repository on a hub. Raises `SourceError`, and `NotRead` where the pad cannot be told."""
    try:
        state = read_repo(source)
    except SourceError:
        if source.failure is not None:
            raise source.failure from None
        raise
    if source.failure is not None:  # a file that could not be had for now must not look like an absent one
        raise source.failure
    problems = [_plainly(line) for line in state.problems]
    if "special_tokens_map.json" in source.unread:
        raise NotRead(
            "special_tokens_map.json was not read, and it may name another pad than tokenizer_config.json; "
            + ALL
        )
    problems += [LEFT_OUT + name for name in source.unread]
    if "generation_config.json" in source.unread:  # the reader has put the config's in its place
        state = dataclasses.replace(state, generation_pad_id=ABSENT, generation_eos_ids=())
    if source.summarised:
        state = _without_config(state)
        problems.append(
            f"{LEFT_OUT}config.json (its model type and architectures are as the hub quotes them)"
        )
    if source.templates:  # what they write is not known, only that they are there
        state = dataclasses.replace(state, pad_uses=None, candidates=())
        problems += [LEFT_OUT + name for name in source.templates]
    if source.tail_only:
        state = dataclasses.replace(
            state, pad_by_major=tuple(p for p in state.pad_by_major if p[0] == default_major(None))
        )
        problems.append(f"{LEFT_OUT}tokenizer_config.json before the end of its added tokens")
    if source.completed is not None:
        state = _without_the_unread(state, source.completed, source.completed_file)
        much = "all of" if source.declared_only else "most of"
        side = ", nor whether it turns the padding side" if source.declared_only else ""
        problems.append(
            f"{LEFT_OUT}{much} {source.completed_file} (the number of tokens is not known{side}, "
            "ids of added tokens are those written beside them)"
        )
    return dataclasses.replace(state, problems=tuple(problems))


def _plainly(line: str) -> str:
    """A reader's words about a file that `NotRead` kept from it."""
    name, found, _ = line.removeprefix("over-budget: ").partition(" was not read: ")
    return LEFT_OUT + name if found and line.startswith("over-budget: ") else line


def _without_config(state: PadState) -> PadState:
    """Take back what the class of a quoted model type would have by default: the file may say otherwise."""
    return dataclasses.replace(
        state,
        config_pad_id=ABSENT,
        text_config_pad_ids=(),
        config_eos_ids=(),
        config_bos_id=ABSENT,
        config_token_ids=(),
        vocab_size=None,
        tied=None,
        quantized=None,
        generation_pad_id=state.generation_pad_id if state.has_generation_config else ABSENT,
        generation_eos_ids=state.generation_eos_ids if state.has_generation_config else (),
        locations=tuple((fact, place) for fact, place in state.locations if place.file != "config.json"),
    )


def _without_the_unread(state: PadState, completed: Completed, file: str) -> PadState:
    """Take back what follows from filler tokens, not from the file."""
    if state.pad is not None and not completed.knows(state.pad):
        raise NotRead(
            f"the id of the pad {state.pad.text[:80]!r} is not in the part of {file} that was read; {ALL}"
        )
    record = defaults.tokenizer_class(default_major(None), state.tokenizer_class or "") or {}
    if not completed.named and not record.get("rebuilds") and None in (state.eos, state.unk, state.bos):
        raise NotRead(f"the end of {file}, which names special tokens, was not read; {ALL}")

    def seen(token: Token | None) -> Token | None:
        return Token(token.text, None) if token is not None and not completed.knows(token) else token

    eos, unk, bos = seen(state.eos), seen(state.unk), seen(state.bos)
    # that a text cannot produce unk is proven by what was read; that it can, by what was not
    settled = completed.headed and (completed.settled or state.unk_emitted is False)
    return dataclasses.replace(
        state,
        eos=eos,
        unk=unk,
        bos=bos,
        specials=tuple((role, token) for role, token in state.specials if completed.knows(token)),
        candidates=tuple(
            c
            for c in state.candidates
            if completed.headed and completed.knows(c.token) and (settled or c.kind != "unk")
        ),
        n_tokens=None,
        max_id=None,
        next_id=None,
        holes=0,
        pad_uses=None,
        appends_eos=state.appends_eos if completed.headed and eos == state.eos else None,
        unk_emitted=state.unk_emitted if settled else None,
    )


def hub_findings(state: PadState, source: HubSource, **how: Any) -> tuple[Finding, ...]:
    """What the rules find in a state whatever the files say that were not read.

    ``how``: as `padfix.rules.check` takes it. A finding counts that is there under each of a few guesses.
    """
    from padfix.rules import check

    findings = check(state, **how)
    for guess in _guesses(state, source):
        if not findings:
            break
        how["select"] = tuple({f.code for f in findings})  # what else a guess would find is of no interest
        held = {(f.code, f.severity, f.key) for f in check(guess, **how)}
        findings = tuple(f for f in findings if (f.code, f.severity, f.key) in held)
    return findings


def _guesses(state: PadState, source: HubSource) -> Iterator[PadState]:
    """What the state could be: with other values of what is not known."""
    if source.completed is not None and state.pad is not None:
        yield dataclasses.replace(state, pad_is_added=True)  # then its string is no word of the text
    ids = {t.id for t in (state.pad, state.eos, state.bos) if t is not None and t.id is not None} | {0}
    if source.summarised:
        stops = state.eos_ids
        for pad_id in (*sorted(ids), None):
            yield dataclasses.replace(
                state, config_pad_id=pad_id, generation_pad_id=pad_id, config_eos_ids=stops
            )
    if source.declared_only:
        # tokenizer.json's padding block may turn the side that nothing else names
        yield dataclasses.replace(state, padding_side="left" if state.padding_side == "right" else "right")
    if "generation_config.json" in source.unread:
        for pad_id in sorted(ids):
            yield dataclasses.replace(
                state,
                generation_pad_id=pad_id,
                generation_eos_ids=state.config_eos_ids or state.eos_ids,
                has_generation_config=True,
            )
        stops = tuple(sorted({*state.eos_ids, *ids}))
        yield dataclasses.replace(state, generation_eos_ids=stops, has_generation_config=True)
