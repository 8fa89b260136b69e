"""What speaks against a token because of the model: its ends, its rows, the meaning its config gives.

What speaks against it because of the tokenizer is in `padfix.candidates`.
"""

from __future__ import annotations

from collections.abc import Iterable

from padfix.types import Candidate, ConfigId, PadState, Token


def against(candidate: Candidate, state: PadState) -> tuple[str, ...]:
    """Everything that speaks against a candidate: the tokenizer's evidence and the model's."""
    return (*candidate.refused, *conflicts(candidate.token, state))


def conflicts(token: Token, state: PadState) -> Iterable[str]:
    if token.id is None:
        yield "it is not in the vocabulary"
        return
    if token.id in state.eos_ids:
        yield "it ends a text (an EOS or stop id)"
    if state.bos is not None and token.id == state.bos.id:
        yield "it is BOS"
    for role, special in state.specials:
        if role in ("cls", "sep", "mask") and special.id == token.id:
            yield f"it is {role.upper()}"
        elif role not in ("additional", "cls", "sep", "mask") and special.id == token.id:
            yield f"it is the tokenizer's {role} token"
    for key, value in state.config_token_ids:
        # T5, Marian and Pegasus start the decoder with their pad, and declare it so; where the pad is fixed,
        # what else has its number is another vocabulary's (SeamlessM4T's units)
        own = state.text_pad_id == token.id and (key.endswith("decoder_start_token_id") or identity(state))
        if value == token.id and not own:
            yield f"the config gives it a meaning ({key})"
    if why := outside(token, state):
        yield why


def outside(token: Token, state: PadState) -> str | None:
    rows = state.rows
    if token.id is not None and rows is not None and token.id >= rows:
        return f"its id {token.id} is not below the {rows} rows of the smallest vocabulary matrix"
    return None


def identity(state: PadState) -> str | None:
    """Why the pad of this architecture may never become another token, if so."""
    if state.has("positions-from-pad"):
        return f"{state.model_type} computes its positions from the pad id"
    if state.has("pad-is-semantic"):
        return f"the pad's identity carries meaning in {state.model_type}"
    return None


def row_meaning(state: PadState, pad: Token) -> str | None:
    """Why the pad's input row is read for something else than padding, if so."""
    if state.has("pad-is-semantic"):
        return f"the pad's identity carries meaning in {state.model_type}"
    for key, value in state.config_token_ids:
        if value == pad.id:
            return f"the config gives it a meaning ({key}), so the model reads that row"
    return None


def usable(state: PadState, value: ConfigId) -> bool:
    rows = state.rows
    return isinstance(value, int) and value >= 0 and (rows is None or value < rows)


def fixed_config(state: PadState, now: ConfigId) -> bool:
    """True where the config's pad id has a meaning of its own and must not follow the tokenizer's."""
    return usable(state, now) and identity(state) is not None
