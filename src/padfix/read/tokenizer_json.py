"""``tokenizer.json`` without loading it: the head, the vocabulary, and nothing of the merges.

The ``tokenizers`` library writes the keys in one order, with the vocabulary before the merges and the merges
last. Of a 17 MB Llama 3 file that leaves 3 MB to read and almost nothing to parse. A file in any other
order, or whose end does not look as it should, is parsed as a whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from padfix.errors import SourceError
from padfix.read.json_file import decode, parse
from padfix.read.scan import ScannedVocab, scan_object, scan_pairs
from padfix.read.source import Source
from padfix.read.vocab import DictVocab, Vocab

MAX_TOKENIZER_JSON: Final = 256 * 2**20  # bytes; Gemma 3 has 33 MB
# of a file, at least, at most: what is read first; vocabularies before merges have up to 0.58 of it
_FIRST: Final = 0.62, 2**20, 13 * 2**19
_TAIL: Final = 4096  # bytes behind the vocabulary, or behind the merges, that are looked at
_VOCAB: Final = re.compile(rb'"vocab"\s*:\s*(?=[\[{])')
_MERGES: Final = re.compile(rb'\s*,\s*"merges"\s*:\s*\[')
_MERGES_END: Final = re.compile(rb"\]\s*\}\s*\}\s*\Z")
_WORTH_SHARING: Final = 100_000  # bytes of a vocabulary
_MAX_SHARED: Final = 16 * 2**20  # bytes of vocabularies kept for the next repository; Llama 3 has 3 MB
_SHARED: Final[list[tuple[memoryview, ScannedVocab]]] = []
_ARRAY: Final = ord("[")
_HEAD: Final = ("added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model")


@dataclass(slots=True)
class TokenizerJson:
    """The parts of a ``tokenizer.json``: everything but vocabulary and merges in ``parts``.

    ``list_vocab``: the vocabulary is an array of pieces (Unigram), not an object.
    """

    name: str
    parts: Mapping[str, Any]
    vocab: Vocab
    list_vocab: bool
    text: str = ""  # the head, for line numbers
    vocab_end: int = 0  # where the bytes after the vocabulary begin, where that is known
    added: Any = None  # its added tokens, once parsed

    @property
    def model(self) -> Mapping[str, Any]:
        """The options of the model."""
        model = self.parts.get("model")
        return model if isinstance(model, Mapping) else {}

    def part(self, key: str) -> Mapping[str, Any]:
        """A component (``normalizer``, ``post_processor`` ...), empty where it is null or not an object."""
        part = self.parts.get(key)
        return part if isinstance(part, Mapping) else {}

    @property
    def kind(self) -> str | None:
        """The model's type; files before tokenizers 0.9 do not say it, so its shape does."""
        kind = self.model.get("type")
        if isinstance(kind, str):
            return kind
        if "merges" in self.model:
            return "BPE"
        if self.list_vocab:
            return "Unigram"
        return "WordPiece" if "continuing_subword_prefix" in self.model else "WordLevel"


def load_tokenizer_json(source: Source, name: str = "tokenizer.json") -> TokenizerJson | None:
    """The file's parts, or None where there is no such file; `SourceError` where it cannot be a tokenizer."""
    if name not in source.names():
        return None
    size = source.size(name)
    if size > MAX_TOKENIZER_JSON:
        raise SourceError(
            f"{source.name}: {name} has {size:,} bytes, more than the {MAX_TOKENIZER_JSON:,} that are read"
        )
    return _quick(source, name, size) or _whole(source, name)


def _quick(source: Source, name: str, size: int) -> TokenizerJson | None:
    """The canonical layout, or None where the file does not show it."""
    part, least, most = _FIRST
    data = source.range(name, 0, min(max(int(part * size), least), most))
    start = _VOCAB.search(data)
    if start is None:
        return None
    head = _head(data[: start.start()])
    if head is None:
        return None
    text, parts = head
    is_list = data[start.end()] == _ARRAY
    if is_list and len(data) < size:  # pieces without merges behind them fill the file
        data += source.range(name, len(data), size)
    found = _scanned(data, start.end())
    while (found is None or len(data) - found[1] < _TAIL) and len(data) < size:
        more = source.range(name, len(data), _TAIL if found else len(data))
        if not more:
            return None  # the file shrank
        data += more
        found = found or _scanned(data, start.end())
    if found is None:
        return None
    vocab, end = found
    if _MERGES.match(data, end):
        tail = data[-_TAIL:] if len(data) >= size else source.range(name, max(0, size - _TAIL), _TAIL)
        rest: dict[str, Any] | None = {"merges": None} if _MERGES_END.search(tail) else None
    else:
        rest = _rest(data[end:]) if len(data) - end < _TAIL else None
    if rest is None:
        return None
    del parts["model"]["vocab"]
    parts["model"].update(rest)
    return TokenizerJson(name, parts, vocab, is_list, text, end)


def _head(raw: bytes) -> tuple[str, dict[str, Any]] | None:
    """Everything before the vocabulary, if that is the model's and all other keys came before."""
    try:
        text = raw.decode("utf-8")
        parts = json.loads(text + '"vocab":null}}')
    except (ValueError, RecursionError):
        return None
    if not isinstance(parts, dict) or any(key not in parts for key in _HEAD):
        return None
    model = parts["model"]
    if not isinstance(model, dict) or "vocab" not in model or list(parts)[-1] != "model":
        return None
    return text[: 2**20], parts


def _rest(raw: bytes) -> dict[str, Any] | None:
    """The model's options behind the vocabulary, if the file ends with them."""
    try:
        found = json.loads(b'{"model":{"":0' + raw)
    except (ValueError, RecursionError):
        return None
    if len(found) > 1 or "vocab" in found["model"]:
        return None
    return {key: value for key, value in found["model"].items() if key}


def _scanned(data: bytes, start: int) -> tuple[ScannedVocab, int] | None:
    """The vocabulary at ``start`` and its end, or None where it is not plain or not all there.

    Repositories share vocabularies byte for byte, as fine-tunes of a model do; such a one is read once.
    """
    for raw, vocab in _SHARED:
        if data.startswith(raw, start):
            return vocab, start + len(raw)
    found = scan_pairs(data, start) if data[start] == _ARRAY else scan_object(data, start)
    if found is None:
        return None
    raw = memoryview(data)[start : found.end]
    if len(raw) >= _WORTH_SHARING:
        if sum(len(kept) for kept, _ in _SHARED) + len(raw) > _MAX_SHARED:
            _SHARED.clear()
        _SHARED.append((raw, found))
    return found, found.end


def _whole(source: Source, name: str) -> TokenizerJson:
    """The file as one JSON value."""
    text = decode(source.read(name, MAX_TOKENIZER_JSON), source.name, name)
    parts = parse(text, source.name, name)
    if not isinstance(parts, dict) or not isinstance(parts.get("model"), dict):
        raise SourceError(f"{source.name}: {name} is not a tokenizer: it has no model")
    model = dict(parts["model"])
    raw = model.pop("vocab", None)
    if "merges" in model:
        model["merges"] = None
    if isinstance(raw, list):
        vocab, is_list = pieces_vocab(raw, source.name, name), True
    else:
        vocab, is_list = object_vocab(raw, source.name, name), False
    return TokenizerJson(name, {**parts, "model": model}, vocab, is_list, text[: 2**20])


def object_vocab(raw: Any, source: str, name: str) -> DictVocab:
    """A checked vocabulary of string -> id."""
    if not isinstance(raw, dict):
        raise SourceError(f"{source}: the vocabulary in {name} is not an object of string -> id")
    for text, token_id in raw.items():
        if type(token_id) is not int or not 0 <= token_id < 2**32:
            raise SourceError(f"{source}: {name} gives the token {text[:40]!r} the id {str(token_id)[:40]!r}")
    return DictVocab(raw)


def pieces_vocab(raw: Any, source: str, name: str) -> DictVocab:
    """A checked vocabulary of (piece, score) pairs, whose ids are their positions."""
    if not isinstance(raw, list):
        raise SourceError(f"{source}: the vocabulary in {name} is not an array of [piece, score]")
    table: dict[str, int] = {}
    for i, pair in enumerate(raw):
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)) or isinstance(
            pair[1], (str, list, dict)
        ):
            raise SourceError(f"{source}: entry {i} of the vocabulary in {name} is not [piece, score]")
        table[pair[0]] = i
    return DictVocab(table, len(raw))
