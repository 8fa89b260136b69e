"""vocab.json, vocab.txt and sentencepiece models made whole from their ends.

These files hold strings in the order of their ids, or sorted by string: what a tokenizer pads with stands
at the beginning (fairseq's ``<pad>``, sentencepiece's control pieces), at the end (GPT-2's
``<|endoftext|>``) or, sorted, among the first tenth. What lies between becomes filler, as in `complete`,
and nothing is said of it. A file is believed as it stands: a string that comes twice, with another id in
the part that was not read, cannot be seen.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import re
import struct
from collections.abc import Mapping
from typing import Final

from padfix.hub.complete import FILLER, PAIRS, STRING, Completed, fill, ids_of, is_id
from padfix.read.sentencepiece_model import fields

_ENTRY_END: Final = re.compile(rb'\d\s*,\s*(?=")')
_TO_THE_END: Final = re.compile(PAIRS.pattern + rb"\s*" + STRING + rb"\s*:\s*\d++\s*\}\s*", re.DOTALL)
_STARTS: Final = 64  # places where a tail may begin to be sound; a comma inside a string is no such place
_SETTINGS: Final = (2, 3, 4, 5)  # what follows the pieces: trainer, normaliser, self-test, denormaliser


def complete_object(
    head: bytes, tail: bytes, written: Mapping[str, int], bound: int | None, *, placed: bool
) -> Completed | None:
    """``vocab.json`` from a beginning, an end, or both; None where they are not that of string -> id.

    ``written``: ids beside added tokens in other files. ``placed``: the class puts them there as written, as
    tokenizers without a Rust backend do.
    """
    last = _end(tail)
    seen = {**_beginning(head), **last}
    if not seen or not is_id(max(seen.values())):  # whole numbers, by the pattern
        return None
    top = max(seen.values()) + 1
    ids = list(last.values())
    if ids and ids == list(range(top - len(ids), top)):  # in the order of ids: what follows has the next one
        after = min((i for i in written.values() if i >= top), default=top)
        bound, written = top, written if after == top or placed else {}
    base, trusted = ids_of(top, written, bound)
    known = json.dumps(seen)[1:-1].encode()
    document = b"{" + b", ".join([known, *fill(set(seen.values()), {}, base, b" ", b", ")]) + b"}"
    beyond = dict(written) if placed else {text: i for text, i in trusted.items() if i >= base}
    return Completed(document, {**seen, **beyond}, settled=False)


def _beginning(head: bytes) -> dict[str, int]:
    start = head.find(b"{") + 1
    match = PAIRS.match(head, start) if start and not head[: start - 1].strip() else None
    return _parsed(match[0]) if match else {}


def _end(tail: bytes) -> dict[str, int]:
    """The entries after the first place from which everything up to the closing brace is sound.

    The brace fixes which quotes open and which close, so a token that looks like an entry misleads nobody.
    """
    for _, place in zip(range(_STARTS), _ENTRY_END.finditer(tail), strict=False):
        if _TO_THE_END.fullmatch(tail, place.end()):
            return _parsed(tail[place.end() :].rstrip().removesuffix(b"}"))
    return {}


def _parsed(entries: bytes) -> dict[str, int]:
    try:
        found: dict[str, int] = json.loads(b"{" + entries.rstrip(b", \r\n\t") + b"}")
    except (ValueError, RecursionError):
        return {}
    return found


def complete_lines(head: bytes, written: Mapping[str, int], bound: int | None) -> Completed | None:
    """``vocab.txt``, one string a line, from its beginning; the last line may be cut off and is dropped."""
    whole = head[: head.rfind(b"\n") + 1]
    n = whole.count(b"\n")
    if not n:
        return None
    base, trusted = ids_of(n, written, bound)
    rest = "".join(f"{FILLER}{i}\n" for i in range(n, base)).encode()
    beyond = {text: i for text, i in trusted.items() if i >= base}
    return Completed(whole + rest, beyond, below=n, settled=True)


def complete_pieces(
    head: bytes, tail: bytes, written: Mapping[str, int], bound: int | None
) -> Completed | None:
    """A sentencepiece model from its first pieces and, where it was read, the settings at its end.

    Classes put tokens of their own before or after the pieces, so which id a string has is left to them:
    what lies below the number of pieces that were read depends on nothing else.
    """
    cut, n = _whole_pieces(head)
    if not n:
        return None
    settings = _settings(tail)
    base, trusted = ids_of(n, written, bound)
    rest = b"".join(_fillers(at, min(base, at + _BLOCK)) for at in range(n, base, _BLOCK))
    beyond = {text: i for text, i in trusted.items() if i >= base}
    return Completed(
        head[:cut] + rest + (settings or _NO_NAMES), beyond, below=n, settled=False, named=bool(settings)
    )


def declared_pieces(written: Mapping[str, int], bound: int | None) -> Completed | None:
    """For a sentencepiece model of which nothing was read: its first pieces, as other files write their ids."""
    names = {i: text.encode("utf-8", "replace") for text, i in written.items()}
    first = itertools.takewhile(lambda i: 0 < len(names.get(i, b"")) <= _SHORT, itertools.count())
    made = complete_pieces(b"".join(_piece(names[i]) for i in first), b"", written, bound)
    if made is None:
        return None
    _, trusted = ids_of(0, written, bound)
    # which piece has which id was not seen: only an id that comes out as written is believed
    return dataclasses.replace(made, known=trusted, below=0, headed=False)


_BLOCK: Final = 4096
_SHORT: Final = 100  # bytes of a piece whose length is one byte
_NONE: Final = b"\xff" * 9 + b"\x01"  # -1 as a varint
# trainer settings that name no unk, bos, eos or pad
_NO_NAMES: Final = b"\x12\x30" + b"".join(bytes((key, 2)) + _NONE for key in (0xC0, 0xC8, 0xD0, 0xD8))


def _piece(text: bytes) -> bytes:
    inner = b"\x0a" + bytes([len(text)]) + text + b"\x15" + struct.pack("<f", -99.0)
    return b"\x0a" + bytes([len(inner)]) + inner


@functools.lru_cache(maxsize=64)
def _fillers(start: int, stop: int) -> bytes:
    return b"".join(_piece(f"{FILLER}{i}".encode()) for i in range(start, stop))


def _whole_pieces(head: bytes) -> tuple[int, int]:
    """Where the last complete piece at the beginning ends, and how many there are."""
    at = n = 0
    while at + 2 <= len(head) and head[at] == 10:
        size, place, shift = 0, at + 1, 0
        while place < len(head) and shift < 28:
            size |= (head[place] & 127) << shift
            place, shift = place + 1, shift + 7
            if head[place - 1] < 128:
                break
        else:
            break
        if place + size > len(head):
            break
        at, n = place + size, n + 1
    return at, n


def _settings(tail: bytes) -> bytes:
    """Everything after the last piece: from the first place where the rest is sound and begins with a trainer's."""
    at = tail.find(b"\x12")
    while at >= 0:
        if _is_settings(tail[at:]):
            return tail[at:]
        at = tail.find(b"\x12", at + 1)
    return b""


def _is_settings(data: bytes) -> bool:
    try:
        parts = list(itertools.islice(fields(data), len(_SETTINGS) + 1))
        trainer = parts[0][1]
        if len(parts) > len(_SETTINGS) or not all(k in _SETTINGS and isinstance(v, bytes) for k, v in parts):
            return False
        # the kind of model and the number of pieces are always written
        return isinstance(trainer, bytes) and not {3, 4}.isdisjoint(dict(fields(trainer)))
    except (ValueError, IndexError):
        return False
