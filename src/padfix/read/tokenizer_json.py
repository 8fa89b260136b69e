"""``tokenizer.json`` without loading it: the head, the vocabulary, and nothing of the merges.

The ``tokenizers`` library writes the keys in one order, with the vocabulary before the merges and the merges
last. Of a 17 MB Llama 3 file that leaves 3 MB to read and almost nothing to parse. A file in any other
order, or whose end does not look as it should, is parsed as a whole.

Two things that no library writes are not noticed in a long file: a key of the model that comes again within or behind
the merges, and an ordinary word that comes twice among 20,000 tokens or more whose ids count up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from padfix.errors import SourceError
from padfix.read.json_file import decode, parse
from padfix.read.scan import ScannedVocab, scan_object, scan_pairs
from padfix.read.source import Source, kept_open
from padfix.read.vocab import DictVocab, Vocab

MAX_TOKENIZER_JSON: Final = 256 * 2**20  # bytes; Gemma 3 has 33 MB
_PART: Final = 2**19  # bytes; a vocabulary is read part by part, each of which stays in the processor's cache
_MAX_HEAD: Final = 16 * 2**20  # bytes before the vocabulary; Mistral's 1,000 added tokens have 0.2 MB
_TAIL: Final = 4096  # bytes behind the vocabulary, or behind the merges, that are looked at
_VOCAB: Final = re.compile(rb'"vocab"\s*:\s*(?=[\[{])')
_MERGES: Final = re.compile(rb'\s*,\s*"merges"\s*:\s*\[')
_MERGES_END: Final = re.compile(rb"\]\s*\}\s*\}\s*\Z")
_WORTH_KEEPING: Final = 2**20, 2**24  # bytes of a vocabulary; Gemma has 8 MB
_MAX_KEPT: Final = 2
_KEPT: Final[list[_Kept]] = []
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
    with kept_open(source, name):
        size = source.size(name)
        if size > MAX_TOKENIZER_JSON:
            raise SourceError(
                f"{source.name}: {name} has {size:,} bytes, more than the {MAX_TOKENIZER_JSON:,} that are read"
            )
        return _quick(source, name, size) or _whole(source, name)


def read_vocab(
    source: Source, name: str, size: int, start: int = 0, first: bytes = b""
) -> tuple[ScannedVocab, int] | None:
    """The vocabulary that a file of ``size`` bytes has at ``start`` and where that ends; None for one that is not plain.

    ``first``: the beginning of the file, where that was read already.
    """
    parts = [_Part(0, first, start)] if start < len(first) else []

    def more(at: int) -> bytes:
        part = source.range(name, at, _PART) if at < size else b""
        if at - start < _WORTH_KEEPING[1]:
            parts.append(_Part(at - start, part))
        return part

    for kept in tuple(_KEPT):
        if kept.is_at(source, name, start, first):
            return kept.vocab, start + kept.length
    scan = scan_pairs if first[start : start + 1] == b"[" else scan_object
    vocab = scan(more, start, first)
    if vocab is None:
        return None
    if _WORTH_KEEPING[0] < vocab.end - start < _WORTH_KEEPING[1]:
        _KEPT[:] = [_Kept(vocab, vocab.end - start, tuple(parts)), *_KEPT[: _MAX_KEPT - 1]]
    return vocab, vocab.end


class _Part(NamedTuple):
    """Bytes of a vocabulary and where they begin in it; the first ``skipped`` are none of its."""

    at: int
    data: bytes
    skipped: int = 0


@dataclass(slots=True, frozen=True)
class _Kept:
    """The last vocabularies with the bytes they were read from, since fine-tunes of a model share them all."""

    vocab: ScannedVocab
    length: int
    parts: tuple[_Part, ...]

    def is_at(self, source: Source, name: str, start: int, first: bytes) -> bool:
        """True where a file has the same bytes at ``start``."""
        head = first[start : start + _TAIL]
        if not head or not self.parts[0].data.startswith(head, self.parts[0].skipped):
            return False
        for at, part, skipped in self.parts:
            length = min(len(part) - skipped, self.length - at)
            here = source.range(name, start + at, length)
            if len(here) < length or not part.startswith(here, skipped):
                return False
        return True


def _quick(source: Source, name: str, size: int) -> TokenizerJson | None:
    """The canonical layout, or None where the file does not show it."""
    data = source.range(name, 0, _PART)
    while (start := _VOCAB.search(data)) is None and len(data) < min(size, _MAX_HEAD):
        more = source.range(name, len(data), len(data))
        if not more:
            return None  # the file shrank
        data += more
    head = _head(data[: start.start()]) if start is not None else None
    if start is None or head is None:
        return None
    found = read_vocab(source, name, size, start.end(), data)
    if found is None:
        return None
    text, parts = head
    vocab, end = found
    behind = source.range(name, end, _TAIL)
    if len(behind) < _TAIL:
        rest = _rest(behind)
    else:
        tail = source.range(name, max(end, size - _TAIL), _TAIL)
        rest = {"merges": None} if _MERGES.match(behind) and _MERGES_END.search(tail) else None
    if rest is None:
        return None
    model = parts["model"]
    del model["vocab"]
    model.update(rest)
    if "merges" in model:
        model["merges"] = None
    return TokenizerJson(name, parts, vocab, data[start.end()] == _ARRAY, text, end)


def _head(raw: bytes) -> tuple[str, dict[str, Any]] | None:
    """Everything before the vocabulary, if that is the model's and all other keys came before."""
    try:
        text = raw.decode("utf-8")
        parts, mark = _marked(text + '"vocab":NaN}}')
    except (ValueError, RecursionError):
        return None
    if not isinstance(parts, dict) or any(key not in parts for key in _HEAD):
        return None
    model = parts["model"]
    if not isinstance(model, dict) or model.get("vocab") is not mark:
        return None  # the vocabulary of something else, or a key that only ends like this
    return text[: 2**20], parts


def _rest(raw: bytes) -> dict[str, Any] | None:
    """The model's options behind the vocabulary, if the file ends with them."""
    try:
        found, mark = _marked('{"model":{"":NaN' + raw.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    model = found["model"]
    if len(found) > 1 or not isinstance(model, dict) or model.get("") is not mark or "vocab" in model:
        return None  # another model follows, or another vocabulary
    return {key: value for key, value in model.items() if key}


def _marked(text: str) -> tuple[Any, object]:
    """The value of a JSON text, and the object that stands in it for its one ``NaN``."""
    marks: list[object] = []

    def mark(_: str) -> object:
        marks.append(object())
        return marks[-1]

    value = json.loads(text, parse_constant=mark)
    if len(marks) > 1:
        raise ValueError("a number that is none")
    return value, marks[0]


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
