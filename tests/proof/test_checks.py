"""Each check fails alone: one thing is broken in a real model or tokenizer, and exactly one check says so."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from padfix.proof import capture, prove  # noqa: E402
from padfix.testing import matching_tokenizer, tiny_model, tiny_tokenizer  # noqa: E402
from padfix.types import Edit, Plan, Token, Verdict  # noqa: E402


def failing(verdict: Verdict, *, advisory: bool = True) -> list[str]:
    """The names of the checks that failed; every failure must say why, and what to do."""
    assert all(check.cause and check.remedy for check in verdict.checks if not check.passed)
    return [check.name for check in verdict.checks if not check.passed and (advisory or check.gating)]


def pair(model_type: str = "llama", head: Any = "causal", **options: Any) -> tuple[Any, Any]:
    model = tiny_model(model_type, head, **options)
    return model, matching_tokenizer(model, pad="<pad>")


def break_forward(model: Any, change: Callable[..., Any]) -> None:
    """Replace forward() by one whose logits are changed; the signature stays."""
    own = model.forward

    @functools.wraps(own)
    def forward(*args: Any, **kwargs: Any) -> Any:
        output = own(*args, **kwargs)
        output.logits = change(output.logits, kwargs["input_ids"], kwargs["attention_mask"])
        return output

    model.forward = forward


def test_nothing_fails_where_nothing_is_wrong() -> None:
    """A healthy pair passes every check, before and after an empty write, and hears what was not tested."""
    model, tok = pair()
    verdict = prove(model, tok, baseline=capture(model, tok), generate=True, attention=True)
    assert failing(verdict) == []
    assert [check.name for check in verdict.checks] == [
        "weights-kept", "text-kept", "round-trip", "outputs-kept", "pad-invisible", "padding-right", "padding-left",
        "padding-left-bare", "pad-unlikely", "generation-kept", "attention-zero",
    ]  # fmt: skip
    assert any("tested in float32 on cpu" in text for text in verdict.untested)
    assert verdict.raise_for_failure() is verdict


def test_weights_kept_alone() -> None:
    """The last bit of one number of one row that no probe uses."""
    model, tok = pair(tied=False)
    baseline = capture(model, tok)
    used = {i for row in baseline.probe.mixed() for i in row.tokens} | set(baseline.probe.fill)
    row = next(i for i in range(131) if i not in used and i != tok.pad_token_id)
    model.model.embed_tokens.weight.data[row].view(torch.int32)[5] ^= 1
    verdict = prove(model, tok, baseline=baseline)
    assert failing(verdict) == ["weights-kept"]
    assert f"1 of 131 rows changed (ids {row})" in verdict["weights-kept"].cause


def test_weights_kept_sees_a_lost_row_and_a_broken_tie() -> None:
    """A matrix that shrank by one row, and an output matrix that became a copy of the input's."""
    model, tok = pair("gpt2")
    baseline = capture(model, tok)
    model.lm_head.weight = torch.nn.Parameter(model.transformer.wte.weight.detach().clone())
    verdict = prove(model, tok, baseline=baseline)
    assert failing(verdict, advisory=False) == ["weights-kept"]
    assert "tie between the input and the output matrix is broken" in verdict["weights-kept"].cause
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.data[:-1].clone())
    model.lm_head.out_features = 130
    assert "lost rows: 131 -> 130" in prove(model, tok, baseline=baseline)["weights-kept"].cause


def test_an_overwritten_pad_row_is_exempt_and_no_other() -> None:
    """With a plan that zeroes the pad's own row, that row may change in the input matrix; any other may not."""
    model, tok = pair(tied=False)
    pad = tok.pad_token_id
    plan = Plan(
        "add", "keep", Token("<pad>", pad), (Edit("weights", "pad_row", "kept", "zero"),), init="zero"
    )
    baseline = capture(model, tok)
    model.model.embed_tokens.weight.data[pad] = 0
    assert prove(model, tok, baseline=baseline, plan=plan)["weights-kept"].passed
    assert not prove(model, tok, baseline=baseline)["weights-kept"].passed
    model.lm_head.weight.data[pad] = 0
    assert not prove(model, tok, baseline=baseline, plan=plan)["weights-kept"].passed


def test_an_overwritten_pad_row_of_a_tied_model_keeps_the_other_outputs() -> None:
    """The pad's own logit must change there; its column is left out, all others are compared."""
    model, tok = pair("gpt2")
    pad = tok.pad_token_id
    plan = Plan(
        "add", "keep", Token("<pad>", pad), (Edit("weights", "pad_row", "kept", "mean"),), init="mean"
    )
    baseline = capture(model, tok)
    with torch.no_grad():
        model.transformer.wte.weight[pad] = model.transformer.wte.weight.mean(0)
    verdict = prove(model, tok, baseline=baseline, plan=plan)
    assert verdict["outputs-kept"].passed
    assert verdict["weights-kept"].passed
    assert not prove(model, tok, baseline=baseline)["outputs-kept"].passed


def test_outputs_kept_alone() -> None:
    """A weight inside the model, not in a vocabulary matrix."""
    model, tok = pair()
    baseline = capture(model, tok)
    model.model.layers[0].mlp.down_proj.weight.data[0, 0] += 1.0
    assert failing(prove(model, tok, baseline=baseline)) == ["outputs-kept"]


def test_outputs_kept_says_when_the_model_no_longer_runs() -> None:
    """A forward pass that ran before the fix and raises after it is a failure, not an untested check."""
    model, tok = pair()
    baseline = capture(model, tok)
    model.lm_head = torch.nn.Linear(7, 131)
    check = prove(model, tok, baseline=baseline)["outputs-kept"]
    assert not check.passed
    assert "ran before the fix and fails now: RuntimeError" in check.cause


def test_pad_invisible_alone() -> None:
    """Content of masked places reaches real tokens, except the pad's own: only the swap of ids sees it."""
    model, tok = pair()
    pad = tok.pad_token_id

    def leak(logits: Any, ids: Any, mask: Any) -> Any:
        return logits * (1 + 1e-3 * ((ids != pad) & (mask == 0)).any(1)[:, None, None])

    break_forward(model, leak)
    verdict = prove(model, tok)
    assert failing(verdict) == ["pad-invisible"]
    assert "content of masked positions reaches real tokens" in verdict["pad-invisible"].cause


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_of_a_side_alone(side: str) -> None:
    """The number of masked places changes real tokens, whatever stands there. The tokenizer's side gates."""
    model, tok = pair()
    tok.padding_side = side
    last = -1 if side == "right" else 0

    def shift(logits: Any, ids: Any, mask: Any) -> Any:
        padded = (mask[:, last] == 0)[:, None, None] & (len(ids) > 2)
        return logits + padded * logits.roll(1, -1) * 0.1

    break_forward(model, shift)
    verdict = prove(model, tok)
    assert failing(verdict) == [f"padding-{side}"]
    assert not verdict
    assert "their place in it does" in verdict[f"padding-{side}"].cause


def test_padding_left_bare_alone_and_only_as_advice() -> None:
    """GPT-2 without position_ids: the cause is its absolute positions, and the verdict still holds."""
    model, tok = pair("gpt2")
    verdict = prove(model, tok)
    assert failing(verdict) == ["padding-left-bare"]
    assert verdict
    assert verdict["padding-left-bare"].cause.startswith("absolute positions")
    assert "position_ids = (attention_mask.cumsum(-1) - 1)" in verdict["padding-left-bare"].remedy


def test_padding_left_bare_of_a_single_row_alone() -> None:
    """A layer that skips the mask when the batch has one row is told apart from absolute positions."""
    model, tok = pair()
    model.config.model_type = "bamba"  # state-space: the bare row stands alone

    def skip(logits: Any, ids: Any, mask: Any) -> Any:
        single = len(ids) == 1 and not bool(mask.all())
        return logits + logits.roll(1, -1) * 0.1 * single

    break_forward(model, skip)
    verdict = prove(model, tok)
    assert failing(verdict) == ["padding-left-bare"]
    assert "the mask is skipped when the batch is a single row" in verdict["padding-left-bare"].cause


def test_pad_unlikely_alone() -> None:
    """A head bias makes the pad the most likely token everywhere."""
    model, tok = pair("phi")
    model.lm_head.bias.data[tok.pad_token_id] = 20.0
    verdict = prove(model, tok)
    assert failing(verdict) == ["pad-unlikely"]
    assert "the most likely token at 80 of 80" in verdict["pad-unlikely"].cause
    assert not verdict


def test_a_new_mean_row_must_keep_its_bound() -> None:
    """Rows that a plan wrote are judged by p(pad) <= 1/(V+1): a new bias of 0 among negative ones breaks it."""
    model, tok = pair("phi")
    model.lm_head.bias.data.fill_(-4.5)
    pad = tok.pad_token_id
    plan = Plan("add", "add", Token("<pad>", pad), (Edit("weights", "output_rows", 130, 131),), init="mean")
    model.lm_head.weight.data[pad] = model.lm_head.weight.data.mean(0)
    assert prove(model, tok, plan=plan)["pad-unlikely"].passed
    model.lm_head.bias.data[pad] = -4.0
    check = prove(model, tok, plan=plan)["pad-unlikely"]
    assert not check.passed
    assert check.limit == pytest.approx(1 / 131, rel=0.01)
    model.lm_head.bias.data[pad] = -4.5
    model.config.final_logit_softcapping = 30.0
    assert "void here" in prove(model, tok, plan=plan)["pad-unlikely"].detail


def test_pooled_kept_alone() -> None:
    """A Llama classifier whose pad is EOS scores a text that ends with EOS one token early, alone already."""
    model = tiny_model("llama", "classifier", pad_token_id=None)
    tok = tiny_tokenizer(eos="</s>")
    baseline = capture(model, tok)
    tok.pad_token = tok.eos_token
    model.config.pad_token_id = tok.pad_token_id
    verdict = prove(model, tok, baseline=baseline)
    assert failing(verdict) == ["pooled-kept"]
    assert "one token early" in verdict["pooled-kept"].cause
    assert failing(prove(model, tok)) == ["pooled-kept"]


def test_text_kept_alone() -> None:
    """A token that ordinary text contains was added: the text encodes differently."""
    model, tok = pair(vocab_size=140)
    baseline = capture(model, tok)
    tok.add_tokens(["quick"])
    verdict = prove(model, tok, baseline=baseline)
    assert failing(verdict) == ["text-kept"]
    assert "quick brown fox" in verdict["text-kept"].cause


def test_round_trip_alone() -> None:
    """An entry of the base vocabulary as pad becomes an added token when saved, and then ordinary text gives it."""
    model = tiny_model("llama")
    tok = tiny_tokenizer()
    tok.pad_token = "er"
    text = "here there where, here there where"  # he + re as long as "er" is no added token
    assert tok.pad_token_id not in tok(text)["input_ids"]
    verdict = prove(model, tok, texts=[text])
    assert failing(verdict) == ["round-trip"]
    assert "encodes to the pad id" in verdict["round-trip"].cause


def test_a_pad_that_moves_on_reload_fails_the_round_trip(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pad whose id is another one after save and reload is named with both ids."""
    tok = tiny_tokenizer(pad="<pad>")
    cls = type(tok)
    load = cls.from_pretrained.__func__

    def moved(kind: Any, folder: str, **options: Any) -> Any:
        fresh = load(kind, folder, **options)
        fresh.pad_token = fresh.eos_token
        return fresh

    monkeypatch.setattr(cls, "from_pretrained", classmethod(moved))
    verdict = prove(None, tok)
    assert failing(verdict) == ["round-trip"]
    assert verdict["round-trip"].cause.startswith("the pad is '<pad>' (0) now and '<|endoftext|>'")


def test_attention_zero_alone() -> None:
    """A weight of one thousandth on a masked key is seen in whatever layer it is."""
    model, tok = pair()
    own = model.forward

    @functools.wraps(own)
    def forward(*args: Any, **kwargs: Any) -> Any:
        output = own(*args, **kwargs)
        if output.attentions is not None:
            output.attentions = (output.attentions[0], output.attentions[1] + 1e-3)
        return output

    model.forward = forward
    verdict = prove(model, tok, attention=True)
    assert failing(verdict) == ["attention-zero"]
    assert verdict["attention-zero"].observed == pytest.approx(1e-3)


def test_generation_kept_alone() -> None:
    """generate() that forgets position ids on GPT-2 differs from each prompt alone; forward() with them does not."""
    model, tok = pair("gpt2", n_layer=1)
    with torch.no_grad():
        model.transformer.wpe.weight *= 50  # positions decide what is generated
    tok.padding_side = "left"
    own = model.prepare_inputs_for_generation

    def prepare(*args: Any, **kwargs: Any) -> Any:
        inputs = own(*args, **kwargs)
        ids, mask = inputs["input_ids"], inputs.get("attention_mask")
        if mask is not None:  # transformers 5 drops a mask of ones
            inputs["position_ids"] = torch.arange(mask.shape[1] - ids.shape[1], mask.shape[1]).expand_as(ids)
        return inputs

    model.prepare_inputs_for_generation = prepare
    verdict = prove(model, tok, generate=True)
    assert failing(verdict) == ["padding-left-bare", "generation-kept"]
    assert "although forward() agrees" in verdict["generation-kept"].cause


def test_generation_kept_alone_where_generate_forgets_the_mask() -> None:
    """Every check of forward() passes; generate() drops the mask on its way, so left padding counts as text."""
    model, tok = pair("llama")
    tok.padding_side = "left"
    with torch.no_grad():  # sharp attention, so that what is attended decides what is generated
        for layer in model.model.layers:
            layer.self_attn.q_proj.weight *= 20
            layer.self_attn.v_proj.weight *= 20
    own = model.prepare_inputs_for_generation

    def prepare(*args: Any, **kwargs: Any) -> Any:
        return {**own(*args, **kwargs), "attention_mask": None}

    model.prepare_inputs_for_generation = prepare
    verdict = prove(model, tok, generate=True)
    assert failing(verdict) == ["generation-kept"]
    assert verdict
    assert "although forward() agrees" in verdict["generation-kept"].cause


def test_a_tie_in_generation_is_no_leak() -> None:
    """Where rounding alone decides between two equally good tokens, the difference is called a tie."""
    from padfix.proof.generation import _compare  # the judgement itself, on numbers

    class Settings:
        eos_token_id = None

    class Output:
        def __init__(self, ids: list[int], gap: float) -> None:
            self.sequences = torch.tensor([[5, 5, *ids]])
            logits = torch.linspace(0.0, 1.0, 20)[None].clone()
            logits[0, 3] = 2.0
            logits[0, 4] = 2.0 + gap
            self.logits = (logits,)

    class Subject:
        seq2seq = False

    class Evidence:
        subject = Subject()
        noise = 1e-6
        from padfix.proof.tolerances import limits

        zones = limits("float32")

    from padfix.proof.probes import Row

    row = Row("full", 0, (5, 5))
    for moved, expected in ((1e-6, "tie"), (1.0, "leak")):
        alone, batch = Output([3], -moved), Output([4], moved)
        import padfix.proof.generation as generation

        kept = generation._generate
        generation._generate = lambda *_, result=alone: result
        try:
            assert _compare(Evidence(), 0, row, batch, Settings())[0] == expected
        finally:
            generation._generate = kept


def test_without_a_model_only_the_tokenizer_is_judged() -> None:
    """text-kept and round-trip need no model, and the rest is named as untested."""
    tok = tiny_tokenizer(pad="<pad>")
    verdict = prove(None, tok, baseline=capture(None, tok))
    assert [check.name for check in verdict.checks] == ["text-kept", "round-trip"]
    assert "outputs: there is no model" in verdict.untested


def test_without_a_baseline_what_needs_one_is_named() -> None:
    """verify() cannot know what was before, and says which checks that leaves out."""
    model, tok = pair()
    verdict = prove(model, tok)
    assert {"weights-kept", "outputs-kept", "text-kept"}.isdisjoint(c.name for c in verdict.checks)
    assert any(text.startswith("weights-kept, outputs-kept, text-kept") for text in verdict.untested)


def test_a_probe_that_could_see_nothing_is_untested_not_passed() -> None:
    """Where even an all-ones mask changes nothing, the padding checks are not asked."""
    model, tok = pair()
    model.lm_head.weight.data.zero_()
    verdict = prove(model, tok)
    assert "pad-invisible" not in {check.name for check in verdict.checks}
    assert any("the probe could not see a leak" in text for text in verdict.untested)


def test_only_the_sides_asked_for() -> None:
    """sides=("right",) leaves the left checks out."""
    model, tok = pair()
    names = {check.name for check in prove(model, tok, sides=("right",)).checks}
    assert "padding-right" in names
    assert not any("left" in name for name in names)


def test_a_zero_input_row_of_an_untied_model_is_not_blamed_for_the_pads_logit() -> None:
    """The head is another matrix: a pad that wins somewhere won before, and a zero input row changed nothing."""
    model, tok = pair("llama", tied=False)
    pad = tok.pad_token_id
    with torch.no_grad():  # the likeliest token at some places
        model.lm_head.weight[pad] = model.lm_head.weight[40] * 1.01
    edits = (Edit("weights", "pad_row", "kept", "zero"),)
    plan = Plan("auto", "keep", Token("<pad>", pad), edits, init="zero")
    baseline = capture(model, tok)
    model.model.embed_tokens.weight.data[pad] = 0
    verdict = prove(model, tok, baseline=baseline, plan=plan)
    assert not verdict["pad-unlikely"].detail.startswith("argmax at 0 of")
    assert verdict["pad-unlikely"].passed
    assert verdict
