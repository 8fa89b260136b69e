"""A model's vocabulary without any added token: sizes, look-ups, and the few strings that matter.

A vocabulary of 128,000 tokens costs 64 ms as a Python dictionary and 5 ms as an array of quote positions in
the file's own bytes, so a large file is never turned into strings. What such a scan cannot prove (mixed
escapes, an id twice) is read as a dictionary instead: same answers, slower.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

SCAN_FROM: Final = 150_000  # bytes of vocabulary from which an array pays for importing numpy
_FIRST: Final = "<[{(_>m"  # first characters of the names that `padfix.candidates` accepts
_LAST: Final = ">])}_<0123456789"


class Vocab(Protocol):
    """The vocabulary of a tokenizer's model."""

    size: int  # what the Rust model calls its size: entries, with duplicates for Unigram
    strings: int  # distinct strings
    ids: int  # distinct ids
    max_id: int  # -1 when empty
    complete: bool  # False: only the beginning was read, and what is missing is not known

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


def wanted(text: str) -> bool:
    """True for a string that `Vocab.select` keeps: a bracketed name, a byte token, GPT-2's sign for a byte."""
    if not text:
        return False
    return " " <= text < "\u0200" if len(text) == 1 else text[:1] in _FIRST and text[-1:] in _LAST


class DictVocab:
    """A vocabulary as a dictionary; ``size`` differs from its length where the file repeats a string."""

    complete = True

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
            first = _FIRST
            self._selected = {
                t: i for t, i in self._table.items() if (t[:1] in first or len(t) == 1) and wanted(t)
            }
        return self._selected

    def items(self) -> Iterable[tuple[str, int]]:
        """Every entry."""
        return self._table.items()


class PartialVocab(DictVocab):
    """The beginning of a vocabulary and the ids that the files write beside their added tokens."""

    complete = False

    def learn(self, ids: Mapping[str, int]) -> PartialVocab:
        """With more ids that are known from elsewhere; what was read wins."""
        return PartialVocab({**ids, **self._table})


class ScannedVocab:
    """A vocabulary as positions in the bytes of a JSON object or array."""

    complete = True

    def __init__(self, data: bytes, starts: Any, ends: Any, numbers: Any, escaped: bool) -> None:
        self._data = data
        self._starts, self._ends, self._numbers = starts, ends, numbers  # of the text between the quotes
        self._escaped = escaped
        self._lengths = ends - starts
        self._selected: dict[str, int] | None = None
        self._by_length: dict[int, tuple[Any, bytes]] = {}
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
        """The id of a string: entries of its length whose bytes are its bytes."""
        if wanted(text):  # most look-ups are of special tokens, and all of those are selected
            return self.select().get(text)
        raw = json.dumps(text, ensure_ascii=self._escaped)[1:-1].encode("utf-8", "surrogatepass")
        places, joined = self._of_length(len(raw))
        if not raw:
            return int(self._numbers[places[0]]) if len(places) else None
        at = joined.find(raw)
        while at >= 0 and at % len(raw):
            at = joined.find(raw, at + 1)
        return None if at < 0 else int(self._numbers[places[at // len(raw)]])

    def _of_length(self, length: int) -> tuple[Any, bytes]:
        """The entries of so many bytes, and their bytes one after the other."""
        known = self._by_length.get(length)
        if known is None:
            import numpy as np

            places = (self._lengths == length).nonzero()[0]
            array = np.frombuffer(self._data, np.uint8)
            joined = array[self._starts[places][:, None] + np.arange(length)].tobytes()
            known = self._by_length[length] = places, joined
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
        array = np.frombuffer(data, np.uint8)
        first, last = np.zeros(256, bool), np.zeros(256, bool)
        first[list(_FIRST.encode())] = True
        last[list(_LAST.encode())] = True
        lead = array[self._starts]
        short = (self._lengths == 1) | ((self._lengths == 2) & ((lead == 92) | (lead >= 128)))
        if self._escaped:
            short |= (self._lengths == 6) & (lead == 92)  # "\u0120"
        named = (self._lengths >= 2) & first[lead]
        chosen = (short | (named & last[array[self._ends - 1]])).nonzero()[0]
        starts, ends = self._starts[chosen].tolist(), self._ends[chosen].tolist()
        # one JSON list of all: ten times faster than a call for each
        listed = b'["' + b'","'.join(map(data.__getitem__, map(slice, starts, ends))) + b'"]'
        texts = json.loads(listed.decode("utf-8")) if starts else []
        return {t: i for t, i in zip(texts, self._numbers[chosen].tolist(), strict=True) if wanted(t)}


def scan_object(data: bytes) -> ScannedVocab | None:
    """A vocabulary from the bytes of a flat JSON object of distinct ids, or None where it is something else.

    Proven here: every string of the text is followed by a colon and a whole number, no number comes twice,
    and only one kind of gap stands between them. Not proven: that no string is written twice with two ids.
    """
    if len(data) < SCAN_FROM:
        return None
    found = _quotes(data)
    if found is None:
        return None
    import numpy as np

    array, quotes, escaped = found
    if len(quotes) % 2 or not len(quotes):
        return None
    starts, ends = quotes[0::2] + 1, quotes[1::2]
    padded = np.concatenate([array, np.zeros(16, np.uint8)])
    if not (padded[ends + 1] == 58).all():
        return None
    at = ends + 2 + (1 if padded[int(ends[0]) + 2] == 32 else 0)
    counted = _counted(padded, at, starts)
    numbers, width = _numbers(padded, at) if counted is None else counted
    if not width.all():
        return None
    stop = at + width
    between = quotes[2::2] - stop[:-1]
    if len(between) and (not (between == between[0]).all() or not _blank(data, int(stop[0]), int(quotes[2]))):
        return None
    if len(between) and not (padded[stop[:-1]] == 44).all():
        return None
    if data[int(stop[-1]) :].strip(b" \t\r\n") != b"}" or data[: int(quotes[0])].strip(b" \t\r\n") != b"{":
        return None
    return _checked(ScannedVocab(data, starts, ends, numbers, escaped))


def _counted(array: Any, at: Any, starts: Any) -> tuple[Any, Any] | None:
    """The ids 0, 1, 2 ... as the digits at these places, if that is what stands there.

    Where ids count up, the number of digits is known, so only the digits themselves are compared: a third
    of the time of reading numbers.
    """
    import numpy as np

    n = len(at)
    gap = int(starts[1] - at[0]) - 1 if n > 1 else 0
    width = np.ones(n, np.int64)
    for power in range(1, 8):
        width[10**power :] += 1
    if n > 1 and not (starts[1:] - at[:-1] == width[:-1] + gap).all():
        return None
    last = at + width - 1
    for power in range(8):
        first = 10**power if power else 0
        if first >= n:
            break
        if not (array[last[first:] - power] == _digits(n, power)[first:n]).all():
            return None
    if 48 <= int(array[at[-1] + width[-1]]) < 58:
        return None
    return np.arange(n), width


def _digits(n: int, power: int) -> Any:
    """The digits of 0 .. n-1 (or more) at one power of ten, as bytes; kept for the next vocabulary."""
    import numpy as np

    known = _DIGITS.get(power)
    if known is None or len(known) < n:
        _DIGITS[power] = known = (np.arange(max(n, 300_000), dtype=np.int32) // 10**power % 10 + 48).astype(
            np.uint8
        )
    return known


_DIGITS: Final[dict[int, Any]] = {}


def _numbers(array: Any, at: Any) -> tuple[Any, Any]:
    """The whole numbers at these places and how many digits each has (0: none, or more than eight)."""
    import numpy as np

    numbers, width = np.zeros(len(at), np.int64), np.zeros(len(at), np.int64)
    alive = np.ones(len(at), bool)
    for k in range(9):
        digit = array[at + k] - np.uint8(48)
        alive = alive & (digit < 10)
        if not alive.any():
            return numbers, width
        numbers = np.where(alive, numbers * 10 + digit, numbers)
        width += alive
    return numbers, np.where(alive, 0, width)


def scan_pieces(data: bytes) -> ScannedVocab | None:
    """A Unigram vocabulary from the bytes of an array of ``["piece", score]`` pairs: ids are positions."""
    if len(data) < SCAN_FROM:
        return None
    found = _quotes(data)
    if found is None:
        return None
    import numpy as np

    array, quotes, escaped = found
    if len(quotes) % 2 or not len(quotes):
        return None
    starts, ends = quotes[0::2] + 1, quotes[1::2]
    if not (array[ends + 1] == 44).all():
        return None
    # outside the strings only brackets, numbers, commas and blanks
    if not _only(array, quotes, b"[],.-+eE0123456789 \t\r\n"):
        return None
    return _checked(ScannedVocab(data, starts, ends, np.arange(len(starts)), escaped))


def _checked(vocab: ScannedVocab) -> ScannedVocab | None:
    """The vocabulary, if no id comes twice and the strings that matter are sound JSON; else it is read in full."""
    try:
        vocab.select()
    except ValueError:
        return None
    return vocab if vocab.ids == vocab.size else None


def _only(array: Any, quotes: Any, allowed: bytes) -> bool:
    import numpy as np

    fine = np.zeros(256, bool)
    fine[list(allowed)] = True
    inside = np.zeros(len(array) + 1, np.int8)
    inside[quotes[0::2]] += 1
    inside[quotes[1::2] + 1] -= 1
    outside = np.cumsum(inside[:-1]) == 0
    return bool((fine[array] | ~outside).all())


def _quotes(data: bytes) -> tuple[Any, Any, bool] | None:
    """The bytes, the places of quotes that begin or end a string, and whether non-ASCII text is escaped."""
    try:
        import numpy as np
    except ImportError:  # pragma: no cover - transformers itself needs numpy
        return None
    array = np.frombuffer(data, np.uint8)
    is_quote = array == 34
    slashes = (array == 92).nonzero()[0]
    if not len(slashes):
        return array, is_quote.nonzero()[0], False
    # a backslash escapes the next byte unless it is itself escaped
    follower = _escaping(slashes) + 1
    if follower[-1] >= len(array):
        return None
    kinds = array[follower]
    is_quote[follower[kinds == 34]] = False
    quotes = is_quote.nonzero()[0]
    if (kinds == 47).any():
        return None  # "\/" is legal and nobody writes it
    codes = follower[kinds == 117]
    if not len(codes):
        return array, quotes, False
    if int(codes[-1]) + 4 >= len(array):
        return None
    digits = array[codes[:, None] + np.arange(1, 5)]
    if ((digits >= 65) & (digits <= 70)).any():
        return None  # upper-case hexadecimal: not how Python or Rust write it
    low = (digits[:, 0] == 48) & (digits[:, 1] == 48)
    printable = low & (digits[:, 2] >= 50) & (digits[:, 2] <= 55)
    if printable.any():
        return None  # "\u003c" for "<": a look-up by bytes would miss it
    if (low & (digits[:, 2] <= 49)).all():
        return array, quotes, False  # control characters only, escaped in either style
    if (array >= 128).any():
        return None  # both styles in one file
    return array, quotes, True


def _escaping(slashes: Any) -> Any:
    """Of all backslashes, those that escape the byte after them."""
    import numpy as np

    run = np.concatenate([[True], np.diff(slashes) != 1])
    first = np.maximum.accumulate(np.where(run, np.arange(len(slashes)), 0))
    return slashes[(np.arange(len(slashes)) - first) % 2 == 0]


def _blank(data: bytes, start: int, stop: int) -> bool:
    return data[start:stop].strip(b" \t\r\n") == b","
