"""PAD0xx: which token is the pad, and is it one that may be one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from padfix.candidates import names_a_modality
from padfix.rules.registry import TASKS, Hit, Task, rule, show
from padfix.rules.remedies import alternatives, own_pad, some_pad
from padfix.types import PadState, Severity

_MODALITY: Final = re.compile(r"image|video|audio|vision|speech|boi|boa", re.IGNORECASE)
FAR: Final = 1000  # Mistral-Nemo keeps its first 1000 ids for special tokens
_UNSURE: Final[dict[Task, Severity | None]] = dict.fromkeys(TASKS, "warning")
_PLACEHOLDER: Final[dict[Task, Severity | None]] = {
    "generation": "error",
    "training": "error",
    "classification": "error",
}
# Brackets of any script, or a word that only special tokens carry.
_SPECIAL_LOOK: Final = re.compile(
    r"[<\[{(>|｜_].*[>\]})<|｜_]|.*(pad|eos|bos|unk|null|blank|endoftext|end_of_text).*",
    re.IGNORECASE | re.DOTALL,
)


@rule(
    "PAD001",
    "missing-pad-token",
    reads="F",
    severity={"generation": "warning", "training": "error", "classification": "error", "serving": "info"},
)
def missing_pad_token(state: PadState) -> Iterator[Hit]:
    """The tokenizer has no pad token, so texts of different length cannot form a batch.

    ## What it finds
    A tokenizer whose `pad_token` is unset in every file that could set it, class defaults included.

    ## Why is this bad
    `tok(texts, padding=True)` raises "Asking to pad but the tokenizer does not have a padding token",
    and pipelines refuse to batch. The message suggests the two riskiest repairs: EOS, which many
    collators then hide from the loss (PAD401), and a new token without an embedding row (PAD101). One
    text at a time works, which is why it is a mere warning for generation.

    ## Example
    GPT-2, Llama 2 and 3, Mistral 7B, Falcon and Pythia (in transformers 4) ship without a pad:
    `tokenizer_config.json` holds `"pad_token": null` or no such key.

    ## How to fix
    `padfix.ensure_pad(model, tok)` takes the first safe one of: the pad that the config declares, a token
    named as a pad, a reserved token, a spare embedding row, an unk that text cannot produce, EOS. On
    disk: `padfix fix FOLDER`. To train or classify with none of those free: `strategy="add"`.

    ## References
    huggingface/transformers#12594, huggingface/trl#466, huggingface/trl#7097
    """
    if not state.has_tokenizer or state.pad is not None:
        return
    # a bare tokenizer.json names no class, and the one that config.json stands for may bring a pad (BERT, GPT-NeoX)
    classless = not state.live and not state.has_model and state.eos is None
    unsure = "; no config.json beside it names a class, which may bring one" if classless else ""
    size = "" if state.n_tokens is None else f" ({show(state.n_tokens)} tokens)"
    message = f"the tokenizer{size} has no pad token{alternatives(state)}{unsure}"
    # llama.cpp pads no batches
    yield Hit(message, "pad", some_pad(state), "info" if state.quantized == "gguf" else None)


@rule(
    "PAD002",
    "pad-equals-eos",
    reads="F",
    severity={"generation": "info", "training": "warning", "classification": "warning", "serving": "info"},
)
def pad_equals_eos(state: PadState) -> Iterator[Hit]:
    """The pad token is the EOS token, so nothing that works by id can tell them apart.

    ## What it finds
    `pad_token_id == eos_token_id` in the tokenizer. An error for classification where texts end in EOS or
    the head looks for EOS. Silent for models in which the pad's identity has a meaning (CLIP, Whisper).

    ## Why is this bad
    With an attention mask, generation is exact. But `DataCollatorForLanguageModeling` sets every label
    equal to `pad_token_id` to -100: the model never learns to stop. A classifier that pools the last
    token that is not the pad reads a text that ends in EOS one token too early, batch or not: a score of
    0.0824 instead of 0.1365 on a tiny Llama.

    ## Example
    ```python
    tok.pad_token = tok.eos_token  # the line of most tutorials
    ```

    ## How to fix
    Give the tokenizer a pad of its own: `padfix fix FOLDER --strategy reserved` (or `spare`), or
    `padfix.ensure_pad(model, tok, strategy="add")`. Or keep EOS and mask labels by position, with
    `padfix.positional_labels`; `padfix.sanity_check` tells whether your collator needs it (PAD401).

    ## References
    huggingface/transformers#23530 (open since 2023-05), huggingface/trl#976, huggingface/trl#1623
    """
    if state.pad is None or state.eos is None or state.pad.id is None or state.pad.id != state.eos.id:
        return
    if state.has("pad-is-semantic"):
        return
    message = f"pad and EOS are both {show(state.eos)}"
    if state.head != "token-classifier" and (state.appends_eos or state.has("pools-on-eos")):
        how = "the head pools by EOS" if state.has("pools-on-eos") else "every text ends in EOS"
        yield Hit(f"{message}, and {how}", "pad", own_pad(state), {"classification": "error"})
    else:
        yield Hit(message, "pad", own_pad(state))


@rule(
    "PAD003",
    "pad-in-eos-list",
    reads="F",
    severity={"generation": "info", "training": "info", "classification": "info", "serving": "info"},
)
def pad_in_eos_list(state: PadState) -> Iterator[Hit]:
    """The pad is not the tokenizer's EOS, but one of the ids at which generation stops.

    ## What it finds
    A pad id that the config or generation config lists in `eos_token_id`.

    ## Why is this bad
    Hardly: Qwen ships it by design, and with an attention mask the output is identical token by token.
    Without a mask, `generate` cannot infer one from such a pad, attends to the padding and only warns:
    "The attention mask is not set and cannot be inferred".

    ## Example
    Qwen2.5-Instruct pads with `<|endoftext|>` (151643) and stops at `[151645, 151643]`.

    ## How to fix
    Nothing to change in the repository. Pass `attention_mask=` to `generate`, which
    `model.generate(**tok(texts, padding=True, return_tensors="pt"))` does.

    ## References
    huggingface/transformers#48016, QwenLM/Qwen3-VL#1333
    """
    pad = state.pad
    if pad is None or pad.id is None or (state.eos is not None and pad.id == state.eos.id):
        return
    for fact, ids in (
        ("generation_eos_ids", state.generation_eos_ids),
        ("config_eos_ids", state.config_eos_ids),
    ):
        if pad.id in ids and not state.has("pad-is-semantic"):
            yield Hit(
                f"pad {show(pad)} is among the {len(ids)} ids that end generation ({show(list(ids))})",
                fact,
                "pass attention_mask= to generate(); nothing to change here",
            )
            return


@rule(
    "PAD004",
    "pad-equals-unk",
    reads="F",
    severity={"generation": "info", "training": "warning", "classification": "warning", "serving": "info"},
)
def pad_equals_unk(state: PadState) -> Iterator[Hit]:
    """The pad token is the unk token, so an unknown word is treated as padding.

    ## What it finds
    `pad_token_id == unk_token_id`. Only a note where text can never produce unk: a vocabulary with
    byte fallback or a byte-level alphabet has a token for everything.

    ## Why is this bad
    A real unk in the middle of a text loses its label under a collator that masks by id, and its
    attention wherever a mask is inferred from ids. With WordPiece or word-level vocabularies unk is
    common.

    ## Example
    The alpaca-lora and Vicuna lineage: `tok.pad_token_id = 0  # unk`. Yi ships it safely: its vocabulary
    has byte fallback.

    ## How to fix
    `padfix fix FOLDER --strategy reserved`, or `padfix.ensure_pad(model, tok, strategy="add")`. Keep it
    only where unk cannot occur.

    ## References
    tloen/alpaca-lora#7, haotian-liu/LLaVA#371
    """
    pad, unk = state.pad, state.unk
    if pad is None or unk is None or pad.id is None or pad.id != unk.id or pad.id in state.eos_ids:
        return
    if state.unk_emitted is False:
        yield Hit(f"pad and unk are both {show(unk)}; text cannot produce it", "pad", None, "info")
        return
    known = "text can produce it" if state.unk_emitted else "whether text can produce it is not known"
    yield Hit(f"pad and unk are both {show(unk)}; {known}", "pad", own_pad(state))


@rule(
    "PAD005",
    "pad-aliases-structural-token",
    reads="F",
    severity={"generation": "error", "training": "error", "classification": "error", "serving": "warning"},
)
def pad_aliases_structural_token(state: PadState) -> Iterator[Hit]:
    """The pad is a token that every text carries: BOS, CLS, SEP, MASK or a chat marker.

    ## What it finds
    A pad id that is CLS, SEP or MASK of the tokenizer, that the post-processor puts around every text,
    or that the chat template writes. A BOS that nothing is known to write is a note. Not where the
    alias is an end-of-text id: PAD002 and PAD003 say what that means.

    ## Why is this bad
    Whatever works by id hides the real ones too: a mask inferred by `generate` removes BOS, a collator
    takes every turn marker out of the loss, a classifier pools in the wrong place.

    ## Example
    ```python
    tok.pad_token = "<|eot_id|>"  # Llama 3: ends every turn of the chat template
    ```

    ## How to fix
    Name a token of its own: `padfix fix FOLDER --strategy reserved`, or for Llama 3.1
    `padfix fix FOLDER --pad-token "<|finetune_right_pad_id|>"`.

    ## References
    huggingface/trl#976, huggingface/trl#6357
    """
    pad = state.pad
    if pad is None or pad.id is None or pad.id in state.eos_ids or state.has("pad-is-semantic"):
        return
    roles = [
        role.upper()
        for role, token in state.specials
        if role in ("cls", "sep", "mask") and token.id == pad.id
    ]
    uses = _uses(state)
    places = [
        f"the {use.replace('-', ' ')} writes it" for use in uses if use in ("post-processor", "chat-template")
    ]
    is_bos = state.bos is not None and state.bos.id == pad.id
    if roles or places:
        names = roles + (["BOS"] if is_bos else [])
        what = " and ".join([*(f"it is {name}" for name in names), *places])
        yield Hit(f"pad {show(pad)} has a meaning in every text: {what}", "pad", own_pad(state))
    elif is_bos:
        # phi-4 shipped so: a BOS that its post-processor never writes
        unused = state.pad_uses is not None or any(c.token.id == pad.id for c in state.candidates)
        known = "nothing writes it" if unused else "whether texts start with it is not known"
        yield Hit(
            f"pad and BOS are both {show(pad)}; {known}",
            "pad",
            own_pad(state),
            "info" if unused else "warning",
        )


@rule(
    "PAD006",
    "pad-is-ordinary-token",
    reads="F",
    severity={"generation": "warning", "training": "error", "classification": "error", "serving": "warning"},
)
def pad_is_ordinary_token(state: PadState) -> Iterator[Hit]:
    """The pad is a token that ordinary text produces.

    ## What it finds
    A pad that the vocabulary's own merges or pieces give, or whose string does not look like a special
    token and is not declared as one: `!`, a word, a byte. A warning where only its id says so: 1000 or
    more from either end of the vocabulary and from every special token.

    ## Why is this bad
    Real occurrences are masked in attention (where the mask is inferred) and in the loss, and decoded
    padding shows up as `!!!!`. Its embedding row is trained, so where a mask is missing it also says
    something.

    ## Example
    `tok.pad_token_id = 0`, copied from Llama 1, is `!` in GPT-2, Qwen and Llama 3. An MLX conversion of
    Qwen3 names `<unk>` as pad, which that vocabulary spells with BPE merges: id 128244 of 151669.

    ## How to fix
    `padfix fix FOLDER --strategy reserved`, or name a special token with `--pad-token`.

    ## References
    huggingface/transformers#7275, huggingface/diffusers#2201
    """
    pad = state.pad
    if pad is None or pad.id is None or pad.id in state.eos_ids or state.has("pad-is-semantic"):
        return
    size = "" if state.n_tokens is None else f" of {show(state.n_tokens)}"
    if _from_text(state):
        yield Hit(f"pad {show(pad)}{size} is an ordinary token that text produces", "pad", own_pad(state))
    elif state.pad_uses is None and _among_words(state):
        message = (
            f"pad {show(pad)}{size} lies among the ordinary tokens, {FAR} ids or more from every special one"
        )
        yield Hit(message, "pad", own_pad(state), _UNSURE)


def _uses(state: PadState) -> tuple[str, ...]:
    """What else gives the pad's id, as far as the reader or the vetting of candidates knows."""
    if state.pad_uses is not None or state.pad is None:
        return state.pad_uses or ()
    refused = " ".join(why for c in state.candidates if c.token.id == state.pad.id for why in c.refused)
    found = {"post-processor": "post-processor" in refused, "chat-template": "chat template" in refused}
    return tuple(use for use, known in found.items() if known)


def _from_text(state: PadState) -> bool:
    pad = state.pad
    if pad is None or state.pad_uses is not None:
        return "text" in (state.pad_uses or ())
    if state.pad_is_added or any(token.id == pad.id for _, token in state.specials):
        return False
    return any(c.isprintable() for c in pad.text) and not _SPECIAL_LOOK.fullmatch(pad.text)


def _among_words(state: PadState) -> bool:
    """True where the pad's id is that of a word: special tokens stand at the ends of a vocabulary, or together."""
    pad = state.pad
    if pad is None or pad.id is None or state.max_id is None:
        return False
    others = [
        t.id for t in (state.eos, state.bos, state.unk, *(t for _, t in state.specials)) if t is not None
    ]
    others += [c.token.id for c in state.candidates]
    known = [i for i in others if i is not None and i != pad.id]
    return bool(known) and all(abs(pad.id - i) >= FAR for i in (0, state.max_id, *known))


@rule(
    "PAD007",
    "modality-pad-reused",
    reads="F",
    severity={"generation": "info", "training": "info", "classification": "info", "serving": "info"},
)
def modality_pad_reused(state: PadState) -> Iterator[Hit]:
    """The pad of text is a token made for images, video or audio.

    ## What it finds
    A pad named for another modality, such as `<|vision_pad|>`. An error when the config gives this very id
    to placeholders (`image_token_id`, `audio_token_index`, ...).

    ## Why is this bad
    An unused modality token is a fine pad: text never produces it. An active placeholder is not: the
    model replaces each by an image feature, so padding breaks the count of images, or receives them.

    ## Example
    Many Qwen3 fine-tunes pad with `<|vision_pad|>` (151654), harmlessly. `<|image_pad|>` on Qwen-VL is
    the placeholder itself.

    ## How to fix
    A name alone needs no repair. For an active placeholder: `padfix fix FOLDER --strategy reserved`.

    ## References
    unslothai/unsloth#3155, unslothai/unsloth#6652
    """
    pad = state.pad
    if pad is None or pad.id is None:
        return
    active = [
        key
        for key, value in state.config_token_ids
        if value == pad.id and _MODALITY.search(leaf := key.rpartition(".")[2]) and "pad" not in leaf
    ]
    if active:
        keys = ", ".join(show(key, 40) for key in active[:3])
        message = f"pad {show(pad)} is the placeholder that the config names in {keys}"
        yield Hit(message, "pad", own_pad(state), _PLACEHOLDER)
    elif names_a_modality(pad.text):
        yield Hit(f"pad {show(pad)} is named for another modality; the config does not use its id", "pad")
