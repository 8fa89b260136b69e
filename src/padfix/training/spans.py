"""Where the real text lies in collated rows: alignment with the rows before collation, packing, masks, pads."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from padfix.types import PadState

Ids = tuple[int, ...]
Rows = tuple[Ids, ...]
Spans = tuple[tuple[int, int], ...]

MAX_ROWS: Final = 128  # rows of one batch that are read
ENDS_IN_A_ROW: Final = 4


@dataclass(frozen=True, slots=True)
class Source:
    """A row before collation: its name and its ids, without padding."""

    name: str
    ids: Ids


@dataclass(frozen=True, slots=True)
class Pad:
    """The ids that matter for finding padding; ``ends``: the pad also ends a text."""

    id: int | None
    ends: bool
    begins: bool


def pad_of(state: PadState) -> Pad:
    pad_id = state.pad.id if state.pad is not None else None
    bos_id = state.bos.id if state.bos is not None else None
    return Pad(pad_id, pad_id in state.eos_ids, pad_id is not None and pad_id == bos_id)


def plain(value: Any) -> Rows | None:
    """A rectangle of integers as tuples, its leading dimensions flattened; None for anything else.

    >>> plain([[1, 2], [3, 4]]), plain([1, 2])
    (((1, 2), (3, 4)), None)
    """
    if hasattr(value, "tolist") and hasattr(value, "ndim"):
        if value.ndim < 2 or 0 in value.shape or "float" in str(value.dtype):
            return None
        value = value.reshape(-1, value.shape[-1])[:MAX_ROWS].tolist()
    if not isinstance(value, (list, tuple)) or not value:
        return None
    rows = [one_row(row) for row in value[:MAX_ROWS]]
    return tuple(row for row in rows if row is not None) if None not in rows else None


def one_row(value: Any) -> Ids | None:
    """One row of integers as a tuple, or None."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, (list, tuple)) or not all(isinstance(i, int) for i in value):
        return None
    return tuple(int(i) for i in value)


def same_shape(a: Rows, b: Rows) -> bool:
    return [len(row) for row in a] == [len(row) for row in b]


def sources_of(rows: Sequence[Any], indices: Sequence[int], pad: Pad) -> tuple[Source, ...]:
    """The rows before collation; a preference row gives two, all the chosen before all the rejected."""
    named = [(f"row {index}", row) for index, row in zip(indices, rows, strict=False)]
    if rows and all(isinstance(row, Mapping) and "chosen_ids" in row for row in rows):
        return tuple(
            Source(f"{name} ({kind})", _completion(row, f"{kind}_ids"))
            for kind in ("chosen", "rejected")
            for name, row in named
        )
    if rows and all(
        isinstance(row, Mapping) and {"prompt_ids", "completion_ids"} <= set(row) for row in rows
    ):
        return tuple(Source(name, _completion(row, "completion_ids")) for name, row in named)
    raw = [one_row(row.get("input_ids")) if isinstance(row, Mapping) else one_row(row) for row in rows]
    if not raw or None in raw:
        return ()
    ids = [row for row in raw if row is not None]
    alike = len({len(row) for row in ids}) == 1  # padded before the collator, or all of one length
    if pad.ends:
        alike &= max(_longest_end(ids, pad), _longest_end([row[::-1] for row in ids], pad)) >= ENDS_IN_A_ROW
    sources = []
    for (name, row), own in zip(named, ids, strict=True):
        shown = one_row(row.get("attention_mask")) if isinstance(row, Mapping) else None
        if shown is not None and len(shown) == len(own) and 0 in shown:
            start, stop = _span(shown)
        else:
            start, stop = stripped(own, pad) if alike else (0, len(own))
        sources.append(Source(name, own[start:stop]))
    return tuple(sources)


def _completion(row: Mapping[str, Any], key: str) -> Ids:
    return (one_row(row.get("prompt_ids")) or ()) + (one_row(row.get(key)) or ())


def _span(mask: Ids) -> tuple[int, int]:
    shown = [p for p, value in enumerate(mask) if value]
    return (shown[0], shown[-1] + 1) if shown else (0, 0)


def align(row: Ids, text: Ids) -> tuple[int, int, bool] | None:
    """Where a text lies in its collated row, and whether it was cut; None where it is not there.

    A masked-language-model collator replaces some ids, so half of them agreeing at an edge is enough.
    """
    width, n = len(row), len(text)
    if n == 0:
        return (0, 0, False)
    if n > width:
        edges = [(0, width, text[:width]), (0, width, text[-width:])]
    else:
        edges = [(0, n, text), (width - n, width, text)]
    scored = [
        (sum(a == b for a, b in zip(row[start:stop], part, strict=True)), start, stop)
        for start, stop, part in edges
    ]
    same, start, stop = max(scored, key=lambda entry: entry[0])
    if same < min(n, width):
        for offset in range(1, width - n):
            if row[offset] == text[0] and row[offset : offset + n] == text:
                return (offset, offset + n, False)
    return (start, stop, n > width) if 2 * same >= min(n, width) else None


def grow(row: Ids, start: int, stop: int, cut: bool, shown: Ids, pad: Pad) -> tuple[int, int]:
    """The text with what the collator added to it: a BOS before, an EOS after."""
    attended = shown or (1,) * len(row)
    if pad.id is None and not shown:
        return start, stop
    while start > 0 and attended[start - 1] and row[start - 1] != pad.id:
        start -= 1
    while stop < len(row) and attended[stop] and row[stop] != pad.id:
        stop += 1
    ends_here = stop + 1 == len(row) or (stop + 1 < len(row) and not attended[stop + 1])
    if shown and pad.ends and stop < len(row) and attended[stop] and ends_here:
        stop += 1
    return start, stop


def stripped(row: Ids, pad: Pad) -> tuple[int, int]:
    """The row without the runs of pad ids at its ends; a pad that is EOS or BOS keeps one, which may be real."""
    start, stop = 0, len(row)
    while stop > 0 and row[stop - 1] == pad.id:
        stop -= 1
    while start < stop and row[start] == pad.id:
        start += 1
    if pad.ends and stop < len(row):
        stop += 1
    if pad.begins or (pad.ends and start == 1):
        start = max(0, start - 1)
    return start, stop


def by_mask(ids: Rows, mask: Rows, pad: Pad) -> tuple[Spans, ...]:
    """The texts that the mask shows, less a run of pads that a mask of ones covers."""
    marks_padding = any(0 in row for row in mask)
    if pad.ends:  # a text may end in EOS more than once; so many of them are padding under a mask of ones
        marks_padding |= _longest_end(ids, pad) < ENDS_IN_A_ROW
    texts: list[Spans] = []
    for row, own in zip(ids, mask, strict=True):
        start, stop = _span(own)
        if not marks_padding:
            first, last = stripped(row[start:stop], pad)
            start, stop = start + first, start + last
        spans, begin, p = [], start, start
        while p < stop:  # a hole of two pads or more is padding between two parts; one may be a hidden EOS
            end = p
            while end < stop and not own[end] and row[end] == pad.id:
                end += 1
            if end - p >= (2 if pad.ends else 1):
                spans.append((begin, p))
                begin = end
            p = max(end, p + 1)
        texts.append((*spans, (begin, stop)))
    return tuple(texts)


def _longest_end(ids: Sequence[Ids], pad: Pad) -> int:
    """The longest run of pad ids at the end of a row."""
    return max(
        (next((k for k, i in enumerate(reversed(row)) if i != pad.id), len(row)) for row in ids), default=0
    )


def packed_texts(
    collated: Mapping[str, Any],
    ids: Rows,
    mask: Rows | None,
    positions: Rows | None,
    sources: Sequence[Source],
    pad: Pad,
) -> tuple[Spans, ...] | None:
    """Where the texts of packed rows lie, by whatever tells them apart; None where nothing does."""
    numbers = plain(collated.get("seq_idx"))
    if numbers is not None and same_shape(numbers, ids):
        return tuple(_trimmed(row, _runs(own), pad) for row, own in zip(ids, numbers, strict=True))
    if mask is not None and any(value > 1 for row in mask for value in row):
        return tuple(_runs(own, skip=0) for own in mask)
    if len(ids) == 1:
        bounds = one_row(collated.get("cu_seq_lens_q"))
        if bounds is None and len(sources) > 1 and sum(len(s.ids) for s in sources) == len(ids[0]):
            bounds = (0, *(sum(len(s.ids) for s in sources[: i + 1]) for i in range(len(sources))))
        if bounds and bounds[-1] <= len(ids[0]):
            return (_trimmed(ids[0], tuple(itertools.pairwise(bounds)), pad),)
    if positions is None:
        return None
    texts = []
    for r, (row, own) in enumerate(zip(ids, positions, strict=True)):
        shown = [p for p in range(len(row)) if mask is None or mask[r][p]]
        starts = [p for k, p in enumerate(shown) if k == 0 or p != shown[k - 1] + 1 or own[p] <= own[p - 1]]
        stops = [*starts[1:], shown[-1] + 1] if shown else []
        texts.append(_trimmed(row, tuple(zip(starts, stops, strict=True)), pad))
    return tuple(texts) if any(len(spans) > 1 for spans in texts) else None


def _runs(numbers: Ids, skip: int | None = None) -> Spans:
    starts = [p for p, n in enumerate(numbers) if p == 0 or n != numbers[p - 1]]
    spans = zip(starts, [*starts[1:], len(numbers)], strict=True)
    return tuple(span for span in spans if numbers[span[0]] != skip and numbers[span[0]] >= 0)


def _trimmed(row: Ids, spans: Spans, pad: Pad) -> Spans:
    """Without the one-token texts that padding at the ends of a packed row looks like."""
    kept = list(spans)

    def padding(span: tuple[int, int]) -> bool:
        return all(row[p] == pad.id for p in range(*span)) and (span[1] - span[0] == 1 or not pad.ends)

    while kept and padding(kept[-1]):
        kept.pop()
    while kept and padding(kept[0]):
        kept.pop(0)
    return tuple(kept)
