"""PAD008 to PAD012: does the pad survive outside this session: in the vocabulary, on disk, in other loaders."""

from __future__ import annotations

from collections.abc import Iterator

from padfix.rules.registry import Hit, bare, rule, show
from padfix.rules.remedies import alternatives, repair
from padfix.types import PadState, Verdict


@rule(
    "PAD008",
    "pad-string-not-in-vocab",
    reads="FL",
    severity={"generation": "error", "training": "error", "classification": "error", "serving": "error"},
)
def pad_string_not_in_vocab(state: PadState) -> Iterator[Hit]:
    """The pad token is a string that the vocabulary does not hold.

    ## What it finds
    A `pad_token` without an id.

    ## Why is this bad
    Setting `tok.pad_token = "[PAD]"` adds nothing. Padding then raises a TypeError (`'<' not supported
    between NoneType and int`), or silently uses the unk id. After save and reload the token is appended
    with a new id, for which the model has no row.

    ## Example
    ```python
    tok.pad_token = "[PAD]"  # Llama 2 has no such token
    ```

    ## How to fix
    `padfix.ensure_pad(model, tok, strategy="add")` adds the token and its rows; on disk, choose one that
    exists: `padfix fix FOLDER --strategy auto`.

    ## References
    huggingface/transformers#3021, unslothai/unsloth#2797
    """
    if state.pad is None or state.pad.id is not None or state.n_tokens is None:
        return
    yield Hit(
        f"pad {show(state.pad.text)} is not among the {state.n_tokens} tokens of the vocabulary{alternatives(state)}",
        "pad",
        repair(state, "auto"),
    )


@rule(
    "PAD009",
    "pad-token-immutable",
    reads="L",
    severity={"generation": "error", "training": "error", "classification": "error"},
)
def pad_token_immutable(state: PadState) -> Iterator[Hit]:
    """The tokenizer's class does not let its pad token be set.

    ## What it finds
    A live tokenizer whose `pad_token` has no setter. Only a note where the pad that it has is valid.

    ## Why is this bad
    Every repair, including the one line of the tutorials, raises "can't set attribute 'pad_token'" or
    "property 'pad_token_id' of 'ChatGLMTokenizer' object has no setter".

    ## Example
    ChatGLM, GLM-4, Qwen 1 and RWKV World tokenizers with code of their own.

    ## How to fix
    Use the pad it has. Where it has none, load the tokenizer with a class of transformers
    (`AutoTokenizer.from_pretrained(..., trust_remote_code=False)`).

    ## References
    huggingface/transformers#27530, EleutherAI/lm-evaluation-harness#1058
    """
    if state.pad_settable:
        return
    name = bare(state.tokenizer_class or "the tokenizer")
    if state.pad is not None and state.pad.id is not None:
        yield Hit(f"{name} keeps its own pad {show(state.pad)} and lets no other be set", "pad", None, "info")
    else:
        fix = "load it with a class of transformers: trust_remote_code=False"
        yield Hit(f"{name} has no usable pad and lets none be set", "pad", fix)


@rule(
    "PAD010",
    "pad-not-persisted",
    reads="L",
    severity={"generation": "error", "training": "error", "classification": "error"},
)
def pad_not_persisted(state: PadState, verdict: Verdict) -> Iterator[Hit]:
    """The pad is another one, or gone, after saving and loading.

    ## What it finds
    A tokenizer that gives another pad token or id after `save_pretrained` and `from_pretrained`: the proof's
    check `round-trip`.

    ## Why is this bad
    The run works and the checkpoint does not. A stale `special_tokens_map.json` in the folder wins over
    what was saved; a token added to a vocabulary with holes gets another id on reload (100277 in memory,
    100261 after, with the vocabulary of GPT-4); a string outside the vocabulary is appended.

    ## Example
    ```python
    tok.pad_token = "[PAD]"  # no id now
    tok.save_pretrained(folder)  # id 32000 on reload, where the model has 32000 rows: 0 to 31999
    ```

    ## How to fix
    Save through `padfix.fix_checkpoint`, which also rewrites `special_tokens_map.json` and
    `added_tokens.json`, or delete those two before `save_pretrained`.

    ## References
    huggingface/transformers#26500
    """
    for failed in verdict.checks:
        if failed.name == "round-trip" and not failed.passed:
            fix = failed.remedy or "delete special_tokens_map.json and added_tokens.json, then save again"
            yield Hit(bare(failed.cause or "the pad changes on reload"), "pad", fix)


@rule(
    "PAD011",
    "tokenizer-json-padding-conflict",
    reads="F",
    severity={
        "generation": "warning",
        "training": "warning",
        "classification": "warning",
        "serving": "error",
    },
)
def tokenizer_json_padding_conflict(state: PadState) -> Iterator[Hit]:
    """The padding block of tokenizer.json disagrees with the tokenizer's own pad.

    ## What it finds
    A `padding` block with another id, another string or another direction than the pad of
    `tokenizer_config.json`. Another direction alone is only a warning.

    ## Why is this bad
    Python ignores the block; Rust, Java, Go and ONNX consumers obey it. The same repository pads
    differently in training and in production.

    ## Example
    `tokenizer.json` holds `"padding": {"pad_id": 0, "pad_token": "[PAD]", ...}` beside a tokenizer whose pad
    is `</s>` (2).

    ## How to fix
    Set `"padding": null` in `tokenizer.json`, or bring it in step with `padfix fix FOLDER`.

    ## References
    deepjavalibrary/djl#2669, qdrant/fastembed#704, huggingface/transformers#24179
    """
    block, pad = state.backend_padding, state.pad
    if block is None or not state.has_tokenizer:
        return
    theirs = f"tokenizer.json pads with {show(block.pad_token)} ({show(block.pad_id)})"
    fix = 'set "padding": null in tokenizer.json'
    if pad is None:
        yield Hit(f"{theirs}, the tokenizer has no pad", "backend_padding", fix, "warning")
    elif block.pad_id != pad.id or block.pad_token != pad.text:
        yield Hit(f"{theirs}, the tokenizer with {show(pad)}", "backend_padding", fix)
    elif not state.live and block.direction.lower() != state.padding_side:
        message = f"tokenizer.json pads on the {show(block.direction.lower())} side, the tokenizer on the {state.padding_side}"
        yield Hit(message, "backend_padding", fix, "warning")


@rule(
    "PAD012",
    "pad-depends-on-transformers-version",
    reads="F",
    severity={"generation": "info", "training": "info", "classification": "info", "serving": "info"},
)
def pad_depends_on_transformers_version(state: PadState) -> Iterator[Hit]:
    """Which token is the pad depends on the version of transformers that loads the repository.

    ## What it finds
    A pad that no file declares and that comes from a default of the tokenizer's class, where the
    default differs between transformers 4 and 5.

    ## Why is this bad
    The same script trains with another pad, or fails for want of one, after an upgrade.

    ## Example
    GPT-NeoX and Pythia: no pad in transformers 4, `<|padding|>` in 5.

    ## How to fix
    Write the pad down: `"pad_token": "<|padding|>"` in `tokenizer_config.json`; where the installed version has
    none, `padfix fix FOLDER`.

    ## References
    The class defaults are generated from both installed versions of transformers.
    """
    if len({text for _, text in state.pad_by_major}) < 2:
        return
    each = ", ".join(
        f"{'none' if text is None else show(text)} in transformers {bare(major, 20)}"
        for major, text in sorted(state.pad_by_major, key=lambda pair: str(pair[0]))
    )
    own = state.pad
    written = (
        None
        if own is None
        else f'write it down: "pad_token": "{bare(own.text, 60)}" in tokenizer_config.json'
    )
    yield Hit(f"the pad is {each}", "pad", written or repair(state))
