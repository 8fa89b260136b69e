"""A whole tokenizer.json from its beginning: what was not read of the vocabulary becomes filler.

The file's head holds everything but most of the vocabulary and the merges: added tokens, normaliser,
post-processor, the model's options, and the first five to ten thousand tokens. Ids of added tokens depend
on how many tokens the model has, so the unread ones are stood in for by `FILLER` strings, one per id.
How many there are cannot be seen: the ids that the file itself writes beside its added tokens are taken,
as far as they continue one run, and nothing is said of the vocabulary's size.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any, Final

from padfix.types import Token

FILLER: Final = "%?unread "
_MOST: Final = 1_000_000  # ids; XLM-V has 0.9 million
_LOW: Final = 1000  # the tokens that are added after a vocabulary of more than 200 kB have higher ids
_GAP: Final = 1000  # ids left out between two tokens that were added: to the next multiple of 64, or of 100
_BLOCK: Final = 4096
_VOCAB: Final = re.compile(rb'"vocab"\s*:\s*([\[{])')
_ADDED: Final = re.compile(rb'"added_tokens"\s*:\s*\[')
_FLAGS: Final = ("single_word", "lstrip", "rstrip", "normalized", "special")
_DECODER: Final = json.JSONDecoder()
STRING: Final = rb'"(?:[^"\\]|\\.)*+"'
PAIRS: Final = re.compile(rb"(?:\s*" + STRING + rb"\s*:\s*\d++\s*,)*+", re.DOTALL)
_PIECES: Final = re.compile(rb"(?:\s*\[\s*" + STRING + rb"\s*,\s*-?[\d.eE+-]++\s*\]\s*,)*+", re.DOTALL)
_STYLE: Final = re.compile(STRING + rb"\s*:(\s*)\d++(\s*,\s*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Completed:
    """A file made whole. ``known``: strings with the ids that were read or are written beside them.

    ``below``: every id under it was read, whatever its string became (a vocabulary in the order of its ids).
    ``headed``: normaliser, post-processor and the model's options are the file's. ``settled``: whether text
    can produce unk follows from what was read. ``named``: the special tokens that a sentencepiece model
    itself names were read.
    """

    document: bytes
    known: Mapping[str, int]
    below: int = 0
    headed: bool = True
    settled: bool = True
    named: bool = True

    def knows(self, token: Token) -> bool:
        """True when this token's id follows from the file and not from filler."""
        if token.id is None:
            return False
        return token.id < self.below or self.known.get(token.text) == token.id


def complete(
    head: bytes, vocab_size: int | None = None, more: Mapping[str, int] | None = None
) -> Completed | None:
    """The document, or None where the head is not as expected.

    ``vocab_size``: the config's, which only says how much filler there may have to be. ``more``: added tokens
    that another file declares, as tokenizer_config.json does.
    """
    start = _VOCAB.search(head)
    if start is None:
        return _added_only(head, vocab_size, more or {})
    try:
        parts = json.loads(head[: start.start()].decode("utf-8") + '"vocab":null}}')
        added = {entry["content"]: entry["id"] for entry in parts["added_tokens"] or ()}
        model = parts["model"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    if not isinstance(model, dict) or not all(is_id(i) and isinstance(t, str) for t, i in added.items()):
        return None
    if start[1] == b"{":
        return _object(head, start.end(), model, added, vocab_size, more or {})
    return _array(head, start.end(), added, vocab_size, more or {})


def _added_only(head: bytes, bound: int | None, more: Mapping[str, int]) -> Completed | None:
    """For a head that ends before the vocabulary: in 0.3 MB of SentencePiece's character map (T5, XLM-R)
    or amid thousands of added tokens (Gemma 3). Only the added tokens are known."""
    start = _ADDED.search(head)
    if start is None:
        return None
    text, entries = head[start.end() :].decode("utf-8", "ignore"), []
    at = 0
    while (brace := text.find("{", at)) >= 0 and text[at:brace].strip(" ,\r\n\t") == "":
        try:
            entry, at = _DECODER.raw_decode(text, brace)
        except (ValueError, RecursionError):
            break  # the last one is cut off
        entries.append(entry)
    try:
        added = {entry["content"]: entry["id"] for entry in entries}
    except (KeyError, TypeError):
        return None
    if not added or not all(is_id(i) and isinstance(t, str) for t, i in added.items()):
        return None
    base, trusted = ids_of(0, {**more, **added}, bound)
    names = {i: t for t, i in added.items()}
    tokens = [names.get(i) or f"{FILLER}{i}" for i in range(base)]
    kept = head[: start.end()] + json.dumps(entries, ensure_ascii=False).encode("utf-8", "replace")[1:]
    rest = ', "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null, "model": '
    if b"precompiled_charsmap" in head:
        model: dict[str, Any] = {
            "type": "Unigram",
            "unk_id": added.get("<unk>"),
            "vocab": [[t, -99.0] for t in tokens],
        }
    else:
        model = {"type": "BPE", "unk_token": "<unk>" if "<unk>" in added else None, "byte_fallback": True}
        model |= {"vocab": {t: i for i, t in enumerate(tokens)}, "merges": []}
    document = kept + (rest + json.dumps(model, ensure_ascii=False) + "}").encode("utf-8", "replace")
    return Completed(document, trusted, headed=False, settled=False)


def complete_declared(decoder: Mapping[str, Any], bound: int | None) -> Completed | None:
    """For a tokenizer.json of which nothing was read: the added tokens that tokenizer_config.json declares."""
    entries = [
        {
            "id": int(key),
            **{name: entry.get(name) is True for name in _FLAGS},
            "content": entry.get("content"),
        }
        for key, entry in decoder.items()
        if key.isdecimal() and len(key) < 8 and isinstance(entry, Mapping)
    ]
    head = '{"version": "1.0", "truncation": null, "padding": null, "added_tokens": ['
    written = json.dumps(sorted(entries, key=lambda e: int(e["id"])))
    return _added_only(head.encode() + written.encode()[1:], bound, {})


def is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST


def _object(
    head: bytes,
    start: int,
    model: Mapping[str, Any],
    added: Mapping[str, int],
    bound: int | None,
    more: Mapping[str, int],
) -> Completed | None:
    """BPE, WordPiece and WordLevel: ``{"token": id, ...}``."""
    match = PAIRS.match(head, start)
    stop = match.end() if match else start
    try:
        seen: dict[str, int] = json.loads(b"{" + head[start:stop].rstrip(b", \r\n\t") + b"}")
    except (ValueError, RecursionError):
        return None
    if not seen or max(seen.values()) >= _MOST:  # whole numbers, by the pattern
        return None
    base, trusted = ids_of(max(seen.values()) + 1, {**more, **added}, bound)
    style = _STYLE.match(head, start + (len(head[start:stop]) - len(head[start:stop].lstrip())))
    gap, between = (style[1], style[2]) if style else (b"", b",")
    inside = {i: text for text, i in added.items() if i < base and text not in seen}
    entries = [head[start:stop].rstrip(b", \r\n\t"), *fill(set(seen.values()), inside, base, gap, between)]
    kind = model.get("type")
    if kind == "BPE" or (kind is None and "dropout" in model):
        end = b'}, "merges": []}}'
    elif kind == "WordLevel":
        end = b'}, "unk_token": "<unk>"}}'
    else:
        end = b"}}}"
    # an alphabet or byte tokens that lie further on would keep unk from being produced
    settled = b'"ByteLevel"' not in head[:start] and not model.get("byte_fallback")
    return Completed(head[:start] + between.join(entries) + end, {**trusted, **seen}, settled=settled)


def _array(
    head: bytes, start: int, added: Mapping[str, int], bound: int | None, more: Mapping[str, int]
) -> Completed | None:
    """Unigram: ``[["piece", score], ...]``; an id is a position."""
    match = _PIECES.match(head, start)
    stop = match.end() if match else start
    try:
        pieces = [piece for piece, _ in json.loads(b"[" + head[start:stop].rstrip(b", \r\n\t") + b"]")]
    except (ValueError, RecursionError, TypeError):
        return None
    if not pieces:
        return None
    base, trusted = ids_of(len(pieces), {**more, **added}, bound)
    inside = {i: text for text, i in added.items() if i < base}
    rest = ((inside.get(i) or f"{FILLER}{i}") for i in range(len(pieces), base))
    entries = [head[start:stop].rstrip(b", \r\n\t")]
    entries += [b"[" + json.dumps(text, ensure_ascii=False).encode() + b",-99.0]" for text in rest]
    fallback = b"true" if "<0x00>" in pieces else b"false"
    end = b'],"byte_fallback":' + fallback + b"}}"
    seen = {piece: i for i, piece in enumerate(pieces)}
    # byte_fallback comes after the vocabulary
    return Completed(head[:start] + b",".join(entries) + end, {**trusted, **seen}, settled=False)


def ids_of(seen: int, written: Mapping[str, int], bound: int | None) -> tuple[int, dict[str, int]]:
    """How many tokens to stand in for, and which of the written ids may be believed.

    ``bound``: rows of the model, where the config tells; tokens that begin beyond them are not believed.
    ``seen``: above every id that was read. The tokens beyond a model's own have consecutive ids from where
    it stops. After a small gap an id may be one that loading does not give (cl100k's is written as 100276
    and loaded as 100261): it is not believed. Before a large gap stand tokens of the vocabulary itself.

    >>> ids_of(5000, {"<s>": 1, "<unk>": 9000, "<|a|>": 50257, "<|b|>": 50258, "<|c|>": 50270}, None)
    (50257, {'<s>': 1, '<unk>': 9000, '<|a|>': 50257, '<|b|>': 50258})
    """
    written = {text: i for text, i in written.items() if 0 <= i < _MOST}
    floor = max(seen, _LOW)
    beyond = sorted({i for i in written.values() if i >= floor})
    start = max((k for k in range(1, len(beyond)) if beyond[k] - beyond[k - 1] > _GAP), default=0)
    stop = next((k for k in range(start + 1, len(beyond)) if beyond[k] != beyond[k - 1] + 1), len(beyond))
    if bound is not None and beyond and beyond[start] > bound:
        stop = start  # the model has fewer rows: either its tokens end earlier, or these have no rows
    doubtful = set(beyond[stop:])
    trusted = {text: i for text, i in written.items() if i not in doubtful}
    return beyond[start] if beyond else min(_MOST, max(seen, bound or 0)), trusted


def fill(seen: Set[int], inside: Mapping[int, str], base: int, gap: bytes, between: bytes) -> list[bytes]:
    """JSON entries for the ids below ``base`` that were not seen: a written token's string, else filler.

    ``inside``: those strings, by ids below ``base``.
    """
    entries: list[bytes] = []
    at = 0
    for i in sorted(seen | inside.keys()):
        if i >= base:
            break
        if i > at:  # most are one run from 0
            entries += _filler(at, i, gap, between)
        if i in inside:
            entries.append(json.dumps(inside[i], ensure_ascii=False).encode() + b":" + gap + str(i).encode())
        at = i + 1
    return entries + _filler(at, base, gap, between)


@functools.lru_cache(maxsize=512)
def _block(number: int, gap: bytes, between: bytes) -> bytes:
    return _entries(number * _BLOCK, (number + 1) * _BLOCK, gap, between)


def _entries(start: int, stop: int, gap: bytes, between: bytes) -> bytes:
    space = gap.decode()  # text is put together in a third of the time that bytes take
    return between.decode().join([f'"{FILLER}{i}":{space}{i}' for i in range(start, stop)]).encode()


def _filler(start: int, stop: int, gap: bytes, between: bytes) -> list[bytes]:
    """Entries for the ids from ``start`` up to ``stop``; whole blocks of them are made once."""
    found = []
    while start < stop:
        end = min(stop, (start // _BLOCK + 1) * _BLOCK)
        whole = start % _BLOCK == 0 and end - start == _BLOCK
        found.append(_block(start // _BLOCK, gap, between) if whole else _entries(start, end, gap, between))
        start = end
    return found
