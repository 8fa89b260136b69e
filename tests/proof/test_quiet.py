"""A proof leaves no trace: whatever it touches is put back."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from padfix.proof import capture, prove  # noqa: E402
from padfix.proof.subject import quiet, subject_of  # noqa: E402
from padfix.testing import matching_tokenizer, tiny_model  # noqa: E402


def trace(model: Any, tok: Any) -> dict[str, Any]:
    """All state that a proof might leave behind."""
    from padfix.proof.subject import nested_configs

    return {
        "weights": {name: p.clone() for name, p in model.state_dict().items()},
        "training": [m.training for m in model.modules()],
        "grad": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "configs": [copy.deepcopy(vars(c)) for c in nested_configs(model.config)],
        "generation": copy.deepcopy(vars(model.generation_config)) if model.can_generate() else None,
        "modules": [type(m).__name__ for m in model.modules()],
        "attributes": [sorted(vars(m)) for m in model.modules()],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
        "random": (torch.get_rng_state(), random.getstate()),
        "grad mode": torch.is_grad_enabled(),
        "tokenizer": (
            tok.padding_side,
            tok.truncation_side,
            tok.model_max_length,
            dict(tok.special_tokens_map),
        ),
        "backend": (
            tok.backend_tokenizer.padding,
            tok.backend_tokenizer.truncation,
            tok.backend_tokenizer.to_str(),
        ),
    }


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@pytest.mark.parametrize(
    ("model_type", "head"),
    [
        ("gpt2", "causal"),
        ("big_bird", "masked"),
        ("t5", "seq2seq"),
        ("llama", "classifier"),
        ("reformer", "causal"),
    ],
)
def test_nothing_is_left_behind(model_type: str, head: Any) -> None:
    """Training mode, gradients, random state, configs, attributes, hooks, swapped modules, backend padding: as before."""
    model = tiny_model(model_type, head)
    tok = matching_tokenizer(model)
    tok.pad_token = tok.pad_token or tok.eos_token
    tok.backend_tokenizer.enable_padding(pad_id=tok.pad_token_id, pad_token=tok.pad_token, length=50)
    tok.backend_tokenizer.enable_truncation(40)
    model.train()
    next(model.parameters()).requires_grad_(False)
    list(model.parameters())[1].grad = torch.ones_like(list(model.parameters())[1])
    before = trace(model, tok)
    baseline = capture(model, tok)
    verdict = prove(model, tok, baseline=baseline, attention=True, generate=True)
    assert verdict.checks
    after = trace(model, tok)
    assert [name for name in before if not same(before[name], after[name])] == []


def test_it_is_put_back_after_an_error_too() -> None:
    """An interrupt in the middle of a proof leaves training mode and configs as they were."""
    model = tiny_model("llama").train()
    subject = subject_of(model, matching_tokenizer(model, pad="<pad>"))
    with pytest.raises(KeyboardInterrupt), quiet(subject):
        assert not model.training
        model.config.use_cache = False
        raise KeyboardInterrupt
    assert model.training
    assert model.config.use_cache is True


def test_no_inference_tensor_is_left_in_the_model() -> None:
    """A model can be trained right after a proof: nothing was made under inference_mode."""
    model = tiny_model("qwen2").train()
    tok = matching_tokenizer(model, pad="<pad>")
    prove(model, tok, baseline=capture(model, tok))
    ids = torch.arange(4, 12)[None]
    model(input_ids=ids, labels=ids).loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_an_open_autocast_does_not_reach_the_proof() -> None:
    """Inside the user's bf16 autocast, an fp32 model is judged in fp32."""
    model = tiny_model("gpt2")
    tok = matching_tokenizer(model, pad="<pad>")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        verdict = prove(model, tok)
    assert verdict["padding-left"].observed < 1e-5


def test_an_offloaded_model_is_run_where_its_hooks_bring_it() -> None:
    """accelerate keeps its weights on the meta device between layers: the outputs are proven all the same."""
    accelerate = pytest.importorskip("accelerate")
    model = tiny_model("llama")
    ids = torch.arange(4, 12)[None]
    with torch.no_grad():
        before = model(input_ids=ids).logits
        accelerate.cpu_offload(model, torch.device("cpu"))
        verdict = prove(model, matching_tokenizer(model, pad="<pad>"), generate=True)
        assert {check.name for check in verdict.checks} >= {
            "pad-invisible",
            "padding-left",
            "generation-kept",
        }
        assert [check.name for check in verdict.checks if not check.passed] == []
        assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
        assert torch.equal(model(input_ids=ids).logits, before)


def test_a_model_without_memory_is_untested_and_that_is_said_once() -> None:
    """Nothing can be run on the meta device: the verdict says so, once for both sides of a fix."""
    model = tiny_model("llama").to("meta")
    tok = matching_tokenizer(model, pad="<pad>")
    verdict = prove(model, tok, baseline=capture(model, tok))
    assert [text for text in verdict.untested if text.startswith("outputs:")] == [
        "outputs: the weights are on the meta device (not loaded), so no forward pass can be run"
    ]
