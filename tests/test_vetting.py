"""What speaks against a token because of the model, at the borders: the last stop id, the first row that is not there."""

from __future__ import annotations

import dataclasses

from padfix import PadState, Token
from padfix.strategies import plan
from padfix.types import Candidate
from padfix.vetting import conflicts, outside

BASE = PadState(has_model=True, eos=Token("</s>", 2), n_tokens=10, max_id=9, input_rows=10, output_rows=10)


def test_no_stop_id_is_taken() -> None:
    """A reserved token that the generation config stops at is passed over, though the tokenizer calls it free."""
    stop, free = Token("<|reserved_1|>", 8), Token("<|reserved_0|>", 7)
    state = dataclasses.replace(
        BASE,
        generation_eos_ids=(2, 8),
        candidates=(Candidate(stop, "reserved"), Candidate(free, "reserved")),
    )
    assert plan(state, "reserved").pad == free
    assert any("ends a text" in why for why in conflicts(stop, state))


def test_the_first_id_past_the_rows_is_outside() -> None:
    """Of 10 rows, id 9 is the last that exists: 9 may be a pad, 10 may not."""
    assert outside(Token("<pad>", 9), BASE) is None
    assert "not below the 10 rows" in (outside(Token("<pad>", 10), BASE) or "")
