"""What a model class is for, from its name: the same answer for a live model and for ``config.architectures``."""

from __future__ import annotations

from typing import Final

from padfix.types import Head

_MASKED: Final = ("ForMaskedLM", "ForPreTraining")
_CAUSAL: Final = (
    "ForCausalLM",
    "LMHeadModel",
    "ForCausalGeneration",
    "DoubleHeadsModel",
    "ModelWithLMHead",
    "LMHead",
)


def head_of(architecture: str | None, is_encoder_decoder: bool) -> Head | None:
    """The task head that a class name says; ``ForConditionalGeneration`` is causal in a decoder-only model.

    >>> head_of("LlamaForCausalLM", False), head_of("LlavaForConditionalGeneration", False)
    ('causal', 'causal')
    """
    if not architecture:
        return None
    if "ForSequenceClassification" in architecture or "RewardModel" in architecture:
        return "classifier"
    if "ForTokenClassification" in architecture:
        return "token-classifier"
    if architecture.endswith(_MASKED):
        return "masked"
    if architecture.endswith("WithLMHeadModel") and not is_encoder_decoder:  # XLM and FlauBERT
        return "masked"
    if architecture.endswith(
        ("ForConditionalGeneration", "ForSeq2SeqLM", "WithLMHeadModel", "EncoderDecoderModel", "MTModel")
    ):
        return "seq2seq" if is_encoder_decoder else "causal"
    if architecture.endswith(("ForTextToText", "ForTextToSpeech", "ForSpeechToText")):  # SeamlessM4T
        return "seq2seq"
    if architecture.endswith(_CAUSAL):
        return "seq2seq" if is_encoder_decoder else "causal"
    return "base"
