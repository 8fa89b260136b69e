"""What a plan leads to, foretold without touching anything (`Plan.project`)."""

from __future__ import annotations

import dataclasses

from padfix.candidates import with_added
from padfix.types import Edit, PadRow, PadState, Plan, Token


def project(plan: Plan, state: PadState) -> PadState:
    """The state after the plan's edits, without touching anything (`Plan.project`)."""
    for edit in plan.edits:
        state = _projected(state, edit)
    if plan.init is not None and any(e.key == "input_rows" for e in plan.edits):
        state = _projected(state, Edit("weights", "pad_row", "kept", plan.init))
    declared = state.text_pad_id
    if plan.edits and (not isinstance(declared, int) or (state.pad is not None and declared == state.pad.id)):
        # what the config declares is a candidate only while the tokenizer has another pad
        state = dataclasses.replace(
            state, candidates=tuple(c for c in state.candidates if c.kind != "config")
        )
    return state


def _projected(state: PadState, edit: Edit) -> PadState:
    after = edit.after
    match (edit.target, edit.key):
        case ("tokenizer", "added_token"):
            return _with_token(state, after)
        case ("tokenizer", "pad_token"):
            return dataclasses.replace(state, pad=after, pad_row=None)
        case ("generation_config", "pad_token_id"):
            return dataclasses.replace(state, generation_pad_id=after)
        case ("config", "pad_token_id"):
            return dataclasses.replace(state, config_pad_id=after)
        case (_, "vocab_size"):
            return dataclasses.replace(state, vocab_size=after)
        case (target, "pad_token_id") if target.startswith("config."):
            path = target.removeprefix("config.")
            ids = tuple((p, after if p == path else v) for p, v in state.text_config_pad_ids)
            return dataclasses.replace(state, text_config_pad_ids=ids)
        case ("model", "padding_idx"):
            return dataclasses.replace(state, padding_idx=after)
        case ("weights", "pad_row"):
            row = PadRow(
                0.0 if after == "zero" else None,
                None,
                zero=after == "zero",
                finite=True,
                mean=after == "mean",
            )
            return dataclasses.replace(state, pad_row=row)
        case ("weights", "input_rows"):
            # a table left behind at the old row count would be refused, so those of the same height grow too
            others = tuple((name, after if rows == edit.before else rows) for name, rows in state.other_rows)
            return dataclasses.replace(state, input_rows=after, other_rows=others)
        case ("weights", "output_rows"):
            return dataclasses.replace(state, output_rows=after)
        case ("weights", "output_bias_rows"):
            return dataclasses.replace(state, output_bias_rows=after)
        case _:
            raise ValueError(f"an edit that no strategy makes: {edit}")


def _with_token(state: PadState, token: Token) -> PadState:
    assert token.id is not None and state.n_tokens is not None and state.max_id is not None
    top, count = max(state.max_id, token.id), state.n_tokens + 1
    return dataclasses.replace(
        state,
        n_tokens=count,
        max_id=top,
        holes=top + 1 - count,
        next_id=count,
        candidates=with_added(state.candidates, token),
    )
