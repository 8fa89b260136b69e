"""Set-ups of training runs, right and wrong, from real tokenizers, real collators and tiny real models.

Each is a function that returns the keyword arguments of `sanity_check`. `GOOD` ones may not raise a warning
or an error; each of `BAD` must raise its code.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    DataCollatorForLanguageModeling,
    DataCollatorForSeq2Seq,
    DataCollatorForTokenClassification,
    DataCollatorWithFlattening,
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
    default_data_collator,
)

from padfix.testing import tiny_model, tiny_tokenizer
from padfix.training import positional_labels

SPECIALS = [
    "<pad>",
    "<s>",
    "</s>",
    "<unk>",
    "<|im_start|>",
    "<|im_end|>",
    "[MASK]",
    "[CLS]",
    "[SEP]",
    "<spare>",
]
WORDS = [f"w{i}" for i in range(53)] + ["user"]
VOCAB = {text: i for i, text in enumerate(SPECIALS + WORDS)}
PAD, BOS, EOS, UNK, START, END, MASK, CLS, SEP = range(9)
W = len(SPECIALS)  # the id of w0
CHAT = "{% for m in messages %}<|im_start|> {{ m['role'] }} {{ m['content'] }} <|im_end|> {% endfor %}"

Setup = Callable[[], dict[str, Any]]
GOOD: dict[str, Setup] = {}
BAD: dict[str, tuple[str, Setup]] = {}


def good(function: Setup) -> Setup:
    GOOD[function.__name__] = function
    return function


def bad(code: str) -> Callable[[Setup], Setup]:
    def register(function: Setup) -> Setup:
        BAD[function.__name__] = (code, function)
        return function

    return register


def words(*, pad: str | None = "<pad>", eos: str = "</s>", side: str = "right", **options: Any) -> Any:
    """A word-level tokenizer of 64 ids that adds nothing to a text."""
    backend = Tokenizer(models.WordLevel(VOCAB, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(SPECIALS)
    special = {"eos_token": eos, "bos_token": "<s>", "unk_token": "<unk>", **options}
    tok = PreTrainedTokenizerFast(tokenizer_object=backend, padding_side=side, **special)
    if pad is not None:
        tok.pad_token = pad
    return tok


def lm(tok: Any, kind: str = "llama", **options: Any) -> Any:
    """A tiny causal model whose configs agree with the tokenizer; a pad that is EOS stays out of the config."""
    return fitted(tok, kind, "causal", **options)


@functools.cache
def _built(kind: str, head: Any, options: tuple[tuple[str, Any], ...]) -> Any:
    return tiny_model(kind, head, vocab_size=len(VOCAB), **dict(options))


def fitted(tok: Any, kind: str, head: Any, *, config_pad: Any = "tokenizer", **options: Any) -> Any:
    pad = tok.pad_token_id
    if config_pad == "tokenizer":
        config_pad = None if pad == tok.eos_token_id and head == "causal" else pad
    ids = {"eos_token_id": tok.eos_token_id, "bos_token_id": tok.bos_token_id, "pad_token_id": config_pad}
    model = _built(kind, head, tuple(sorted({**ids, **options}.items(), key=lambda item: item[0])))
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.pad_token_id = pad
        model.generation_config.eos_token_id = tok.eos_token_id
        model.generation_config.bos_token_id = tok.bos_token_id
    return model


def text(*lengths: int, end: int | None = EOS) -> list[dict[str, Any]]:
    """Rows of real words, ``length`` of them, with an EOS behind."""
    rows = [
        [W + (i + k) % 53 for i in range(n)] + ([end] if end is not None else [])
        for k, n in enumerate(lengths)
    ]
    return [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in rows]


def labelled(rows: list[dict[str, Any]], prompt: int = 0) -> list[dict[str, Any]]:
    return [{**row, "labels": [-100] * prompt + row["input_ids"][prompt:]} for row in rows]


def chat(
    turns: int = 2, *, end: int = EOS, assistant_only: bool = True, end_trained: bool = True
) -> list[dict[str, Any]]:
    """Multi-turn rows: ``<|im_start|> user w w END <|im_start|> w w w END`` and so on."""
    rows = []
    for k in range(3):
        ids: list[int] = []
        labels: list[int] = []
        for turn in range(turns):
            question = [START, VOCAB["user"], W + k, W + turn, end]
            answer = [START, W + 5, *(W + 6 + i for i in range(k + 1)), end]
            ids += question + answer
            shown = answer[:1] + answer[1:] if not assistant_only else [-100, *answer[1:]]
            if not end_trained:
                shown[-1] = -100
            labels += ([-100] * len(question) if assistant_only else question) + shown
        rows.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels})
    return rows


def without_labels(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "labels"} for row in rows]


def full_length(
    rows: list[dict[str, Any]], width: int, pad: int, *, labels: str, left: bool = False
) -> list[dict[str, Any]]:
    """Rows padded before the collator, as ``tok(..., padding="max_length")`` does."""
    padded = []
    for row in rows:
        ids, gap = row["input_ids"], width - len(row["input_ids"])
        fill = {"copy": pad, "position": -100}[labels]
        shown = [pad] * gap, [0] * gap, [fill] * gap
        own = ids, [1] * len(ids), list(ids)
        columns = [a + b if left else b + a for a, b in zip(shown, own, strict=True)]
        padded.append(dict(zip(("input_ids", "attention_mask", "labels"), columns, strict=True)))
    return padded


class ByHand:
    """The collators that people write: pad, then derive labels and mask from ids."""

    def __init__(self, tok: Any, *, mask: str = "lengths", labels: str = "by-id", left: bool = False) -> None:
        self.tok, self.mask, self.labels, self.left = tok, mask, labels, left

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        pad = self.tok.pad_token_id
        width = max(len(row["input_ids"]) for row in rows)
        ids = torch.full((len(rows), width), pad)
        real = torch.zeros_like(ids)
        for r, row in enumerate(rows):
            n = len(row["input_ids"])
            where = slice(width - n, width) if self.left else slice(0, n)
            ids[r, where] = torch.tensor(row["input_ids"])
            real[r, where] = 1
        batch = {"input_ids": ids}
        masks = {"lengths": real, "by-id": (ids != pad).long(), "ones": torch.ones_like(ids)}
        if self.mask in masks:
            batch["attention_mask"] = masks[self.mask]
        labels = ids.clone()
        if self.labels == "by-id":
            labels[ids == pad] = -100
        elif self.labels == "by-position":
            labels[real == 0] = -100
        elif self.labels == "one-end":  # the first pad, which is the EOS, is trained
            labels[real == 0] = -100
            for r, row in enumerate(rows):
                if len(row["input_ids"]) < width:
                    labels[r, len(row["input_ids"])] = pad
        elif self.labels == "shifted":
            labels[real == 0] = -100
            labels = torch.cat([labels[:, 1:], torch.full((len(rows), 1), -100)], 1)
        batch["labels"] = labels
        return batch


class CompletionOnly(DataCollatorForLanguageModeling):
    """The collator of older TRL: masks what comes before the response template, on top of masking by id."""

    def __init__(self, tok: Any, template: list[int]) -> None:
        super().__init__(tok, mlm=False)
        self.template = template

    def torch_call(self, examples: list[Any]) -> dict[str, Any]:
        batch = super().torch_call(examples)
        n = len(self.template)
        for r, row in enumerate(batch["input_ids"].tolist()):
            starts = [p for p in range(len(row)) if row[p : p + n] == self.template]
            batch["labels"][r, : starts[-1] + n if starts else len(row)] = -100
        return batch


# --- right -----------------------------------------------------------------------------------------


@good
def lm_distinct_pad() -> dict[str, Any]:
    tok = words()
    return {
        "model": lm(tok),
        "tok": tok,
        "data": text(3, 5, 9),
        "collator": DataCollatorForLanguageModeling(tok, mlm=False),
    }


@good
def lm_distinct_pad_left() -> dict[str, Any]:
    tok = words(side="left")
    return {
        "model": lm(tok),
        "tok": tok,
        "data": text(3, 5, 9),
        "collator": DataCollatorForLanguageModeling(tok, mlm=False),
    }


@good
def lm_unk_pad_never_in_text() -> dict[str, Any]:
    tok = tiny_tokenizer("byte-fallback", pad="<unk>")
    model = tiny_model("llama", vocab_size=len(tok), bos_token_id=1, eos_token_id=2, pad_token_id=0)
    data = [dict(tok(text)) for text in ("a cat</s>", "ünïcödé</s>")]
    return {
        "model": model,
        "tok": tok,
        "data": data,
        "collator": DataCollatorForLanguageModeling(tok, mlm=False),
    }


@good
def lm_pad_to_multiple() -> dict[str, Any]:
    tok = words()
    collator = DataCollatorForLanguageModeling(tok, mlm=False, pad_to_multiple_of=8)
    return {"model": lm(tok), "tok": tok, "data": text(3, 5), "collator": collator}


@good
def lm_lists_without_mask() -> dict[str, Any]:
    tok = words()
    data = [row["input_ids"] for row in text(3, 5)]
    return {
        "model": lm(tok),
        "tok": tok,
        "data": data,
        "collator": DataCollatorForLanguageModeling(tok, mlm=False),
    }


@good
def lm_tensors() -> dict[str, Any]:
    tok = words()
    data = [{"input_ids": torch.tensor(row["input_ids"])} for row in text(3, 5)]
    return {
        "model": lm(tok),
        "tok": tok,
        "data": data,
        "collator": DataCollatorForLanguageModeling(tok, mlm=False),
    }


@good
def lm_gpt2_right() -> dict[str, Any]:
    tok = words()
    return {
        "model": lm(tok, "gpt2"),
        "tok": tok,
        "data": text(3, 5),
        "collator": DataCollatorForLanguageModeling(tok, mlm=False),
    }


@good
def lm_mamba_right() -> dict[str, Any]:
    tok = words()
    return {
        "model": lm(tok, "mamba"),
        "tok": tok,
        "data": text(3, 5),
        "collator": DataCollatorForLanguageModeling(tok, mlm=False),
    }


@good
def lm_mixtral_with_mask() -> dict[str, Any]:
    tok = words()
    model = lm(tok, "mixtral", output_router_logits=True)
    return {
        "model": model,
        "tok": tok,
        "data": text(3, 5),
        "collator": DataCollatorForLanguageModeling(tok, mlm=False),
    }


@good
def seq2seq_collator_eos_pad() -> dict[str, Any]:
    tok = words(pad="</s>")
    return {
        "model": lm(tok),
        "tok": tok,
        "data": labelled(text(3, 5, 8)),
        "collator": DataCollatorForSeq2Seq(tok),
    }


@good
def seq2seq_collator_eos_pad_left() -> dict[str, Any]:
    tok = words(pad="</s>", side="left")
    return {
        "model": lm(tok),
        "tok": tok,
        "data": labelled(text(3, 5, 8)),
        "collator": DataCollatorForSeq2Seq(tok),
    }


@good
def seq2seq_collator_completion_only() -> dict[str, Any]:
    tok = words(pad="</s>")
    return {
        "model": lm(tok),
        "tok": tok,
        "data": labelled(text(4, 6, 8), prompt=2),
        "collator": DataCollatorForSeq2Seq(tok),
    }


@good
def chat_assistant_only_eos_pad() -> dict[str, Any]:
    tok = words(pad="</s>")
    return {"model": lm(tok), "tok": tok, "data": chat(), "collator": DataCollatorForSeq2Seq(tok)}


@good
def chat_full_loss_distinct_pad() -> dict[str, Any]:
    tok = words()
    data = without_labels(chat())
    return {
        "model": lm(tok),
        "tok": tok,
        "data": data,
        "collator": DataCollatorForLanguageModeling(tok, mlm=False),
    }


@good
def chat_end_in_generation_list() -> dict[str, Any]:
    """As Qwen ships: the pad is a stop id as well, the chat ends in another one."""
    tok = words(pad="</s>", eos="<|im_end|>")
    model = lm(tok)
    model.generation_config.eos_token_id = [END, EOS]
    data = without_labels(chat(end=END))
    return {
        "model": model,
        "tok": tok,
        "data": data,
        "collator": DataCollatorForLanguageModeling(tok, mlm=False),
    }


@good
def positional_wrapper() -> dict[str, Any]:
    tok = words(pad="</s>")
    collator = positional_labels(DataCollatorForLanguageModeling(tok, mlm=False))
    return {"model": lm(tok), "tok": tok, "data": text(3, 5, 8), "collator": collator}


@good
def positional_wrapper_left() -> dict[str, Any]:
    tok = words(pad="</s>", side="left")
    collator = positional_labels(DataCollatorForLanguageModeling(tok, mlm=False))
    return {"model": lm(tok), "tok": tok, "data": text(3, 5, 8), "collator": collator}


@good
def positional_wrapper_completion_only() -> dict[str, Any]:
    tok = words(pad="</s>")
    collator = positional_labels(CompletionOnly(tok, [START, W + 5]))
    return {"model": lm(tok), "tok": tok, "data": without_labels(chat()), "collator": collator}


@good
def flattening() -> dict[str, Any]:
    tok = words(pad="</s>")
    return {"model": lm(tok), "tok": tok, "data": text(3, 5, 8), "collator": DataCollatorWithFlattening()}


@good
def flattening_texts_start_with_end() -> dict[str, Any]:
    """A text may begin with the EOS as its BOS (GPT-2); the separator masks it, rightly."""
    tok = words(pad="</s>")
    data = [{"input_ids": [EOS, *row["input_ids"]]} for row in text(3, 5)]
    return {"model": lm(tok), "tok": tok, "data": data, "collator": DataCollatorWithFlattening()}


@good
def flattening_flash_arguments() -> dict[str, Any]:
    tok = words(pad="</s>")
    collator = DataCollatorWithFlattening(
        return_position_ids=False, return_flash_attn_kwargs=True, return_seq_idx=True
    )
    return {"model": lm(tok), "tok": tok, "data": text(3, 5), "collator": collator}


@good
def packed_by_mask_numbers() -> dict[str, Any]:
    """axolotl and LLaMA-Factory number the texts of a packed row in its mask."""
    tok = words(pad="</s>")
    ids = [[W, W + 1, EOS, W + 2, W + 3, W + 4, EOS, EOS], [W, EOS, W + 5, EOS, W + 6, W + 7, W + 8, EOS]]
    mask = [[1, 1, 1, 2, 2, 2, 2, 0], [1, 1, 2, 2, 3, 3, 3, 3]]
    labels = [
        [i if m else -100 for i, m in zip(row, own, strict=True)] for row, own in zip(ids, mask, strict=True)
    ]
    batch = {
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(mask),
        "labels": torch.tensor(labels),
    }
    return {"model": None, "tok": tok, "data": batch}


@good
def blocks_of_a_corpus() -> dict[str, Any]:
    """``group_texts``: every row is one block, the pad is the EOS, and nothing is padded."""
    tok = words(pad="</s>")
    data = [
        {
            "input_ids": (row := [W + (3 * i + k) % 53 if i % 7 else EOS for i in range(32)]),
            "labels": list(row),
        }
        for k in range(4)
    ]
    return {"model": lm(tok), "tok": tok, "data": data, "collator": default_data_collator}


@good
def blocks_without_end() -> dict[str, Any]:
    """Blocks cut from long documents: that no EOS is in sight says nothing."""
    tok = words()
    data = labelled(text(32, 32, 32, 32, end=None))
    return {"model": lm(tok), "tok": tok, "data": data, "collator": default_data_collator}


@good
def truncated_by_tokenizer() -> dict[str, Any]:
    tok = words()
    long = " ".join(f"w{i}" for i in range(40))
    data = [dict(tok(long, truncation=True, max_length=13)) for _ in range(3)]
    return {
        "model": lm(tok),
        "tok": tok,
        "data": data,
        "collator": DataCollatorForLanguageModeling(tok, mlm=False),
    }


@good
def padded_before_labels_by_position() -> dict[str, Any]:
    tok = words(pad="</s>")
    data = full_length(text(3, 5, 8), 12, EOS, labels="position")
    return {"model": lm(tok), "tok": tok, "data": data, "collator": default_data_collator}


@good
def padded_before_left_labels_by_position() -> dict[str, Any]:
    tok = words(pad="</s>", side="left")
    data = full_length(text(3, 5, 8), 12, EOS, labels="position", left=True)
    return {"model": lm(tok), "tok": tok, "data": data, "collator": default_data_collator}


@good
def by_hand_by_position() -> dict[str, Any]:
    tok = words(pad="</s>")
    return {
        "model": lm(tok),
        "tok": tok,
        "data": text(3, 5, 8),
        "collator": ByHand(tok, labels="by-position"),
    }


@good
def by_hand_first_pad_is_the_end() -> dict[str, Any]:
    """No EOS in the rows, but the first pad, which is the EOS, is trained: the model learns to stop."""
    tok = words(pad="</s>")
    return {
        "model": lm(tok),
        "tok": tok,
        "data": text(3, 5, 8, end=None),
        "collator": ByHand(tok, labels="one-end"),
    }


@good
def by_hand_shifted_labels() -> dict[str, Any]:
    """Labels one to the left, for a loss that does not shift them."""
    tok = words()
    return {"model": lm(tok), "tok": tok, "data": text(3, 5, 8), "collator": ByHand(tok, labels="shifted")}


@good
def masked_lm() -> dict[str, Any]:
    tok = words(mask_token="[MASK]", cls_token="[CLS]", sep_token="[SEP]")
    return {
        "model": fitted(tok, "bert", "masked"),
        "tok": tok,
        "data": text(9, 15, 25),
        "collator": DataCollatorForLanguageModeling(tok),
    }


@good
def masked_lm_seeded() -> dict[str, Any]:
    tok = words(mask_token="[MASK]", cls_token="[CLS]", sep_token="[SEP]")
    collator = DataCollatorForLanguageModeling(tok, seed=7, mlm_probability=0.3)
    return {
        "model": fitted(tok, "roberta", "masked"),
        "tok": tok,
        "data": text(9, 15, 25),
        "collator": collator,
    }


@good
def t5_targets() -> dict[str, Any]:
    tok = words()
    data = [{**row, "labels": other["input_ids"]} for row, other in zip(text(3, 5), text(7, 2), strict=True)]
    model = fitted(tok, "t5", "seq2seq")
    return {"model": model, "tok": tok, "data": data, "collator": DataCollatorForSeq2Seq(tok, model=model)}


@good
def bart_targets() -> dict[str, Any]:
    tok = words()
    data = [{**row, "labels": other["input_ids"]} for row, other in zip(text(3, 5), text(7, 2), strict=True)]
    model = fitted(tok, "bart", "seq2seq", decoder_start_token_id=EOS)
    return {"model": model, "tok": tok, "data": data, "collator": DataCollatorForSeq2Seq(tok, model=model)}


@good
def bert_classifier() -> dict[str, Any]:
    tok = words()
    data = [{**row, "label": k % 2} for k, row in enumerate(text(3, 5, 8))]
    return {
        "model": fitted(tok, "bert", "classifier"),
        "tok": tok,
        "data": data,
        "collator": DataCollatorWithPadding(tok),
    }


@good
def llama_classifier() -> dict[str, Any]:
    tok = words()
    data = [{**row, "label": k % 2} for k, row in enumerate(text(3, 5, 8))]
    return {
        "model": fitted(tok, "llama", "classifier"),
        "tok": tok,
        "data": data,
        "collator": DataCollatorWithPadding(tok),
    }


@good
def llama_classifier_left() -> dict[str, Any]:
    tok = words(side="left")
    data = [{**row, "label": k % 2} for k, row in enumerate(text(3, 5, 8))]
    return {
        "model": fitted(tok, "llama", "classifier"),
        "tok": tok,
        "data": data,
        "collator": DataCollatorWithPadding(tok),
    }


@good
def bert_tokens() -> dict[str, Any]:
    tok = words()
    data = [{**row, "labels": [i % 2 for i in range(len(row["input_ids"]))]} for row in text(3, 5, 8)]
    model = fitted(tok, "bert", "token-classifier")
    return {"model": model, "tok": tok, "data": data, "collator": DataCollatorForTokenClassification(tok)}


@good
def prompts_to_generate_from() -> dict[str, Any]:
    tok = words(side="left")
    batch = tok(["w1 w2 w3", "w4"], padding=True, return_tensors="pt")
    return {"model": lm(tok), "tok": tok, "data": dict(batch), "task": "generation"}


@good
def batches_of_one() -> dict[str, Any]:
    tok = words()
    loader = torch.utils.data.DataLoader(
        text(3, 5, 8), batch_size=1, collate_fn=DataCollatorForLanguageModeling(tok, mlm=False)
    )
    return {"model": lm(tok), "tok": tok, "data": loader}


@good
def shuffled_loader() -> dict[str, Any]:
    tok = words(pad="</s>")
    loader = torch.utils.data.DataLoader(
        labelled(text(3, 5, 8, 2)), batch_size=2, shuffle=True, collate_fn=DataCollatorForSeq2Seq(tok)
    )
    return {"model": lm(tok), "tok": tok, "data": loader}


@good
def one_collated_batch() -> dict[str, Any]:
    tok = words(pad="</s>")
    return {"model": lm(tok), "tok": tok, "data": DataCollatorForSeq2Seq(tok)(labelled(text(3, 5, 8)))}


@good
def texts_and_no_collator() -> dict[str, Any]:
    tok = words()
    return {"model": lm(tok), "tok": tok, "data": ["w1 w2 </s>", "w3 </s>"]}


# --- wrong -----------------------------------------------------------------------------------------


@bad("PAD401")
def lm_eos_pad() -> dict[str, Any]:
    tok = words(pad="</s>")
    return {
        "model": lm(tok),
        "tok": tok,
        "data": text(3, 5, 9),
        "collator": DataCollatorForLanguageModeling(tok, mlm=False),
    }


@bad("PAD401")
def lm_eos_pad_left() -> dict[str, Any]:
    return lm_eos_pad() | {
        "tok": (tok := words(pad="</s>", side="left")),
        "collator": DataCollatorForLanguageModeling(tok, mlm=False),
    }


@bad("PAD401")
def lm_eos_pad_equal_lengths() -> dict[str, Any]:
    return lm_eos_pad() | {"data": text(5, 5, 5)}


@bad("PAD401")
def lm_eos_pad_lists_without_mask() -> dict[str, Any]:
    return lm_eos_pad() | {"data": [row["input_ids"] for row in text(3, 5)]}


@bad("PAD401")
def lm_eos_pad_without_model() -> dict[str, Any]:
    return lm_eos_pad() | {"model": None}


@bad("PAD401")
def lm_eos_pad_chat() -> dict[str, Any]:
    return lm_eos_pad() | {"data": without_labels(chat())}


@bad("PAD401")
def lm_eos_pad_loader_of_one() -> dict[str, Any]:
    setup = lm_eos_pad()
    return setup | {
        "data": torch.utils.data.DataLoader(text(3, 5), batch_size=1, collate_fn=setup["collator"]),
        "collator": None,
    }


@bad("PAD401")
def lm_eos_pad_collated() -> dict[str, Any]:
    setup = lm_eos_pad()
    return setup | {"data": setup["collator"](text(3, 5, 9)), "collator": None}


@bad("PAD401")
def lm_eos_pad_texts() -> dict[str, Any]:
    return lm_eos_pad() | {"data": ["w1 w2 w3 </s>", "w4 </s>"]}


@bad("PAD401")
def completion_only_eos_pad() -> dict[str, Any]:
    setup = lm_eos_pad()
    return setup | {"data": without_labels(chat()), "collator": CompletionOnly(setup["tok"], [START, W + 5])}


@bad("PAD401")
def by_hand_by_id() -> dict[str, Any]:
    setup = lm_eos_pad()
    return setup | {"collator": ByHand(setup["tok"])}


@bad("PAD401")
def template_leaves_the_end_out() -> dict[str, Any]:
    """A generation block that closes before the turn-end token."""
    tok = words()
    return {
        "model": lm(tok),
        "tok": tok,
        "data": chat(end_trained=False),
        "collator": DataCollatorForSeq2Seq(tok),
    }


@bad("PAD401")
def packed_and_masked_by_id() -> dict[str, Any]:
    tok = words(pad="</s>")
    batch = DataCollatorWithFlattening()(text(3, 5, 8))
    batch["labels"][batch["input_ids"] == EOS] = -100
    return {"model": lm(tok), "tok": tok, "data": batch}


@bad("PAD401")
def bart_targets_masked_by_id() -> dict[str, Any]:
    tok = words(pad="</s>")
    model = fitted(tok, "bart", "seq2seq", config_pad=PAD, decoder_start_token_id=EOS)
    batch = DataCollatorForSeq2Seq(tok)([{**row, "labels": row["input_ids"]} for row in text(3, 5)])
    batch["labels"][batch["labels"] == tok.pad_token_id] = -100
    return {"model": model, "tok": tok, "data": batch}


@bad("PAD402")
def end_never_appended() -> dict[str, Any]:
    return lm_distinct_pad() | {"data": text(3, 5, 9, end=None)}


@bad("PAD402")
def end_never_appended_eos_pad() -> dict[str, Any]:
    return lm_eos_pad() | {"data": text(3, 5, 9, end=None)}


@bad("PAD402")
def end_never_appended_texts() -> dict[str, Any]:
    tok = words()
    return {"model": lm(tok), "tok": tok, "data": ["w1 w2 w3", "w4"]}


@bad("PAD402")
def chat_ends_with_another_token() -> dict[str, Any]:
    return lm_distinct_pad() | {"data": without_labels(chat(end=END))}


@bad("PAD402")
def t5_targets_without_end() -> dict[str, Any]:
    setup = t5_targets()
    return setup | {"data": [{**row, "labels": row["labels"][:-1]} for row in setup["data"]]}


@bad("PAD402")
def flattened_without_ends() -> dict[str, Any]:
    return flattening() | {"data": text(3, 5, 9, end=None)}


@bad("PAD403")
def labels_copied_after_padding() -> dict[str, Any]:
    tok = words()
    return {
        "model": lm(tok),
        "tok": tok,
        "data": full_length(text(3, 5, 8), 12, PAD, labels="copy"),
        "collator": default_data_collator,
    }


@bad("PAD403")
def labels_copied_after_padding_eos() -> dict[str, Any]:
    tok = words(pad="</s>")
    return {
        "model": lm(tok),
        "tok": tok,
        "data": full_length(text(3, 5, 8), 12, EOS, labels="copy"),
        "collator": default_data_collator,
    }


@bad("PAD403")
def labels_copied_after_padding_left() -> dict[str, Any]:
    tok = words(side="left")
    data = full_length(text(3, 5, 8), 12, PAD, labels="copy", left=True)
    return {"model": lm(tok), "tok": tok, "data": data, "collator": default_data_collator}


@bad("PAD403")
def labels_padded_with_the_pad() -> dict[str, Any]:
    tok = words()
    collator = DataCollatorForSeq2Seq(tok, label_pad_token_id=tok.pad_token_id)
    return {"model": lm(tok), "tok": tok, "data": labelled(text(3, 5, 8)), "collator": collator}


@bad("PAD403")
def t5_targets_padded_with_the_pad() -> dict[str, Any]:
    setup = t5_targets()
    return setup | {"collator": DataCollatorForSeq2Seq(setup["tok"], label_pad_token_id=PAD)}


@bad("PAD403")
def token_labels_on_padding() -> dict[str, Any]:
    setup = bert_tokens()
    return setup | {"collator": DataCollatorForTokenClassification(setup["tok"], label_pad_token_id=0)}


@bad("PAD404")
def response_template_not_found() -> dict[str, Any]:
    tok = words()
    return {
        "model": lm(tok),
        "tok": tok,
        "data": without_labels(chat()),
        "collator": CompletionOnly(tok, [W + 50]),
    }


@bad("PAD404")
def prompts_as_long_as_the_maximum() -> dict[str, Any]:
    tok = words()
    data = labelled(text(6, 6), prompt=7) + labelled(text(3), prompt=1)
    return {"model": lm(tok), "tok": tok, "data": data, "collator": DataCollatorForSeq2Seq(tok)}


@bad("PAD406")
def unk_pad_in_text() -> dict[str, Any]:
    tok = words(pad="<unk>")
    return {
        "model": lm(tok),
        "tok": tok,
        "data": ["w1 never-seen w3 </s>", "w4 </s>"],
        "collator": DataCollatorForLanguageModeling(tok, mlm=False),
    }


@bad("PAD406")
def ordinary_word_as_pad() -> dict[str, Any]:
    tok = words(pad="w7")
    return {
        "model": lm(tok),
        "tok": tok,
        "data": ["w1 w7 w3 </s>", "w4 </s>"],
        "collator": DataCollatorForLanguageModeling(tok, mlm=False),
    }


@bad("PAD407")
def mask_of_ones() -> dict[str, Any]:
    tok = words()
    return {"model": lm(tok), "tok": tok, "data": text(3, 5, 8), "collator": ByHand(tok, mask="ones")}


@bad("PAD407")
def mask_of_ones_collated() -> dict[str, Any]:
    setup = mask_of_ones()
    return setup | {"data": setup["collator"](setup["data"]), "collator": None}


@bad("PAD407")
def mask_by_id_hides_the_end() -> dict[str, Any]:
    tok = words(pad="</s>")
    return {
        "model": lm(tok),
        "tok": tok,
        "data": text(3, 5, 8),
        "collator": ByHand(tok, mask="by-id", labels="by-position"),
    }


@bad("PAD407")
def mask_by_id_hides_inner_ends() -> dict[str, Any]:
    tok = words(pad="</s>")
    batch = ByHand(tok, mask="by-id", labels="by-position")(without_labels(chat()))
    return {"model": lm(tok), "tok": tok, "data": batch}


@bad("PAD407")
def encoder_without_mask() -> dict[str, Any]:
    tok = words(mask_token="[MASK]", cls_token="[CLS]", sep_token="[SEP]")
    data = [row["input_ids"] for row in text(9, 15)]
    return {
        "model": fitted(tok, "bert", "masked"),
        "tok": tok,
        "data": data,
        "collator": DataCollatorForLanguageModeling(tok),
    }


@bad("PAD407")
def left_padded_without_mask() -> dict[str, Any]:
    tok = words(side="left")
    data = [row["input_ids"] for row in text(3, 5)]
    return {
        "model": lm(tok),
        "tok": tok,
        "data": data,
        "collator": DataCollatorForLanguageModeling(tok, mlm=False),
    }


@bad("PAD408")
def mixtral_without_mask() -> dict[str, Any]:
    return lm_mixtral_with_mask() | {"data": [row["input_ids"] for row in text(3, 5)]}


@bad("PAD303")
def prompts_padded_on_the_right() -> dict[str, Any]:
    tok = words()
    batch = tok(["w1 w2 w3", "w4"], padding=True, return_tensors="pt")
    return {"model": lm(tok), "tok": tok, "data": dict(batch), "task": "generation"}


@bad("PAD303")
def gpt2_padded_on_the_left() -> dict[str, Any]:
    tok = words(side="left")
    return {
        "model": lm(tok, "gpt2"),
        "tok": tok,
        "data": text(3, 5),
        "collator": DataCollatorForLanguageModeling(tok, mlm=False),
    }


@bad("PAD302")
def prompts_without_mask_hold_the_pad() -> dict[str, Any]:
    tok = words(pad="w7", side="left")
    batch = tok(["w1 w7 w3", "w4"], padding=True, return_tensors="pt")
    return {"model": lm(tok), "tok": tok, "data": {"input_ids": batch["input_ids"]}, "task": "generation"}


@bad("PAD308")
def llama_classifier_eos_pad() -> dict[str, Any]:
    tok = words(pad="</s>")
    return llama_classifier() | {
        "model": fitted(tok, "llama", "classifier"),
        "tok": tok,
        "collator": DataCollatorWithPadding(tok),
    }


@bad("PAD308")
def llama_classifier_other_config_pad() -> dict[str, Any]:
    tok = words()
    return llama_classifier() | {
        "model": fitted(tok, "llama", "classifier", config_pad=9),
        "tok": tok,
        "collator": DataCollatorWithPadding(tok),
    }


@bad("PAD308")
def bert_classifier_left() -> dict[str, Any]:
    tok = words(side="left")
    return bert_classifier() | {"tok": tok, "collator": DataCollatorWithPadding(tok)}


@bad("PAD304")
def gpt2_classifier_left() -> dict[str, Any]:
    tok = words(side="left")
    return llama_classifier_left() | {
        "model": fitted(tok, "gpt2", "classifier"),
        "tok": tok,
        "collator": DataCollatorWithPadding(tok),
    }


@bad("PAD001")
def no_pad_at_all() -> dict[str, Any]:
    tok = words(pad=None)
    return {
        "model": lm(tok),
        "tok": tok,
        "data": text(3, 5),
        "collator": DataCollatorForLanguageModeling(tok, mlm=False),
    }


@bad("PAD110")
def eos_row_frozen() -> dict[str, Any]:
    tok = words(pad="</s>")
    data = labelled(text(3, 5, 8))
    return {
        "model": lm(tok, config_pad=EOS),
        "tok": tok,
        "data": data,
        "collator": DataCollatorForSeq2Seq(tok),
    }
