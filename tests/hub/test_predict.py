"""Files that follow from others: predicted by hash, never believed without it."""

from __future__ import annotations

import json

import pytest

from padfix.hub.hashes import git_oid
from padfix.hub.predict import predictions
from real_tokenizers import corpus_root

CORPUS = corpus_root()


def dump(value: object) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def hit(name: str, content: bytes, known: dict[str, bytes]) -> bool:
    return any(
        content == data for found, options in predictions(known, {}) if found == name for data in options
    )


def test_special_tokens_map() -> None:
    """The map that save_pretrained writes beside tokenizer_config.json, as strings, objects or a mixture."""
    entry = {"content": "</s>", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    config = {
        "eos_token": "</s>",
        "bos_token": "<s>",
        "added_tokens_decoder": {"2": {**entry, "special": True}},
    }
    known = {"tokenizer_config.json": dump(config)}
    assert hit("special_tokens_map.json", dump({"bos_token": "<s>", "eos_token": "</s>"}), known)
    assert hit("special_tokens_map.json", dump({"bos_token": "<s>", "eos_token": entry}), known)
    assert hit(
        "special_tokens_map.json",
        dump({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "[PAD]"}),
        known,
    )
    assert not hit(
        "special_tokens_map.json", dump({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "odd"}), known
    )


def test_generation_config() -> None:
    """The ids of config.json, as GenerationConfig.from_model_config keeps them."""
    known = {"config.json": dump({"eos_token_id": [1, 2], "pad_token_id": 0, "transformers_version": "4.1"})}
    wanted = {
        "_from_model_config": True,
        "eos_token_id": [1, 2],
        "pad_token_id": 0,
        "transformers_version": "4.1",
    }
    assert hit("generation_config.json", dump(wanted), known)
    assert not hit("generation_config.json", dump({**wanted, "temperature": 0.6}), known)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b'{"eos_token": {"content": 5}, "additional_special_tokens": [1, {}]}', b'{"added_tokens_decoder": [1]}',
     b'{"added_tokens_decoder": {"x": 1, "1": {"content": null}, "99999999999999999999": {"content": "a"}}}', b"\xff\xfe",
     b'{"bos_token_id": {"a": [1]}, "text_config": 7}', b"[" * 50_000],
)  # fmt: skip
def test_hostile_files(content: bytes) -> None:
    """Predictions from files of any shape end, in bounded number, without an error."""
    known = {"tokenizer_config.json": content, "config.json": content, "tokenizer.json": content}
    for _, options in predictions(known, {"chat_template_jinja": 7}):
        assert sum(1 for _ in options) <= 256


@pytest.mark.skipif(CORPUS is None, reason="no corpus: set PADFIX_CORPUS")
def test_most_real_maps_are_known_without_asking() -> None:
    """At least 14 of the corpus' 18 special_tokens_map.json are predicted to the byte."""
    assert CORPUS is not None
    found = 0
    for path in sorted(CORPUS.glob("*/*/special_tokens_map.json")):
        siblings = {n: path.with_name(n) for n in ("tokenizer_config.json", "config.json", "tokenizer.json")}
        known = {n: p.read_bytes()[: 2**18] for n, p in siblings.items() if p.exists()}
        oid = git_oid(path.read_bytes())
        found += any(
            git_oid(d) == oid for n, options in predictions(known, {}) if n == path.name for d in options
        )
    assert found >= 14


def test_an_opus_model_is_known_by_its_name() -> None:
    """The 42 bytes of tokenizer_config.json that every opus-mt model was converted with are its languages."""
    written = b'{"target_lang": "mg", "source_lang": "en"}'
    options = dict(predictions({}, {}, "marian/opus-mt-en-mg"))["tokenizer_config.json"]
    assert written in list(options)
    assert "tokenizer_config.json" not in dict(predictions({}, {}, "marian/other-en-mg"))


def test_whisper_files() -> None:
    """A fine-tuned Whisper's special tokens follow from its class: 107 in the order of their ids, then the map."""
    names = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|zh|>"]
    roles = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": ""}
    known = {
        "tokenizer_config.json": dump({"tokenizer_class": "WhisperTokenizer", "pad_token": None, **roles})
    }
    found = dict(predictions(known, {}))
    tables = [json.loads(data) for data in found["added_tokens.json"]]
    first = next(t for t in tables if len(t) == 107)
    assert [text for text, _ in sorted(first.items(), key=lambda e: e[1])][:4] == names
    assert first["<|notimestamps|>"] - first["<|endoftext|>"] == 106
    maps = [json.loads(data) for data in found["special_tokens_map.json"]]
    ordered = sorted(first, key=first.__getitem__)
    expected = {"additional_special_tokens": ordered, "pad_token": "<|endoftext|>", **roles}
    assert expected in maps


@pytest.mark.skipif(CORPUS is None, reason="no corpus: set PADFIX_CORPUS")
def test_real_whisper_files() -> None:
    """Whisper's own map and table of added tokens are predicted to the byte."""
    assert CORPUS is not None
    folder = CORPUS / "whisper" / "whisper-tiny"
    if not folder.is_dir():
        pytest.skip("the corpus has no Whisper")
    known = {"tokenizer_config.json": (folder / "tokenizer_config.json").read_bytes()}
    for name in ("special_tokens_map.json", "added_tokens.json"):
        assert hit(name, (folder / name).read_bytes(), known), name
