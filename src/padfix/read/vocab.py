"""A model's vocabulary without any added token: sizes, look-ups, and the few strings that matter.

A large file is never turned into strings: `padfix.read.scan` finds its entries as positions in the file's own
bytes. What it does not read (a string twice, half of a surrogate pair) is a dictionary instead: same answers, slower.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

_FIRST: Final = "<[{(_>m"  # first characters of the names that `padfix.candidates` accepts
_LAST: Final = ">])}_<0123456789"


class Vocab(Protocol):
    """The vocabulary of a tokenizer's model."""

    size: int  # what the Rust model calls its size: entries, with duplicates for Unigram
    strings: int  # distinct strings
    ids: int  # distinct ids
    max_id: int  # -1 when empty

    def get(self, text: str) -> int | None:
        """The id of a string."""
        ...

    def holds(self, texts: Iterable[str]) -> bool:
        """True when every one of these strings is there."""
        ...

    def has_id(self, token_id: int) -> bool:
        """True when some string has this id."""
        ...

    def text_of(self, token_id: int) -> str | None:
        """A string that has this id."""
        ...

    def select(self) -> dict[str, int]:
        """The entries that candidates are made of, and the byte tokens."""
        ...

    def items(self) -> Iterable[tuple[str, int]]:
        """Every entry."""
        ...


def wanted(text: str) -> bool:
    """True for a string that `Vocab.select` keeps: a bracketed name, a byte token."""
    return len(text) > 2 and text[0] in _FIRST and text[-1] in _LAST


class DictVocab:
    """A vocabulary as a dictionary; ``size`` differs from its length where the file repeats a string."""

    def __init__(self, table: Mapping[str, int], size: int | None = None) -> None:
        self._hold(table, len(table) if size is None else size, set(table.values()))

    @classmethod
    def listed(cls, texts: Sequence[str]) -> DictVocab:
        """Strings whose ids are their places; of a string that comes twice, the last."""
        found = cls.__new__(cls)
        table = dict(zip(texts, range(len(texts)), strict=True))
        found._hold(table, len(texts), range(len(texts)) if len(table) == len(texts) else set(table.values()))
        return found

    def _hold(self, table: Mapping[str, int], size: int, ids: set[int] | range) -> None:
        self._table = table
        self._selected: dict[str, int] | None = None
        self.size = size
        self.strings = len(table)
        self.ids = len(ids)
        self.max_id = max(ids, default=-1) if isinstance(ids, set) else len(ids) - 1
        self._ids = ids

    def get(self, text: str) -> int | None:
        """The id of a string."""
        return self._table.get(text)

    def holds(self, texts: Iterable[str]) -> bool:
        """True when every one of these strings is there."""
        return all(text in self._table for text in texts)

    def has_id(self, token_id: int) -> bool:
        """True when some string has this id."""
        return token_id in self._ids

    def text_of(self, token_id: int) -> str | None:
        """A string that has this id."""
        if token_id not in self._ids:
            return None
        return next(text for text, i in self._table.items() if i == token_id)

    def select(self) -> dict[str, int]:
        """The entries that candidates are made of."""
        if self._selected is None:
            from padfix.read.scan import select  # which needs `wanted` where nothing is compiled

            self._selected = select(self._table)
        return self._selected

    def items(self) -> Iterable[tuple[str, int]]:
        """Every entry."""
        return self._table.items()
