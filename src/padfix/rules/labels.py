"""PAD401 to PAD404: what a model learns from the labels of one collated batch: ends, padding, or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from padfix.rules.places import (
    IGNORED,
    Place,
    at,
    eos_named,
    in_rows,
    last_token,
    left_padded,
    maker,
    padding_in,
    real_length,
    row_name,
    texts_in,
)
from padfix.rules.registry import Hit, rule, show
from padfix.types import Batch, PadState


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
    tokenizer a pad of its own, `padfix.ensure_pad(model, tok, "add")`.
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
    for r, start, stop in texts_in(batch):
        row, labels = batch.ids[r], batch.labels[r]
        ends = [p for p in range(start + 1, stop) if row[p] in state.eos_ids]
        seen += len(ends)
        masked += [(r, p) for p in ends if labels[p] == IGNORED and labels[p - 1] != IGNORED]
    if not masked:
        return
    r, p = masked[0]
    because = ""
    if state.pad is not None and batch.ids[r][p] == state.pad.id:
        because = f", because it is also the pad and {maker(batch)} masks labels by id"
    guess = " (or it is padding: pass the rows before collation to tell)" if batch.texts_from == "pad" else ""
    yield Hit(
        f"{at(batch, r, p)} ends a text{guess}, but its label is -100 while the token before it is trained{because}; "
        f"{len(masked)} of {seen} EOS in {in_rows(masked, batch)}: the model never learns to stop",
        fix="collator = padfix.positional_labels(collator), or a pad of its own: padfix.ensure_pad(model, tok, 'add')",
    )


def _masked_targets(state: PadState, batch: Batch) -> Iterator[Hit]:
    labels = batch.labels or ()
    shared = state.pad is not None and state.pad.id in state.eos_ids
    if shared and labels and not any(label in state.eos_ids for row in labels for label in row):
        r = next((i for i, row in enumerate(labels) if IGNORED in row), 0)
        p = labels[r].index(IGNORED) if IGNORED in labels[r] else len(labels[r]) - 1
        yield Hit(
            f"no target holds an EOS label, and the pad {show(state.pad)} is one: {row_name(batch, r)} turns to -100 at "
            f"label position {p}, where its EOS would be, in {len(labels)} of {len(labels)} rows; "
            "the model never learns to stop",
            fix="mask the labels with the target's attention_mask instead of by pad id (DataCollatorForSeq2Seq "
            "pads them itself), or give the tokenizer a pad of its own: padfix.ensure_pad(model, tok, 'add')",
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
    whole = [r for r, cut in enumerate(batch.cut) if not cut and real_length(batch, r)]
    if not whole or any(_has_end(state, batch, r) for r in range(len(batch.ids))):
        return
    shared = state.pad is not None and state.pad.id in state.eos_ids
    if batch.objective == "seq2seq" and (batch.labels is None or shared):
        return  # no targets, or PAD401 says it
    if batch.labels is None and left_padded(batch):
        return  # prompts to generate from
    lasts = Counter(last_token(batch, r) for r in whole)
    last, count = lasts.most_common(1)[0]
    end = f"{show(batch.text_of(last))} ({last})"
    message = f"none of the {len(whole)} whole texts holds an EOS ({eos_named(state)}): {row_name(batch, whole[0])} ends in "
    message += f"{show(batch.text_of(last_token(batch, whole[0])))} ({last_token(batch, whole[0])})"
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
    for r in range(len(batch.ids)):
        for p in padding_in(batch, r):
            pads += 1
            exempt = p in {stop for _, stop in batch.texts[r]} and _labelled_end(state, batch, r, p)
            if batch.labels[r][p] != IGNORED and not exempt:
                places.append((r, p))
    if places:
        r, p = places[0]
        yield Hit(
            f"{at(batch, r, p)} is padding, but its label is {batch.labels[r][p]}, not -100; "
            f"{len(places)} of {pads} padded positions in {in_rows(places, batch)} are in the loss",
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
            f"{row_name(batch, r)}, label position {p}: the target is padded with {show(batch.text_of(pad or 0))} ({pad}) instead of "
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
    if batch.objective == "masked" and (len(dead) < len(batch.labels) or sum(batch.lengths) < 100):
        return
    if not dead:
        return
    r = dead[0]
    start, stop = batch.texts[r][0] if batch.texts[r] else (0, 0)
    held = " ".join(batch.text_of(i) for i in batch.ids[r][start : min(stop, start + 8)])
    what = f"{row_name(batch, r)}, positions {start} to {max(start, stop - 1)} ({show(held)} ...)"
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
