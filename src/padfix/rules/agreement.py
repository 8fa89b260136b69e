"""PAD2xx: do tokenizer, config and generation config name the same pad."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from padfix.rules.registry import Hit, Task, as_id, rule, show
from padfix.rules.remedies import in_step, kept_out, own_pad
from padfix.types import ABSENT, BadValue, ConfigId, PadState, Severity

_GENERATES: Final = ("causal", "seq2seq")


@rule(
    "PAD201",
    "tokenizer-config-pad-mismatch",
    reads="FL",
    severity={
        "generation": "warning",
        "training": "warning",
        "classification": "error",
        "serving": "warning",
    },
)
def tokenizer_config_pad_mismatch(state: PadState) -> Iterator[Hit]:
    """The tokenizer and the model's config name different pad or EOS tokens.

    ## What it finds
    Two different pad ids, in the tokenizer and in the config that the model's code reads; for models that
    generate, also a tokenizer EOS at which neither config stops. Only a note where the pad's identity is
    part of the model (CLIP, Whisper), whose config may well name another one.

    ## Why is this bad
    Batches are padded with one id and the model looks for the other: a classifier pools at a padded
    position, `padding_idx` protects the wrong row, a Trainer silently overwrites the config ("The
    tokenizer has new PAD/BOS/EOS tokens that differ from the model config"). With the wrong EOS,
    generation runs to the length limit.

    ## Example
    OpenLLaMA 3B fine-tunes: tokenizer pad 32000, config pad 0. Falcon-40B: tokenizer EOS 11, config EOS 2.

    ## How to fix
    `padfix fix FOLDER` writes the tokenizer's pad into the configs.

    ## References
    huggingface/trl#7097, huggingface/transformers#17431, huggingface/transformers#48592
    """
    pad = state.pad
    if pad is not None and pad.id is not None:
        fact, theirs = _declared(state)
        if theirs is not None and theirs != pad.id:
            message = (
                f"the tokenizer pads with {show(pad)}, the model's config has pad_token_id {show(theirs)}"
            )
            fixed = state.has("pad-is-semantic") or state.has("positions-from-pad")
            note = state.has("pad-is-semantic")
            yield Hit(
                message,
                fact,
                None if fixed else own_pad(state) if kept_out(state) else in_step(state),
                "info" if note else None,
            )
    eos, stops = state.eos, {*state.config_eos_ids, *state.generation_eos_ids}
    if eos is None or eos.id is None or not stops or eos.id in stops or state.head not in _GENERATES:
        return
    yield Hit(
        f"the tokenizer's EOS is {show(eos)}, generation stops at {show(sorted(stops))} only",
        ("generation_eos_ids", "config_eos_ids"),
        f"set eos_token_id to {show(eos.id)} in config.json and generation_config.json",
        {"classification": "warning"},
    )


@rule(
    "PAD202",
    "generation-config-pad-mismatch",
    reads="FL",
    severity={"generation": "warning", "training": "info", "serving": "warning"},
)
def generation_config_pad_mismatch(state: PadState) -> Iterator[Hit]:
    """The generation config pads with another id than the tokenizer.

    ## What it finds
    A `pad_token_id` in `generation_config.json` that is not the tokenizer's; where the tokenizer has none,
    not the config's.

    ## Why is this bad
    `generate` fills finished rows with its own pad, and infers a missing mask by it: prompts padded by the
    tokenizer are then not recognised as padded, and decoded text ends in odd tokens.

    ## Example
    Llama 2 re-uploads whose `generation_config.json` flips between 32000 and 0 from commit to commit.

    ## How to fix
    `padfix fix FOLDER` brings it in step.

    ## References
    huggingface/transformers#25353, QwenLM/Qwen3-VL#1333
    """
    generation = as_id(state.generation_pad_id)
    if generation is None:
        return
    if state.pad is not None and state.pad.id is not None:
        ours, whose = state.pad.id, f"the tokenizer with {show(state.pad)}"
    elif (declared := _declared(state)[1]) is not None:
        ours, whose = declared, f"the config with {show(declared)}"
    else:
        return
    if generation != ours:
        message = f"the generation config pads with {show(generation)}, {whose}"
        yield Hit(message, "generation_pad_id", in_step(state))


@rule(
    "PAD203",
    "config-pad-missing",
    reads="FL",
    severity={"training": "info", "classification": "error", "serving": "info"},
)
def config_pad_missing(state: PadState) -> Iterator[Hit]:
    """The tokenizer has a pad and the config that the model reads has none.

    ## What it finds
    A config, for composite models the text config, without a `pad_token_id`: null, or absent where the class
    has no default. An error for classifiers that find the last real token by pad id. To train and serve a
    decoder whose pad is EOS it is meant so, where the id would come back as `padding_idx` (PAD110).

    ## Why is this bad
    "Cannot handle batch sizes > 1 if no padding token is defined." The tokenizer pads correctly, and the
    classifier or reranker still refuses. Elsewhere it is harmless: 21 of 53 mainstream checkpoints are so.

    ## Example
    ```python
    AutoModelForSequenceClassification.from_pretrained("Qwen/Qwen3-0.6B")  # config pad: None
    ```

    ## How to fix
    `padfix fix FOLDER`, or in a script `padfix.ensure_pad(model, tok)`; both write the text config.

    ## References
    huggingface/trl#422, huggingface/trl#7097, open-webui/open-webui#13257
    """
    if state.pad is None or state.pad.id is None or state.model_type is None:
        return
    fact, value = _read_by_model(state)
    if value is not None and value is not ABSENT:
        return
    where = "the config" if fact == "config_pad_id" else f"config {show(state.text_config_pad_ids[0][0], 40)}"
    # A batch is refused only by heads that pool by pad id; a Trainer fills the rest in by itself.
    pools = state.has("pools-on-pad") and state.head not in ("token-classifier", "masked")
    grades: dict[Task, Severity | None] = {} if pools else {"classification": "info"}
    if kept_out(state):
        grades |= {"training": None, "serving": None}
    yield Hit(
        f"the tokenizer pads with {show(state.pad)}, {where} sets no pad_token_id",
        fact,
        own_pad(state) if kept_out(state) else in_step(state),
        grades,
    )


@rule(
    "PAD204",
    "pad-id-wrong-type",
    reads="F",
    severity={"generation": "error", "training": "error", "classification": "error", "serving": "error"},
)
def pad_id_wrong_type(state: PadState) -> Iterator[Hit]:
    """A pad id is not an integer.

    ## What it finds
    A list, a string, a boolean or a fraction where `pad_token_id` belongs.

    ## Why is this bad
    `ids == pad_token_id` is then false everywhere, or true for id 1: masks and pooling fail without an
    error. Some exporters copy the *list* of EOS ids.

    ## Example
    `"pad_token_id": [128001, 128008, 128009]`

    ## How to fix
    Set it to one integer or null: `padfix fix FOLDER`.

    ## References
    microsoft/onnxruntime-genai#394, EuroEval/EuroEval#514
    """
    for place, fact, value in _places(state):
        if isinstance(value, BadValue):
            yield Hit(f"{place} pad_token_id is {show(value)}, not an integer", fact, in_step(state))


@rule(
    "PAD205",
    "pad-at-wrong-config-level",
    reads="FL",
    severity={"generation": "info", "training": "info", "classification": "error", "serving": "info"},
)
def pad_at_wrong_config_level(state: PadState) -> Iterator[Hit]:
    """A composite config gives its pad at a level that the model's code does not read.

    ## What it finds
    A `pad_token_id` at the top of a config whose text config has none, or another one.

    ## Why is this bad
    transformers reads `config.get_text_config().pad_token_id`: a classifier on top of LLaVA still says
    "Cannot handle batch sizes > 1", and a tool that sets `model.config.pad_token_id` has set nothing.

    ## Example
    `{"pad_token_id": 32001, "text_config": {"vocab_size": 32064}}`

    ## How to fix
    `padfix fix FOLDER` writes every nested config that shares the vocabulary.

    ## References
    huggingface/transformers#43572, InternLM/lmdeploy#4435
    """
    top = as_id(state.config_pad_id)
    if top is None or not state.text_config_pad_ids:
        return
    path, value = state.text_config_pad_ids[0]
    name = show(path, 40)
    if value is None or value is ABSENT:
        yield Hit(f"the config's pad_token_id {show(top)} is not in {name}", "config_pad_id", in_step(state))
    elif isinstance(value, int) and value != top:
        message = f"the config's pad_token_id is {show(top)}, {name} says {show(value)}, which is the one that counts"
        yield Hit(message, "config_pad_id", in_step(state), {"classification": "info"})


def _read_by_model(state: PadState) -> tuple[str, ConfigId]:
    fact = "text_config_pad_ids" if state.text_config_pad_ids else "config_pad_id"
    return fact, state.text_pad_id


def _declared(state: PadState) -> tuple[str, int | None]:
    """The config's pad id: the one the model reads where it is one, else the top level's."""
    fact, value = _read_by_model(state)
    if (found := as_id(value)) is not None:
        return fact, found
    return "config_pad_id", as_id(state.config_pad_id)


def _places(state: PadState) -> Iterator[tuple[str, str, ConfigId]]:
    yield "the config's", "config_pad_id", state.config_pad_id
    for path, value in state.text_config_pad_ids:
        yield f"config {show(path, 40)}:", "text_config_pad_ids", value
    yield "the generation config's", "generation_pad_id", state.generation_pad_id
