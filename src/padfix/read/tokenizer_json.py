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
from padfix.read.scan import SCAN_FROM, scan_object, scan_pieces
from padfix.read.source import Source
from padfix.read.vocab import DictVocab, ScannedVocab, Vocab

MAX_TOKENIZER_JSON: Final = 256 * 2**20  # bytes; Gemma 3 has 33 MB
_CHUNK: Final = (
    9 * 2**19
)  # the vocabulary of Qwen and DeepSeek in one; joining two costs more than reading them
_TAIL: Final = 512
_SMALL: Final = SCAN_FROM  # below this the whole file costs less than being clever
_VOCAB: Final = re.compile(rb'"vocab"\s*:\s*(?=[\[{])')
_MERGES: Final = re.compile(rb'\}\s*,\s*"merges"\s*:\s*\[')
_MODEL_END: Final = re.compile(rb"\}\s*\}\s*\Z")
_MERGES_END: Final = re.compile(rb"\]\s*\}\s*\}\s*\Z")
_PIECES_END: Final = re.compile(
    rb'\]\s*(?P<tail>(?:,\s*"byte_fallback"\s*:\s*(?:true|false)\s*)?\}\s*\})\s*\Z'
)
_WORDS_END: Final = re.compile(rb'\}\s*(?P<tail>,\s*"unk_token"\s*:\s*"(?:[^"\\]|\\.)*"\s*\}\s*\})\s*\Z')
_MAX_SHARED: Final = 16 * 2**20  # bytes of vocabularies kept for the next repository; Llama 3 has 3 MB
_SHARED: Final[dict[tuple[int, bytes, bytes], tuple[memoryview, ScannedVocab]]] = {}
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
    if size > _SMALL:
        quick = _quick(source, name, size)
        if quick is not None:
            return quick
    return _whole(source, name)


def _quick(source: Source, name: str, size: int) -> TokenizerJson | None:
    """The canonical layout, or None where the file does not show it."""
    data = source.range(name, 0, _CHUNK)
    start = _VOCAB.search(data)
    if start is None:
        return None
    head = _head(data[: start.start()])
    if head is None:
        return None
    if data[start.end() : start.end() + 1] == b"[":
        data += source.range(name, len(data), size - len(data)) if len(data) < size else b""
        return _pieces(source, name, data, start.end(), head)
    while (merges := _find_merges(data, max(start.end(), len(data) - _CHUNK - 128))) is None and len(
        data
    ) < size:
        more = source.range(name, len(data), _CHUNK)
        if not more:
            return None  # the file shrank
        data += more
    if merges is not None:
        tail = data[-_TAIL:] if len(data) >= size else source.range(name, max(0, size - _TAIL), _TAIL)
        return _object(
            source,
            name,
            data,
            start.end(),
            merges.start() + 1,
            head,
            bool(_MERGES_END.search(tail)),
            "merges",
        )
    if (end := _WORDS_END.search(data, max(0, len(data) - 4096))) is not None:
        words = json.loads(b'{"model":{"":0' + end["tail"])["model"]
        head["model"]["unk_token"] = words["unk_token"]
        return _object(source, name, data, start.end(), end.start() + 1, head, True, None)
    if (end := _MODEL_END.search(data, max(0, len(data) - 4096))) is not None:
        cut = data.rindex(b"}", 0, data.rindex(b"}"))
        cut = data.rindex(b"}", 0, cut) + 1 if _closes_three(data) else cut
        return _object(source, name, data, start.end(), cut, head, True, None)
    return None


def _find_merges(data: bytes, start: int) -> re.Match[bytes] | None:
    """Where the vocabulary ends and the merges begin; a token named "merges" has a number after it.

    Looking for a fixed string is ten times faster than for the pattern, and fastest without the last quote.
    """
    at = data.find(b'"merge', start)
    while at >= 0:
        found = _MERGES.search(data, max(start, at - 64), at + 64)
        if found is not None:
            return found
        at = data.find(b'"merge', at + 6)
    return None


def _closes_three(data: bytes) -> bool:
    """True when the vocabulary, the model and the file end together."""
    return re.search(rb"\}\s*\}\s*\}\s*\Z", data[-_TAIL:]) is not None


def _head(raw: bytes) -> dict[str, Any] | None:
    """Everything before the vocabulary, if that is the model's and all other keys came before."""
    try:
        parts = json.loads(raw.decode("utf-8") + '"vocab":null}}')
    except (ValueError, RecursionError):
        return None
    if not isinstance(parts, dict) or any(key not in parts for key in _HEAD):
        return None
    model = parts["model"]
    return parts if isinstance(model, dict) and "vocab" in model and list(parts)[-1] == "model" else None


def _object(
    source: Source,
    name: str,
    data: bytes,
    start: int,
    stop: int,
    head: dict[str, Any],
    ended: bool,
    extra: str | None,
) -> TokenizerJson | None:
    if not ended:
        return None
    vocab: Vocab | None = _scanned(data, start, stop)
    if vocab is None:
        region = data[start:stop]
        vocab = object_vocab(parse(decode(region, source.name, name), source.name, name), source.name, name)
    head["model"].pop("vocab", None)
    if extra is not None:
        head["model"].setdefault(extra, None)
    text = data[: min(start, 2**20)].decode("utf-8", "replace")
    return TokenizerJson(name, head, vocab, False, text, stop)


def _scanned(data: bytes, start: int, stop: int) -> ScannedVocab | None:
    """`scan_object`, once for repositories that share a vocabulary byte for byte, as fine-tunes of a model do."""
    ends = stop - start, data[start : start + 128], data[stop - 128 : stop]
    known = _SHARED.get(ends)
    if known is not None and data.startswith(known[0], start):
        return known[1]
    vocab = scan_object(data, start, stop)
    if vocab is not None:
        if sum(kept.nbytes for kept, _ in tuple(_SHARED.values())) + stop - start > _MAX_SHARED:
            _SHARED.clear()
        _SHARED[ends] = memoryview(data)[start:stop], vocab
    return vocab


def _pieces(source: Source, name: str, data: bytes, start: int, head: dict[str, Any]) -> TokenizerJson | None:
    end = _PIECES_END.search(data, max(start, len(data) - 4096))
    if end is None:
        return None
    vocab: Vocab | None = scan_pieces(data, start, end.start() + 1)
    if vocab is None:
        region = data[start : end.start() + 1]
        vocab = pieces_vocab(parse(decode(region, source.name, name), source.name, name), source.name, name)
    head["model"].pop("vocab", None)
    head["model"].update({k: v for k, v in json.loads(b'{"model":{"":0' + end["tail"])["model"].items() if k})
    return TokenizerJson(name, head, vocab, True, data[: min(start, 2**20)].decode("utf-8", "replace"))


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
