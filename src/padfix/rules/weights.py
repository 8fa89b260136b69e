"""PAD1xx: the pad's place in the vocabulary-sized matrices; what the rows hold is in `trained_rows`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from padfix.rules.registry import Hit, as_id, rule, show
from padfix.rules.remedies import in_step, own_pad, repair
from padfix.traits import traits_of
from padfix.types import PadState, Severity, Token


@rule(
    "PAD101",
    "pad-id-out-of-range",
    reads="FL",
    severity={"generation": "error", "training": "error", "classification": "error", "serving": "error"},
)
def pad_id_out_of_range(state: PadState) -> Iterator[Hit]:
    """The pad id has no row in the embedding matrix.

    ## What it finds
    A pad id, of the tokenizer, of a config or of the generation config, that is not below the rows of the
    input matrix (as the safetensors header says; else `vocab_size`). Also an EOS id outside the matrix
    that `generate` would pad with, because no pad id is set.

    ## Why is this bad
    The first batch that is really padded raises "index out of range in self", on a GPU "device-side assert
    triggered". Packing and batches of one hide it. In a config it is worse: building the model raises
    "Padding_idx must be within num_embeddings".

    ## Example
    ```python
    tok.add_special_tokens({"pad_token": "[PAD]"})  # id 32000; the rows end at 31999
    ```

    ## How to fix
    Use a token that has a row, `padfix fix FOLDER --strategy reserved`, or grow the matrices too:
    `padfix.ensure_pad(model, tok, strategy="add")`.

    ## References
    huggingface/transformers#24698, meta-llama/llama-cookbook#196, haotian-liu/LLaVA#94
    """
    limit, rows = input_limit(state)
    if limit is None:
        return
    if state.pad is not None and state.pad.id is not None and state.pad.id >= limit:
        yield Hit(f"pad_token_id {show(state.pad.id)} is not below {rows}", "pad", own_pad(state))
    nested = [
        (f"config {show(path, 40)}", "text_config_pad_ids", value)
        for path, value in state.text_config_pad_ids
    ]
    places = [
        *nested,
        ("config", "config_pad_id", state.config_pad_id),
        ("generation config", "generation_pad_id", state.generation_pad_id),
    ]
    for place, fact, value in places:
        if isinstance(value, int) and value >= limit:
            unread = fact == "config_pad_id" and bool(nested)
            if unread and as_id(state.text_pad_id) is not None:
                continue  # a left-over that PAD205 reports (SmolVLM: 128002 of 49155 rows)
            message = f"{place} pad_token_id {show(value)} is not below {rows}"
            yield Hit(message, fact, in_step(state), "warning" if unread else None)
    ids = state.generation_eos_ids or state.config_eos_ids
    unset = not any(
        isinstance(v, int) for v in (state.generation_pad_id, state.text_pad_id, state.config_pad_id)
    )
    if unset and state.head in ("causal", "seq2seq") and ids and min(ids) >= limit:
        yield Hit(
            f"eos_token_id {show(min(ids))} is not below {rows}, and generate() pads with it because no pad id is set",
            ("generation_eos_ids", "config_eos_ids"),
            f"{in_step(state)} writes the pad id; set eos_token_id to an id of the tokenizer",
            {"training": "warning", "classification": "warning"},
        )


@rule(
    "PAD102",
    "negative-pad-id",
    reads="FL",
    severity={"generation": "warning", "training": "error", "classification": "error", "serving": "error"},
)
def negative_pad_id(state: PadState) -> Iterator[Hit]:
    """A config gives a negative pad id, which PyTorch reads as a row counted from the end.

    ## What it finds
    `pad_token_id` below zero in the config, a nested config, the generation config or the tokenizer.

    ## Why is this bad
    `nn.Embedding(padding_idx=-1)` is legal and means the *last real row*: it starts as zeros and its
    gradient is blocked. A classifier never finds such a pad; a GGUF converter refuses it ("invalid
    value for special token type pad: -1").

    ## Example
    The first Llama conversions shipped `"pad_token_id": -1`.

    ## How to fix
    Set it to null or to a real id: `padfix fix FOLDER`.

    ## References
    huggingface/transformers#25773, ggml-org/llama.cpp#2981
    """
    if state.pad is not None and state.pad.id is not None and state.pad.id < 0:
        yield Hit(f"the tokenizer's pad_token_id is {show(state.pad.id)}", "pad", repair(state, "auto"))
    for place, fact, value in (
        *((f"config {show(path, 40)}", "text_config_pad_ids", v) for path, v in state.text_config_pad_ids),
        ("config", "config_pad_id", state.config_pad_id),
        ("generation config", "generation_pad_id", state.generation_pad_id),
    ):
        if isinstance(value, int) and value < 0:
            last = (
                ""
                if state.input_rows is None
                else f": as padding_idx it means row {show(state.input_rows + value)}"
            )
            yield Hit(f"{place} pad_token_id is {show(value)}{last}", fact, in_step(state))


@rule(
    "PAD103",
    "tokenizer-larger-than-embedding",
    reads="FL",
    severity={
        "generation": "warning",
        "training": "warning",
        "classification": "warning",
        "serving": "warning",
    },
)
def tokenizer_larger_than_embedding(state: PadState) -> Iterator[Hit]:
    """The tokenizer has ids for which the embedding has no row.

    ## What it finds
    A highest id that is not below the rows of the input matrix. The id counts, not `len(tok)`: a vocabulary
    can have holes. An error when EOS or BOS is among them; the pad itself is PAD101's.

    ## Why is this bad
    The first text with such a token raises "index out of range in self".

    ## Example
    Gemma 3 1B: 262145 tokens, 262144 rows; the extra one is an image token of the larger models.

    ## How to fix
    Leave rare tokens out of the text, or grow the matrices to the highest id:
    `padfix.ensure_pad(model, tok, strategy="add")` does so with the pad.

    ## References
    EuroEval/EuroEval#52, baichuan-inc/Baichuan-7B#14
    """
    limit, rows = input_limit(state)
    if limit is None or state.max_id is None or state.max_id < limit:
        return
    pad_only = state.pad is not None and state.pad.id == state.max_id == limit
    lost = [f"{name} {show(t)}" for name, t in (("EOS", state.eos), ("BOS", state.bos)) if _outside(t, limit)]
    if lost:
        yield Hit(f"{' and '.join(lost)} not below {rows}", "max_id", _GROW, "error")
    elif not pad_only:
        extra = state.max_id + 1 - limit
        yield Hit(
            f"the highest id is {show(state.max_id)}: {show(extra)} more than {rows} can hold",
            "max_id",
            _GROW,
        )


_GROW: Final = "leave those tokens out of the text, or grow the matrices to the highest id"


def _outside(token: Token | None, limit: int) -> bool:
    return token is not None and token.id is not None and token.id >= limit


@rule("PAD104", "embedding-larger-than-tokenizer", reads="F", severity={})
def embedding_larger_than_tokenizer(state: PadState) -> Iterator[Hit]:
    """The embedding has rows that no token uses; kept as a fact, never reported.

    ## What it finds
    More rows than the highest id needs.

    ## Why is this bad
    It is not. Rows are rounded up for speed: Qwen has 151936 for 151665 tokens, Gemma 3 262208 for
    262145. They are the best home of a new pad, since no weight changes. What is bad is calling
    `resize_token_embeddings(len(tok))` on such a model: it cuts them off (PAD105).

    ## Example
    Phi-2: 51200 rows, 50295 tokens.

    ## How to fix
    Nothing to fix. `padfix.ensure_pad(model, tok, strategy="spare")` puts a pad there.

    ## References
    QwenLM/Qwen#553, facebookresearch/metaseq#469, axolotl-ai-cloud/axolotl#577
    """
    limit, rows = input_limit(state)
    if limit is not None and state.max_id is not None and limit > state.max_id + 1:
        yield Hit(f"{show(limit - state.max_id - 1)} of {rows} have no token", "input_rows")


@rule(
    "PAD105",
    "resize-shrinks-matrix",
    reads="F",
    severity={"generation": "error", "training": "error", "classification": "error", "serving": "error"},
)
def resize_shrinks_matrix(state: PadState, base: PadState) -> Iterator[Hit]:
    """A vocabulary matrix has fewer rows than in the checkpoint it was made from.

    ## What it finds
    Fewer input or output rows than the base: `padfix audit FOLDER --base BASE`.

    ## Why is this bad
    `resize_token_embeddings(len(tok))` cuts spare rows off without a warning: 100 become 80. The result no
    longer fits the base, its adapters or its draft models, and trained rows may be gone.

    ## Example
    ```python
    model.resize_token_embeddings(len(tok))  # Qwen2.5: 151936 rows become 151666
    ```

    ## How to fix
    Start again from the base and let `padfix.ensure_pad(model, tok)` decide: it never shrinks a matrix.

    ## References
    unslothai/unsloth-zoo#923, arcee-ai/mergekit#425, huggingface/transformers#20043
    """
    if state.quantized == "gguf":
        return  # PAD604 compares a converted file, which is not repaired but converted again
    for which, ours, theirs in (
        ("input", input_limit(state)[0], input_limit(base)[0]),
        ("output", state.output_rows, base.output_rows),
    ):
        if ours is not None and theirs is not None and ours < theirs:
            fix = "start again from the base with padfix.ensure_pad(model, tok), which never shrinks a matrix"
            yield Hit(
                f"the {which} matrix has {show(ours)} rows, the base has {show(theirs)}", f"{which}_rows", fix
            )


@rule(
    "PAD106",
    "input-output-row-mismatch",
    reads="A",
    severity={"generation": "error", "training": "error", "classification": "error", "serving": "error"},
)
def input_output_row_mismatch(state: PadState) -> Iterator[Hit]:
    """The vocabulary-sized matrices of one model differ in rows, or from `vocab_size`.

    ## What it finds
    Input rows, output rows and output bias that disagree, or agree with each other and not with the config.
    Not where the architecture means it (Mllama has 8 input rows more, encoder-decoders may have two
    vocabularies) and not in quantised files, whose shapes are packed.

    ## Why is this bad
    Loading raises "size mismatch for ... embed_tokens.weight", or a pad has an input row and no output row.

    ## Example
    Only the embedding was grown for a new pad: 32001 input rows, 32000 output rows.

    ## How to fix
    Grow both from the original with `padfix.ensure_pad(model, tok, strategy="add")`; where only the config is
    stale, set its `vocab_size` to the row count.

    ## References
    huggingface/transformers#45276, huggingface/transformers#25729, huggingface/transformers#33819
    """
    if state.quantized or state.sharded or state.is_encoder_decoder or _unequal_by_design(state):
        return
    if state.head not in ("causal", "masked") or state.input_rows is None:
        return
    rows, out, bias = state.input_rows, state.output_rows, state.output_bias_rows
    # code that transformers does not know may mean it (an audio head of its own)
    known: Severity | None = None if state.model_type is not None else "warning"
    fix = 'start again from the original with padfix.ensure_pad(model, tok, strategy="add")'
    if out is not None and out != rows:
        message = f"the input matrix has {show(rows)} rows, the output matrix {show(out)}"
        yield Hit(message, "output_rows", fix, known)
    elif bias is not None and bias != (rows if out is None else out):
        message = f"the output matrix has {show(rows if out is None else out)} rows, its bias {show(bias)}"
        yield Hit(message, "output_bias_rows", fix, known)
    elif state.vocab_size is not None and state.vocab_size != rows and len(state.text_config_pad_ids) < 2:
        message = f"config vocab_size is {show(state.vocab_size)}, the matrices have {show(rows)} rows"
        yield Hit(message, "vocab_size", f"set vocab_size to {show(rows)}", known)


@rule("PAD109", "vocab-not-divisible", reads="F", severity={"training": "info", "serving": "info"})
def vocab_not_divisible(state: PadState) -> Iterator[Hit]:
    """The number of embedding rows is not a multiple of eight.

    ## What it finds
    A decoder whose input rows 8 does not divide.

    ## Why is this bad
    Tensor-parallel engines split the vocabulary: "32001 is not divisible by 2". Matrix units prefer
    multiples of 64.

    ## Example
    Llama 2 with one row for `[PAD]`: 32001.

    ## How to fix
    When growing, round up: `padfix.ensure_pad(model, tok, strategy="add", multiple_of=64)`. Growing keeps a
    divisor the matrix already has.

    ## References
    vllm-project/vllm#411, vllm-project/vllm#20843
    """
    rows = state.input_rows
    if rows is not None and rows > 0 and state.head == "causal" and rows % 8:
        by = rows & -rows
        message = f"{show(rows)} rows are divisible by {show(by)} only; the next multiple of 64 is {show(-(-rows // 64) * 64)}"
        yield Hit(message, "input_rows", 'padfix.ensure_pad(model, tok, strategy="add", multiple_of=64)')


def _unequal_by_design(state: PadState) -> bool:
    whole = (state.model_type or "").removesuffix("_text_model")  # a text part alone is built like the whole
    return state.has("unequal-rows") or "unequal-rows" in traits_of(whole)


def input_limit(state: PadState) -> tuple[int | None, str]:
    """The first id without an input row, and how a message calls the rows; None where nothing tells."""
    if state.input_rows is not None and not state.sharded:  # a shard's rows say nothing
        return state.input_rows, f"the {show(state.input_rows)} rows of the input matrix"
    if state.vocab_size is not None and state.vocab_size > 0:
        return state.vocab_size, f"the {show(state.vocab_size)} rows of the config's vocab_size"
    return None, ""
