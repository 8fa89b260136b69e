"""What `padfix.read.scan` does where nothing is compiled: the same files read with ``json``, into dictionaries."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from padfix.read.vocab import DictVocab, wanted


class ScannedVocab(DictVocab):
    """A dictionary, and where the file goes on behind it."""

    end: int


def scan_object(more: Callable[[int], bytes], start: int, first: bytes = b"", /) -> ScannedVocab | None:
    """The vocabulary of a JSON object of string -> id that begins at ``start``, or None for any other text.

    ``more``: gives bytes of the file from a position on, none at its end. ``first``: its first bytes, where they are at hand.
    """
    table, end = _value(more, start, first)
    if not isinstance(table, dict):
        return None
    if any(type(token_id) is not int or not 0 <= token_id < 2**32 for token_id in table.values()):
        return None
    return _found(table, end)


def scan_pairs(more: Callable[[int], bytes], start: int, first: bytes = b"", /) -> ScannedVocab | None:
    """The vocabulary of a JSON array of ``[piece, score]`` that begins at ``start``, or None for any other text."""
    pairs, end = _value(more, start, first)
    if not isinstance(pairs, list) or not pairs:
        return None
    table: dict[str, int] = {}
    for i, pair in enumerate(pairs):
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)):
            return None
        if type(pair[1]) not in (int, float) or pair[0] in table:
            return None
        table[pair[0]] = i
    return _found(table, end)


def sentencepieces(data: bytes, /) -> tuple[ScannedVocab | None, bytes]:
    """The pieces that a model begins with, and their kinds: never found, so that all fields are read in turn."""
    return None, b""


def select(table: Mapping[str, int], /) -> dict[str, int]:
    """The entries of a dictionary that candidates are made of."""
    return {text: token_id for text, token_id in table.items() if wanted(text)}


def _value(more: Callable[[int], bytes], start: int, first: bytes) -> tuple[Any, int]:
    """The JSON value at ``start`` and its end; None where there is none."""
    parts, at = [first[start:]], max(start, len(first))
    while part := more(at):
        parts.append(part)
        at += len(part)
    text = b"".join(parts).decode("utf-8", "surrogateescape")  # what follows the value need not be text
    blanks = len(text) - len(text.lstrip(" \t\r\n"))
    try:
        value, stop = _DECODER.raw_decode(text, blanks)
        return value, start + len(text[:stop].encode("utf-8"))
    except (ValueError, RecursionError):
        return None, 0


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _found(table: dict[str, int], end: int) -> ScannedVocab:
    vocab = ScannedVocab(table)
    vocab.end = end
    return vocab


_DECODER = json.JSONDecoder(parse_constant=_refuse)
