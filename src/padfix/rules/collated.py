"""What one collated batch adds to the rules of inference (PAD302, 303, 304, 305, 308)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from padfix.rules.places import at, in_rows, last_stop, left_padded, padding_in, row_name, texts_in
from padfix.rules.registry import Hit, also, as_id, show
from padfix.types import Batch, PadState

POOLS_LATE: Final = ("xlnet", "funnel")  # their classifiers expect the padding on the left, or ignore it


@also("PAD302")
def inferred_mask_hides(state: PadState, batch: Batch) -> Iterator[Hit]:
    if batch.mask is not None or state.pad is None or state.pad.id in state.eos_ids:
        return
    places = [
        (r, p)
        for r, start, stop in texts_in(batch)
        for p in range(start, stop)
        if batch.ids[r][p] == state.pad.id
    ]
    if places:
        r, p = places[0]
        yield Hit(
            f"{at(batch, r, p)} is real text with the pad's id, and no attention_mask is passed: generate() infers one "
            f"from ids and hides it; {len(places)} such tokens in {in_rows(places, batch)}",
            fix="pass attention_mask to generate()",
        )


@also("PAD303")
def padded_on_the_wrong_side(state: PadState, batch: Batch) -> Iterator[Hit]:
    if batch.objective != "causal" or batch.packed or state.is_encoder_decoder:
        return
    right = [(r, p) for r in range(len(batch.ids)) for p in padding_in(batch, r) if p >= last_stop(batch, r)]
    if right and batch.labels is None:
        r, p = right[0]
        yield Hit(
            f"{at(batch, r, p)}: padded on the right, so generate() would go on after the padding; "
            f"{len(right)} pads in {in_rows(right, batch)}",
            fix='tok.padding_side = "left" for generation',
            severity={"training": None, "classification": None},
        )
    left = left_padded(batch)
    if left and batch.position_ids is None and state.has("absolute-positions"):
        r, p = left[0]
        yield Hit(
            f"{at(batch, r, p)}: padded on the left without position_ids, and {state.model_type} has learned absolute "
            f"positions: its texts start at positions that depend on the batch; {in_rows(left, batch)}",
            fix='tok.padding_side = "right" for training',
            severity={"generation": None, "classification": None},
        )


@also("PAD304")
def positions_not_derived(state: PadState, batch: Batch) -> Iterator[Hit]:
    left = left_padded(batch)
    if left and batch.position_ids is None and state.has("absolute-positions"):
        r, p = left[0]
        yield Hit(
            f"{at(batch, r, p)}: padded on the left without position_ids, and {state.model_type} has learned absolute "
            f"positions, which its forward does not derive from the mask; {in_rows(left, batch)}",
            fix='tok.padding_side = "right", or pass position_ids = (attention_mask.cumsum(-1) - 1).clamp(min=0)',
        )


@also("PAD305")
def left_pad_nan(state: PadState, batch: Batch) -> Iterator[Hit]:
    if batch.not_finite:
        r = batch.not_finite[0]
        p = padding_in(batch, r)[0] if padding_in(batch, r) else 0
        yield Hit(
            f"{at(batch, r, p)}: the logits of this left-padded row hold NaN or infinity, as do those of "
            f"{len(batch.not_finite)} of {len(batch.ids)} rows ({state.dtype}, {state.device})",
            fix='tok.padding_side = "right" for training, or attn_implementation="eager", or bfloat16 instead of float16',
        )


@also("PAD308")
def pooled_at_wrong_position(state: PadState, batch: Batch) -> Iterator[Hit]:
    if state.head != "classifier" or batch.packed:
        return
    wrong: list[tuple[int, int, int]] = []
    pad = as_id(state.text_pad_id)
    for r, row in enumerate(batch.ids):
        last = last_stop(batch, r) - 1
        if last < 0:
            continue
        pooled = last
        if state.has("pools-on-pad") and pad is not None:
            pooled = max((p for p, i in enumerate(row) if i != pad), default=0)
        elif state.has("pools-on-eos") and state.config_eos_ids:
            pooled = max((p for p, i in enumerate(row) if i in state.config_eos_ids), default=last)
        elif not _pools_late(state) and batch.texts[r][0][0] > 0:
            pooled, last = 0, batch.texts[r][0][0]
        if pooled != last:
            wrong.append((r, pooled, last))
    if wrong:
        r, pooled, last = wrong[0]
        how = (
            f"the last id that is not the pad {pad}"
            if state.has("pools-on-pad")
            else "the last EOS"
            if state.has("pools-on-eos")
            else "the first position"
        )
        places = [(row, p) for row, p, _ in wrong]
        yield Hit(
            f"the classifier reads {at(batch, r, pooled)} ({how}), where {row_name(batch, r)} has its text's token for that at "
            f"position {last}, {show(batch.text_of(batch.ids[r][last]))} ({batch.ids[r][last]}); {in_rows(places, batch)}",
            fix='padfix.ensure_pad(model, tok, strategy="add") gives the classifier a pad of its own; tok.padding_side = "right" '
            "where it reads the first position",
        )


def _pools_late(state: PadState) -> bool:
    decoders = state.has("pools-on-pad") or state.has("pools-on-eos") or state.has("recurrent")
    return decoders or state.model_type in POOLS_LATE
