"""Turn what a collator returned into a `Batch`: plain tuples, and where the real text lies in each row.

Which positions are text is decided by the most reliable witness at hand. The rows before collation say
it best, since collators build masks and labels from ids; then the positions of a packed row, which
restart with each text; then the mask; last the run of pad ids at the end of a row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal

from padfix.training.spans import (
    MAX_ROWS,
    Pad,
    Rows,
    Source,
    Spans,
    align,
    by_mask,
    grow,
    packed_texts,
    pad_of,
    plain,
    same_shape,
    sources_of,
    stripped,
)
from padfix.types import Batch, PadState

Witness = Literal["rows", "positions", "mask", "pad"]
Objective = Literal["causal", "masked", "seq2seq", "tokens", "rows"]

IGNORED: Final = -100
SHORTEST_CUT: Final = 16  # rows of one common length below this are taken for short texts, not for cut ones


def read_batch(
    collated: Any,
    rows: Sequence[Any],
    indices: Sequence[int],
    state: PadState,
    limits: Collection[int] = (),
) -> Batch | None:
    """One collated batch as a `Batch`, or None where it holds no token ids at all.

    ``rows`` are the rows it was made from, in order (empty: not known), ``indices`` their places in the
    dataset, ``limits`` the lengths at which a text may have been cut.
    """
    if not isinstance(collated, Mapping):
        collated = {"input_ids": collated}
    pad = pad_of(state)
    sources = sources_of(rows, indices, pad)
    parts = [_read(collated, prefix, sources, indices, state, pad, limits) for prefix in _prefixes(collated)]
    known = [part for part in parts if part is not None]
    return merge(known) if known else None


def merge(batches: Sequence[Batch]) -> Batch:
    """Several batches as one: the rows one after another."""
    first = batches[0]
    ids = tuple(row for b in batches for row in b.ids)
    texts = tuple(spans for b in batches for spans in b.texts)
    lengths = [sum(stop - start for start, stop in spans) for spans in texts]
    longest = max(lengths, default=0)
    # Many rows of one round length were cut to it; a few short texts of equal length were not.
    block = longest >= SHORTEST_CUT and longest % 8 == 0 and lengths.count(longest) > 1
    known_cut = [cut for b in batches for cut in b.cut]
    return dataclasses.replace(
        first,
        ids=ids,
        mask=_joined([b.mask for b in batches]),
        labels=_joined([b.labels for b in batches]),
        position_ids=_joined([b.position_ids for b in batches]),
        texts=texts,
        texts_from=max((b.texts_from for b in batches), key=("rows", "positions", "mask", "pad").index),
        packed=any(b.packed for b in batches),
        cut=tuple(cut or (block and n == longest) for cut, n in zip(known_cut, lengths, strict=True)),
        names=tuple(name for b in batches for name in b.names),
    )


def _joined(parts: Sequence[Rows | None]) -> Rows | None:
    known = [part for part in parts if part is not None]
    return tuple(row for part in known for row in part) if len(known) == len(parts) else None


def _prefixes(collated: Mapping[str, Any]) -> list[str]:
    """``""``, or the ``chosen_`` and ``rejected_`` of a preference batch."""
    found = [str(key).removesuffix("input_ids") for key in collated if str(key).endswith("input_ids")]
    found = [prefix for prefix in found if prefix != "decoder_"]
    if len(found) > 1:
        found = [prefix for prefix in found if prefix != "prompt_"]
    return found or ([""] if "labels" in collated else [])


# --- one batch -------------------------------------------------------------------------------------


def _read(
    collated: Mapping[str, Any],
    prefix: str,
    sources: Sequence[Source],
    indices: Sequence[int],
    state: PadState,
    pad: Pad,
    limits: Collection[int],
) -> Batch | None:
    labels = plain(collated.get(f"{prefix}labels"))
    ids = plain(collated.get(f"{prefix}input_ids"))
    if ids is None:
        if labels is None:
            return None
        ids = ((),) * len(labels)  # speech and vision: only the targets are tokens
    mask = _mask(collated.get(f"{prefix}attention_mask"), ids)
    if labels is None and f"{prefix}completion_mask" in collated:
        labels = _from_completion(ids, plain(collated[f"{prefix}completion_mask"]))
    if labels is not None:
        labels = tuple(tuple(IGNORED if label < 0 else label for label in row) for row in labels)
    objective = _objective(state, ids, labels, collated)
    if objective == "rows" or (labels is not None and len(labels) != len(ids)):
        labels = None
    if labels is not None and objective == "causal":
        labels = _unshifted(ids, labels)
    positions = plain(collated.get(f"{prefix}position_ids"))
    if positions is not None and not same_shape(positions, ids):
        positions = None  # one row of positions for all, or several axes (mrope)

    own_sources = sources if len(sources) == len(ids) and not prefix else ()
    short = (False,) * len(ids)
    witness: Witness = "positions"
    texts = packed_texts(collated, ids, mask, positions, sources, pad)
    packed = texts is not None and any(len(spans) > 1 for spans in texts)
    if texts is None:
        aligned = [align(row, source.ids) for row, source in zip(ids, own_sources, strict=False)]
        found = [span for span in aligned if span is not None]
        if found and len(found) == len(ids):
            witness = "rows"
            shown = mask if mask is not None else ((),) * len(ids)
            grown = [grow(row, *span, own, pad) for row, span, own in zip(ids, found, shown, strict=True)]
            texts = tuple(((start, stop),) for start, stop in grown)
            short = tuple(cut for _, _, cut in found)
        elif mask is not None:
            witness, texts = "mask", by_mask(ids, mask, pad)
        else:
            witness, texts = "pad", tuple((stripped(row, pad),) for row in ids)
    if mask is None and "attention_mask" in collated and collated["attention_mask"] is not None:
        mask = _as_mask(ids, texts)  # a 4-D mask: not judged
    if objective == "seq2seq" and labels is not None:
        lengths = [sum(label != IGNORED for label in row) for row in labels]
    else:
        lengths = [sum(stop - start for start, stop in spans) for spans in texts]
    cut = [was_short or n in limits for was_short, n in zip(short, lengths, strict=True)]
    return Batch(
        ids=ids,
        mask=mask,
        labels=labels,
        position_ids=positions,
        texts=texts,
        texts_from=witness,
        objective=objective,
        packed=packed or bool({"cu_seq_lens_q", "seq_idx"} & set(collated)),
        cut=tuple(cut),
        names=_names(len(ids), prefix, own_sources, indices),
    )


def _names(count: int, prefix: str, sources: Sequence[Source], indices: Sequence[int]) -> tuple[str, ...]:
    if sources:
        return tuple(source.name for source in sources)
    kind = f" ({prefix.rstrip('_')})" if prefix else ""
    places = indices if len(indices) == count else range(count)
    return tuple(f"row {place}{kind}" for place in places)


def _mask(value: Any, ids: Rows) -> Rows | None:
    """The mask as 0 and 1 (or the numbers of packed texts); None where there is none or it is 4-D."""
    if value is None or getattr(value, "ndim", 2) != 2:
        return None
    if "float" in str(getattr(value, "dtype", "")):
        rows = value.tolist()[:MAX_ROWS]
        additive = any(entry < 0 for row in rows for entry in row)
        mask: Rows | None = tuple(
            tuple(int(entry >= 0 if additive else entry != 0) for entry in row) for row in rows
        )
    else:
        mask = plain(value)
    return mask if mask is not None and same_shape(mask, ids) else None


def _as_mask(ids: Rows, texts: tuple[Spans, ...]) -> Rows:
    return tuple(
        tuple(int(any(start <= p < stop for start, stop in spans)) for p in range(len(row)))
        for row, spans in zip(ids, texts, strict=True)
    )


# --- labels ----------------------------------------------------------------------------------------


def _from_completion(ids: Rows, completion: Rows | None) -> Rows | None:
    """Labels out of the completion mask by which preference trainers choose what they score."""
    if completion is None or not same_shape(ids, completion):
        return None
    return tuple(
        tuple(i if live else IGNORED for i, live in zip(row, own, strict=True))
        for row, own in zip(ids, completion, strict=True)
    )


def _matches(ids: Rows, labels: Rows, shift: int) -> tuple[int, int]:
    """Labels that equal the id at (shift 0) or after (shift 1) their position, and live labels, in all."""
    pairs = [
        (label, row[p + shift])
        for row, own in zip(ids, labels, strict=True)
        for p, label in enumerate(own)
        if label != IGNORED and p + shift < len(row)
    ]
    return sum(label == i for label, i in pairs), len(pairs)


def _unshifted(ids: Rows, labels: Rows) -> Rows:
    """Labels at the position of their own token, also where they were stored one to the left of it."""
    if not same_shape(ids, labels):
        return labels
    here, live = _matches(ids, labels, 0)
    after, live_after = _matches(ids, labels, 1)
    if live < 4 or here > 0.5 * live or after < 0.9 * live_after:
        return labels
    return tuple((IGNORED, *row[:-1]) for row in labels)


def _objective(state: PadState, ids: Rows, labels: Rows | None, collated: Mapping[str, Any]) -> Objective:
    by_head: dict[str | None, Objective] = {
        "causal": "causal",
        "masked": "masked",
        "seq2seq": "seq2seq",
        "classifier": "rows",
        "token-classifier": "tokens",
    }
    if state.head in by_head:
        return by_head[state.head]
    if state.is_encoder_decoder or "decoder_input_ids" in collated:
        return "seq2seq"
    if labels is None:
        return "rows" if "labels" in collated or "label" in collated else "causal"
    if not same_shape(ids, labels):
        return "seq2seq"
    here, live = _matches(ids, labels, 0)
    after, _ = _matches(ids, labels, 1)
    if max(here, after) >= 0.9 * live:
        return "causal"
    mask_ids = {token.id for role, token in state.specials if role == "mask"}
    return "masked" if any(i in mask_ids for row in ids for i in row) else "tokens"
