"""PAD5xx: architectures in which padding means something else than usual."""

from __future__ import annotations

from collections.abc import Iterator

from padfix.rules.inference import is_nan
from padfix.rules.registry import Hit, also, bare, rule, show
from padfix.rules.remedies import own_pad
from padfix.types import PadState, Verdict


@rule(
    "PAD501",
    "architecture-ignores-mask",
    reads="AM",
    severity={"generation": "error", "training": "error", "classification": "error"},
)
def architecture_ignores_mask(state: PadState) -> Iterator[Hit]:
    """The forward pass does not honour the attention mask, so no pad token is invisible.

    ## What it finds
    An architecture that mixes all positions whatever the mask says (FNet, YOSO, CPM-Ant); `padfix check`
    measures it as `pad-invisible`. For an encoder at inference a warning: it may be meant for one fixed
    length. A note where attention honours the mask and a convolution or pooling beside it does not
    (ConvBERT, MobileBERT, Funnel).

    ## Why is this bad
    The result for a text depends on how much padding its neighbours need: 2.8 in FNet's hidden states. No
    choice of pad helps.

    ## Example
    FNet's Fourier mixing runs over the padded row; its authors trained with a fixed length of 512.

    ## How to fix
    Batch texts of equal length, or pad every text to the length used in training:
    `tok(texts, padding="max_length", max_length=512)`.

    ## References
    huggingface/transformers#14359, huggingface/transformers#27210
    """
    name = bare(state.model_type or "this architecture", 60)
    if state.has("ignores-mask"):
        fix = 'batch texts of equal length, or tok(texts, padding="max_length") with the length of training'
        soft = state.head in ("masked", "base", None)
        message = f"{name} ignores attention_mask: padding changes its outputs, whatever the pad"
        yield Hit(message, "model_type", fix, {"generation": "warning"} if soft else None)
    elif state.has("mixes-positions"):
        message = f"{name} mixes neighbouring positions beside attention, so text next to padding sees a little of the pad"
        yield Hit(message, "model_type", "keep the pad it was trained with", "info")


@also("PAD501")
def measured_leak(state: PadState, verdict: Verdict) -> Iterator[Hit]:
    """The proof saw the content of masked positions reach real ones."""
    if state.has("ignores-mask") or state.has("leaks-state"):
        return  # said by the architecture's own rule
    for check in verdict.checks:
        if (
            check.name in ("pad-invisible", "padding-right")
            and check.gating
            and not check.passed
            and not is_nan(check)
        ):
            cause = bare(check.cause or "padding changes the output in spite of the mask")
            yield Hit(cause, None, check.remedy or "batch texts of equal length")
            return


@rule(
    "PAD502",
    "recurrent-left-padding",
    reads="AM",
    severity={"generation": "warning", "training": "info", "classification": "warning"},
)
def recurrent_left_padding(state: PadState) -> Iterator[Hit]:
    """Left padding runs through the recurrent state before the text does.

    ## What it finds
    A tokenizer that pads on the left, with an architecture whose state takes padding in: RWKV, xLSTM,
    RecurrentGemma.

    ## Why is this bad
    The text starts from a state that the padding left behind. Measured on tiny models: 2 to 3 in the logits
    of RWKV, 0.26 for RecurrentGemma with one pad and 2e-7 with another.

    ## Example
    Batched generation with RecurrentGemma, whose tokenizer pads on the left.

    ## How to fix
    Pad on the right: `tok(texts, padding=True, padding_side="right")`, or batch prompts of equal length.

    ## References
    huggingface/transformers#27210, huggingface/transformers#32677, state-spaces/mamba#66
    """
    if state.has("leaks-state") and state.padding_side == "left" and state.pad is not None:
        name = bare(state.model_type or "this architecture", 60)
        fix = 'tok(texts, padding=True, padding_side="right"), or prompts of equal length'
        yield Hit(
            f"{name} carries a state over the row, and the tokenizer pads on the left", "padding_side", fix
        )


@rule("PAD503", "pad-id-defines-positions", reads="A", severity={})
def pad_id_defines_positions(state: PadState) -> Iterator[Hit]:
    """Positions are counted from the pad id, which may therefore never change; a guard, never reported.

    ## What it finds
    The RoBERTa family: `position = cumsum(ids != pad_token_id) + pad_token_id`.

    ## Why is this bad
    It is not, as shipped. Another pad id changes the output even of texts without padding (2.3 for pad 1 ->
    0), and a large one raises an index error. So padfix refuses to change it.

    ## Example
    XLM-RoBERTa, CamemBERT, MPNet, Longformer, ESM, M2M-100.

    ## How to fix
    Keep the pad that the model was trained with.

    ## References
    huggingface/transformers#34528, huggingface/transformers#9116
    """
    if state.has("positions-from-pad"):
        yield Hit(
            f"{show(state.model_type)} counts positions from its pad id {show(state.pad)}", "config_pad_id"
        )


@rule("PAD504", "eos-pooled-encoder-decoder", reads="A", severity={"classification": "error"})
def eos_pooled_encoder_decoder(state: PadState) -> Iterator[Hit]:
    """A classifier that pools the EOS token has a pad that is EOS.

    ## What it finds
    BART, mBART, PLBart, MVP, BigBird-Pegasus, T5, mT5 or UMT5 with `pad_token_id == eos_token_id`.

    ## Why is this bad
    Every padded row has more EOS tokens than its neighbours: "All examples must have the same number of
    <eos> tokens."

    ## Example
    ```python
    tok.pad_token = tok.eos_token  # BART: pad was <pad> (1)
    ```

    ## How to fix
    Put the model's own pad back: `padfix fix FOLDER --pad-token "<pad>"`.

    ## References
    Measured on transformers 5.23.
    """
    pad, eos = state.pad, state.eos
    if (
        state.has("pools-on-eos")
        and pad is not None
        and eos is not None
        and pad.id is not None
        and pad.id == eos.id
    ):
        message = (
            f"{bare(state.model_type or 'this architecture', 60)} pools EOS, and pad is EOS too: {show(pad)}"
        )
        yield Hit(message, "pad", own_pad(state))


@rule("PAD505", "pad-is-semantic", reads="A", severity={})
def pad_is_semantic(state: PadState) -> Iterator[Hit]:
    """The pad's identity is part of what the model learned; a guard, never reported.

    ## What it finds
    CLIP (pads are attended to), T5 (decoding starts with the pad), Whisper.

    ## Why is this bad
    It is not, as shipped. Another pad gives other images from the same prompt, or a decoder that starts
    wrong. So padfix refuses to change it.

    ## Example
    Stable Diffusion pads prompts with `<|endoftext|>` to 77 tokens, without a mask.

    ## How to fix
    Keep the pad that the model was trained with.

    ## References
    huggingface/diffusers#2201, huggingface/transformers#24925, unslothai/unsloth-zoo#936
    """
    if state.has("pad-is-semantic"):
        yield Hit(f"the identity of pad {show(state.pad)} has a meaning in {show(state.model_type)}", "pad")
