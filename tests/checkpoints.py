"""Small checkpoints on disk, written by hand: what a repository holds, with weights of the right shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WORDS = ("hello", "world", "a", "b", "c", "the", "pad", "token")


def write_checkpoint(
    folder: Path, *, pad: str | None = None, classifier: bool = False, **config: Any
) -> Path:
    """A word-level tokenizer and a Llama config of 16 rows, as `save_pretrained` would lay them out."""
    folder.mkdir(parents=True, exist_ok=True)
    specials = ["<unk>", "<s>", "</s>", *([pad] if pad else [])]
    vocab = {word: i for i, word in enumerate((*specials, *WORDS))}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": text, **flags} for i, text in enumerate(specials)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
    }
    settings = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 64,
        **({"pad_token": pad} if pad else {}),
    }
    model = {
        "architectures": ["LlamaForSequenceClassification" if classifier else "LlamaForCausalLM"],
        "model_type": "llama",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "num_key_value_heads": 2,
        "vocab_size": 16,
        **({"pad_token_id": vocab[pad]} if pad else {}),
        **config,
    }
    for name, value in (
        ("tokenizer.json", tokenizer),
        ("tokenizer_config.json", settings),
        ("config.json", model),
        (
            "generation_config.json",
            {"bos_token_id": 1, "eos_token_id": 2, **({"pad_token_id": vocab[pad]} if pad else {})},
        ),
    ):
        (folder / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
    write_weights(folder, model["vocab_size"])
    return folder


def write_weights(folder: Path, rows: int) -> None:
    """A safetensors file with an input and an output matrix of zeros, two columns wide."""
    size = rows * 2 * 4
    header = json.dumps(
        {
            "model.embed_tokens.weight": {"dtype": "F32", "shape": [rows, 2], "data_offsets": [0, size]},
            "lm_head.weight": {"dtype": "F32", "shape": [rows, 2], "data_offsets": [size, 2 * size]},
        }
    ).encode()
    data = len(header).to_bytes(8, "little") + header + bytes(2 * size)
    (folder / "model.safetensors").write_bytes(data)
