"""The assertions for users' own suites: they pass on sound pairs, and fail with cause and remedy on others."""

from __future__ import annotations

import pytest

from padfix.testing import (
    assert_no_findings,
    assert_pad_invisible,
    assert_pad_safe,
    matching_tokenizer,
    tiny_model,
    tiny_tokenizer,
)


def test_a_sound_pair_passes() -> None:
    """A model and a tokenizer that belong together pass all three, and the verdict comes back for more."""
    model = tiny_model("llama", pad_token_id=0)
    tok = tiny_tokenizer(pad="<pad>", eos="</s>", ids={"<pad>": 0, "</s>": 2})
    assert assert_pad_invisible(model, tok)["pad-invisible"].passed
    assert assert_pad_safe(model, tok)
    assert all(f.severity != "error" for f in assert_no_findings(model, tok))


def test_a_model_that_ignores_the_mask_fails_with_its_cause() -> None:
    """The message of the assertion is the check's cause and remedy."""
    model = tiny_model("fnet", "masked")
    with pytest.raises(AssertionError, match=r"(?s)pad-invisible: .*ignores padding.*; .*equal length"):
        assert_pad_invisible(model, matching_tokenizer(model, "wordpiece"))


def test_the_wanted_side_is_judged() -> None:
    """RWKV is sound with padding on the right and not on the left, whatever the tokenizer's own side."""
    model = tiny_model("rwkv")
    tok = matching_tokenizer(model, pad="<pad>")
    assert_pad_invisible(model, tok)
    with pytest.raises(AssertionError, match="recurrent state"):
        assert_pad_invisible(model, tok, sides=("left",))


def test_findings_fail_with_code_and_fix() -> None:
    """A pad past the last row is an error with its code; an ignored code is left out."""
    model = tiny_model("llama", pad_token_id=None)
    tok = tiny_tokenizer(pad="<pad>", eos="</s>", vocab_size=140, ids={"<pad>": 139, "</s>": 2})
    with pytest.raises(AssertionError, match="PAD101"):
        assert_no_findings(model, tok)
    assert all(f.code != "PAD101" for f in assert_no_findings(model, tok, ignore=("PAD101",)))
