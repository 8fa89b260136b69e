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
from padfix.types import ABSENT, Token

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


PADDING = {"strategy": "BatchLongest", "direction": "Left", "pad_to_multiple_of": None, "pad_id": N, "pad_type_id": 0,
           "pad_token": "<|pad|>"}  # fmt: skip


def lfs(name: str, files: Files) -> Files:
    """The files, with one of them in LFS."""
    return {**files, ".gitattributes": f"{name} filter=lfs diff=lfs merge=lfs -text\n"}


def declaring(kind: str, added: Mapping[int, str], **roles: str | None) -> dict[str, object]:
    """A tokenizer_config.json that writes the ids of added tokens."""
    return {
        "tokenizer_class": kind,
        "added_tokens_decoder": {str(i): {"content": t, **ENTRY} for i, t in added.items()},
        **roles,
    }


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
    # in LFS, where a file costs two requests: both configs and the vocabulary are one too many
    "lfs/pad-declared": lambda: lfs("tokenizer.json", {
        "config.json": {**LLAMA, "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "pad_token_id": 5},
        "generation_config.json": {"eos_token_id": N, "odd": 1},
        "tokenizer_config.json": declaring("Qwen2Tokenizer", {N: "<|endoftext|>", N + 1: "<|im_end|>"},
                                           pad_token="<|endoftext|>", eos_token="<|im_end|>"),
        "tokenizer.json": tokenizer_json(WORDS, {"<|endoftext|>": N, "<|im_end|>": N + 1}),
    }),
    "lfs/no-pad": lambda: lfs("tokenizer.json", {
        "config.json": {**LLAMA, "eos_token_id": N + 1, "pad_token_id": N + 1},
        "tokenizer_config.json": declaring("PreTrainedTokenizerFast", {N: "<|begin|>", N + 1: "<|end|>", N + 2: "<|reserved_0|>"},
                                           bos_token="<|begin|>", eos_token="<|end|>"),
        "tokenizer.json": tokenizer_json(WORDS, {"<|begin|>": N, "<|end|>": N + 1, "<|reserved_0|>": N + 2}),
    }),
    "lfs/pad-in-the-block": lambda: lfs("tokenizer.json", {
        "config.json": LLAMA,
        "tokenizer_config.json": declaring("PreTrainedTokenizerFast", {N: "<|pad|>", N + 1: "<|end|>"}, eos_token="<|end|>"),
        "tokenizer.json": {**tokenizer_json(WORDS, {"<|pad|>": N, "<|end|>": N + 1}), "padding": PADDING},
    }),
    "lfs/null-pad": lambda: lfs("tokenizer.json", {
        "config.json": LLAMA,
        "tokenizer_config.json": declaring("PreTrainedTokenizerFast", {N: "<|pad|>", N + 1: "<|end|>"}, eos_token="<|end|>",
                                           pad_token=None),
        "tokenizer.json": {**tokenizer_json(WORDS, {"<|pad|>": N, "<|end|>": N + 1}), "padding": PADDING},
    }),
    "lfs/no-ids": lambda: lfs("tokenizer.json", {
        "config.json": {**LLAMA, "pad_token_id": 7, "vocab_size": 100},
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "pad_token": "<s>"},
        "tokenizer.json": tokenizer_json(replaced(i1="<s>", i2="</s>"), {"<s>": 1, "</s>": 2}),
    }),
    "lfs/no-class": lambda: lfs("tokenizer.json", {
        "config.json": LLAMA, "tokenizer_config.json": {"eos_token": "</s>", "pad_token": "<s>"},
        "tokenizer.json": tokenizer_json(replaced(i1="<s>", i2="</s>"), {"<s>": 1, "</s>": 2}),
    }),
    "lfs/llama-of-bytes": lambda: lfs("tokenizer.json", {
        "config.json": LLAMA,
        "tokenizer_config.json": declaring("LlamaTokenizer", {N: "<|end|>"}, eos_token="<|end|>", pad_token="<|end|>"),
        "tokenizer.json": {**tokenizer_json(WORDS, {"<|end|>": N}),
                           "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}},
    }),
    "lfs/id-not-as-loaded": lambda: lfs("tokenizer.json", {
        "config.json": LLAMA,
        "tokenizer_config.json": declaring("PreTrainedTokenizerFast", {N: "<|end|>", N + 9: "<|pad|>"}, eos_token="<|end|>",
                                           pad_token="<|pad|>"),
        "tokenizer.json": tokenizer_json(WORDS, {"<|end|>": N, "<|pad|>": N + 9}),
    }),
    "lfs/pieces": lambda: {
        "config.json": {**LLAMA, "pad_token_id": 1}, "tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer", "pad_token": "</s>"},
        "tokenizer.model": sentencepiece(replaced(i0="<unk>", i1="<s>", i2="</s>")),
    },
    "lfs/pieces-declared": lambda: {
        "config.json": {"model_type": "albert", "architectures": ["AlbertForMaskedLM"], "vocab_size": N, "pad_token_id": 0},
        "tokenizer_config.json": declaring(
            "AlbertTokenizer", {0: "<pad>", 1: "<unk>", 2: "[CLS]", 3: "[SEP]", 4: "[MASK]"}, pad_token="<pad>",
            unk_token="<unk>", bos_token="[CLS]", eos_token="[SEP]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]"),
        "spiece.model": sentencepiece(replaced(i0="<pad>", i1="<unk>", i2="[CLS]", i3="[SEP]", i4="[MASK]")),
    },
    "lfs/pieces-shifted": lambda: {
        "config.json": {"model_type": "xlm-roberta", "architectures": ["XLMRobertaForMaskedLM"], "vocab_size": N + 2},
        "tokenizer_config.json": declaring(
            "XLMRobertaTokenizer", {0: "<s>", 1: "<pad>", 2: "</s>", 3: "<unk>", N + 1: "<mask>"}, pad_token="<pad>",
            unk_token="<unk>", bos_token="<s>", eos_token="</s>", cls_token="<s>", sep_token="</s>", mask_token="<mask>"),
        "sentencepiece.bpe.model": sentencepiece(replaced(i0="<unk>", i1="<s>", i2="</s>")),
    },
}  # fmt: skip
SKIPPED = {  # and what the reason says
    "bert/pad-at-the-end": "the id of the pad",
    "gpt2/pad-misplaced": "the id of the pad",
    "llama/pad-in-the-gap": "the id of the pad",
    "llama/pieces-out-of-reach": "it needs 2 requests",
    "llama/pad-beyond-the-rows": "the id of the pad",
    "llama/other-pad-in-the-map": "may name another pad",
    "lfs/no-class": "it needs 2 requests",
    "lfs/id-not-as-loaded": "the id of the pad",
    "llama/pieces-name-their-own": "which names special tokens",  # at its end, one request more
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
            if not isinstance(raw, bytes):  # an indent costs half a second for a vocabulary
                large = file in ("tokenizer.json", "vocab.json")
                raw = json.dumps(raw, indent=None if large else 2).encode()
            (folder / file).write_bytes(raw)
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
        assert state.padding_side == folder.padding_side or any("padding side" in p for p in state.problems)
        for fact in (
            "config_pad_id",
            "text_config_pad_ids",
            "config_eos_ids",
            "vocab_size",
            "generation_pad_id",
        ):
            unknown = (ABSENT, (), None) if source.summarised or "generation" in fact else ()
            assert getattr(state, fact) in (getattr(folder, fact), *unknown), fact
        for task in TASKS:
            known = {(f.code, f.severity, f.key) for f in check(folder, task=task)}
            assert {(f.code, f.severity, f.key) for f in hub_findings(state, source, task=task)} <= known
    asked, followed, sent = hub.stats()["repos"][name]
    assert asked + followed <= 4
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
        ("lfs/pad-declared", {"pad": N, "eos": N + 1}),
        ("lfs/no-pad", {"pad": None, "bos": N, "eos": N + 1}),
        ("lfs/pad-in-the-block", {"pad": N, "eos": N + 1}),
        ("lfs/null-pad", {"pad": None, "eos": N + 1}),
        ("lfs/no-ids", {"pad": 1, "eos": 2}),
        ("lfs/llama-of-bytes", {"pad": N}),
        ("lfs/pieces", {"pad": 2, "unk": 0}),
        ("lfs/pieces-declared", {"pad": 0, "eos": 3}),
        ("lfs/pieces-shifted", {"pad": 1, "eos": 2, "bos": 0}),
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


def test_the_end_of_a_sentencepiece_model(large: tuple[Running, Path]) -> None:
    """With one request more the special tokens are known that a sentencepiece model itself names."""
    hub, _ = large
    state = hub_state(
        HubSource(Client(hub.url, False, timeout=20), "llama/pieces-name-their-own", requests=5)
    )
    assert [token and token.id for token in (state.unk, state.bos, state.eos)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "configs", "found"),
    [("lfs/pad-declared", True, {"PAD201"}), ("lfs/no-pad", False, {"PAD001"}), ("lfs/no-ids", False, set())],
)
def test_what_four_requests_leave_out(
    large: tuple[Running, Path], name: str, configs: bool, found: set[str]
) -> None:
    """Where the vocabulary is in LFS, a declared pad is compared with config.json; else config.json is left
    out, which is said, and nothing is found in it that was not read."""
    hub, root = large
    source = HubSource(Client(hub.url, False, timeout=20), name)
    state = hub_state(source)
    folder = read_repo(FolderSource(root / name))
    assert (state.model_type, state.architectures, state.head) == (
        folder.model_type,
        folder.architectures,
        folder.head,
    )
    assert (state.vocab_size == folder.vocab_size) is configs
    assert any("config.json (" in p for p in state.problems) is not configs
    assert any("all of tokenizer.json" in p for p in state.problems) is configs
    assert found <= {f.code for f in hub_findings(state, source, task="training")}
