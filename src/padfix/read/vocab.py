"""A model's vocabulary without any added token: sizes, look-ups, and the few strings that matter.

A large file is never turned into strings: `padfix.read.scan` finds its entries as positions in the file's own
bytes. What such a scan cannot prove (mixed escapes, an id twice) is a dictionary instead: same answers, slower.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

_FIRST: Final = "<[{(_>m"  # first characters of the names that `padfix.candidates` accepts
_MANY: Final = 10_000  # entries from which arrays pay
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

    def has_id(self, token_id: int) -> bool:
        """True when some string has this id."""
        ...

    def text_of(self, token_id: int) -> str | None:
        """A string that has this id."""
        ...

    def select(self) -> dict[str, int]:
        """The entries that candidates are made of, and the single characters and byte tokens."""
        ...

    def parts(self, head: str, tail: str) -> set[str]:
        """The entries that ``head`` begins with or ``tail`` ends with."""
        ...


def wanted(text: str) -> bool:
    """True for a string that `Vocab.select` keeps: a bracketed name, a byte token, GPT-2's sign for a byte."""
    if not text:
        return False
    return " " <= text < "\u0200" if len(text) == 1 else text[:1] in _FIRST and text[-1:] in _LAST


def _parts(head: str, tail: str) -> set[str]:
    """Every beginning of one string and every end of another."""
    return {head[:i] for i in range(1, len(head) + 1)} | {tail[i:] for i in range(len(tail))}


def _choose(array: Any, starts: Any, ends: Any, escaped: bool) -> Any:
    """Which of these strings in an array of bytes `wanted` could keep; ``escaped``: written as ASCII JSON."""
    import numpy as np

    lead, lengths = array[starts], ends - starts
    likely = lengths <= 2
    if escaped:
        likely |= (lengths == 6) & (lead == 92)  # "\u0120"
    for byte in _FIRST.encode():  # seven comparisons of bytes cost less than one look-up in a table
        likely |= lead == byte
    places = likely.nonzero()[0]
    lead, lengths = lead[places], lengths[places]
    first, last = np.zeros(256, bool), np.zeros(256, bool)
    first[list(_FIRST.encode())] = True
    last[list(_LAST.encode())] = True
    short = (lengths == 1) | ((lengths == 2) & ((lead == 92) | (lead >= 128)))
    if escaped:
        short |= (lengths == 6) & (lead == 92)
    return places[short | (lengths >= 2) & first[lead] & last[array[ends[places] - 1]]]


class DictVocab:
    """A vocabulary as a dictionary; ``size`` differs from its length where the file repeats a string."""

    def __init__(self, table: Mapping[str, int], size: int | None = None) -> None:
        self._table = table
        self._selected: dict[str, int] | None = None
        values = set(table.values())
        self.size = len(table) if size is None else size
        self.strings = len(table)
        self.ids = len(values)
        self.max_id = max(values, default=-1)
        self._ids = values

    def get(self, text: str) -> int | None:
        """The id of a string."""
        return self._table.get(text)

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
            entries = self._likely() if len(self._table) > _MANY else self._table.items()
            self._selected = {t: i for t, i in entries if wanted(t)}
        return self._selected

    def _likely(self) -> Iterable[tuple[str, int]]:
        """The entries that `wanted` could keep, found in the bytes of all: a third of the time."""
        import numpy as np

        raw = "\0".join(self._table).encode("utf-8", "surrogatepass")
        array = np.frombuffer(raw + b"\0", np.uint8)
        ends = (array == 0).nonzero()[0]
        if len(ends) != len(self._table):  # a string that holds a zero
            return self._table.items()
        starts = np.concatenate([[0], ends[:-1] + 1])
        entries = list(self._table.items())
        return [entries[k] for k in _choose(array, starts, ends, False).tolist()]

    def parts(self, head: str, tail: str) -> set[str]:
        """The entries that ``head`` begins with or ``tail`` ends with."""
        return {part for part in _parts(head, tail) if part in self._table}

    def items(self) -> Iterable[tuple[str, int]]:
        """Every entry."""
        return self._table.items()


class ScannedVocab:
    """A vocabulary as positions in the bytes of a JSON object or array."""

    def __init__(self, data: bytes, starts: Any, ends: Any, numbers: Any, escaped: bool) -> None:
        self._data = data
        self._starts, self._ends, self._numbers = starts, ends, numbers  # of the text between the quotes
        self._escaped = escaped
        self._selected: dict[str, int] | None = None
        self._by_length: dict[int, tuple[Any, Any]] = {}
        self._looked_up: dict[str, int | None] = {}
        self.size = self.strings = len(starts)
        ascending = len(numbers) < 2 or bool((numbers[1:] > numbers[:-1]).all())
        self._order = None if ascending else numbers.argsort(kind="stable")
        self._sorted = numbers if self._order is None else numbers[self._order]
        self.ids = len(numbers) if ascending else int((self._sorted[1:] != self._sorted[:-1]).sum()) + 1
        self.max_id = int(self._sorted[-1]) if len(numbers) else -1

    def _text(self, k: int) -> str:
        raw = self._data[self._starts[k] : self._ends[k]]
        try:
            text: str = json.loads(b'"' + raw + b'"') if b"\\" in raw else raw.decode("utf-8")
        except ValueError:  # damaged, and not among those that were selected and so checked
            return raw.decode("utf-8", "replace")
        return text

    def get(self, text: str) -> int | None:
        """The id of a string."""
        if wanted(text):  # most look-ups are of special tokens, and all of those are selected
            return self.select().get(text)
        if text not in self._looked_up:
            self._looked_up[text] = self._find(text)
        return self._looked_up[text]

    def _find(self, text: str) -> int | None:
        """Of the entries that are as long, those that begin with the same bytes, compared in full."""
        raw = self._raw(text)
        places, heads = self._of_length(len(raw))
        for k in places[heads == int.from_bytes(raw[:8], "little")].tolist():
            if self._data[self._starts[k] : self._ends[k]] == raw:
                return int(self._numbers[k])
        return None

    def parts(self, head: str, tail: str) -> set[str]:
        """The entries that ``head`` begins with or ``tail`` ends with."""
        import numpy as np

        wanted = {self._raw(part): part for part in _parts(head, tail)}
        array = np.frombuffer(self._data, np.uint8)
        near = (array[self._starts] == self._raw(head)[0]) | (array[self._ends - 1] == self._raw(tail)[-1])
        near &= self._ends - self._starts <= max(map(len, wanted))
        places = near.nonzero()[0]
        spans = map(slice, self._starts[places].tolist(), self._ends[places].tolist())
        return {wanted[raw] for raw in map(self._data.__getitem__, spans) if raw in wanted}

    def _raw(self, text: str) -> bytes:
        """A string as the file writes it."""
        return json.dumps(text, ensure_ascii=self._escaped)[1:-1].encode("utf-8", "surrogatepass")

    def _of_length(self, length: int) -> tuple[Any, Any]:
        """The entries of so many bytes, and the first eight bytes of each as an integer."""
        known = self._by_length.get(length)
        if known is None:
            import numpy as np

            array = np.frombuffer(self._data, np.uint8)
            windows = np.ndarray((len(array) - 7,), "<u8", array, strides=(1,))
            places = (self._ends - self._starts == length).nonzero()[0]
            kept = np.uint64((1 << 8 * min(length, 8)) - 1)
            known = self._by_length[length] = places, windows[self._starts[places]] & kept
        return known

    def has_id(self, token_id: int) -> bool:
        """True when some string has this id."""
        return self._rank(token_id) is not None

    def text_of(self, token_id: int) -> str | None:
        """The string that has this id."""
        k = self._rank(token_id)
        return None if k is None else self._text(k)

    def _rank(self, token_id: int) -> int | None:
        if not 0 <= token_id <= self.max_id:
            return None
        k = int(self._sorted.searchsorted(token_id))
        if int(self._sorted[k]) != token_id:
            return None
        return k if self._order is None else int(self._order[k])

    def select(self) -> dict[str, int]:
        """The entries that candidates are made of."""
        if self._selected is None:
            self._selected = self._select()
        return self._selected

    def _select(self) -> dict[str, int]:
        import numpy as np

        data = self._data
        chosen = _choose(np.frombuffer(data, np.uint8), self._starts, self._ends, self._escaped)
        starts, ends = self._starts[chosen].tolist(), self._ends[chosen].tolist()
        # one JSON list of all: ten times faster than a call for each
        listed = b'["' + b'","'.join(map(data.__getitem__, map(slice, starts, ends))) + b'"]'
        texts = json.loads(listed.decode("utf-8")) if starts else []
        ids = self._numbers[chosen].tolist()
        if b"\\" not in listed:  # nothing but single characters is left to be looked at
            return {t: i for t, i in zip(texts, ids, strict=True) if len(t) > 1 or " " <= t < "\u0200"}
        return {t: i for t, i in zip(texts, ids, strict=True) if wanted(t)}
