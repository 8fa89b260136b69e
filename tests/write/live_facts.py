"""Everything observable about live objects, as plain values that compare with ``==``."""

from __future__ import annotations

import random
from typing import Any


def tokenizer_facts(tok: Any) -> dict[str, Any]:
    """A tokenizer's attributes, maps and serialised backend; which backend object it is, too."""
    facts: dict[str, Any] = {name: plain(value) for name, value in vars(tok).items()}
    if hasattr(tok, "_tokenizer"):
        facts["backend"] = (id(tok._tokenizer), tok._tokenizer.to_str(), tok._tokenizer.encode_special_tokens)
    facts["vocab"] = tok.get_vocab()
    facts["added"] = {i: str(t) for i, t in tok.added_tokens_decoder.items()}
    facts["answers"] = (len(tok), tok.pad_token, tok.pad_token_id, tok.padding_side, tok.all_special_tokens)
    return facts


def model_facts(model: Any) -> dict[str, Any]:
    """A model's weights to the bit, tensor and module identities, attributes, hooks and every config."""
    import torch
    from transformers import PretrainedConfig

    facts: dict[str, Any] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        facts[f"{path}:module"] = id(module)
        for name, value in module.__dict__.items():
            if isinstance(value, PretrainedConfig):
                facts[f"{path}.{name}:config"] = (id(value), plain(vars(value)))
            elif name not in ("_parameters", "_buffers", "_modules"):
                facts[f"{path}.{name}"] = plain(value)
        for kind in (module._parameters, module._buffers):
            for name, tensor in kind.items():
                facts[f"{path}.{name}:tensor"] = None if tensor is None else (id(tensor), bits(tensor))
    facts["generation"] = (
        plain(vars(model.generation_config)) if getattr(model, "generation_config", None) else None
    )
    facts["process"] = (torch.get_num_threads(), torch.is_grad_enabled(), torch.is_inference_mode_enabled())
    facts["random"] = (bytes(torch.get_rng_state().numpy()), random.getstate())
    return facts


def bits(tensor: Any) -> tuple[Any, ...]:
    """Shape, dtype, flags and every bit of a tensor."""
    import torch

    flat = tensor.detach().contiguous().reshape(-1)
    data = bytes(flat.view(torch.uint8).numpy()) if flat.numel() else b""
    return tuple(tensor.shape), tensor.dtype, tensor.requires_grad, tensor.is_inference(), data


def plain(value: Any) -> Any:
    """Containers by value, everything else by itself; configs and tries by what they hold."""
    from transformers import PretrainedConfig

    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, PretrainedConfig) or type(value).__name__ in ("Trie", "ExtensionsTrie"):
        return plain(vars(value))
    if isinstance(value, (set, frozenset)):
        return set(value)
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    return f"{type(value).__name__} {id(value)}" if type(value).__name__ != "AddedToken" else repr(value)


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Keys whose values differ: short enough to read in a failure."""
    return sorted(k for k in {**before, **after} if before.get(k, "absent") != after.get(k, "absent"))
