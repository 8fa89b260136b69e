"""PAD6xx: adapters, quantised files, GGUF and draft models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from padfix.rules.registry import Hit, also, as_id, rule, show
from padfix.rules.remedies import repair
from padfix.rules.weights import input_limit
from padfix.types import PadState


@rule(
    "PAD601",
    "adapter-vocab-drift",
    reads="F",
    severity={"generation": "error", "training": "error", "classification": "error", "serving": "error"},
)
def adapter_vocab_drift(state: PadState) -> Iterator[Hit]:
    """An adapter was trained on another vocabulary than it will be loaded on.

    ## What it finds
    In an adapter folder: vocabulary matrices stored in the adapter that have fewer rows than its tokenizer
    has ids, or that disagree with each other. With `padfix audit ADAPTER --base BASE` also other rows than
    the base has, and a pad for which neither the adapter nor the base has a row.

    ## Why is this bad
    "size mismatch for base_model.model.model.embed_tokens.weight: copying a param with shape [32001, 4096]",
    or, where nothing was stored, an index error at the first padded batch.

    ## Example
    QLoRA with an added `[PAD]`: the tokenizer beside the adapter has 32001 tokens, the base 32000 rows.

    ## How to fix
    Train with a pad that needs no row (`padfix.ensure_pad(model, tok, strategy="reserved")`), or grow the base
    in the same way before loading: `base.resize_token_embeddings(rows)` with the adapter's rows.

    ## References
    huggingface/peft#1457, huggingface/peft#2898, hiyouga/LLaMA-Factory#3125
    """
    if state.adapter is None and not state.adapter_rows:
        return
    counts = {rows for _, rows in state.adapter_rows}
    if len(counts) > 1:
        each = ", ".join(f"{show(name)} {show(rows)}" for name, rows in sorted(state.adapter_rows)[:4])
        yield Hit(f"the adapter's vocabulary matrices differ in rows: {each}", "adapter_rows", _GROW_BASE)
    if counts and state.max_id is not None and min(counts) <= state.max_id:
        message = (
            f"the adapter stores {show(min(counts))} rows, its tokenizer's highest id is {show(state.max_id)}"
        )
        yield Hit(message, "adapter_rows", _GROW_BASE)


_GROW_BASE: Final = (
    "grow the base to the adapter's rows before loading, or train with a pad that needs no row"
)


@also("PAD601")
def adapter_against_base(state: PadState, base: PadState) -> Iterator[Hit]:
    """The adapter's rows, and its tokenizer's pad, against the base's rows."""
    limit, _ = input_limit(base)
    if (state.adapter is None and not state.adapter_rows) or limit is None:
        return
    other = [(name, rows) for name, rows in state.adapter_rows if rows != limit]
    if other:
        name, rows = other[0]
        yield Hit(
            f"the adapter stores {show(rows)} rows in {show(name)}, the base has {show(limit)}",
            "adapter_rows",
            _GROW_BASE,
        )
    elif (
        not state.adapter_rows
        and state.pad is not None
        and state.pad.id is not None
        and state.pad.id >= limit
    ):
        message = f"the adapter's tokenizer pads with {show(state.pad)}, the base has {show(limit)} rows, and the adapter stores none"
        yield Hit(message, "pad", repair(state, "reserved"))


@rule("PAD603", "quantized-vocab-matrix", reads="F", severity={})
def quantized_vocab_matrix(state: PadState) -> Iterator[Hit]:
    """The weights are quantised, so no row can be added; a guard, never reported.

    ## What it finds
    A `quantization_config`.

    ## Why is this bad
    It is not. But GPTQ, AWQ and bitsandbytes heads cannot be resized, and a repair that adds a row fails
    half-way. So padfix refuses `strategy="add"` there and takes a reserved token or a spare row.

    ## Example
    `"quantization_config": {"quant_method": "gptq"}`

    ## How to fix
    Nothing to fix. To add a row, grow the original weights and quantise again.

    ## References
    huggingface/peft#1173
    """
    if state.quantized:
        yield Hit(f"the weights are quantised ({show(state.quantized)}): rows cannot be added", "quantized")


@rule("PAD604", "gguf-pad-mismatch", reads="F", severity={"serving": "warning"})
def gguf_pad_mismatch(state: PadState, base: PadState) -> Iterator[Hit]:
    """A GGUF file and the checkpoint it was made from disagree about the pad or the vocabulary.

    ## What it finds
    A GGUF header whose padding token id, or whose number of rows, is not that of the original:
    `padfix audit model.gguf --base ORIGINAL`.

    ## Why is this bad
    llama.cpp and its servers pad and stop by the header. Converters refuse a vocabulary that does not fit:
    "Vocab size mismatch (model has 32000, but tokenizer.model has 32001)".

    ## Example
    A conversion made before the pad was added: the header says no pad, the repository 32000.

    ## How to fix
    Convert again after `padfix fix FOLDER`, or set the key: `gguf_set_metadata.py MODEL
    tokenizer.ggml.padding_token_id ID`.

    ## References
    ggml-org/llama.cpp#6111, ggml-org/llama.cpp#3633
    """
    if state.quantized is None or not state.quantized.lower().startswith("gguf"):
        return
    ours = None if state.pad is None else state.pad.id
    theirs = None if base.pad is None else base.pad.id
    if base.n_tokens is not None and ours != theirs:
        message = (
            f"the GGUF header pads with {show(state.pad) if state.pad else 'nothing'}, the original with "
        )
        yield Hit(
            message + (show(base.pad) if base.pad else "nothing"), "pad", "convert again from the original"
        )
    rows, _ = input_limit(base)
    if rows is not None and state.input_rows is not None and rows != state.input_rows:
        message = f"the GGUF file has {show(state.input_rows)} rows, the original {show(rows)}"
        yield Hit(message, "input_rows", "convert again from the original")


@rule("PAD605", "draft-model-vocab-mismatch", reads="F", severity={"serving": "warning"})
def draft_model_vocab_mismatch(state: PadState, draft: PadState) -> Iterator[Hit]:
    """A draft model for speculative decoding has another vocabulary than its target.

    ## What it finds
    Different row counts, or different ids for EOS, of a target and its draft:
    `padfix audit TARGET --draft DRAFT`.

    ## Why is this bad
    Engines compare the vocabulary sizes and switch speculative decoding off, or refuse: one row for a pad is
    enough.

    ## Example
    A target grown to 32001 rows for `[PAD]` beside a draft of 32000.

    ## How to fix
    Give both the same pad without growing either: `padfix fix FOLDER --strategy reserved`.

    ## References
    vllm-project/vllm#10913, vllm-project/vllm#13849, jzhang38/TinyLlama#41
    """
    ours, _ = input_limit(state)
    theirs, _ = input_limit(draft)
    if ours is not None and theirs is not None and ours != theirs:
        yield Hit(
            f"the target has {show(ours)} rows, the draft {show(theirs)}",
            "input_rows",
            "use a pad that needs no new row in both",
        )
    if state.eos is not None and draft.eos is not None and as_id(state.eos.id) != as_id(draft.eos.id):
        yield Hit(f"the target's EOS is {show(state.eos)}, the draft's {show(draft.eos)}", "eos", None)
