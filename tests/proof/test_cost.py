"""A proof is a few forward passes: at most four for causal models, six for others, the one before a fix included."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

import padfix  # noqa: E402
from padfix.proof import capture, prove  # noqa: E402
from padfix.testing import matching_tokenizer, tiny_model  # noqa: E402


def passes(model_type: str, head: Any, side: str = "right", dtype: Any = None) -> int:
    """Forward passes of one whole proof, counted by a hook."""
    model = tiny_model(model_type, head, dtype=dtype)
    tok = matching_tokenizer(model, pad="<pad>", padding_side=side)
    counted = []
    model.register_forward_hook(lambda *_: counted.append(1))
    prove(model, tok, baseline=capture(model, tok))
    return len(counted)


@pytest.mark.parametrize(
    "model_type", ["gpt2", "llama", "mistral", "opt", "bloom", "gpt_neox", "jamba", "gemma", "mixtral"]
)
@pytest.mark.parametrize("side", ["right", "left"])
def test_a_causal_model_costs_at_most_four_passes(model_type: str, side: str) -> None:
    """Whichever side it pads on, GPT-2 with its bare failure included."""
    assert passes(model_type, "causal", side) <= 4


@pytest.mark.parametrize(
    ("model_type", "head"),
    [
        ("bert", "masked"), ("roberta", "masked"), ("t5", "seq2seq"), ("bart", "seq2seq"), ("llama", "classifier"),
        ("bert", "classifier"), ("bart", "classifier"), ("bert", "token-classifier"), ("bert", "base"),
    ],
)  # fmt: skip
def test_any_other_model_costs_at_most_six(model_type: str, head: Any) -> None:
    """Encoders, encoder-decoders, classifiers of both kinds and models without a head."""
    assert passes(model_type, head) <= 6


@pytest.mark.parametrize(
    ("model_type", "head", "strategy"),
    [
        ("bert", "masked", "add"), ("deberta", "masked", "add"), ("t5", "seq2seq", "auto"), ("bart", "seq2seq", "auto"),
        ("llama", "classifier", "add"), ("gpt2", "classifier", "add"), ("bert", "token-classifier", "add"),
        ("jamba", "classifier", "add"),
    ],
)  # fmt: skip
def test_a_fix_costs_at_most_six_with_new_rows_too(model_type: str, head: Any, strategy: str) -> None:
    """Also where the output matrix gets columns, and where a classifier could not take a batch before."""
    model = tiny_model(model_type, head)
    tok = matching_tokenizer(model, pad=None)
    counted = []
    model.register_forward_hook(lambda *_: counted.append(1))
    report = padfix.ensure_pad(model, tok, strategy)
    assert report.changed
    assert report.verdict
    assert 0 < len(counted) <= 6


@pytest.mark.parametrize(
    ("model_type", "head"),
    [("bert", "masked"), ("t5", "seq2seq"), ("llama", "classifier"), ("jamba", "classifier")],
)
@pytest.mark.parametrize("pad_is_eos", [False, True])
def test_a_proof_without_a_fix_costs_at_most_six(model_type: str, head: Any, pad_is_eos: bool) -> None:
    """A classifier whose pad is EOS included: what it gives without a pad costs no further pass."""
    model = tiny_model(model_type, head)
    tok = matching_tokenizer(model, pad="<pad>")
    if pad_is_eos:
        tok.eos_token = tok.pad_token
    counted = []
    model.register_forward_hook(lambda *_: counted.append(1))
    prove(model, tok)
    assert len(counted) <= 6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_low_precision_costs_no_more(dtype: Any) -> None:
    """The noise is measured in the pass that is run anyway."""
    assert passes("llama", "causal", "left", dtype) <= 4
