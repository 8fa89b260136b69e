"""Large repositories of every layout, audited in part: what is known is the folder's, and traps are seen."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub", minversion="1.0")
from server import Running, running

from padfix.hub.client import Client
from padfix.hub.errors import LEFT_OUT
from padfix.hub.fetch import NotRead
from padfix.hub.source import BYTES, HubSource
from padfix.hub.state import hub_findings, hub_state
from padfix.read.repo import read_repo
from padfix.read.source import FolderSource
from padfix.rules import TASKS, check
from padfix.types import Token

N = 40_000  # tokens; no file of so many fits the budget
WORDS = [f"word-number-{i}" for i in range(N)]
Files = Mapping[str, object]
ENTRY = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
GPT2 = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": N, "eos_token_id": N - 1}
BERT = {"model_type": "bert", "architectures": ["BertForMaskedLM"], "vocab_size": N, "pad_token_id": 0}
MARIAN = {"model_type": "marian", "architectures": ["MarianMTModel"], "pad_token_id": N - 1, "vocab_size": N}
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": N}


def replaced(**at: str) -> list[str]:
    """The words with other strings at some places: ``i7="<pad>"``, ``last="<s>"``."""
    words = list(WORDS)
    for key, text in at.items():
        words[N - 1 if key == "last" else int(key[1:])] = text
    return words


def vocab(words: list[str], *, sort: bool = False) -> dict[str, int]:
    table = {word: i for i, word in enumerate(words)}
    return dict(sorted(table.items())) if sort else table


def tokenizer_json(words: list[str], added: Mapping[str, int]) -> dict[str, Any]:
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": t, **ENTRY} for t, i in added.items()],
        "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocab(words), "merges": []},
    }  # fmt: skip


def sentencepiece(words: list[str]) -> bytes:
    data = b""
    for i, word in enumerate(words):
        raw = word.encode()
        inner = b"\x0a" + bytes([len(raw)]) + raw + b"\x15" + struct.pack("<f", -float(i))
        inner += b"\x18\x03" if word.startswith("<") else b""
        data += b"\x0a" + bytes([len(inner)]) + inner
    trainer = b"\x18\x02" + b"\xc0\x02\x00\xc8\x02\x01\xd0\x02\x02"  # BPE; unk 0, bos 1, eos 2
    return data + b"\x12" + bytes([len(trainer)]) + trainer


REPOSITORIES: dict[str, Callable[[], Files]] = {
    "bert/lines": lambda: {
        "config.json": BERT, "tokenizer_config.json": {"tokenizer_class": "BertTokenizer"},
        "vocab.txt": "\n".join(replaced(i0="[PAD]", i1="[UNK]", i2="[CLS]", i3="[SEP]", i4="[MASK]")),
    },
    "bert/pad-at-the-end": lambda: {
        "config.json": BERT, "tokenizer_config.json": {"tokenizer_class": "BertTokenizer"},
        "vocab.txt": "\n".join(replaced(last="[PAD]", i1="[UNK]", i2="[CLS]", i3="[SEP]", i4="[MASK]")),
    },
    "gpt2/plain": lambda: {
        "config.json": GPT2, "tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer"}, "merges.txt": "#version: 0.2\n",
        "vocab.json": vocab(replaced(last="<|endoftext|>")),
    },
    "gpt2/pad-added": lambda: {
        "config.json": GPT2, "merges.txt": "#version: 0.2\n", "vocab.json": vocab(replaced(last="<|endoftext|>")),
        "tokenizer_config.json": {
            "tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>", "pad_token": "[PAD]",
            "added_tokens_decoder": {str(N - 1): {"content": "<|endoftext|>", **ENTRY}, str(N): {"content": "[PAD]", **ENTRY}},
        },
    },
    # the table says N + 5, where loading gives N
    "gpt2/pad-misplaced": lambda: {
        "config.json": GPT2, "merges.txt": "#version: 0.2\n", "vocab.json": vocab(replaced(last="<|endoftext|>")),
        "tokenizer_config.json": {
            "tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>", "pad_token": "[PAD]",
            "added_tokens_decoder": {str(N - 1): {"content": "<|endoftext|>", **ENTRY}, str(N + 5): {"content": "[PAD]", **ENTRY}},
        },
    },
    "gpt2/sorted": lambda: {
        "config.json": {**GPT2, "eos_token_id": 2, "pad_token_id": 1}, "merges.txt": "#version: 0.2\n",
        "tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer", "eos_token": "</s>", "bos_token": "</s>",
                                  "unk_token": "</s>", "pad_token": "<pad>"},
        "vocab.json": vocab(replaced(i1="<pad>", i2="</s>"), sort=True),
    },
    # tokens of the vocabulary are declared, and the vocabulary goes on after them
    "llama/infill": lambda: {
        "config.json": LLAMA, "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"},
        "tokenizer.json": tokenizer_json(
            replaced(i1="<s>", i2="</s>", i39990="<PRE>", i39991="<MID>"), {"<s>": 1, "</s>": 2, "<PRE>": 39990, "<MID>": 39991}
        ),
    },
    # written as N + 20, loaded as N + 1
    "llama/gap": lambda: {
        "config.json": LLAMA, "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|end|>",
                                                        "bos_token": "<|a|>"},
        "tokenizer.json": tokenizer_json(WORDS, {"<|a|>": N, "<|end|>": N + 20}),
    },
    "llama/pad-in-the-gap": lambda: {
        "config.json": LLAMA, "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<|end|>"},
        "tokenizer.json": tokenizer_json(WORDS, {"<|a|>": N, "<|end|>": N + 20}),
    },
    # written as N + 20, loaded as N, which a model of N + 10 rows has
    "llama/pad-beyond-the-rows": lambda: {
        "config.json": {**LLAMA, "vocab_size": N + 10},
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<|end|>"},
        "tokenizer.json": tokenizer_json(WORDS, {"<|end|>": N + 20}),
    },
    "llama/other-pad-in-the-map": lambda: {
        "config.json": LLAMA, "special_tokens_map.json": {"pad_token": "</s>", "odd": 1},
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<s>"},
        "tokenizer.json": tokenizer_json(replaced(i1="<s>", i2="</s>"), {"<s>": 1, "</s>": 2}),
    },
    "llama/idle-map": lambda: {
        "config.json": LLAMA, "special_tokens_map.json": {"pad_token": "</s>", "odd": 1},
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<s>",
                                  "added_tokens_decoder": {"1": {"content": "<s>", **ENTRY}}},
        "tokenizer.json": tokenizer_json(replaced(i1="<s>", i2="</s>"), {"<s>": 1}),
    },
    "llama/pieces": lambda: {
        "config.json": LLAMA, "tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer"},
        "tokenizer.model": sentencepiece(replaced(i0="<unk>", i1="<s>", i2="</s>")),
    },
    "llama/pieces-name-their-own": lambda: {
        "tokenizer_config.json": {},
        "tokenizer.model": sentencepiece(replaced(i0="<unk>", i1="<s>", i2="</s>")),
    },
    "llama/pieces-out-of-reach": lambda: {
        "config.json": {},
        "tokenizer_config.json": {},
        "tokenizer.model": sentencepiece(replaced(i0="<unk>", i1="<s>", i2="</s>")),
    },
    "marian/two-ends": lambda: {
        "config.json": MARIAN, "tokenizer_config.json": {"tokenizer_class": "MarianTokenizer", "odd": 1},
        "source.spm": sentencepiece(["<unk>", "a"]), "target.spm": sentencepiece(["<unk>", "a"]),
        "vocab.json": vocab(replaced(i0="</s>", i1="<unk>", last="<pad>")),
    },
    "marian/with-tokenizer-json": lambda: {
        "config.json": MARIAN,
        "tokenizer_config.json": {"tokenizer_class": "MarianTokenizer",
                                  "added_tokens_decoder": {str(N - 1): {"content": "<pad>", **ENTRY}}},
        "source.spm": sentencepiece(["<unk>", "a"]), "target.spm": sentencepiece(["<unk>", "a"]),
        "vocab.json": vocab(replaced(i0="</s>", i1="<unk>", last="<pad>")),
        "tokenizer.json": tokenizer_json(WORDS, {"word-number-7": 7}),
    },
}  # fmt: skip
SKIPPED = {  # and what the reason says
    "bert/pad-at-the-end": "the id of the pad",
    "gpt2/pad-misplaced": "the id of the pad",
    "llama/pad-in-the-gap": "the id of the pad",
    "llama/pieces-out-of-reach": "which names special tokens",
    "llama/pad-beyond-the-rows": "the id of the pad",
    "llama/other-pad-in-the-map": "may name another pad",
}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Path]]:
    root = tmp_path_factory.mktemp("large")
    options = []
    for name, files in REPOSITORIES.items():
        folder = root / name
        folder.mkdir(parents=True)
        for file, content in files().items():
            raw = content.encode() if isinstance(content, str) else content
            (folder / file).write_bytes(raw if isinstance(raw, bytes) else json.dumps(raw, indent=2).encode())
        options += ["--folder", f"{name}={folder}"]
    with running(*options) as hub:
        yield hub, root


@pytest.mark.parametrize("name", REPOSITORIES)
def test_nothing_is_wrong(large: tuple[Running, Path], name: str) -> None:
    """Within the budget every fact is the folder's or unknown, whatever the layout; traps end as typed skips."""
    hub, root = large
    hub.reset()
    folder = read_repo(FolderSource(root / name))
    source = HubSource(Client(hub.url, False, timeout=20), name)
    if name in SKIPPED:
        with pytest.raises(NotRead, match=SKIPPED[name]) as caught:
            hub_state(source)
        assert "--requests 0" in str(caught.value)
    else:
        state = hub_state(source)
        assert state.pad == folder.pad
        for role in ("eos", "unk", "bos"):
            token = getattr(folder, role)
            assert getattr(state, role) in (token, token and Token(token.text, None)), role
        for fact in ("n_tokens", "max_id", "next_id", "pad_uses", "appends_eos", "unk_emitted"):
            assert getattr(state, fact) in (getattr(folder, fact), None), fact
        for fact in ("specials", "candidates"):
            assert set(getattr(state, fact)) <= set(getattr(folder, fact)), fact
        assert state.n_tokens is None
        assert any(problem.startswith(LEFT_OUT) for problem in state.problems)
        for task in TASKS:
            known = {(f.code, f.severity, f.key) for f in check(folder, task=task)}
            assert {(f.code, f.severity, f.key) for f in hub_findings(state, source, task=task)} <= known
    asked, _, sent = hub.stats()["repos"][name]
    assert asked <= 4
    assert sent <= BYTES
    whole = hub_state(HubSource(Client(hub.url, False, timeout=20), name, requests=None, n_bytes=None))
    assert whole.portable() == folder.portable()


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("bert/lines", {"pad": 0, "unk": 1}),
        ("gpt2/plain", {"eos": N - 1, "bos": N - 1}),
        ("gpt2/pad-added", {"pad": N, "eos": N - 1}),
        ("gpt2/sorted", {"pad": 1, "eos": 2, "unk": 2}),
        ("llama/infill", {"eos": 2}),
        ("llama/gap", {"bos": N, "eos": None}),
        ("llama/idle-map", {"pad": 1}),
        ("llama/pieces", {"unk": 0, "bos": 1, "eos": 2}),
        ("llama/pieces-name-their-own", {"unk": 0, "bos": 1, "eos": 2}),
        ("marian/two-ends", {"pad": N - 1}),
        ("marian/with-tokenizer-json", {"pad": N - 1}),
    ],
)
def test_ids_that_are_known(large: tuple[Running, Path], name: str, roles: dict[str, int | None]) -> None:
    """The special tokens of each layout are found where they are, in one range more than the small files."""
    hub, _ = large
    state = hub_state(HubSource(Client(hub.url, False, timeout=20), name))
    found = {role: getattr(state, role) for role in roles}
    assert {role: token and token.id for role, token in found.items()} == roles
