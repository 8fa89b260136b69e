"""PAD4xx: what one collated batch of the user's own data says, before a training run starts.

The batch sides of the inference rules (PAD302, 303, 304, 305, 308) are here too: their evidence is the
same batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from padfix.rules.registry import Hit, also, as_id, rule, show
from padfix.types import Batch, PadState

IGNORED: Final = -100
POOLS_LATE: Final = ("xlnet", "funnel")  # their classifiers expect the padding on the left, or ignore it
ATTENDS_PADS: Final = ("clip",)  # trained with every pad attended: diffusers#2201

Place = tuple[int, int]  # row, position


@rule("PAD401", "eos-label-masked", reads="B", severity={"training": "error"})
def eos_label_masked(state: PadState, batch: Batch) -> Iterator[Hit]:
    """The end-of-text token is in the data, but its label is -100, so the model never learns to stop.

    ## What it finds

    In a batch of a causal model, an EOS inside the text whose label is -100 while the token before it is
    trained. An EOS inside a prompt that is masked as a whole is not meant, nor the first token of a packed
    text. For an encoder-decoder model: targets without any EOS label although the pad is an EOS.

    ## Why is this bad

    The model gets no gradient for ending a text: it repeats itself until `max_new_tokens`, or goes on with
    a new chat turn. The usual cause is `labels[labels == pad_token_id] = -100`, in transformers'
    `DataCollatorForLanguageModeling` among others, with a pad that is the EOS
    (https://github.com/huggingface/transformers/issues/23530, open since 2023).

    ## Example

    ```python
    tok.pad_token = tok.eos_token
    DataCollatorForLanguageModeling(tok, mlm=False)([tok("a b</s>")])["labels"]  # [[5, 6, -100]]
    ```

    ## How to fix

    Mask labels by position instead of by id, `collator = padfix.positional_labels(collator)`, or give the
    tokenizer a pad of its own, `padfix.ensure_pad(model, tok)`.
    """
    if batch.labels is None or not state.eos_ids:
        return
    if batch.objective == "seq2seq":
        yield from _masked_targets(state, batch)
        return
    if batch.objective != "causal":
        return
    masked: list[Place] = []
    seen = 0
    for r, start, stop in _texts(batch):
        row, labels = batch.ids[r], batch.labels[r]
        ends = [p for p in range(start + 1, stop) if row[p] in state.eos_ids]
        seen += len(ends)
        masked += [(r, p) for p in ends if labels[p] == IGNORED and labels[p - 1] != IGNORED]
    if not masked:
        return
    r, p = masked[0]
    because = ""
    if state.pad is not None and batch.ids[r][p] == state.pad.id:
        because = f", because it is also the pad and {_maker(batch)} masks labels by id"
    guess = " (or it is padding: pass the rows before collation to tell)" if batch.texts_from == "pad" else ""
    yield Hit(
        f"{_at(batch, r, p)} ends a text{guess}, but its label is -100 while the token before it is trained{because}; "
        f"{len(masked)} of {seen} EOS in {_rows(masked, batch)}: the model never learns to stop",
        fix="collator = padfix.positional_labels(collator), or a pad of its own: padfix.ensure_pad(model, tok)",
    )


def _masked_targets(state: PadState, batch: Batch) -> Iterator[Hit]:
    labels = batch.labels or ()
    shared = state.pad is not None and state.pad.id in state.eos_ids
    if shared and labels and not any(label in state.eos_ids for row in labels for label in row):
        r = next((i for i, row in enumerate(labels) if IGNORED in row), 0)
        p = labels[r].index(IGNORED) if IGNORED in labels[r] else len(labels[r]) - 1
        yield Hit(
            f"no target holds an EOS label, and the pad {show(state.pad)} is one: {_name(batch, r)} turns to -100 at "
            f"label position {p}, where its EOS would be, in {len(labels)} of {len(labels)} rows; "
            "the model never learns to stop",
            fix="mask the labels with the target's attention_mask instead of by pad id (DataCollatorForSeq2Seq "
            "pads them itself), or give the tokenizer a pad of its own: padfix.ensure_pad(model, tok)",
        )


@rule("PAD402", "eos-absent-from-data", reads="B", severity={"training": "warning"})
def eos_absent(state: PadState, batch: Batch) -> Iterator[Hit]:
    """No text of the sample holds an end-of-text token, so the model cannot learn to stop.

    ## What it finds

    Texts of which none holds an EOS, neither at its end nor inside. Texts cut at the maximum length do not
    count, since their end is not there to be seen.

    ## Why is this bad

    It looks like PAD401, the model never stops, but another pad does not help: nothing in the data says
    where a text ends. Usually nothing appended the EOS, or the chat template ends a turn with a token that
    the tokenizer does not call EOS (https://github.com/huggingface/trl/issues/1623).

    ## Example

    ```python
    tok("a b").input_ids  # [5, 6]: this tokenizer adds no EOS, and the script does not either
    ```

    ## How to fix

    Append the EOS before tokenizing, `text + tok.eos_token`, or set `tok.eos_token` and
    `model.generation_config.eos_token_id` to the token that the template really ends with.
    """
    if not state.eos_ids or batch.objective not in ("causal", "seq2seq"):
        return
    whole = [r for r, cut in enumerate(batch.cut) if not cut and _length(batch, r)]
    if not whole or any(_has_end(state, batch, r) for r in range(len(batch.ids))):
        return
    shared = state.pad is not None and state.pad.id in state.eos_ids
    if batch.objective == "seq2seq" and (batch.labels is None or shared):
        return  # no targets, or PAD401 says it
    if batch.labels is None and _left_padded(batch):
        return  # prompts to generate from
    lasts = Counter(_last(batch, r) for r in whole)
    last, count = lasts.most_common(1)[0]
    end = f"{show(batch.text_of(last))} ({last})"
    message = f"none of the {len(whole)} whole texts holds an EOS ({_ids(state)}): {_name(batch, whole[0])} ends in "
    message += f"{show(batch.text_of(_last(batch, whole[0])))} ({_last(batch, whole[0])})"
    fix = "append it before tokenizing: text + tok.eos_token (another pad token will not help)"
    specials = {token.id for _, token in state.specials}
    if count > len(whole) // 2 and (last in specials or (len(whole) > 2 and count == len(whole))):
        message += f"; {count} of {len(whole)} end in {end}, which is no EOS here"
        fix = f"where texts really end in {end}, make it the EOS: tok.eos_token = {show(batch.text_of(last))}, and add {last} "
        fix += "to model.generation_config.eos_token_id; else append tok.eos_token to each text"
    elif shared and batch.texts_from != "rows":
        message += "; or an EOS is there and the mask was made from ids, hiding it with the pads (pass the rows before collation to tell)"
    yield Hit(message, fix=fix)


def _has_end(state: PadState, batch: Batch, r: int) -> bool:
    if batch.objective == "seq2seq":
        return batch.labels is not None and any(label in state.eos_ids for label in batch.labels[r])
    row = batch.ids[r]
    for start, stop in batch.texts[r]:
        if any(row[p] in state.eos_ids for p in range(start + 1, stop)) or _labelled_end(
            state, batch, r, stop
        ):
            return True
    return False


def _labelled_end(state: PadState, batch: Batch, r: int, p: int) -> bool:
    """A pad right after the text that is trained as its EOS: right by position, whatever the mask says."""
    if batch.labels is None or batch.objective == "seq2seq" or p >= len(batch.ids[r]):
        return False
    return batch.ids[r][p] in state.eos_ids and batch.labels[r][p] == batch.ids[r][p]


@rule("PAD403", "pad-not-masked-in-loss", reads="B", severity={"training": "error"})
def pads_in_loss(state: PadState, batch: Batch) -> Iterator[Hit]:
    """Padding is trained: its labels are not -100.

    ## What it finds

    A label other than -100 where a row is padded; in an encoder-decoder batch, a target that ends in pads.

    ## Why is this bad

    Most of the loss is then about predicting pads. It falls fast and says nothing, the model learns to
    emit the pad, and where the pad is the EOS it learns to stop too early. The usual cause is
    `labels = input_ids.copy()` after `padding="max_length"`.

    ## Example

    ```python
    row = tok("a b</s>", padding="max_length", max_length=6)
    row["labels"] = row["input_ids"].copy()  # [5, 6, 2, 0, 0, 0]
    ```

    ## How to fix

    Let the collator pad: tokenize without padding and use `DataCollatorForSeq2Seq(tok)` (it pads labels
    with -100), or `labels[attention_mask == 0] = -100`.
    """
    if batch.labels is None:
        return
    if batch.objective == "seq2seq":
        yield from _padded_targets(state, batch)
        return
    places: list[Place] = []
    pads = 0
    for r, row in enumerate(batch.ids):
        for p in _padding(batch, r):
            pads += 1
            exempt = p in {stop for _, stop in batch.texts[r]} and _labelled_end(state, batch, r, p)
            if batch.labels[r][p] != IGNORED and not exempt:
                places.append((r, p))
        del row
    if places:
        r, p = places[0]
        yield Hit(
            f"{_at(batch, r, p)} is padding, but its label is {batch.labels[r][p]}, not -100; "
            f"{len(places)} of {pads} padded positions in {_rows(places, batch)} are in the loss",
            fix="labels[attention_mask == 0] = -100, or tokenize without padding and let DataCollatorForSeq2Seq(tok) pad",
        )


def _padded_targets(state: PadState, batch: Batch) -> Iterator[Hit]:
    labels, pad = batch.labels or (), state.pad.id if state.pad is not None else None
    spare = 1 if pad in state.eos_ids else 0
    runs = []
    for r, row in enumerate(labels):
        run = next((k for k, label in enumerate(reversed(row)) if label != pad), len(row))
        if pad is not None and run > spare:
            runs.append((r, len(row) - run + spare, run - spare))
    if runs:
        r, p, _ = runs[0]
        yield Hit(
            f"{_name(batch, r)}, label position {p}: the target is padded with {show(batch.text_of(pad or 0))} ({pad}) instead of "
            f"-100; {sum(n for *_, n in runs)} pads of {len(runs)} of {len(labels)} rows are in the loss",
            fix="labels[labels_attention_mask == 0] = -100, or leave the padding of labels to DataCollatorForSeq2Seq(tok)",
        )


@rule("PAD404", "all-labels-masked", reads="B", severity={"training": "error"})
def all_masked(state: PadState, batch: Batch) -> Iterator[Hit]:
    """Every label is -100: there is nothing to learn from.

    ## What it finds

    A batch in which no label is trained (error), or single rows of that kind (warning). The first label of
    a causal row does not count, since nothing predicts it. Masked-language-model rows count only where at
    least 100 tokens were there to be masked.

    ## Why is this bad

    The loss is NaN, or 0.0 and the run is reported as a success
    (https://github.com/huggingface/trl/issues/6668). The usual causes: a response template that does not
    occur in the tokenized text, a chat template without generation markers, prompts longer than the
    maximum length.

    ## Example

    ```python
    DataCollatorForCompletionOnlyLM("### Answer:", tokenizer=tok)  # the data says "## Answer"
    ```

    ## How to fix

    Print one row of `batch["labels"]`, compare the response template with the tokenized text, and raise the
    maximum length until completions fit.
    """
    if batch.labels is None or not batch.labels:
        return
    skip = 1 if batch.objective == "causal" else 0
    dead = [r for r, row in enumerate(batch.labels) if all(label == IGNORED for label in row[skip:])]
    if batch.objective == "masked":
        if len(dead) < len(batch.labels) or sum(batch.lengths) < 100:
            return
    if not dead:
        return
    r = dead[0]
    start, stop = batch.texts[r][0] if batch.texts[r] else (0, 0)
    held = " ".join(batch.text_of(i) for i in batch.ids[r][start : min(stop, start + 8)])
    what = f"{_name(batch, r)}, positions {start} to {max(start, stop - 1)} ({show(held)} ...)"
    fix = "print batch['labels']: check the response template against the tokenized text, and the maximum length"
    if len(dead) == len(batch.labels):
        yield Hit(
            f"all labels of all {len(dead)} rows are -100, so the loss is NaN or 0: nothing is trained; first {what}",
            fix=fix,
        )
    else:
        yield Hit(
            f"every label of {len(dead)} of {len(batch.labels)} rows is -100, so these rows teach nothing; first {what}",
            fix=fix,
            severity={"training": "warning"},
        )


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
        for r, start, stop in _texts(batch)
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
            f"{_at(batch, r, p)} is the pad id inside real text; {len(places)} such tokens in {_rows(places, batch)}{tail}.{role}",
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
    hidden = [(r, p) for r, start, stop in _texts(batch) for p in range(start, stop) if not mask[r][p]]
    shown = [(r, p) for r in range(len(batch.ids)) for p in _padding(batch, r) if mask[r][p]]
    keep = "keep the attention_mask that tok(texts, padding=True) or tok.pad(...) returns; do not rebuild it from ids"
    if hidden:
        r, p = hidden[0]
        because = ""
        if state.pad is not None and batch.ids[r][p] == state.pad.id:
            because = " (it is the pad id: the mask was made from ids)"
        yield Hit(
            f"{_at(batch, r, p)} is real text, but its attention_mask is 0{because}; "
            f"{len(hidden)} hidden tokens in {_rows(hidden, batch)}",
            fix=keep,
        )
    if shown:
        r, p = shown[0]
        yield Hit(
            f"{_at(batch, r, p)} is padding, but its attention_mask is 1; "
            f"{len(shown)} attended pads in {_rows(shown, batch)}",
            fix=keep,
        )


def _mask_missing(state: PadState, batch: Batch) -> Iterator[Hit]:
    padded = [(r, p) for r in range(len(batch.ids)) for p in _padding(batch, r)]
    if not padded or batch.packed:
        return
    left = [(r, p) for r, p in padded if batch.texts[r] and p < batch.texts[r][0][0]]
    one_way = state.head == "causal" or (state.head is None and batch.objective == "causal")
    if one_way and not left:
        return  # what comes after a text cannot reach it
    r, p = (left or padded)[0]
    yield Hit(
        f"{_at(batch, r, p)} is padding, and the batch has no attention_mask, so the model reads it; "
        f"{len(padded)} pads in {_rows(padded, batch)}",
        fix="give the collator rows with input_ids as dicts (tok(text), not tok(text).input_ids) and pass attention_mask on",
    )


@rule("PAD408", "moe-aux-loss-counts-pads", reads="BM", severity={"training": "warning"})
def router_counts_pads(state: PadState, batch: Batch) -> Iterator[Hit]:
    """The load-balancing loss of a mixture of experts counts the padding.

    ## What it finds

    A model that trains its router (`output_router_logits`) on a padded batch without an attention mask; with
    `step=True`, a router loss that changes with the ids at masked positions.

    ## Why is this bad

    Experts are balanced for pads as well as for text: outputs are right, but routing drifts with the amount
    of padding (https://github.com/huggingface/transformers/issues/28505).

    ## Example

    ```python
    model.config.output_router_logits = True
    model(input_ids=batch["input_ids"], labels=batch["labels"])  # padded, and no attention_mask
    ```

    ## How to fix

    Pass the attention mask, or train without padding (packing, `DataCollatorWithFlattening`).
    """
    padded = [(r, p) for r in range(len(batch.ids)) for p in _padding(batch, r)]
    if batch.router_loss and batch.mask is None and padded and not batch.packed:
        r, p = padded[0]
        yield Hit(
            f"{_at(batch, r, p)} is padding without an attention_mask, and the router's load-balancing loss counts it; "
            f"{len(padded)} pads in {_rows(padded, batch)}",
            fix="pass attention_mask to the model, or pack rows (DataCollatorWithFlattening)",
        )


# --- the batch's side of the inference rules ---------------------------------------------------------


@also("PAD302")
def inferred_mask_hides(state: PadState, batch: Batch) -> Iterator[Hit]:
    if batch.mask is not None or state.pad is None or state.pad.id in state.eos_ids:
        return
    places = [
        (r, p)
        for r, start, stop in _texts(batch)
        for p in range(start, stop)
        if batch.ids[r][p] == state.pad.id
    ]
    if places:
        r, p = places[0]
        yield Hit(
            f"{_at(batch, r, p)} is real text with the pad's id, and no attention_mask is passed: generate() infers one "
            f"from ids and hides it; {len(places)} such tokens in {_rows(places, batch)}",
            fix="pass attention_mask to generate()",
        )


@also("PAD303")
def padded_on_the_wrong_side(state: PadState, batch: Batch) -> Iterator[Hit]:
    if batch.objective != "causal" or batch.packed or state.is_encoder_decoder:
        return
    right = [(r, p) for r in range(len(batch.ids)) for p in _padding(batch, r) if p >= _stop(batch, r)]
    if right and batch.labels is None:
        r, p = right[0]
        yield Hit(
            f"{_at(batch, r, p)}: padded on the right, so generate() would go on after the padding; "
            f"{len(right)} pads in {_rows(right, batch)}",
            fix='tok.padding_side = "left" for generation',
            severity={"training": None, "classification": None},
        )
    left = _left_padded(batch)
    if left and batch.position_ids is None and state.has("absolute-positions"):
        r, p = left[0]
        yield Hit(
            f"{_at(batch, r, p)}: padded on the left without position_ids, and {state.model_type} has learned absolute "
            f"positions: its texts start at positions that depend on the batch; {_rows(left, batch)}",
            fix='tok.padding_side = "right" for training',
            severity={"generation": None, "classification": None},
        )


@also("PAD304")
def positions_not_derived(state: PadState, batch: Batch) -> Iterator[Hit]:
    left = _left_padded(batch)
    if left and batch.position_ids is None and state.has("absolute-positions"):
        r, p = left[0]
        yield Hit(
            f"{_at(batch, r, p)}: padded on the left without position_ids, and {state.model_type} has learned absolute "
            f"positions, which its forward does not derive from the mask; {_rows(left, batch)}",
            fix='tok.padding_side = "right", or pass position_ids = (attention_mask.cumsum(-1) - 1).clamp(min=0)',
        )


@also("PAD305")
def left_pad_nan(state: PadState, batch: Batch) -> Iterator[Hit]:
    if batch.not_finite:
        r = batch.not_finite[0]
        p = _padding(batch, r)[0] if _padding(batch, r) else 0
        yield Hit(
            f"{_at(batch, r, p)}: the logits of this left-padded row hold NaN or infinity, as do those of "
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
        last = _stop(batch, r) - 1
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
            f"the classifier reads {_at(batch, r, pooled)} ({how}), where {_name(batch, r)} has its text's token for that at "
            f"position {last}, {show(batch.text_of(batch.ids[r][last]))} ({batch.ids[r][last]}); {_rows(places, batch)}",
            fix='padfix.ensure_pad(model, tok, strategy="add") gives the classifier a pad of its own; tok.padding_side = "right" '
            "where it reads the first position",
        )


def _pools_late(state: PadState) -> bool:
    decoders = state.has("pools-on-pad") or state.has("pools-on-eos") or state.has("recurrent")
    return decoders or state.model_type in POOLS_LATE


# --- the words of a finding --------------------------------------------------------------------------


def _texts(batch: Batch) -> Iterator[tuple[int, int, int]]:
    for r, spans in enumerate(batch.texts):
        for start, stop in spans:
            yield r, start, stop


def _padding(batch: Batch, r: int) -> list[int]:
    inside = {p for start, stop in batch.texts[r] for p in range(start, stop)}
    return [p for p in range(len(batch.ids[r])) if p not in inside]


def _left_padded(batch: Batch) -> list[Place]:
    return [(r, 0) for r, spans in enumerate(batch.texts) if spans and spans[0][0] > 0]


def _stop(batch: Batch, r: int) -> int:
    return batch.texts[r][-1][1] if batch.texts[r] else 0


def _length(batch: Batch, r: int) -> int:
    if batch.objective == "seq2seq" and batch.labels is not None:
        return sum(label != IGNORED for label in batch.labels[r])
    return batch.lengths[r]


def _last(batch: Batch, r: int) -> int:
    if batch.objective == "seq2seq" and batch.labels is not None:
        return next((label for label in reversed(batch.labels[r]) if label != IGNORED), IGNORED)
    stop = _stop(batch, r)
    return batch.ids[r][stop - 1] if stop else IGNORED


def _name(batch: Batch, r: int) -> str:
    return batch.names[r] if r < len(batch.names) else f"row {r}"


def _at(batch: Batch, r: int, p: int) -> str:
    token = batch.ids[r][p]
    return f"{_name(batch, r)}, position {p}: {show(batch.text_of(token))} ({token})"


def _rows(places: list[Place], batch: Batch) -> str:
    return f"{len({r for r, _ in places})} of {len(batch.ids)} rows"


def _ids(state: PadState) -> str:
    known = {token.id: token.text for token in (state.eos,) if token is not None}
    return ", ".join(f"{show(known[i])} {i}" if i in known else str(i) for i in state.eos_ids[:4])


def _maker(batch: Batch) -> str:
    return batch.collator or "the collator"
