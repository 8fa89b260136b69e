"""A whole tokenizer.json from its first 128 kB: what was not read of the vocabulary becomes filler.

The file's head holds everything but most of the vocabulary and the merges: added tokens, normaliser,
post-processor, the model's options, and the first five to ten thousand tokens. Ids of added tokens depend
on how many tokens the model has, so the unread ones are stood in for by `FILLER` strings, one per id.
How many there are follows from the added tokens that end the vocabulary: they begin where the model's
own tokens stop. Where none do, the count is not known (``sized`` is false) and nothing may be said of it.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

FILLER: Final = "%?unread "
_MOST: Final = 1_000_000  # ids; XLM-V has 0.9 million
_BLOCK: Final = 4096
_VOCAB: Final = re.compile(rb'"vocab"\s*:\s*([\[{])')
_ADDED: Final = re.compile(rb'"added_tokens"\s*:\s*\[')
_DECODER: Final = json.JSONDecoder()
_STRING: Final = rb'"(?:[^"\\]|\\.)*+"'
_PAIRS: Final = re.compile(rb"(?:\s*" + _STRING + rb"\s*:\s*\d++\s*,)*+", re.DOTALL)
_PIECES: Final = re.compile(rb"(?:\s*\[\s*" + _STRING + rb"\s*,\s*-?[\d.eE+-]++\s*\]\s*,)*+", re.DOTALL)
_STYLE: Final = re.compile(_STRING + rb"\s*:(\s*)\d++(\s*,\s*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Completed:
    """``document``: JSON as a tokenizer.json has it. ``known``: the strings that were really read.

    ``sized``: the number of tokens follows from what was read. ``headed``: everything before the
    vocabulary was read, so that normaliser, post-processor and the model's options are the file's.
    """

    document: bytes
    known: frozenset[str]
    sized: bool
    headed: bool = True


def complete(
    head: bytes, vocab_size: int | None = None, more: Mapping[str, int] | None = None
) -> Completed | None:
    """The document, or None where the head is not as expected.

    ``vocab_size``: the config's, an upper bound where the added tokens do not tell. ``more``: added tokens
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
    if not isinstance(model, dict) or not all(_is_id(i) and isinstance(t, str) for t, i in added.items()):
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
    whole = text[at:].lstrip(" \r\n\t").startswith("]")
    try:
        added = {entry["content"]: entry["id"] for entry in entries}
    except (KeyError, TypeError):
        return None
    if not added or not all(_is_id(i) and isinstance(t, str) for t, i in added.items()):
        return None
    base, sized = _base(0, {**more, **added}, bound)
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
    return Completed(document, frozenset(added) | frozenset(more), sized and whole, headed=False)


def _is_id(value: object) -> bool:
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
    match = _PAIRS.match(head, start)
    stop = match.end() if match else start
    try:
        seen: dict[str, int] = json.loads(b"{" + head[start:stop].rstrip(b", \r\n\t") + b"}")
    except (ValueError, RecursionError):
        return None
    if not seen or not all(_is_id(i) for i in seen.values()):
        return None
    base, sized = _base(max(seen.values()) + 1, {**more, **added}, bound)
    style = _STYLE.match(head, start + (len(head[start:stop]) - len(head[start:stop].lstrip())))
    gap, between = (style[1], style[2]) if style else (b"", b",")
    inside = {i: text for text, i in added.items() if i < base and text not in seen}
    taken = sorted({*seen.values(), *inside})
    entries = [head[start:stop].rstrip(b", \r\n\t")]
    at = 0
    for i in [*taken, base]:
        entries += _filler(at, min(i, base), gap, between)
        if i in inside:
            entries.append(json.dumps(inside[i], ensure_ascii=False).encode() + b":" + gap + str(i).encode())
        at = i + 1
    kind = model.get("type")
    if kind == "BPE" or (kind is None and "dropout" in model):
        end = b'}, "merges": []}}'
    elif kind == "WordLevel":
        end = b'}, "unk_token": "<unk>"}}'
    else:
        end = b"}}}"
    known = frozenset(seen) | frozenset(added) | frozenset(more)
    return Completed(head[:start] + between.join(entries) + end, known, sized)


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
    base, sized = _base(len(pieces), {**more, **added}, bound)
    inside = {i: text for text, i in added.items() if i < base}
    rest = ((inside.get(i) or f"{FILLER}{i}") for i in range(len(pieces), base))
    entries = [head[start:stop].rstrip(b", \r\n\t")]
    entries += [b"[" + json.dumps(text, ensure_ascii=False).encode() + b",-99.0]" for text in rest]
    fallback = b"true" if "<0x00>" in pieces else b"false"
    end = b'],"byte_fallback":' + fallback + b"}}"
    return Completed(
        head[:start] + b",".join(entries) + end, frozenset(pieces) | frozenset(added) | frozenset(more), sized
    )


def _base(seen: int, added: Mapping[str, int], bound: int | None) -> tuple[int, bool]:
    """How many tokens the model has, and whether that follows from the added ones.

    The run of consecutive ids that ends at the highest added id begins where the model stops, if it
    begins above every id that was read.
    """
    ids = set(added.values())
    first = top = max(ids, default=-1)
    while first - 1 in ids:
        first -= 1
    if first > seen:
        return first, True
    return min(_MOST, max(seen, top + 1, bound or 0)), False


@functools.lru_cache(maxsize=512)
def _block(number: int, gap: bytes, between: bytes) -> bytes:
    return _entries(number * _BLOCK, (number + 1) * _BLOCK, gap, between)


def _entries(start: int, stop: int, gap: bytes, between: bytes) -> bytes:
    return between.join(b'"%s%d":%s%d' % (FILLER.encode(), i, gap, i) for i in range(start, stop))


def _filler(start: int, stop: int, gap: bytes, between: bytes) -> list[bytes]:
    """Entries for the ids from ``start`` up to ``stop``; whole blocks of them are made once."""
    found = []
    while start < stop:
        end = min(stop, (start // _BLOCK + 1) * _BLOCK)
        whole = start % _BLOCK == 0 and end - start == _BLOCK
        found.append(_block(start // _BLOCK, gap, between) if whole else _entries(start, end, gap, between))
        start = end
    return found
