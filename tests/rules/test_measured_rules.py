"""Rules that speak from a proof, on real models: the verdict of `prove` becomes findings."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from padfix.proof import prove  # noqa: E402
from padfix.read.live import inspect  # noqa: E402
from padfix.rules import check, check_verdict  # noqa: E402
from padfix.testing import tiny_model  # noqa: E402
from padfix.testing.tokenizers import matching_tokenizer  # noqa: E402


def measured(model: Any, side: str, task: str) -> set[tuple[str, str]]:
    """(code, severity) of what the proof of this model shows, with EOS as pad where it has none."""
    tok = matching_tokenizer(model)
    tok.padding_side = side
    if tok.pad_token is None:
        tok.pad_token = tok.eos_token
    state = inspect(model, tok)
    found = check_verdict(state, prove(model, tok), task=task)
    return {
        (f.code, f.severity)
        for f in (*found, *check(state, task=task, select=["PAD304", "PAD501", "PAD502"]))
    }


def test_a_llama_shows_nothing_measured() -> None:
    """Rotary positions and an honoured mask: no finding from the proof, on either side."""
    assert measured(tiny_model("llama"), "left", "generation") == set()
    assert measured(tiny_model("llama"), "right", "training") == set()


def test_absolute_positions_are_measured() -> None:
    """GPT-2 moves under left padding without position_ids: a warning to classify, a note where it pads right."""
    assert ("PAD304", "warning") in measured(tiny_model("gpt2"), "left", "classification")
    assert measured(tiny_model("gpt2"), "right", "classification") == {("PAD304", "info")}


def test_an_ignored_mask_is_measured_and_said_once() -> None:
    """FNet has its own rule; an architecture that is not in the table would get the measured one."""
    assert {code for code, _ in measured(tiny_model("fnet", "masked"), "right", "training")} == {"PAD501"}
    assert ("PAD501", "error") in measured(tiny_model("convbert", "masked"), "right", "training")


def test_a_leaking_state_is_named() -> None:
    """RWKV padded on the left has a finding that names its cause."""
    assert ("PAD502", "warning") in measured(tiny_model("rwkv"), "left", "generation")


def test_a_pad_that_wins_is_measured() -> None:
    """An output row far above the others makes the pad the likeliest token everywhere: PAD107."""
    model = tiny_model("llama", pad_token_id=None, tie_word_embeddings=False)
    tok = matching_tokenizer(model)
    spare = next(i for text, i in tok.get_vocab().items() if i not in tok.all_special_ids and len(text) == 1)
    tok.pad_token = tok.convert_ids_to_tokens(spare)
    with torch.no_grad():
        weight = model.get_output_embeddings().weight
        hidden = model(torch.tensor([tok("a b c")["input_ids"]]), output_hidden_states=True).hidden_states[-1]
        weight[spare] = 50 * hidden.mean(dim=(0, 1))
    state = inspect(model, tok)
    found = check_verdict(state, prove(model, tok), task="generation")
    assert ("PAD107", "error") in {(f.code, f.severity) for f in found}


def test_a_row_that_is_not_finite_is_measured() -> None:
    """0 * NaN is NaN: a pad row of NaN reaches every padded row, whatever the mask."""
    model = tiny_model("llama")
    tok = matching_tokenizer(model)
    if tok.pad_token is None:
        tok.pad_token = tok.convert_ids_to_tokens(5)
    with torch.no_grad():
        model.get_input_embeddings().weight[tok.pad_token_id] = float("nan")
    state = inspect(model, tok)
    assert "PAD305" in {f.code for f in check_verdict(state, prove(model, tok), task="training")}
    assert ("PAD108", "error") in {
        (f.code, f.severity) for f in check(state, task="training", select="PAD108")
    }
