"""What a failed check means, in words: the cause that the measurements show, and what to do about it.

A cause is named from what was measured (does the mask change anything, does content reach real tokens,
does only the place matter); what an architecture is known for only makes the words more precise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from padfix.proof.evidence import Evidence
from padfix.proof.subject import Subject


@dataclass(frozen=True, slots=True)
class Cause:
    """Why, and what now."""

    cause: str
    remedy: str


BUCKET = "no pad token can change that: batch texts of equal length, or run them one by one"

# Where masked content reaches real tokens, per architecture: each traced in its modelling code.
LEAKS: Final = {
    "canine": "characters are down-sampled by a strided convolution that reads masked places too",
    "convbert": "span-based convolutions read neighbouring places, masked or not",
    "cpmant": "the model builds its own mask from the ids: id 0 is padding, and only before the text",
    "deepseek_v4": "compressed attention averages whole windows of the row, masked places included",
    "funnel": "pooling between blocks averages neighbouring places, masked or not",
    "mobilebert": "the trigram embedding joins each token with its neighbours, masked or not",
    "nystromformer": "landmarks average whole segments of the row, and a convolution runs over it, masked places included",
    "yoso": "the mask becomes a whole number after a division by 10 000, so it has no effect",
}


def of_padding(evidence: Evidence, side: str) -> Cause:
    """Why a padded row differs from the text alone on this side."""
    if not evidence.against_alone(side).finite:
        return not_finite(evidence, side)
    rounding = 0.0 if evidence.subject.low_precision else evidence.zones.floor / 10
    if evidence.swap(side).worst > rounding:
        return of_content(evidence, side)
    return _place(evidence, side)


def of_content(evidence: Evidence, side: str) -> Cause:
    """How the content of masked places on this side reaches real tokens."""
    subject = evidence.subject
    other = "left" if side == "right" else "right"
    clean = evidence.swap(other).worst <= evidence.zones.floor / 10
    remedy = f"pad on the {other}" if clean else BUCKET
    name = subject.model_type or "the model"
    if subject.model_type in LEAKS:
        return Cause(f"{name}: {LEAKS[subject.model_type]}", remedy)
    if evidence.routing_noise > evidence.zones.floor / 10:
        return Cause(
            "a row's outputs change with the other rows of its batch, padded or not: activations are quantised with one "
            "scale for the whole batch, or the batch is normalised",
            "batch what belongs together, or run the texts one by one; a pad token has no part in it",
        )
    inert = not subject.takes_mask or evidence.mask_inert(side)
    if side == "left" and clean and "recurrent" in subject.traits:
        unmasked = "the model ignores attention_mask" if inert else "the mask does not stop it"
        return Cause(f"a recurrent state runs over the padding before the text, and {unmasked}", remedy)
    if not subject.takes_mask:
        return Cause(
            f"{name} ignores padding: its forward() takes no attention_mask, so pads count as text", remedy
        )
    if inert:
        return Cause(f"{name} ignores attention_mask: an all-ones mask gives the same outputs", remedy)
    if side == "left" and "positions-from-pad" in subject.traits:
        moved = Cause(
            "positions are counted from the pad id, so other ids at masked places move the text", remedy
        )
        return _other_pad(evidence) or moved
    if side == "left" and evidence.probe.pooled and subject.seq2seq:
        return Cause(
            "the decoder reads the same ids without a mask, so padding before the text is text to it", remedy
        )
    return Cause("the content of masked positions reaches real tokens in spite of attention_mask", remedy)


def _place(evidence: Evidence, side: str) -> Cause:
    subject = evidence.subject
    if subject.model_type in LEAKS:  # Funnel's pooling windows hide real places beside masked ones
        return Cause(f"{subject.model_type}: {LEAKS[subject.model_type]}", BUCKET)
    if not _clean(evidence, "right") and evidence.unmasked_differs:
        return _unmasked(evidence)
    if side == "left" and not subject.takes_positions:
        return Cause(
            "positions are counted from the start of the row, padding included, and forward() takes no position_ids",
            "pad on the right",
        )
    return Cause(
        "masked content does not reach real tokens, but the row's length or their place in it does, position_ids or "
        "not (sparse, chunked, hashed or block-wise attention counts places)",
        "pad on the right" if side == "left" and _clean(evidence, "right") else BUCKET,
    )


def _unmasked(evidence: Evidence) -> Cause:
    if evidence.subject.model_type == "doge":
        return Cause(
            "a batch without padding gets no causal mask: transformers 4.57 leaves it to SDPA, but Doge hands SDPA a mask "
            "of its own, so tokens see what follows them; one padded row brings the causal mask back",
            'model.set_attn_implementation("eager"), or transformers 5, which always makes the mask',
        )
    return Cause(
        "a batch in which nothing is masked takes another path through the model: the text alone differs from the same "
        "text, unpadded, beside a padded row",
        'model.set_attn_implementation("eager"), which always gets a mask',
    )


def _clean(evidence: Evidence, side: str) -> bool:
    found = evidence.against_alone(side)
    return found.finite and found.worst <= evidence.zones.floor


def _other_pad(evidence: Evidence) -> Cause | None:
    """A model that counts positions from one pad id, given a tokenizer that pads with another."""
    offset, pad = evidence.subject.position_offset, evidence.pad_id
    if "positions-from-pad" not in evidence.subject.traits or not offset or pad == offset - 1:
        return None
    return Cause(
        f"positions are counted from the ids that are not {offset - 1}, the pad that the model was built with, "
        f"but the tokenizer pads with {pad}",
        f"keep the pad id at {offset - 1}",
    )


def of_bare(evidence: Evidence) -> Cause:
    """Why a left-padded row without position ids differs."""
    left = evidence.against_alone("left")
    if evidence.bare() is None or left.worst > evidence.zones.floor:
        return of_padding(evidence, "left")
    mismatch = _other_pad(evidence)
    if mismatch is not None:
        return mismatch
    remedy = (
        "pass position_ids = (attention_mask.cumsum(-1) - 1).clamp(min=0), as generate() does by itself, or pad "
        "on the right"
    )
    if evidence.row_against_alone("counted").worst > evidence.zones.floor:
        traits = evidence.subject.traits
        if "recurrent" in traits and "absolute-positions" not in traits:
            return Cause(
                "a recurrent state is cleared only where position_ids are 0, so without them the state of the padding "
                "runs into the text",
                remedy,
            )
        return Cause(
            "absolute positions: without position_ids the first real token gets the number of pads as its position",
            remedy,
        )
    if evidence.only_single():
        return Cause(
            "the mask is skipped when the batch is a single row: state-space and convolution layers then read the padding",
            "do not pad a single row (there is nothing to align it with)",
        )
    return Cause("without position_ids the model's positions count the padding", remedy)


def not_finite(evidence: Evidence, side: str) -> Cause:
    """Why NaN or infinity appears at real tokens of padded rows."""
    broken = broken_row(evidence.subject)
    if broken is not None:
        return broken
    row = pad_row(evidence.subject)
    if row is not None and row > 1e3:
        return Cause(
            f"the pad's own input row (id {evidence.pad_id}) has entries up to {row:.3g}, which overflow on the way",
            "give it an ordinary row: grow with strategy='add', init='mean', or take another pad token",
        )
    where, other = ("before", "right") if side == "left" else ("after", "left")
    pad_there = f"pad on the {other}, or " if evidence.against_alone(other).finite else ""
    return Cause(
        f"rows whose keys are all masked ({where} the text) give NaN in {evidence.subject.dtype} attention, and it "
        "spreads to real tokens",
        f"{pad_there}run in float32 or bfloat16",
    )


def broken_row(subject: Subject) -> Cause | None:
    """A pad row that holds NaN or infinity."""
    row = pad_row(subject)
    if row is None or math.isfinite(row):
        return None
    return Cause(
        f"the pad's own input row (id {subject.pad_id}) holds NaN or infinity, and a mask multiplies it by zero, "
        "which is still NaN",
        "give it a finite row: grow with strategy='add', init='mean', or take another pad token",
    )


def pad_row(subject: Subject) -> float | None:
    """The largest entry of the pad's input row (NaN or infinity included); None where there is none."""
    from padfix.read.vocabulary import vocabulary, weight_of

    weight = weight_of(vocabulary(subject.model).input_module)
    if weight is None or weight.device.type == "meta" or not 0 <= (subject.pad_id or 0) < weight.shape[0]:
        return None
    return None if subject.pad_id is None else float(weight[subject.pad_id].detach().float().abs().max())
