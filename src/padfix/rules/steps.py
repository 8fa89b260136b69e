"""PAD408 to PAD410: what padding does to the loss and to the gradients of one training step."""

from __future__ import annotations

from collections.abc import Iterator

from padfix.rules.places import IGNORED, at, in_rows, left_padded, padding_in
from padfix.rules.registry import Hit, also, rule
from padfix.types import Batch, PadState


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
    padded = [(r, p) for r in range(len(batch.ids)) for p in padding_in(batch, r)]
    if batch.router_loss and batch.mask is None and padded and not batch.packed:
        r, p = padded[0]
        yield Hit(
            f"{at(batch, r, p)} is padding without an attention_mask, and the router's load-balancing loss counts it; "
            f"{len(padded)} pads in {in_rows(padded, batch)}",
            fix="pass attention_mask to the model, or pack rows (DataCollatorWithFlattening)",
        )


@also("PAD408")
def router_loss_moves(state: PadState, batch: Batch) -> Iterator[Hit]:
    step = batch.step
    if step is not None and step.router_change is not None and step.router_change > 1e-6:
        yield Hit(
            f"the router's load-balancing loss moves by {step.router_change:.2g} when only the ids at masked positions "
            f"change: {state.model_type} counts them, though the mask is passed",
            fix="pack rows (DataCollatorWithFlattening), or sort rows by length so that little is padded",
        )


@rule("PAD409", "loss-depends-on-padding", reads="BM", severity={"training": "error"})
def loss_depends_on_padding(state: PadState, batch: Batch) -> Iterator[Hit]:
    """The loss of the padded batch is not that of its rows alone.

    ## What it finds

    With `step=True`: a loss of the batch that differs from the token-weighted mean of the losses of its
    rows, each run alone and unpadded, by more than rounding (1e-4 of the loss in float32, 3e-2 in bfloat16).

    ## Why is this bad

    What a row teaches then depends on which rows it is batched with. The cause is one of: pads in the loss
    (PAD403), a mask that is wrong or missing (PAD407), left padding without `position_ids` on learned
    absolute positions (PAD304), or a model that does not honour the mask (PAD501, PAD502).

    ## Example

    ```python
    padfix.sanity_check(model, tok, data=dataset, collator=collator, step=True)
    ```

    ## How to fix

    Fix the finding that names the cause; where there is none, train without padding (packing, or batches
    of equal length).
    """
    step = batch.step
    if step is None:
        return
    gap = abs(step.loss - step.loss_alone)
    if gap <= step.limit:
        return
    row, position = step.pad_place or (0, 0)
    where = f"; the first padding is at {at(batch, row, position)}" if step.pad_place else ""
    yield Hit(
        f"the loss of the batch is {step.loss:.6g}, that of its rows alone {step.loss_alone:.6g} (token-weighted): "
        f"{gap:.2g} apart, limit {step.limit:.2g}{_cause(state, batch)}{where}",
        fix="fix the finding that names the cause, or train without padding: DataCollatorWithFlattening, or equal lengths",
    )


def _cause(state: PadState, batch: Batch) -> str:
    if state.has("ignores-mask"):
        return f"; {state.model_type} ignores the attention mask"
    if left_padded(batch) and state.has("recurrent"):
        return f"; the state of {state.model_type} runs over the padding on the left"
    if left_padded(batch) and state.has("absolute-positions") and batch.position_ids is None:
        return f"; {state.model_type} has learned absolute positions, and padding on the left shifts them"
    return ""


@rule("PAD410", "padding-gets-gradient", reads="BM", severity={"training": "warning"})
def padding_gets_gradient(state: PadState, batch: Batch) -> Iterator[Hit]:
    """A gradient reaches the embeddings of padded positions.

    ## What it finds

    With `step=True`: a gradient other than zero at the output of the input embedding where a row is padded.
    Under an honoured mask it is exactly zero. As a note: labels of first tokens that the padding on their
    left predicts.

    ## Why is this bad

    The loss depends on what stands in the padding: the pad's row is trained, and the same texts give other
    gradients in other batches. PAD403, PAD407 and PAD501 are the causes.

    ## Example

    ```python
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])  # pads are attended
    ```

    ## How to fix

    Pass the attention mask that the tokenizer returns, and mask the labels of padding.
    """
    step = batch.step
    if step is None:
        return
    first = [(r, spans[0][0]) for r, spans in enumerate(batch.texts) if spans and spans[0][0] > 0]
    if batch.objective == "causal" and batch.labels is not None and not batch.packed:
        first = [(r, p) for r, p in first if batch.labels[r][p] != IGNORED]
        if first:
            yield Hit(
                f"{at(batch, *first[0])} is the first token of a left-padded row, and its label is predicted from the padding "
                f"before it; {in_rows(first, batch)}",
                fix='tok.padding_side = "right" for training, or the label of the first token of each row at -100',
                severity="info",
            )
    if not step.pad_gradient or step.pad_place is None:
        return
    yield Hit(
        f"{at(batch, *step.pad_place)} is padding, and a gradient of {step.pad_gradient:.2g} reaches its embedding "
        f"(the largest of real text is {step.text_gradient or 0.0:.2g}); it must be exactly 0",
        fix="pass the attention_mask that the tokenizer returns, and set the labels of padding to -100",
    )
