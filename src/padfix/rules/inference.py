"""PAD3xx: what padding does when a model runs."""

from __future__ import annotations

import math
from collections.abc import Iterator

from padfix.rules.registry import Hit, Task, also, as_id, bare, rule, show
from padfix.rules.remedies import own_pad
from padfix.types import Check, PadState, Severity, Verdict


@rule("PAD301", "mask-not-inferable", reads="F", severity={"generation": "info"})
def mask_not_inferable(state: PadState) -> Iterator[Hit]:
    """Without an attention mask, `generate` cannot tell padding from text.

    ## What it finds
    A decoder whose pad is its EOS, or that has no pad, so that `generate` pads with EOS by itself. (A pad
    that is merely one of several stop ids is PAD003's.)

    ## Why is this bad
    `generate(input_ids)` infers a mask only from a pad that ends no text. Here it attends to the padding and
    warns: "The attention mask is not set and cannot be inferred from input because pad token is same as
    eos token", "Setting `pad_token_id` to `eos_token_id`". One unpadded prompt is unaffected.

    ## Example
    ```python
    model.generate(tok(texts, padding=True, return_tensors="pt").input_ids)  # the mask is left behind
    ```

    ## How to fix
    Pass the mask: `model.generate(**tok(texts, padding=True, return_tensors="pt"))`. To silence the warning
    about `pad_token_id`, pass `pad_token_id=tok.pad_token_id`.

    ## References
    QwenLM/Qwen3#267, Vaibhavs10/insanely-fast-whisper#261
    """
    if state.head != "causal" or not state.has_tokenizer or state.eos is None:
        return
    fix = 'model.generate(**tok(texts, padding=True, return_tensors="pt")): ids and mask together'
    if state.pad is None and as_id(state.generation_pad_id) is None and as_id(state.text_pad_id) is None:
        yield Hit(
            f"no pad is set, so generate() pads with EOS {show(state.eos)} and infers no mask", "pad", fix
        )
    elif state.pad is not None and state.pad.id is not None and state.pad.id == state.eos.id:
        yield Hit(f"pad and EOS are both {show(state.eos)}, so generate() infers no mask", "pad", fix)


@rule("PAD302", "inferred-mask-hides-real-token", reads="FB", severity={"generation": "warning"})
def inferred_mask_hides_real_token(state: PadState) -> Iterator[Hit]:
    """Without an attention mask, `generate` masks a token that real prompts contain.

    ## What it finds
    A decoder whose pad ends no text, so a mask is inferred from it, and which text, the post-processor or
    the chat template can produce.

    ## Why is this bad
    `generate(input_ids)` sets the inferred mask to 0 wherever the pad id stands: a real unk or `!` of the
    prompt disappears, and the output changes without a warning.

    ## Example
    `tok.pad_token = "!"`, then `model.generate(tok("Stop!", return_tensors="pt").input_ids)`.

    ## How to fix
    Pass the mask, and use a pad that text cannot produce: `padfix fix FOLDER --strategy reserved`.

    ## References
    Measured on transformers 5.23; `_prepare_attention_mask_for_generation`.
    """
    pad = state.pad
    if state.head != "causal" or pad is None or pad.id is None or pad.id in state.eos_ids:
        return
    causes = [
        use.replace("-", " ")
        for use in state.pad_uses or ()
        if use in ("text", "post-processor", "chat-template")
    ]
    if state.unk is not None and state.unk.id == pad.id and state.unk_emitted:
        causes.append("any unknown word")
    if causes:
        message = f"pad {show(pad)} comes from {' and '.join(dict.fromkeys(causes))} too, and a mask inferred from it hides that"
        yield Hit(message, "pad", own_pad(state))


@rule(
    "PAD303",
    "wrong-padding-side",
    reads="FB",
    severity={"generation": "warning", "training": "info", "classification": "warning"},
)
def wrong_padding_side(state: PadState) -> Iterator[Hit]:
    """The tokenizer pads on the side that this use does not want.

    ## What it finds
    For generation with a decoder: right padding (a note where it is only the class default and no file says
    so). For training a decoder: left padding, as a note. For classification: left padding where the model
    reads its first position (CLS) or counts positions from the left.

    ## Why is this bad
    A decoder continues a right-padded prompt after its padding: "A decoder-only architecture is being used,
    but right-padding was detected!". An encoder that pools its first position pools a pad.

    ## Example
    ```python
    tok.padding_side  # "right": fine for training, wrong for batched generation
    ```

    ## How to fix
    Per call, not in the files: `tok(texts, padding=True, padding_side="left")` to generate,
    `padding_side="right"` to train and to pool.

    ## References
    huggingface/transformers#34658, huggingface/trl#1018, UKPLab/sentence-transformers#3208
    """
    if not state.has_tokenizer or state.pad is None or state.head is None:
        return
    silent: dict[Task, Severity | None] = {"generation": None, "training": None, "classification": None}
    if state.padding_side == "right":
        if state.head == "causal" and not state.has("leaks-state"):
            declared = state.live or state.where("padding_side") is not None
            yield Hit(
                "the tokenizer pads on the right; a decoder continues a prompt from its right end",
                "padding_side",
                'tok(prompts, padding=True, padding_side="left") to generate in batches',
                {**silent, "generation": "warning" if declared else "info"},
            )
        return
    if state.head == "causal":
        yield Hit(
            "the tokenizer pads on the left; collators that count from the left then see other positions",
            "padding_side",
            'tok(texts, padding=True, padding_side="right") to train',
            {**silent, "training": "info"},
        )
    elif state.head in ("classifier", "base") and _reads_first(state):
        yield Hit(
            "the tokenizer pads on the left; this model pools or counts positions from the left",
            "padding_side",
            'tok(texts, padding=True, padding_side="right")',
            {**silent, "classification": "warning"},
        )


def _reads_first(state: PadState) -> bool:
    # XLNet pools its last position and is left-padded by design; a head that looks for the pad finds either side
    return (
        state.model_type not in (None, "xlnet")
        and not state.has("pools-on-pad")
        and not state.is_encoder_decoder
    )


@rule(
    "PAD304",
    "position-ids-not-derived",
    reads="AM",
    severity={"generation": "info", "classification": "warning"},
)
def position_ids_not_derived(state: PadState) -> Iterator[Hit]:
    """Left-padded rows get other positions than the same texts alone.

    ## What it finds
    Left padding on an architecture with learned absolute positions that does not build `position_ids` from
    the mask (GPT-2, GPT-Neo, XGLM, CTRL); `padfix check` measures it as `padding-left-bare`.

    ## Why is this bad
    `model(input_ids, attention_mask)` numbers the positions from 0, padding included: logits move by 1.0 on
    GPT-2, silently. `generate` derives the positions itself, so it is only a note there.

    ## Example
    Scoring left-padded texts with one `forward` of GPT-2.

    ## How to fix
    Pad on the right, or pass `position_ids=(mask.cumsum(-1) - 1).clamp(min=0)`.

    ## References
    huggingface/transformers#3021, huggingface/transformers#18478
    """
    if state.has("absolute-positions") and state.padding_side == "left" and state.pad is not None:
        name = bare(state.model_type or "this architecture", 60)
        message = (
            f"{name} has absolute positions and the tokenizer pads on the left: forward() needs position_ids"
        )
        yield Hit(message, "padding_side", _POSITIONS)


_POSITIONS = (
    'position_ids=(mask.cumsum(-1) - 1).clamp(min=0), or tok(texts, padding=True, padding_side="right")'
)


@also("PAD304")
def measured_positions(state: PadState, verdict: Verdict) -> Iterator[Hit]:
    """The proof saw left-padded rows move although what the padding holds does not matter."""
    checks = {check.name: check for check in verdict.checks if not check.passed and not is_nan(check)}
    left, bare_rows = checks.get("padding-left"), checks.get("padding-left-bare")
    if "pad-invisible" in checks:
        return
    if left is not None and left.gating:
        yield Hit(
            f"left-padded rows differ from the texts alone{_moved(left)}", None, left.remedy or _POSITIONS
        )
    elif left is None and bare_rows is not None:
        message = f"without position_ids, left-padded rows differ from the texts alone{_moved(bare_rows)}"
        # a tokenizer that pads on the right never makes such rows by itself
        note: Severity | None = None if state.padding_side == "left" else "info"
        yield Hit(message, None, bare_rows.remedy or _POSITIONS, note)


@rule(
    "PAD305",
    "left-pad-nan",
    reads="M",
    severity={"generation": "error", "training": "error", "classification": "error"},
)
def left_pad_nan(state: PadState, verdict: Verdict) -> Iterator[Hit]:
    """A padded row gives NaN or infinity.

    ## What it finds
    A check of the proof whose difference is not a finite number. `padfix check` runs it on this device and
    dtype; it cannot speak for another one, and CPU fp32 does not show what fp16 on a GPU does.

    ## Why is this bad
    A query whose keys are all masked has a softmax over nothing. In a batch, one such row is enough:
    "probability tensor contains either `inf`, `nan` or element < 0", or texts that decode to "".

    ## Example
    Left padding in fp16 with an attention implementation that has no guard for fully masked rows.

    ## How to fix
    Load in bfloat16 or with `attn_implementation="eager"`, or pad on the right.

    ## References
    huggingface/transformers#27179, huggingface/transformers#48363, pytorch/pytorch#103749
    """
    for check in verdict.checks:
        if check.name.startswith(("padding", "pad-invisible")) and not check.passed and is_nan(check):
            where = ", ".join(part for part in (state.dtype, state.device) if part)
            message = f"{check.name}: padded rows are not finite" + (f" ({show(where)})" if where else "")
            yield Hit(
                message,
                None,
                check.remedy or 'use bfloat16 or attn_implementation="eager", or pad on the right',
            )


def is_nan(check: Check) -> bool:
    """True for a check whose difference is not a finite number."""
    return check.observed is not None and not math.isfinite(check.observed)


def _moved(check: Check) -> str:
    return "" if not check.observed else f" by {check.observed:.3g} {check.unit}".rstrip()


@rule("PAD308", "pooled-at-wrong-position", reads="AM", severity={"classification": "error"})
def pooled_at_wrong_position(state: PadState) -> Iterator[Hit]:
    """A classifier reads its score at a position that is not the last of the text.

    ## What it finds
    A head that pools the last token that is not `config.pad_token_id`, where that id is the EOS that every
    text ends in; and, measured by `padfix check`, a score that a batch changes (`pooled-kept`).

    ## Why is this bad
    Every text is scored one token early, padded or not, and differently from training: 0.0824 instead of
    0.1365 on a tiny Llama.

    ## Example
    `config.pad_token_id = config.eos_token_id` on a Llama reward model whose template ends in EOS.

    ## How to fix
    Give it a pad of its own: `padfix.ensure_pad(model, tok, strategy="add")`.

    ## References
    huggingface/transformers#35352, huggingface/transformers#35911, huggingface/transformers#46782
    """
    value = state.text_pad_id
    pools = state.has("pools-on-pad") and state.head != "token-classifier"
    if (
        pools
        and state.appends_eos
        and state.eos is not None
        and isinstance(value, int)
        and value == state.eos.id
    ):
        fact = "text_config_pad_ids" if state.text_config_pad_ids else "config_pad_id"
        message = (
            f"the head pools the last token that is not {show(value)}, which is the EOS that ends every text"
        )
        yield Hit(message, fact, own_pad(state))


@also("PAD308")
def measured_pooling(state: PadState, verdict: Verdict) -> Iterator[Hit]:
    """The proof saw a score that depends on the batch."""
    for check in verdict.checks:
        if check.name == "pooled-kept" and not check.passed:
            cause = check.cause or "the score of a text changes with a final EOS or in a batch"
            moved = f"; it moves{_moved(check)}" if check.observed else ""
            yield Hit(f"{bare(cause)}{moved}", None, check.remedy or own_pad(state))
