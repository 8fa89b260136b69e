"""The lines that findings tell a user to run: which repair fits a state, in words that can be pasted."""

from __future__ import annotations

import shlex
from typing import Final

from padfix.rules.registry import bare, show
from padfix.strategies import NEW_NAMES, pad_fault
from padfix.types import Candidate, PadState
from padfix.vetting import against, identity


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


def in_step(state: PadState) -> str:
    """The line that makes the configs name the tokenizer's pad; ``auto`` leaves a pad that is EOS alone."""
    if identity(state) and state.pad is not None and state.pad.id is not None and not _converted(state):
        return f"set pad_token_id to {show(state.pad.id)} in the config and the generation config"
    return repair(state, "eos" if pad_fault(state) == "eos" else None)


def kept_out(state: PadState) -> bool:
    """True where EOS is the pad and does not belong into the config, where it would freeze its own input row."""
    return pad_fault(state) == "eos" and state.head == "causal" and state.has("padding-idx-from-config")


def own_pad(state: PadState) -> str:
    """The line that gives this state a pad of its own, without new rows where there is a way.

    In the order that `padfix.strategies` prefers: a token that means pad, a reserved one, a spare
    embedding row, a new row. Only a name replaces a pad that every strategy would keep.
    """
    if _converted(state):
        return _CONVERT
    if why := identity(state):
        return f"put back the pad that the model was trained with: {bare(why)}"
    kept = pad_fault(state) is None
    token = free_token(state)
    if token is not None and token.kind == "reserved" and not kept:
        return repair(state, "reserved")
    if token is not None:
        return repair(state, pad_token=token.token.text)
    new = _new_name(state) if kept else None
    if has_spare_row(state):
        return repair(state, pad_token=new) if new else repair(state, "spare")
    named = f", pad_token={new!r}" if new else ""
    return f'padfix.ensure_pad(model, tok, strategy="add"{named})'


def _new_name(state: PadState) -> str:
    taken = {c.token.text for c in state.candidates} | ({state.pad.text} if state.pad is not None else set())
    return next((name for name in NEW_NAMES if name not in taken), f"<|pad_{state.next_id}|>")


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
    """True when every vocabulary matrix has a row for one more token, whose id is known."""
    known = state.rows is not None and state.next_id is not None and state.serializable
    return known and (state.next_id or 0) < (state.rows or 0)


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
    own = state.pad is not None and state.pad.id == token.id
    return not own and token.text.isprintable() and not against(candidate, state)
