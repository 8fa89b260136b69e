"""PAD406 and PAD407: is padding in one collated batch where its mask says, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from padfix.rules.places import IGNORED, at, in_rows, padding_in, texts_in
from padfix.rules.registry import Hit, rule
from padfix.types import Batch, PadState

ATTENDS_PADS: Final = ("clip",)  # trained with every pad attended: diffusers#2201


@rule(
    "PAD406",
    "pad-id-inside-content",
    reads="B",
    severity={"training": "warning", "classification": "warning"},
)
def pad_in_content(state: PadState, batch: Batch) -> Iterator[Hit]:
    """The pad id occurs inside real text, where every mask made from ids hides it.

    ## What it finds

    The tokenizer's pad id at a position of the text itself. A pad that is the EOS is not meant: it ends
    texts by design, and PAD401 and PAD407 look at what that does.

    ## Why is this bad

    Collators and `generate` tell padding from text by the id, so such a token loses its label, its
    attention, or both. The usual causes: a pad that is `unk` or an ordinary token, or data tokenized and
    padded long ago.

    ## Example

    ```python
    tok.pad_token = tok.unk_token
    tok("a word it does not know").input_ids  # [5, 0, 6]: 0 is unk, and now also the pad
    ```

    ## How to fix

    Give the tokenizer a pad that text never produces, `padfix.ensure_pad(model, tok, strategy="add")`, and
    tokenize data that was padded with another id again.
    """
    if state.pad is None or state.pad.id is None or state.pad.id in state.eos_ids:
        return
    if any(str(state.model_type).startswith(kind) for kind in ATTENDS_PADS):
        return
    places = [
        (r, p)
        for r, start, stop in texts_in(batch)
        for p in range(start, stop)
        if batch.ids[r][p] == state.pad.id and not _replaced(batch, r, p)
    ]
    if places:
        r, p = places[0]
        lost = sum(
            (batch.labels is not None and batch.objective == "causal" and batch.labels[r][p] == IGNORED)
            or (batch.mask is not None and not batch.mask[r][p])
            for r, p in places
        )
        tail = f"; {lost} of them lost their label or attention already" if lost else ""
        role = " It is also the unk token." if state.unk is not None and state.unk.id == state.pad.id else ""
        yield Hit(
            f"{at(batch, r, p)} is the pad id inside real text; {len(places)} such tokens in {in_rows(places, batch)}{tail}.{role}",
            fix='padfix.ensure_pad(model, tok, strategy="add"), a pad that no text produces; then tokenize the data again',
        )


def _replaced(batch: Batch, r: int, p: int) -> bool:
    """A masked-language-model collator puts random ids in the place of some tokens."""
    return batch.objective == "masked" and batch.labels is not None and batch.labels[r][p] != IGNORED


@rule(
    "PAD407",
    "mask-disagrees-with-padding",
    reads="B",
    severity={"generation": "error", "training": "error", "classification": "error"},
)
def mask_disagrees(state: PadState, batch: Batch) -> Iterator[Hit]:
    """The attention mask hides real text, shows padding, or is missing where it is needed.

    ## What it finds

    Mask 0 on a token of the text; mask 1 on padding; no mask at all in a padded batch, where the model sees
    the padding (padding on the left, or a model that reads in both directions).

    ## Why is this bad

    A hidden token is invisible to every other one, an attended pad changes every hidden state after it. A
    mask built as `input_ids != pad_token_id` hides each EOS when the pad is the EOS.

    ## Example

    ```python
    batch["attention_mask"] = (batch["input_ids"] != tok.pad_token_id).long()  # pad = EOS: hides the EOS
    ```

    ## How to fix

    Keep the mask that the tokenizer returns, `tok(texts, padding=True)["attention_mask"]`, and pass it on.
    """
    if any(str(state.model_type).startswith(kind) for kind in ATTENDS_PADS):
        return
    if batch.mask is None:
        yield from _mask_missing(state, batch)
        return
    mask = batch.mask
    hidden = [(r, p) for r, start, stop in texts_in(batch) for p in range(start, stop) if not mask[r][p]]
    shown = [(r, p) for r in range(len(batch.ids)) for p in padding_in(batch, r) if mask[r][p]]
    keep = "keep the attention_mask that tok(texts, padding=True) or tok.pad(...) returns; do not rebuild it from ids"
    if hidden:
        r, p = hidden[0]
        because = ""
        if state.pad is not None and batch.ids[r][p] == state.pad.id:
            because = " (it is the pad id: the mask was made from ids)"
        yield Hit(
            f"{at(batch, r, p)} is real text, but its attention_mask is 0{because}; "
            f"{len(hidden)} hidden tokens in {in_rows(hidden, batch)}",
            fix=keep,
        )
    if shown:
        r, p = shown[0]
        yield Hit(
            f"{at(batch, r, p)} is padding, but its attention_mask is 1; "
            f"{len(shown)} attended pads in {in_rows(shown, batch)}",
            fix=keep,
        )


def _mask_missing(state: PadState, batch: Batch) -> Iterator[Hit]:
    padded = [(r, p) for r in range(len(batch.ids)) for p in padding_in(batch, r)]
    if not padded or batch.packed:
        return
    left = [(r, p) for r, p in padded if batch.texts[r] and p < batch.texts[r][0][0]]
    one_way = state.head == "causal" or (state.head is None and batch.objective == "causal")
    if one_way and not left:
        return  # what comes after a text cannot reach it
    r, p = (left or padded)[0]
    yield Hit(
        f"{at(batch, r, p)} is padding, and the batch has no attention_mask, so the model reads it; "
        f"{len(padded)} pads in {in_rows(padded, batch)}",
        fix="give the collator rows with input_ids as dicts (tok(text), not tok(text).input_ids) and pass attention_mask on",
    )
