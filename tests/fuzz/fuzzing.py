"""Repositories in memory, and ways to damage them: the parts of the fuzz tests."""

from __future__ import annotations

import base64
import json
import random
import struct
from collections.abc import Mapping
from typing import Any

from padfix.errors import SourceError

WORDS = ("hello", "world", "the", "a", "b", "\u0120pad", "##ing", "\u2581of", "<0x0A>", "[unused0]")
SPECIALS = ("<unk>", "<s>", "</s>", "<pad>")
NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**30, 0.5, float("nan"), float("inf"), "", "a", "<pad>", "\x1b[31m",
    "\ud800", "x" * 5000, "../../etc/passwd", [], [[]], [None], [2, 3], ["<pad>"], {}, {"content": "<pad>"}, {"a": {}},
    {"__type": "AddedToken", "content": "<pad>"}, {"content": 3}, "llama", "bert", "left", "LlamaTokenizer",
    "T5Tokenizer", "XLMRobertaTokenizer", "ByT5Tokenizer", "MBartTokenizer", "NllbTokenizer", "PreTrainedTokenizerFast",
)  # fmt: skip
KEYS = (
    "pad_token", "eos_token", "additional_special_tokens", "extra_special_tokens", "added_tokens_decoder", "auto_map",
    "tokenizer_class", "chat_template", "padding_side", "add_bos_token", "model_type", "text_config", "pad_token_id",
    "eos_token_id", "vocab_size", "architectures", "quantization_config", "tie_word_embeddings", "padding",
    "post_processor", "normalizer", "added_tokens", "model", "vocab", "merges", "type", "unk_token", "byte_fallback",
    "weight_map", "fast_tokenizer_files", "extra_ids", "offset", "src_lang", "do_lower_case", "language_codes",
)  # fmt: skip


class MemorySource:
    """A `Source` whose files are bytes in memory."""

    name = "memory"

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files

    def names(self) -> tuple[str, ...]:
        """Every name, sorted."""
        return tuple(sorted(self.files))

    def _file(self, name: str) -> bytes:
        if name not in self.files:
            raise SourceError(f"memory: no {name[:40]!r}")
        return self.files[name]

    def size(self, name: str) -> int:
        """Bytes of a file."""
        return len(self._file(name))

    def read(self, name: str, limit: int) -> bytes:
        """A whole file."""
        data = self._file(name)
        if len(data) > limit:
            raise SourceError(f"memory: {name} is too large")
        return data

    def range(self, name: str, start: int, length: int) -> bytes:
        """A part of a file."""
        assert start >= 0
        assert length >= 0
        return self._file(name)[start : start + length]


def dumps(value: Any, **how: Any) -> bytes:
    """JSON bytes."""
    return json.dumps(value, ensure_ascii=False, **how).encode("utf-8", "surrogatepass")


def tokenizer_json(kind: str, **more: Any) -> dict[str, Any]:
    """A small ``tokenizer.json`` of one model type."""
    texts = [*SPECIALS, *WORDS]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    model: dict[str, Any] = {"type": kind, "unk_token": "<unk>"}
    model["vocab"] = [[t, 0.0] for t in texts] if kind == "Unigram" else {t: i for i, t in enumerate(texts)}
    if kind == "BPE":
        model |= {"byte_fallback": False, "merges": [["a", "b"], "t he"]}
    if kind == "Unigram":
        model["unk_id"] = 0
    return {
        "version": "1.0",
        "truncation": None,
        "padding": {"strategy": {"Fixed": 8}, "direction": "Right", "pad_id": 3, "pad_token": "<pad>"},
        "added_tokens": [{"id": i, "content": t, **flags} for i, t in enumerate(SPECIALS)],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]},
        "pre_tokenizer": {"type": "ByteLevel"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "<s>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": None,
        "model": model,
        **more,
    }


def varint(value: int) -> bytes:
    """A protobuf number."""
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    """A protobuf field: a number or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def sentencepiece(texts: tuple[str, ...] = ("<unk>", "<s>", "</s>", *WORDS), model_type: int = 1) -> bytes:
    """A sentencepiece model: the first three pieces are unknown and control ones."""
    kinds = {0: 2, 1: 3, 2: 3}
    pieces = b""
    for i, text in enumerate(texts):
        score = 0.0 if i in kinds else -float(i)
        body = field(1, text.encode()) + b"\x15" + struct.pack("<f", score)
        pieces += field(1, body + (field(3, kinds[i]) if i in kinds else b""))
    trainer = field(3, model_type) + field(35, 1) + field(40, 0) + field(41, 1) + field(42, 2)
    return pieces + field(2, trainer) + field(3, field(2, b"charsmap"))


def safetensors(**shapes: list[int]) -> bytes:
    """A safetensors header and no weights."""
    header = dumps(
        {
            name.replace("__", "."): {"dtype": "F32", "shape": s, "data_offsets": [0, 0]}
            for name, s in shapes.items()
        }
    )
    return struct.pack("<Q", len(header)) + header


def gguf() -> bytes:
    """A GGUF header with a vocabulary, ids, and two matrices."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    words = [*SPECIALS, *WORDS]
    keys = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, len(words)) + b"".join(map(text, words)),
        text("tokenizer.ggml.scores") + struct.pack("<IIQ", 9, 6, 2) + struct.pack("<ff", 0.0, 1.0),
        text("tokenizer.ggml.padding_token_id") + struct.pack("<II", 4, 3),
        text("tokenizer.ggml.eos_token_id") + struct.pack("<II", 4, 2),
    ]
    tensors = [
        text(n) + struct.pack("<IQQIQ", 2, 8, 14, 0, 0) for n in ("token_embd.weight", "output.weight")
    ]
    return b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys) + b"".join(tensors)


def repositories() -> dict[str, dict[str, bytes]]:
    """One small repository for every path through the reader."""
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "</s>", "bos_token": "<s>",
        "unk_token": "<unk>", "padding_side": "left", "chat_template": [{"name": "default", "template": "{{ a }}"}],
        "added_tokens_decoder": {"3": {"content": "<pad>", "special": True}, "20": {"content": "<|x|>"}},
        "extra_special_tokens": ["<|x|>"],
    }  # fmt: skip
    config = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 14, "pad_token_id": 3,
        "eos_token_id": [2, 1], "bos_token_id": 1, "image_token_index": 5, "tie_word_embeddings": False,
        "text_config": {"model_type": "llama", "vocab_size": 14, "pad_token_id": None},
    }  # fmt: skip
    common = {
        "config.json": dumps(config),
        "generation_config.json": dumps({"pad_token_id": 3, "eos_token_id": [2]}),
        "special_tokens_map.json": dumps(
            {"pad_token": {"content": "<pad>", "normalized": False}, "sep_token": "</s>"}
        ),
        "added_tokens.json": dumps({"<pad>": 3, "<|y|>": 14}),
    }
    weights = safetensors(model__embed_tokens__weight=[14, 8], lm_head__weight=[14, 8], lm_head__bias=[14])
    found = {
        kind: common
        | {
            "tokenizer.json": dumps(tokenizer_json(kind)),
            "tokenizer_config.json": dumps(settings),
            "model.safetensors": weights,
        }
        for kind in ("BPE", "Unigram", "WordPiece", "WordLevel")
    }
    shards = {"weight_map": {"model.embed_tokens.weight": "a.safetensors", "lm_head.weight": "b.safetensors"}}
    found["sharded"] = found["BPE"] | {
        "model.safetensors.index.json": dumps(shards),
        "a.safetensors": safetensors(model__embed_tokens__weight=[14, 8]),
        "b.safetensors": safetensors(lm_head__weight=[16, 8]),
    }
    del found["sharded"]["model.safetensors"]
    small = {"pad_token": "<pad>", "unk_token": "<unk>"}
    vocab = {t: i for i, t in enumerate([*SPECIALS, *WORDS])}

    def classed(name: str, model_type: str, **files: bytes) -> dict[str, bytes]:
        renamed = {k.replace("__", "."): v for k, v in files.items()}
        return {
            **renamed,
            "tokenizer_config.json": dumps(small | {"tokenizer_class": name}),
            "config.json": dumps({"model_type": model_type}),
        }

    found["gpt2"] = classed("GPT2Tokenizer", "gpt2", vocab__json=dumps(vocab), merges__txt=b"#version\na b\n")
    found["bert"] = classed("BertTokenizer", "bert", vocab__txt="\n".join(vocab).encode() + b"\n")
    found["llama"] = classed("LlamaTokenizer", "llama", tokenizer__model=sentencepiece(model_type=2))
    found["bare"] = classed("PreTrainedTokenizerFast", "olmo2", tokenizer__model=sentencepiece())
    found["t5"] = classed("T5Tokenizer", "t5", spiece__model=sentencepiece())
    for name, kind in (("XLMRobertaTokenizer", "xlm-roberta"), ("MBartTokenizer", "mbart"), ("CamembertTokenizer", "camembert"), ("NllbTokenizer", "m2m_100"), ("SeamlessM4TTokenizer", "seamless_m4t")):  # fmt: skip
        found[name] = classed(name, kind) | {"sentencepiece.bpe.model": sentencepiece()}
    own = ("<pad>", "</s>", "<unk>", *WORDS)  # Pegasus keeps what follows the first two
    found["pegasus"] = classed("PegasusTokenizer", "pegasus", spiece__model=sentencepiece(own))
    ranks = b"".join(base64.b64encode(bytes([i])) + f" {i}\n".encode() for i in range(256))
    found["tiktoken"] = classed("TokenizersBackend", "olmo2", tokenizer__model=ranks)
    found["byt5"] = classed("ByT5Tokenizer", "t5")
    found["m2m"] = classed("M2M100Tokenizer", "m2m_100", vocab__json=dumps(vocab)) | {
        "sentencepiece.bpe.model": sentencepiece()
    }
    found["marian"] = classed(
        "MarianTokenizer", "marian", vocab__json=dumps(vocab), source__spm=b"", target__spm=b""
    )
    found["phobert"] = classed("PhobertTokenizer", "roberta", vocab__txt=b"a 1\nb 2\n") | {
        "bpe.codes": b"a b 1\n"
    }
    found["gguf"] = {"model.gguf": gguf()}
    found["adapter"] = {
        "adapter_config.json": dumps({"peft_type": "LORA", "modules_to_save": ["embed_tokens"]}),
        "adapter_model.safetensors": safetensors(base_model__model__model__embed_tokens__weight=[15, 8]),
        "tokenizer_config.json": dumps(settings),
        "tokenizer.json": dumps(tokenizer_json("BPE")),
    }
    return found


def damage(files: Mapping[str, bytes], rng: random.Random) -> dict[str, bytes]:
    """A copy with one to three files damaged: as JSON where it is JSON, else as bytes."""
    hurt = dict(files)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        name = rng.choice(sorted(hurt))
        data = hurt[name]
        if name.endswith(".json") and rng.random() < 0.75:
            hurt[name] = _damage_json(data, rng)
        elif rng.random() < 0.04:
            del hurt[name]
        else:
            hurt[name] = _damage_bytes(data, rng)
        if not hurt:
            return dict(files)
    return hurt


def _damage_json(data: bytes, rng: random.Random) -> bytes:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return _damage_bytes(data, rng)
    for _ in range(rng.choice((1, 1, 2, 4))):
        value = _change(value, rng, 0)
    try:
        return dumps(value, indent=rng.choice((None, None, 2)))
    except (ValueError, RecursionError):
        return data


def _change(value: Any, rng: random.Random, depth: int) -> Any:
    if depth > 6 or rng.random() < 0.15 or not isinstance(value, (dict, list)) or not value:
        return rng.choice(NASTY)
    if isinstance(value, list):
        at = rng.randrange(len(value))
        return [_change(v, rng, depth + 1) if i == at else v for i, v in enumerate(value)]
    changed = dict(value)
    key = rng.choice(sorted(changed))
    action = rng.random()
    if action < 0.1:
        del changed[key]
    elif action < 0.3:
        changed[rng.choice(KEYS)] = rng.choice(NASTY)
    elif action < 0.35:
        changed[rng.choice(KEYS)] = changed.pop(key)
    else:
        changed[key] = _change(changed[key], rng, depth + 1)
    return changed


def _damage_bytes(data: bytes, rng: random.Random) -> bytes:
    hurt = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at = rng.randrange(len(hurt) + 1)
        action = rng.random()
        if action < 0.45 and hurt:
            hurt[at % len(hurt)] = rng.randrange(256)
        elif action < 0.6:
            hurt[at:at] = rng.choice(
                (b"[" * 50, b"{", b'"', b"\\", b"\0", b"\xff", b"NaN", b"9" * 30, b"\x80" * 12)
            )
        elif action < 0.75:
            del hurt[at : at + rng.randrange(1, 20)]
        elif action < 0.85:
            del hurt[at:]
        else:
            hurt[at:at] = hurt[at : at + rng.randrange(1, 60)]
    return bytes(hurt)
