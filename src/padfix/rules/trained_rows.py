"""PAD107, PAD108, PAD110, PAD111: what the rows themselves hold, and whether they still train."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from padfix.rules.registry import Hit, also, bare, rule, show
from padfix.rules.remedies import own_pad, repair
from padfix.types import PadState, Verdict

HUGE: Final = 10.0  # a row norm this many times the median one overflows fp16 long before the others do


@rule(
    "PAD107",
    "dominant-pad-logit",
    reads="M",
    severity={"generation": "error", "training": "error", "serving": "error"},
)
def dominant_pad_logit(state: PadState, verdict: Verdict) -> Iterator[Hit]:
    """The model can now emit its pad.

    ## What it finds
    A pad whose probability is above 1/(V+1), or that is the likeliest token somewhere: the proof's check
    `pad-unlikely`, run by `padfix check`.

    ## Why is this bad
    A new output row of zeros has logit 0, and in many models every other logit is far below: generation
    gives nothing but `[PAD]`, and the loss jumps. With logits near -18 the zero row took p = 0.99998, the
    mean row 0.00098.

    ## Example
    ```python
    model.resize_token_embeddings(len(tok), mean_resizing=False)  # tied weights: p(pad) = 1.00
    ```

    ## How to fix
    `padfix.ensure_pad(model, tok, strategy="add", init="mean")`: the mean row can never be above 1/(V+1)
    where logits are not capped.

    ## References
    J. Hewitt, "Initializing new word embeddings", 2021; huggingface/transformers#8472
    """
    yield from _failed(verdict, "pad-unlikely", 'padfix.ensure_pad(model, tok, strategy="add", init="mean")')


@rule(
    "PAD108",
    "degenerate-pad-row",
    reads="L",
    severity={"generation": "warning", "training": "warning", "classification": "warning"},
)
def degenerate_pad_row(state: PadState) -> Iterator[Hit]:
    """The pad's own embedding row is one that can do harm in spite of the mask.

    ## What it finds
    A row that is not finite (an error), a row more than 10 times as long as the median one, a copy of the
    EOS row, or zeros where input and output are tied.

    ## Why is this bad
    Masked positions are still computed: 0 * NaN is NaN, and a huge row overflows fp16. On tied weights a
    zero row means logit 0 (PAD107), a copy of EOS means that the pad is as likely as EOS. A zero row of an
    input matrix alone is fine, and so are the equal rows of reserved tokens.

    ## Example
    Reserved tokens whose rows were never trained, or a row left uninitialised by a resize.

    ## How to fix
    `padfix.ensure_pad(model, tok, init="mean")` rewrites the pad's own row and proves the rest unchanged.

    ## References
    huggingface/transformers#27114, unslothai/unsloth#1056
    """
    row, pad = state.pad_row, state.pad
    if row is None or pad is None:
        return
    fix = 'padfix.ensure_pad(model, tok, init="mean")'
    if not row.finite:
        yield Hit(
            f"the row of pad {show(pad)} is not finite (norm {show(row.norm)})", "pad_row", fix, "error"
        )
    elif row.zero and state.tied and state.head == "causal":
        # nn.Embedding(padding_idx=...) starts so; in a trained model it is a finding of its own
        fresh = state.padding_idx is not None and state.padding_idx == pad.id
        message = (
            f"the row of pad {show(pad)} is zero and tied to the output: its logit is 0 in every context"
        )
        yield Hit(message, "pad_row", fix, "info" if fresh else None)
    elif row.norm is not None and row.median_norm and row.norm > HUGE * row.median_norm:
        message = f"the row of pad {show(pad)} has norm {row.norm:.3g}, the median row {row.median_norm:.3g}"
        yield Hit(message, "pad_row", fix)
    elif (
        row.duplicate_of is not None
        and row.duplicate_of in state.eos_ids
        and state.tied
        and row.duplicate_of != pad.id
    ):
        message = (
            f"the row of pad {show(pad)} is a copy of EOS row {row.duplicate_of}: both are equally likely"
        )
        yield Hit(message, "pad_row", fix)


@rule(
    "PAD110",
    "padding-idx-freezes-live-token",
    reads="AL",
    severity={"training": "warning", "classification": "warning"},
)
def padding_idx_freezes_live_token(state: PadState) -> Iterator[Hit]:
    """The input row of a token that texts contain gets no gradient.

    ## What it finds
    `padding_idx` at EOS, BOS, or an unk that occurs: on a live model as it is, in files where the
    architecture builds `nn.Embedding(padding_idx=config.pad_token_id)`.

    ## Why is this bad
    The gradient of that input row is exactly 0.0, and a fresh model starts with zeros there. Setting
    `config.pad_token_id = eos` changes nothing now and takes effect at the *next* load, so a resumed run
    trains differently from the first.

    ## Example
    ```python
    model.config.pad_token_id = tok.eos_token_id  # Llama, reloaded: padding_idx = EOS
    ```

    ## How to fix
    `padfix.ensure_pad(model, tok, strategy="eos")` keeps EOS out of the config and clears a live
    `padding_idx`; or use a pad of its own.

    ## References
    h2oai/h2o-llmstudio#298, mosaicml/llm-foundry#1527
    """
    if state.has("pad-is-semantic") or state.has("positions-from-pad"):
        return
    built = state.text_pad_id if state.has("padding-idx-from-config") else None
    at = state.padding_idx if state.live else built
    if not isinstance(at, int):
        return
    # a stop id of the list that is the tokenizer's own distinct pad (Qwen) stands in no text
    own = state.pad.id if state.pad is not None and state.pad != state.eos else None
    live = {i: "EOS" for i in state.eos_ids if i != own}
    if state.bos is not None and state.bos.id is not None:
        live.setdefault(state.bos.id, "BOS")
    if state.unk is not None and state.unk.id is not None and state.unk_emitted:
        live.setdefault(state.unk.id, "unk")
    if at in live:
        where = "padding_idx" if state.live else "pad_token_id, which becomes padding_idx,"
        fact = (
            "padding_idx"
            if state.live
            else "text_config_pad_ids"
            if state.text_config_pad_ids
            else "config_pad_id"
        )
        fix = repair(state, "eos")
        if state.pad is not None and state.pad.id == at:
            fix = f"{own_pad(state)}; to keep EOS: {fix}" if state.pad == state.eos else own_pad(state)
        yield Hit(f"{where} is {show(at)} ({live[at]}): that input row gets no gradient", fact, fix)


@rule(
    "PAD111",
    "head-reinitialised-or-untied",
    reads="L",
    severity={"generation": "error", "training": "error", "serving": "error"},
)
def head_reinitialised_or_untied(state: PadState, verdict: Verdict) -> Iterator[Hit]:
    """A change of the vocabulary left another output head behind.

    ## What it finds
    Existing rows or old logits that changed in a fix (the proof's `weights-kept` and `outputs-kept`), or,
    against a base, tied matrices that are tied no longer.

    ## Why is this bad
    A resize followed by `post_init()` drew the untied head anew: the model talks nonsense. One that skips
    re-tying trains two matrices that should be one.

    ## Example
    huggingface/transformers#35141, fixed in 2026.

    ## How to fix
    Reload the original and use `padfix.ensure_pad(model, tok, strategy="add")`, which keeps every bit of the
    old rows or undoes itself.

    ## References
    huggingface/transformers#35141, axolotl-ai-cloud/axolotl#577
    """
    for name in ("weights-kept", "outputs-kept"):
        yield from _failed(
            verdict, name, "reload the original weights; padfix.ensure_pad keeps every bit of the old rows"
        )


@also("PAD111")
def no_longer_tied(state: PadState, base: PadState) -> Iterator[Hit]:
    """The base ties input and output, this checkpoint does not."""
    if base.tied and state.tied is False:
        yield Hit("the base ties input and output matrix, this checkpoint has two", "tied", None, "warning")


def _failed(verdict: Verdict, name: str, fix: str) -> Iterator[Hit]:
    for check in verdict.checks:
        if check.name == name and not check.passed:
            numbers = ""
            if check.observed is not None:
                limit = "" if check.limit is None else f", limit {check.limit:.3g}"
                numbers = f" ({check.observed:.3g} {check.unit}{limit})".replace(" )", ")")
            cause = bare(check.cause or f"{name} failed")
            yield Hit(f"{cause}{numbers}", None, check.remedy or fix)
