"""What else in a repository gives the pad's id: ordinary text, the post-processor, a chat template."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from padfix.candidates import TokenTable
from padfix.read.files import TokenizerFiles
from padfix.read.json_file import MAX_SMALL
from padfix.read.tokenizer_build import Built, json_added
from padfix.read.tokenizer_json import MAX_TOKENIZER_JSON
from padfix.types import Token

_MAX_SPLITS: Final = 64
_STRING: Final = rb'"(?:[^"\\]|\\.)*"'
_FIRST_MERGE: Final = re.compile(
    rb'"merges"\s*:\s*\[\s*(\[\s*)' + _STRING + rb"(\s*,\s*)" + _STRING + rb"(\s*\])"
)
_MAX_LIVE: Final = 1000  # characters; a longer string is no token of any model


def declared(files: TokenizerFiles) -> frozenset[str]:
    """The strings that the repository itself declares as added tokens."""
    found = set(files.added_map.data)
    decoder = files.config.data.get("added_tokens_decoder")
    if isinstance(decoder, dict):
        found |= {str(v.get("content")) for v in decoder.values() if isinstance(v, dict)}
    if files.json is not None:
        found |= {token.text for _, token in json_added(files.json, files.source)}
    return frozenset(found)


def pad_uses(files: TokenizerFiles, built: Built, table: TokenTable, pad: Token) -> tuple[str, ...]:
    """Which of ``text``, ``post-processor`` and ``chat-template`` produce the pad's id."""
    return _uses(_from_text(files, built, pad.text), table, pad)


def live_uses(tokenizer: Any, table: TokenTable, pad: Token) -> tuple[str, ...]:
    """`pad_uses` of a loaded tokenizer with a Rust backend, by its own model."""
    return _uses(_spelled(tokenizer.backend_tokenizer, table, pad), table, pad)


def _uses(text: bool, table: TokenTable, pad: Token) -> tuple[str, ...]:
    found = {
        "text": text,
        "post-processor": pad.id in table.template_ids,
        "chat-template": any(pad.text in template for template in table.chat_templates),
    }
    return tuple(use for use, holds in found.items() if holds)


def _spelled(backend: Any, table: TokenTable, pad: Token) -> bool:
    """True where the model makes this token of its text: by merges, or as a piece that nobody declared."""
    text, model = pad.text, backend.model
    if model.token_to_id(text) != pad.id or not text or len(text) > _MAX_LIVE:
        return False
    if table.model_kind == "BPE":
        # a model that ignores merges gives every whole piece of its pre-tokenizer (Llama 3)
        first = backend.pre_tokenizer
        if model.ignore_merges and first is not None and len(first.pre_tokenize_str(text)) > 1:
            return False
        try:
            return [token.id for token in model.tokenize(text)] == [pad.id]
        except Exception:  # noqa: BLE001 - the Rust library raises this very type
            return False  # the model's unk is not in its vocabulary, so a text it needs that for has no ids
    if any(token.text == text for token in table.added) or (len(text) > 2 and not text.isalnum()):
        return False
    return text != table.model_unk


def _from_text(files: TokenizerFiles, built: Built, text: str) -> bool:
    """True for a token of the model's own that merges give, or pieces that nobody declared."""
    vocab = built.backend.vocab
    if vocab.get(text) is None:
        return False
    model = built.components.get("model") or {}
    if model.get("type") == "BPE":  # declared or not: Qwen3's MLX conversion declares an ordinary token
        suffix = files.json.model.get("end_of_word_suffix") if files.json is not None else None
        if vocab.get(text[-1:] + (suffix if isinstance(suffix, str) and suffix else "</w>")) is not None:
            return False  # CLIP's "!": at the end of a text, its last piece is another one
        if len(text) == 1:
            return True
        places = range(1, min(len(text), _MAX_SPLITS))
        # the ends first: few tokens begin with a letter of a name and are as long
        cuts = [i for i in places if vocab.get(text[i:]) is not None and vocab.get(text[:i]) is not None]
        return bool(cuts) and _merged(files, text, cuts)
    if text in declared(files):
        return False
    if len(text) > 2 and not text.isalnum():
        return False  # [PAD] and <pad> of a WordPiece or Unigram vocabulary are there to be special
    return text != model.get("unk_token")


def _merged(files: TokenizerFiles, text: str, cuts: list[int]) -> bool:
    """Do the merges build this string from two of the vocabulary's?"""
    pairs = [(text[:i], text[i:]) for i in cuts]
    if files.json is not None:
        name, start = files.json.name, files.json.vocab_end
        data = files.repository.range(name, start, MAX_TOKENIZER_JSON)
        # from the end: the rarest merges are the last, and a pad is among them (0.3 ms instead of 2.3 for Qwen 3)
        return any(data.rfind(written) >= 0 for written in _written(data, pairs))
    if "merges.txt" not in files.names:
        return False
    data = b"\n" + files.repository.read("merges.txt", MAX_SMALL)
    return any(f"\n{a} {b}".encode() + end in data for a, b in pairs for end in (b"\n", b"\r"))


def _written(data: bytes, pairs: list[tuple[str, str]]) -> Iterator[bytes]:
    """These merges as the file would write them: as one string, or as a list spaced as its first one is."""
    first = _FIRST_MERGE.match(data, max(0, data.find(b'"merges"')))
    before, between, after = (b"[", b",", b"]") if first is None else first.groups()
    for pair in pairs:
        a, b = (json.dumps(part, ensure_ascii=False)[1:-1].encode("utf-8", "replace") for part in pair)
        if first is None:
            yield b'"' + a + b" " + b + b'"'
        else:
            yield before + b'"' + a + b'"' + between + b'"' + b + b'"' + after
