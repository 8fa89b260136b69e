"""Small checkpoints on disk, and the command as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
    return folder


@pytest.fixture
def checkpoint() -> Callable[..., Path]:
    """Write a small checkpoint into a folder."""
    return write_checkpoint


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def padfix(tmp_path: Path) -> Run:
    """Run ``padfix`` as a process of its own, in an empty folder, with colours off unless asked for."""

    def run(
        *arguments: str | Path, stdin: str | None = None, **env: str | None
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            k: v
            for k, v in os.environ.items()
            if k not in ("NO_COLOR", "FORCE_COLOR", "CI", "GITHUB_ACTIONS")
        }
        for name, value in env.items():
            if value is None:
                environment.pop(name, None)
            else:
                environment[name] = value
        return subprocess.run(
            [sys.executable, "-c", "from padfix.cli.main import main; main()", *map(str, arguments)],
            input=stdin, capture_output=True, cwd=tmp_path, env=environment, timeout=120, check=False, text=True, encoding="utf-8", errors="surrogateescape",
        )  # fmt: skip

    return run
