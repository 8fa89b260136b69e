"""Sentencepiece models, read with a minimal protobuf reader: pieces, trainer and normaliser settings.

The format is ``sentencepiece_model.proto``: field 1 of the model repeats the pieces (string, score, type),
field 2 is the trainer's settings, field 3 the normaliser's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from padfix.errors import SourceError
from padfix.read.scan import sentencepieces
from padfix.read.vocab import DictVocab, Vocab

MAX_MODEL: Final = 64 * 2**20  # bytes; the largest known (mT5, XLM-R) have 5 MB
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
_DECLARED: Final = re.compile(bytes([0x5B, CONTROL, USER_DEFINED, 0x5D]))


@dataclass(frozen=True)
class SentencePieceModel:
    """The pieces and their types, in the order of their ids, and the settings that tokenizers are made from."""

    vocab: Vocab
    kinds: bytes
    listed: tuple[str, ...] = ()  # the strings, where a dictionary of them is not all
    model_type: int = 1  # 1 Unigram, 2 BPE, 3 word, 4 character
    byte_fallback: bool = False
    unk_id: int = 0
    bos_id: int = 1
    eos_id: int = 2
    unk_piece: str = "<unk>"
    bos_piece: str = "<s>"
    eos_piece: str = "</s>"
    charsmap: bool = False

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The pieces' strings, made only for a class that arranges them."""
        return self.listed or tuple(text for text, _ in self.vocab.items())

    @property
    def declared(self) -> list[tuple[int, str]]:
        """The control pieces and those that the user defined: id, string."""
        places = [match.start() for match in _DECLARED.finditer(self.kinds)]
        return [(i, self.listed[i] if self.listed else self.vocab.text_of(i) or "") for i in places]

    @property
    def kind(self) -> str:
        """The model's type in the words of the ``tokenizers`` library."""
        return "Unigram" if self.model_type == 1 else "BPE"


def parse_model(data: bytes, source: str, name: str) -> SentencePieceModel:
    """The model in these bytes; `SourceError` where they are something else."""
    plain, kinds = sentencepieces(data)
    settings: dict[int, bytes | int] = {}
    charsmap = False
    more: list[tuple[str, int]] = []
    try:
        for field, value in fields(data[0 if plain is None else plain.end :]):
            if field == 1 and isinstance(value, bytes):
                more.append(_piece(value))
            elif field == 2 and isinstance(value, bytes):
                settings = dict(fields(value))
            elif field == 3 and isinstance(value, bytes):
                charsmap = any(inner == 2 and bool(part) for inner, part in fields(value))
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise SourceError(f"{source}: {name} is not a sentencepiece model: {error}") from error
    vocab: Vocab | None = plain
    listed: tuple[str, ...] = ()
    if more or vocab is None:
        listed = (*(text for text, _ in (vocab.items() if vocab else ())), *(text for text, _ in more))
        vocab, kinds = DictVocab.listed(listed), kinds + bytes(kind for _, kind in more)
    if not kinds:
        raise SourceError(f"{source}: {name} is not a sentencepiece model: it has no pieces")

    def number(field: int, default: int) -> int:
        value = settings.get(field, default)
        return default if isinstance(value, bytes) else value - 2**64 if value >= 2**63 else value

    def text(field: int, default: str) -> str:
        value = settings.get(field)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else default

    return SentencePieceModel(
        vocab=vocab,
        kinds=kinds,
        listed=listed,
        model_type=number(3, 1),
        byte_fallback=bool(number(35, 0)),
        unk_id=number(40, 0),
        bos_id=number(41, 1),
        eos_id=number(42, 2),
        unk_piece=text(45, "<unk>"),
        bos_piece=text(46, "<s>"),
        eos_piece=text(47, "</s>"),
        charsmap=charsmap,
    )


def _piece(data: bytes) -> tuple[str, int]:
    text, kind = "", NORMAL
    for field, value in fields(data):
        if field == 1 and isinstance(value, bytes):
            text = value.decode("utf-8")
        elif field == 3 and isinstance(value, int):
            kind = min(value, 255)
    return text, kind


def fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """The fields of one protobuf message: numbers as they are, everything else as bytes."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        wire = key & 7
        value: bytes | int
        if wire == 0:
            value, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            value, at = data[at : at + size], at + size
        elif wire == 2:
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if at > end:
            raise ValueError(f"a field of {at - end} bytes more than there are")
        yield key >> 3, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    if byte < 128:
        return byte, at + 1
    value, shift = byte & 127, 7
    while True:
        at += 1
        byte = data[at]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at + 1
        shift += 7
        if shift > 63:
            raise ValueError(f"a number of more than 64 bits at byte {at}")
