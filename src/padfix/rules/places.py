"""Places in a collated batch, and the words by which findings name them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from padfix.rules.registry import show
from padfix.types import Batch, PadState

IGNORED: Final = -100

Place = tuple[int, int]  # row, position


def texts_in(batch: Batch) -> Iterator[tuple[int, int, int]]:
    for r, spans in enumerate(batch.texts):
        for start, stop in spans:
            yield r, start, stop


def padding_in(batch: Batch, r: int) -> list[int]:
    inside = {p for start, stop in batch.texts[r] for p in range(start, stop)}
    return [p for p in range(len(batch.ids[r])) if p not in inside]


def left_padded(batch: Batch) -> list[Place]:
    return [(r, 0) for r, spans in enumerate(batch.texts) if spans and spans[0][0] > 0]


def last_stop(batch: Batch, r: int) -> int:
    return batch.texts[r][-1][1] if batch.texts[r] else 0


def real_length(batch: Batch, r: int) -> int:
    if batch.objective == "seq2seq" and batch.labels is not None:
        return sum(label != IGNORED for label in batch.labels[r])
    return batch.lengths[r]


def last_token(batch: Batch, r: int) -> int:
    if batch.objective == "seq2seq" and batch.labels is not None:
        return next((label for label in reversed(batch.labels[r]) if label != IGNORED), IGNORED)
    stop = last_stop(batch, r)
    return batch.ids[r][stop - 1] if stop else IGNORED


def row_name(batch: Batch, r: int) -> str:
    return batch.names[r] if r < len(batch.names) else f"row {r}"


def at(batch: Batch, r: int, p: int) -> str:
    token = batch.ids[r][p]
    return f"{row_name(batch, r)}, position {p}: {show(batch.text_of(token))} ({token})"


def in_rows(places: list[Place], batch: Batch) -> str:
    return f"{len({r for r, _ in places})} of {len(batch.ids)} rows"


def eos_named(state: PadState) -> str:
    known = {token.id: token.text for token in (state.eos,) if token is not None}
    return ", ".join(f"{show(known[i])} {i}" if i in known else str(i) for i in state.eos_ids[:4])


def maker(batch: Batch) -> str:
    return batch.collator or "the collator"
