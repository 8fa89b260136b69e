"""What is known about architectures is what the proof says, with its cause (each measured with transformers 4.57 and 5.23)."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from padfix.proof import capture, prove  # noqa: E402
from padfix.testing import matching_tokenizer, tiny_model, tiny_tokenizer  # noqa: E402


def fitting(model: Any, **options: Any) -> Any:
    """A tokenizer with a pad of its own, also where the config gives EOS and pad one id (Mamba)."""
    config = model.config.get_text_config()
    if getattr(config, "pad_token_id", None) is not None and config.pad_token_id == config.eos_token_id:
        return tiny_tokenizer(pad="<pad>", **options)
    return matching_tokenizer(model, pad="<pad>", **options)


def judged(model_type: str, head: Any = "causal", side: str = "right", **options: Any) -> Any:
    model = tiny_model(model_type, head, **options)
    return prove(model, fitting(model, padding_side=side))


@pytest.mark.parametrize(
    ("model_type", "head", "side", "words"),
    [
        ("fnet", "masked", "right", "forward() takes no attention_mask"),
        ("cpmant", "causal", "right", "builds its own mask from the ids"),
        ("funnel", "masked", "right", "pooling between blocks"),
        ("rwkv", "causal", "left", "a recurrent state runs over the padding"),
        ("convbert", "masked", "right", "convolutions read neighbouring places"),
        ("nystromformer", "masked", "right", "landmarks average whole segments"),
        ("yoso", "masked", "right", "so it has no effect"),
        ("recurrent_gemma", "causal", "left", "a recurrent state runs over the padding"),
    ],
)
def test_architectures_that_leak_on_the_tokenizers_own_side_fail(
    model_type: str, head: Any, side: str, words: str
) -> None:
    """The content of masked places reaches real tokens: a gating failure with the traced cause."""
    model = tiny_model(model_type, head)
    tok = matching_tokenizer(model, pad="<pad>", padding_side=side)
    with torch.no_grad():  # a zero row would hide what other ids do
        model.get_input_embeddings().weight[tok.pad_token_id] = 0.3
    verdict = prove(model, tok)
    assert not verdict
    assert not verdict["pad-invisible"].passed
    assert words in verdict["pad-invisible"].cause
    assert verdict["pad-invisible"].remedy


@pytest.mark.parametrize("model_type", ["gpt2", "gpt_neo", "gpt_bigcode", "xglm", "ctrl"])
def test_absolute_positions_need_position_ids_on_the_left(model_type: str) -> None:
    """With position_ids a left-padded row is the text alone; without, it is not, and KL says how far."""
    verdict = judged(model_type, side="left")
    assert verdict["padding-left"].passed
    bare = verdict["padding-left-bare"]
    assert not bare.passed
    assert not bare.gating
    assert bare.cause.startswith("absolute positions")
    assert verdict


def test_a_decoder_that_takes_no_position_ids_fails_on_the_left() -> None:
    """BART's decoder counts places from the start of the row: padding there moves the text."""
    verdict = judged("bart")
    assert "padding included, and forward() takes no position_ids" in verdict["padding-left"].cause
    assert verdict


@pytest.mark.parametrize(
    "model_type", ["llama", "opt", "bloom", "falcon", "mpt", "mamba", "jamba", "mixtral", "gemma2"]
)
def test_architectures_that_pad_well_pass_on_both_sides(model_type: str) -> None:
    """No false alarm: both sides agree with the text alone, with and without position ids."""
    verdict = judged(model_type)
    assert [check.name for check in verdict.checks if not check.passed] == []


def test_recurrent_left_padding_fails_with_or_without_position_ids() -> None:
    """RWKV padded on the left; on the right it is exact."""
    verdict = judged("rwkv")
    assert verdict["padding-right"].passed
    assert not verdict["padding-left"].passed
    assert verdict["padding-left"].remedy.startswith("pad on the right")
    assert verdict


def test_recurrent_gemma_depends_on_the_pad_row_and_a_zero_row_repairs_it() -> None:
    """Padding of a non-zero row leaks into the recurrence on the left; a zero row adds nothing, and is kept."""
    model = tiny_model("recurrent_gemma", tied=False)
    tok = matching_tokenizer(model, pad="<pad>", padding_side="left")
    weight = model.get_input_embeddings().weight
    with torch.no_grad():
        weight[tok.pad_token_id] = weight[50]
    assert not prove(model, tok)["padding-left"].passed
    with torch.no_grad():
        weight[tok.pad_token_id] = 0.0
    verdict = prove(model, tok)
    assert verdict["padding-left"].passed
    assert verdict
    assert "a recurrent state is cleared only where position_ids are 0" in verdict["padding-left-bare"].cause
    leak = verdict["pad-invisible"]
    assert not leak.passed
    assert not leak.gating
    assert "input row is zero" in leak.detail


def test_positions_that_come_from_the_pad_id_are_told_apart_from_content() -> None:
    """RoBERTa: other ids at masked places change nothing while its own positions are given; both sides are exact."""
    verdict = judged("roberta", "masked")
    assert verdict["pad-invisible"].passed
    assert verdict["padding-left"].passed
    assert verdict["padding-left-bare"].passed


def test_a_tokenizer_that_pads_a_roberta_with_another_id_is_caught() -> None:
    """Its positions count the ids that are not 1; padding with another id shifts the text on the left."""
    model = tiny_model("roberta", "masked")
    verdict = prove(model, tiny_tokenizer(pad="<pad>", ids={"<pad>": 5}))
    bare = verdict["padding-left-bare"]
    assert not bare.passed
    assert "ids that are not 1" in bare.cause
    assert "pads with 5" in bare.cause


@pytest.mark.parametrize(
    ("model_type", "head"), [("bart", "classifier"), ("t5", "classifier"), ("mbart", "classifier")]
)
def test_an_encoder_decoder_classifier_with_pad_equal_eos_raises_and_that_is_the_failure(
    model_type: str, head: Any
) -> None:
    """ "All examples must have the same number of <eos> tokens" is a failed check with its cause, no crash."""
    model = tiny_model(model_type, head)
    eos = model.config.eos_token_id
    tok = tiny_tokenizer(eos="</s>", ids={"</s>": eos}, template="$A </s>")
    tok.pad_token = tok.eos_token
    model.config.pad_token_id = eos
    check = prove(model, tok)["pooled-kept"]
    assert not check.passed
    assert check.gating
    assert "same number of <eos> tokens" in check.cause
    assert "pad and EOS share an id" in check.cause


def test_a_classifier_without_a_pad_in_its_config_fails_in_a_batch() -> None:
    """The ValueError of transformers becomes the failed check, with what to set."""
    model = tiny_model("llama", "classifier", pad_token_id=None)
    tok = matching_tokenizer(model, pad="<pad>")
    model.config.pad_token_id = None
    check = prove(model, tok)["pooled-kept"]
    assert not check.passed
    assert "no pad_token_id" in check.cause


def test_a_classifier_that_looks_for_another_pad_is_named() -> None:
    """config.pad_token_id is not the tokenizer's pad: the batch is pooled at a pad."""
    model = tiny_model("llama", "classifier", pad_token_id=7)
    tok = tiny_tokenizer(pad="<pad>")
    check = prove(model, tok)["pooled-kept"]
    assert not check.passed
    assert check.cause == "the head looks for config.pad_token_id = 7, but the tokenizer pads with 0"
    assert check.remedy.startswith("set config.pad_token_id = 0")


def test_a_last_place_head_padded_on_the_right_pools_padding() -> None:
    """XLNet pools the last place whatever stands there, so it must be padded on the left."""
    model = tiny_model("xlnet", "classifier")
    check = prove(model, fitting(model))["pooled-kept"]
    assert not check.passed
    assert "pools the last place of the row" in check.cause
    assert check.remedy == "pad on the left: tok.padding_side = 'left'"
    assert prove(model, fitting(model, padding_side="left"))["pooled-kept"].passed


def test_a_classifier_that_lived_with_pad_equal_eos_is_moved_by_a_pad_of_its_own() -> None:
    """Its scores change with any other pad; the cause says what it did before."""
    model = tiny_model("llama", "classifier")
    tok = tiny_tokenizer(eos="</s>", reserved=1)
    tok.pad_token = tok.eos_token
    model.config.pad_token_id = tok.pad_token_id
    baseline = capture(model, tok)
    tok.pad_token = "<|reserved_0|>"
    model.config.pad_token_id = tok.pad_token_id
    check = prove(model, tok, baseline=baseline)["pooled-kept"]
    assert not check.passed
    assert "the pad was EOS" in check.cause


def test_a_classifier_without_a_named_base_model_is_judged_by_its_hidden_states() -> None:
    """Gemma 3's classifier: what it pools must not be mistaken for a leak."""
    model = tiny_model("gemma3", "classifier")
    with torch.no_grad():
        model.get_input_embeddings().weight[0] = 0.3
    verdict = prove(model, tiny_tokenizer(pad="<pad>"))
    assert verdict["pad-invisible"].passed
    assert verdict["padding-right"].passed


def test_a_first_token_head_padded_on_the_left_pools_padding() -> None:
    """BERT pools its first place: padded on the left that is a pad."""
    model = tiny_model("bert", "classifier")
    tok = tiny_tokenizer("wordpiece", pad="[PAD]", padding_side="left")
    check = prove(model, tok)["pooled-kept"]
    assert not check.passed
    assert "pooled at another position" in check.cause
    assert check.remedy == "pad on the right: tok.padding_side = 'right'"
    tok.padding_side = "right"
    assert prove(model, tok)["pooled-kept"].passed


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e38])
def test_a_broken_pad_row_is_named_where_it_reaches_real_tokens(bad: float) -> None:
    """0 x NaN is NaN under any mask; a huge row overflows on the way."""
    model = tiny_model("gpt2", tied=False)
    tok = matching_tokenizer(model, pad="<pad>")
    with torch.no_grad():
        model.get_input_embeddings().weight[tok.pad_token_id] = bad
    verdict = prove(model, tok)
    assert not verdict
    check = verdict["padding-right"]
    assert not check.passed
    assert f"the pad's own input row (id {tok.pad_token_id})" in check.cause


def test_a_broken_row_of_a_tied_model_is_named_though_every_output_is_nan() -> None:
    """Tied weights put the row's NaN into the pad's logit of every text: a failure with that cause, not untested."""
    model = tiny_model("gpt2")
    tok = matching_tokenizer(model, pad="<pad>")
    with torch.no_grad():
        model.get_input_embeddings().weight[tok.pad_token_id] = float("nan")
    verdict = prove(model, tok)
    assert not verdict
    assert "holds NaN or infinity" in verdict["pad-invisible"].cause


def test_a_fully_masked_row_that_gives_nan_is_caught_where_it_happens() -> None:
    """An attention that masks with -inf: left-padded queries see no key, turn NaN, and spread in the next layer."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import eager_mask

    def attend(
        module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float, **_: Any
    ) -> Any:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        scores = query @ key.transpose(2, 3) * scaling
        if attention_mask is not None:
            scores = scores.masked_fill(attention_mask[..., : key.shape[-2]] < 0, float("-inf"))
        weights = scores.softmax(-1)
        return (weights @ value).transpose(1, 2).contiguous(), weights

    AttentionInterface.register("padfix_inf", attend)
    AttentionMaskInterface.register("padfix_inf", eager_mask)
    model = tiny_model("llama", dtype=torch.float16)
    model.set_attn_implementation("padfix_inf")
    verdict = prove(model, matching_tokenizer(model, pad="<pad>", padding_side="left"))
    assert not verdict
    check = verdict["padding-left"]
    assert "all masked (before the text) give NaN in float16" in check.cause
    assert check.remedy.startswith("pad on the right")
    assert verdict["padding-right"].passed


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("model_type", ["llama", "gpt2", "qwen3_moe", "mamba"])
def test_no_dtype_raises_a_false_alarm_or_hides_a_real_difference(dtype: Any, model_type: str) -> None:
    """Rounding is not a failure in any dtype, and GPT-2 without position ids is one in every dtype."""
    verdict = judged(model_type, dtype=dtype)
    bad = [check.name for check in verdict.checks if not check.passed]
    assert bad == (["padding-left-bare"] if model_type == "gpt2" else [])


def test_a_dtype_that_the_model_cannot_run_in_is_untested() -> None:
    """FNet's Fourier transform takes no bfloat16 and raises: that is said, and nothing is called a failure."""
    model = tiny_model("fnet", "masked", dtype=torch.bfloat16)
    tok = tiny_tokenizer("wordpiece", pad="[PAD]")
    verdict = prove(model, tok, baseline=capture(model, tok))
    assert any(text.startswith("dtype bfloat16: the forward pass fails") for text in verdict.untested)
    assert verdict


def test_routing_that_differs_by_rounding_is_no_leak() -> None:
    """A mixture of experts regroups its rows when a masked id changes: within measured noise it passes, and says so."""
    seen = []
    for model_type in ("dbrx", "flex_olmo", "qwen3_moe", "mixtral", "qwen2_moe"):
        check = judged(model_type)["pad-invisible"]
        assert check.passed
        assert check.observed < 2e-6
        seen.append(check.detail)
    assert all(detail is None or "rounding" in detail for detail in seen)


def test_perceivers_latents_are_not_taken_for_tokens() -> None:
    """A text of as many tokens as there are latents: only the scores of its classifier can be compared."""
    model = tiny_model("perceiver", "classifier", num_latents=8)
    verdict = prove(model, matching_tokenizer(model, pad="<pad>"))
    assert verdict["padding-right"].passed
    assert verdict["pooled-kept"].passed


def test_a_single_padded_row_is_run_of_models_without_position_ids_too() -> None:
    """A Mamba-2 of transformers 4.57 skips the mask when the batch is one row; that of 5 does not, and either is said."""
    model = tiny_model("mamba2")
    tok = matching_tokenizer(model, pad="<pad>", padding_side="left")
    ids = torch.tensor([[tok.pad_token_id] * 3 + list(range(40, 49))])
    mask = (torch.arange(12) >= 3).long()[None]
    with torch.no_grad():
        model.get_input_embeddings().weight[tok.pad_token_id] = 0.3
        alone = model(input_ids=ids[:, 3:], attention_mask=mask[:, 3:], use_cache=False).logits
        one = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, 3:]
    skips = float((one - alone).abs().max()) > 1e-3
    bare = prove(model, tok)["padding-left-bare"]
    assert bare.passed != skips
    assert not skips or "a single row" in bare.cause
