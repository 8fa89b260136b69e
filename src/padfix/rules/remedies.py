"""The lines that findings tell a user to run: which repair fits a state, in words that can be pasted."""

from __future__ import annotations

import shlex
from typing import Final

from padfix.rules.registry import show
from padfix.types import Candidate, PadState


def repair(state: PadState, strategy: str | None = None, *, pad_token: str | None = None) -> str:
    """The line that repairs this state: Python for live objects, a command for files.

    >>> repair(PadState(source="./llama"), "reserved")
    'padfix fix ./llama --strategy reserved'
    """
    if _converted(state):
        return _CONVERT
    if state.live:
        named = [f'strategy="{strategy}"'] if strategy else []
        named += [f"pad_token={pad_token!r}"] if pad_token else []
        return f"padfix.ensure_pad({', '.join(['model', 'tok', *named])})"
    flags = [f"--strategy {strategy}"] if strategy else []
    flags += [f"--pad-token {shlex.quote(pad_token)}"] if pad_token else []
    return " ".join(["padfix fix", folder(state), *flags])


_CONVERT: Final = "repair the checkpoint that this file was made from, and convert it again"


def _converted(state: PadState) -> bool:
    return state.quantized == "gguf" and not state.live


def folder(state: PadState) -> str:
    """The source as one shell word; ``FOLDER`` where it has no name or one that cannot be shown."""
    source = state.source
    usable = source and source.isprintable() and len(source) <= 300 and not source.startswith("-")
    return shlex.quote(source) if usable else "FOLDER"


def own_pad(state: PadState) -> str:
    """The line that gives this state a pad of its own, without new rows where there is a way.

    In the order that `padfix.strategies` prefers: a token that means pad, a reserved one, a spare
    embedding row, a new row.
    """
    if _converted(state):
        return _CONVERT
    if state.has("positions-from-pad"):
        return "put back the pad that the model was trained with: it counts positions from that id"
    token = free_token(state)
    if token is not None and token.kind == "reserved":
        return repair(state, "reserved")
    if token is not None:
        return repair(state, pad_token=token.token.text)
    if has_spare_row(state):
        return repair(state, "spare")
    return 'padfix.ensure_pad(model, tok, strategy="add")'


def some_pad(state: PadState) -> str:
    """The line that gives a state without a pad one: what ``auto`` finds, else EOS or a new row, by purpose."""
    if state.eos is not None and not alternatives(state) and not _converted(state):
        return f'{repair(state, "eos")} to generate; padfix.ensure_pad(model, tok, strategy="add") to train'
    return repair(state, "auto") if alternatives(state) else own_pad(state)


def free_token(state: PadState) -> Candidate | None:
    """The first declared, named or reserved token that nothing speaks against."""
    return next(
        (c for c in state.candidates if c.kind in ("config", "named", "reserved") and _free(c, state)), None
    )


def has_spare_row(state: PadState) -> bool:
    """True when every vocabulary matrix has a row for one more token."""
    after = state.next_id if state.next_id is not None else None if state.max_id is None else state.max_id + 1
    return state.rows is not None and after is not None and after < state.rows


def alternatives(state: PadState) -> str:
    """What there is to pad with, as the end of a message; empty where there is nothing but EOS or a new row."""
    token = free_token(state)
    if token is not None:
        return f"; {show(token.token)} is in the vocabulary and free"
    if has_spare_row(state):
        return f"; {show(state.rows)} embedding rows hold {_ids(state)}, so a new token needs no new row"
    unk = next((c for c in state.candidates if c.kind == "unk" and _free(c, state)), None)
    return f"; text cannot produce {show(unk.token)}" if unk is not None else ""


def _ids(state: PadState) -> str:
    return "few enough ids" if state.max_id is None else f"ids up to {show(state.max_id)}"


def _free(candidate: Candidate, state: PadState) -> bool:
    token = candidate.token
    if not candidate.safe or token.id is None or not token.text.isprintable():
        return False
    taken = {token.id for role, token in state.specials if role != "additional"}
    taken |= {value for _, value in state.config_token_ids}
    taken |= {state.bos.id} if state.bos is not None else set()
    return (
        token.id not in taken
        and token.id not in state.eos_ids
        and (state.rows is None or token.id < state.rows)
    )
