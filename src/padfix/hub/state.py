"""The state of a hub repository: what the folder's reader makes of it, less what was not really read.

A budget leaves files, or most of a vocabulary, unread. Such a fact becomes None, the default, or a line
in ``problems``; it is never reported as if it had been seen. With ``requests=None`` nothing is left out
and the state is the folder's.
"""

from __future__ import annotations

import dataclasses

from padfix.hub.complete import FILLER
from padfix.hub.source import HubSource, NotRead
from padfix.types import PadState, Token


def hub_state(source: HubSource) -> PadState:
    """The state of a repository on a hub. Raises `SourceError`, and `NotRead` where the pad cannot be told."""
    from padfix.errors import SourceError
    from padfix.read.repo import read_repo

    try:
        state = read_repo(source)
    except SourceError:
        if source.failure is not None:
            raise source.failure from None
        raise
    if source.failure is not None:  # a file that could not be had for now must not look like an absent one
        raise source.failure
    problems = list(state.problems)
    if "special_tokens_map.json" in source.unread and state.pad is None:
        raise NotRead(
            "special_tokens_map.json was not read, and no other file names a pad; --requests 0 reads all"
        )
    problems += [f"{name} was not read: the budget of requests or bytes was spent" for name in source.unread]
    if source.completed is not None:
        state = _without_the_unread(state, source)
        problems.append(
            "only the head of tokenizer.json was read: tokens of the middle of the vocabulary are not known"
        )
    return dataclasses.replace(state, problems=tuple(problems))


def _without_the_unread(state: PadState, source: HubSource) -> PadState:
    """Take back what follows from filler tokens, not from the file."""
    completed = source.completed
    assert completed is not None
    if state.pad is not None and state.pad.text not in completed.known:
        shown = state.pad.text[:80]
        raise NotRead(
            f"the pad {shown!r} is not in the part of tokenizer.json that was read; --requests 0 reads all"
        )

    def seen(token: Token | None) -> Token | None:
        return Token(token.text, None) if token is not None and token.text not in completed.known else token

    doubtful = any(seen(token) != token for token in (state.eos, state.unk, state.bos))
    sized = completed.sized and not doubtful
    # whether unk appears depends on the byte tokens; where only some of them were seen it is not known
    some_bytes = ("<0x00>" in completed.known) != ("<0xFF>" in completed.known)
    return dataclasses.replace(
        state,
        eos=seen(state.eos),
        unk=seen(state.unk),
        bos=seen(state.bos),
        specials=tuple((role, token) for role, token in state.specials if token.text in completed.known),
        candidates=tuple(c for c in state.candidates if not c.token.text.startswith(FILLER)),
        n_tokens=state.n_tokens if sized else None,
        max_id=state.max_id if sized else None,
        next_id=state.next_id if sized else None,
        appends_eos=state.appends_eos if completed.headed else None,
        unk_emitted=state.unk_emitted if completed.headed and not some_bytes else None,
    )
