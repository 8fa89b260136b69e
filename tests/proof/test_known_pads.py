"""What a change of the pad does to real architectures, measured without padfix, and what padfix makes of it."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

import padfix  # noqa: E402
from padfix.proof import prove  # noqa: E402
from padfix.testing import (  # noqa: E402
    CannotBuildError,
    architectures,
    matching_tokenizer,
    tiny_model,
    tiny_tokenizer,
)

# Positions are counted from the pad id: transformers 4.57 and 5.23.
ROBERTA_FAMILY = (
    "roberta", "camembert", "data2vec-text", "esm", "ibert", "longformer", "luke", "roberta-prelayernorm",
    "xlm-roberta", "xlm-roberta-xl", "xmod",
)  # fmt: skip


def built(model_type: str, head: Any, **options: Any) -> Any:
    if model_type not in architectures(head):
        pytest.skip(f"this transformers has no {model_type} with a {head} head")
    try:
        return tiny_model(model_type, head, **options)
    except CannotBuildError as error:
        pytest.skip(str(error))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model_type", ROBERTA_FAMILY)
def test_a_roberta_whose_pad_id_would_change_is_refused(model_type: str) -> None:
    """Left-padded with any id but its own, the text moves; `add`, `eos` and `pad_token=` are refused for that."""
    model = built(model_type, "masked").eval()
    own = model.config.pad_token_id
    text, other = [33, 58, 47, 90, 61], 40
    mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1]])
    with torch.no_grad():

        def padded(fill: int) -> Any:
            return model(input_ids=torch.tensor([[fill] * 3 + text]), attention_mask=mask).logits[0, 3:]

        alone = model(input_ids=torch.tensor([text]), attention_mask=torch.ones(1, 5, dtype=torch.long))
        assert torch.allclose(padded(own), alone.logits[0], atol=1e-5)
        assert float((padded(other) - alone.logits[0]).abs().max()) > 1e-4
    tok = matching_tokenizer(model, pad="<pad>", reserved=1)
    assert tok.pad_token_id == own
    with pytest.raises(padfix.StrategyError, match="position"):
        padfix.ensure_pad(model, tok, pad_token="<|reserved_0|>")
    tok.pad_token = None
    for strategy in ("add", "eos"):
        with pytest.raises(padfix.StrategyError, match="position"):
            padfix.ensure_pad(model, tok, strategy)
    assert tok.pad_token is None
    assert model.config.pad_token_id == own


@pytest.mark.parametrize("side", ["left", "right"])
def test_xlstm_leaks_before_the_text_and_not_after_it(side: str) -> None:
    """Its state runs over padding whatever the mask says; rows below one chunk, which transformers 4.57 can run alone."""
    model = built("xlstm", "causal", chunk_size=64)
    verdict = prove(model, matching_tokenizer(model, pad="<pad>", padding_side=side))
    assert verdict["padding-right"].passed
    assert not verdict["padding-left"].passed
    assert "recurrent state runs over the padding" in verdict["padding-left"].cause
    assert "ignores attention_mask" in verdict["padding-left"].cause
    assert bool(verdict) == (side == "right")
    assert verdict["pad-invisible"].passed == (side == "right")


def test_recurrent_gemma_depends_on_which_pad_is_used() -> None:
    """Two pad ids, two results on the left; a zero row gives the text alone, so `init="zero"` repairs it."""
    model = built("recurrent_gemma", "causal", tied=False).eval()
    tok = matching_tokenizer(model, pad="<pad>", padding_side="left")
    weight = model.get_input_embeddings().weight
    pad, text = tok.pad_token_id, [33, 58, 47, 90, 61]
    with torch.no_grad():
        weight[pad] = weight[50]
    positions = torch.tensor([[0, 0, 0, 0, 1, 2, 3, 4]])
    mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1]])

    def left(fill: int) -> Any:
        with torch.no_grad():
            ids = torch.tensor([[fill] * 3 + text])
            model(input_ids=torch.tensor([text]))  # a fresh text clears the state of the last
            return model(input_ids=ids, attention_mask=mask, position_ids=positions).logits[0, 3:]

    assert torch.equal(left(pad), left(50))
    assert not torch.allclose(left(pad), left(77), atol=1e-4)
    assert not padfix.verify(model, tok)
    report = padfix.ensure_pad(model, tok, init="zero")
    assert report.changed
    assert report.verdict
    assert report.verdict["padding-left"].passed
    report.undo()
    assert torch.equal(weight[pad], weight[50])


@pytest.mark.parametrize("model_type", ["gpt2", "opt", "bloom", "mpt", "gpt_neo", "gpt_bigcode"])
def test_a_zero_row_among_strongly_negative_logits_wins_and_is_rolled_back(model_type: str) -> None:
    """Tied weights whose every logit is negative: the logit 0 of a zero row is the largest. The mean row is kept."""
    model = built(model_type, "causal", tied=True)
    [last] = [
        m for name, m in model.named_modules() if name.endswith(("ln_f", "norm_f", "r.final_layer_norm"))
    ]
    if last.bias is None:
        last.bias = torch.nn.Parameter(torch.zeros_like(last.weight))
    with torch.no_grad():  # the last LayerNorm's bias points away from every row
        model.get_input_embeddings().weight += 1.0
        last.bias.fill_(-1.0)
        assert float(model(input_ids=torch.tensor([[33, 58, 47, 90]])).logits.max()) < -5
    tok = tiny_tokenizer(pad=None, eos="</s>")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = model.config.to_dict()
    with pytest.raises(padfix.VerificationError, match="a zero row gives the logit 0") as caught:
        padfix.ensure_pad(model, tok, "add", init="zero")
    assert "the most likely token at 80 of 80" in str(caught.value)
    assert tok.pad_token is None
    assert model.config.to_dict() == config
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    report = padfix.ensure_pad(model, tok, "add", init="mean")
    assert report.verdict
    assert report.verdict["pad-unlikely"].observed <= 1 / 132 * 1.001


@pytest.mark.parametrize("rows", [1, 2], ids=["a batch of one", "a batch of two"])
def test_a_llama_classifier_with_pad_equal_eos_scores_a_text_that_ends_in_eos_elsewhere(rows: int) -> None:
    """The head pools the last token that is not the pad: the same row with its EOS and without it scores the same."""
    model = tiny_model("llama", "classifier", pad_token_id=None).eval()
    tok = tiny_tokenizer(eos="</s>")
    eos, text = tok.eos_token_id, [33, 58, 47, 90]
    ids = torch.tensor([[*text, eos]] * rows)
    with torch.no_grad():
        model.config.pad_token_id = 7  # a pad of its own, in no row
        right = model(input_ids=ids).logits[0]
        model.config.pad_token_id = eos
        wrong = model(input_ids=ids).logits[0]
        early = model(input_ids=torch.tensor([text] * rows)).logits[0]
    assert float((right - wrong).abs().max()) > 1e-3
    assert torch.allclose(wrong, early, atol=1e-6)
    model.config.pad_token_id = None
    with pytest.raises(padfix.VerificationError, match="one token early"):
        padfix.ensure_pad(model, tok, "eos")
    assert padfix.ensure_pad(model, tok, "add").verdict


def test_doge_without_a_padded_row_sees_the_future_on_transformers_4() -> None:
    """It hands its own mask to SDPA, where transformers 4.57 leaves the causal mask out of a batch without padding."""
    import transformers

    model = built("doge", "causal").eval()
    four = transformers.__version__.startswith("4.")
    text, longer = torch.tensor([[33, 58, 47, 90]]), torch.tensor([[33, 58, 47, 90, 61, 75]])
    with torch.no_grad():
        short, long = model(input_ids=text).logits, model(input_ids=longer).logits[:, :4]
    assert torch.allclose(short, long, atol=1e-5) != four
    verdict = padfix.verify(model, matching_tokenizer(model, pad="<pad>"))
    assert bool(verdict) != four
    if four:
        assert "no causal mask" in verdict["padding-right"].cause
        assert "eager" in verdict["padding-right"].remedy
        model.set_attn_implementation("eager")
        assert padfix.verify(model, matching_tokenizer(model, pad="<pad>"))


@pytest.mark.parametrize("head", ["causal", "classifier"])
def test_every_head_of_doge_is_judged_alike(head: Any) -> None:
    """The proof of a fix sees it too, whichever layout its texts have."""
    import transformers

    model = built("doge", head, pad_token_id=None)
    tok = tiny_tokenizer(eos="</s>")
    if transformers.__version__.startswith("4."):
        with pytest.raises(padfix.VerificationError, match="no causal mask"):
            padfix.ensure_pad(model, tok, "add")
    else:
        assert padfix.ensure_pad(model, tok, "add").verdict
