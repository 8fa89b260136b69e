"""The edits that make every place agree on a pad, and that give it rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from padfix.types import ABSENT, ConfigId, Edit, PadState, Token
from padfix.vetting import fixed_config, usable

Init = Literal["mean", "zero"]


def agree(state: PadState, pad: Token, *, as_eos: bool = False) -> tuple[Edit, ...]:
    """The edits that make every place name this pad."""
    edits: list[Edit] = []
    if state.pad != pad:
        edits.append(Edit("tokenizer", "pad_token", state.pad, pad))
    if not state.has_model:
        return tuple(edits)
    edits.extend(_config_edits(state, _config_value(state, pad, as_eos)))
    if (
        state.has_generation_config
        and not fixed_config(state, state.generation_pad_id)
        and state.generation_pad_id != pad.id
    ):
        edits.append(Edit("generation_config", "pad_token_id", state.generation_pad_id, pad.id))
    edits.extend(_padding_idx_edit(state, pad, as_eos))
    return tuple(edits)


def _config_value(state: PadState, pad: Token, as_eos: bool) -> int | None:
    """What config.pad_token_id should be.

    A causal model that builds ``padding_idx`` from the config gets None with pad = EOS: written there
    it comes back after a reload as ``padding_idx = eos``, and the gradient of the EOS input row is
    exactly 0.0 from then on. A classifier needs the id to find the last real token.
    """
    if as_eos and state.head == "causal" and state.has("padding-idx-from-config"):
        return None
    return pad.id


def _config_edits(state: PadState, value: int | None) -> Iterable[Edit]:
    for path, now in state.text_config_pad_ids:
        if _differs(now, value) and not _stays(state, now, value):
            yield Edit(f"config.{path}", "pad_token_id", now, value)
    now = state.config_pad_id
    # transformers 5 gives some composite configs no such key at the top: what is not there is not added
    if (now is ABSENT and state.text_config_pad_ids) or not _differs(now, value) or _stays(state, now, value):
        return
    yield Edit("config", "pad_token_id", now, value)


def _differs(now: ConfigId, value: int | None) -> bool:
    return now != value and not (now is ABSENT and value is None)


def _stays(state: PadState, now: ConfigId, value: int | None) -> bool:
    """True where a config's id is left as it is, although the tokenizer's pad is another.

    With pad = EOS no id belongs there, but one that is not an end id freezes no EOS row; some configs
    cannot hold null at all (ModernBERT's decoder), and some models read the id (Gemma 4).
    """
    harmless = value is None and isinstance(now, int) and now not in state.eos_ids and usable(state, now)
    return harmless or fixed_config(state, now)


def _padding_idx_edit(state: PadState, pad: Token, as_eos: bool) -> Iterable[Edit]:
    """Move a live ``padding_idx`` that would stop another token's input row from training."""
    now = state.padding_idx
    if now is None or state.has("positions-from-pad"):
        return
    if as_eos:
        if now == pad.id:
            yield Edit("model", "padding_idx", now, None)
    elif now != pad.id and (now in state.eos_ids or (state.pad is not None and now == state.pad.id)):
        yield Edit("model", "padding_idx", now, pad.id)


def pad_row_edit(state: PadState, pad: Token, init: Init | None) -> Iterable[Edit]:
    if init is None or not state.has_model:
        return
    row = state.pad_row if state.pad == pad else None
    if row is not None and (row.zero if init == "zero" else row.mean is True):
        return
    yield Edit("weights", "pad_row", "kept", init)


def growth(state: PadState, new: Token, multiple_of: int | None) -> Iterable[Edit]:
    """Rows for the new id, per matrix: never fewer than before, a matrix with spare rows untouched."""
    assert new.id is not None
    grown: dict[str, int] = {}
    for key in ("input_rows", "output_rows", "output_bias_rows"):
        rows: int | None = getattr(state, key)
        if rows is not None and rows <= new.id:
            grown[key] = _rounded(new.id + 1, rows, multiple_of)
            yield Edit("weights", key, rows, grown[key])
    # A matrix's row count is config.vocab_size in the output where the two differ (Mllama's input has 8 more).
    after = grown.get("output_rows", grown.get("input_rows") if state.output_rows is None else None)
    if after is not None and state.vocab_size is not None and after > state.vocab_size:
        path = state.text_config_pad_ids[0][0] if state.text_config_pad_ids else ""
        yield Edit(f"config.{path}" if path else "config", "vocab_size", state.vocab_size, after)


def _rounded(needed: int, rows: int, multiple_of: int | None) -> int:
    """Rows rounded up so that a nice vocabulary stays nice: 128256 (64 divides it) becomes 128320.

    >>> _rounded(128257, 128256, None), _rounded(50258, 50257, None), _rounded(33, 32, 8)
    (128320, 50258, 40)
    """
    step = multiple_of if multiple_of is not None else min(64, rows & -rows) if rows else 1
    return -(-needed // step) * step
