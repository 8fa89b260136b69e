"""What each real collator does with EOS labels, and that training agrees with the verdict."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from training_setups import (
    EOS,
    PAD,
    UNK,
    ByHand,
    W,
    chat,
    fitted,
    full_length,
    labelled,
    lm,
    text,
    without_labels,
    words,
)
from transformers import (
    DataCollatorForLanguageModeling,
    DataCollatorForSeq2Seq,
    DataCollatorWithFlattening,
    DataCollatorWithPadding,
    default_data_collator,
)

from padfix import positional_labels
from padfix.training import sanity_check

PADS = {"eos": "</s>", "distinct": "<pad>", "unk": "<unk>"}
BLOCKING = {"PAD401", "PAD402", "PAD403", "PAD404", "PAD406", "PAD407"}


def rows_of(kind: str) -> list[dict[str, Any]]:
    if kind == "present":
        return labelled(text(3, 5, 8))
    if kind == "absent":
        return labelled(text(3, 5, 8, end=None))
    if kind == "multi-turn":
        return chat()
    return labelled([{"input_ids": [W, UNK, W + 1, EOS], "attention_mask": [1] * 4}, *text(6)])


def verdict_of(collator: str, pad: str, kind: str) -> set[str]:
    """The table: which training rules must speak, for collators that pad."""
    if kind == "absent":
        return {"PAD402"}
    if pad == "eos" and collator == "by-id":
        return {"PAD401"}
    if pad == "unk" and kind == "unk":
        return {"PAD406"}
    return set()


def codes(model: Any, tok: Any, data: Any, collator: Any) -> set[str]:
    report = sanity_check(model, tok, data=data, collator=collator)
    assert not [
        skip for skip in report.skipped if skip.source in ("data", "batch") or "raised" in skip.reason
    ]
    return {finding.code for finding in report.findings} & BLOCKING


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", ["present", "absent", "multi-turn", "unk"])
@pytest.mark.parametrize("pad", PADS)
def test_transformers_collators(pad: str, kind: str, side: str) -> None:
    """LanguageModeling masks by id; Seq2Seq, Flattening and the positional wrapper do not."""
    tok = words(pad=PADS[pad], side=side)
    rows = rows_of(kind)
    plain = without_labels(rows)
    inner = DataCollatorForLanguageModeling(tok, mlm=False)
    assert codes(lm(tok), tok, plain, inner) == verdict_of("by-id", pad, kind)
    assert codes(lm(tok), tok, plain, positional_labels(inner)) == verdict_of("by-position", pad, kind)
    assert codes(lm(tok), tok, rows, DataCollatorForSeq2Seq(tok)) == verdict_of("by-position", pad, kind)
    assert codes(lm(tok), tok, rows, DataCollatorWithFlattening()) == verdict_of("flat", pad, kind)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", ["present", "absent"])
@pytest.mark.parametrize("pad", PADS)
def test_default_collator_on_padded_rows(pad: str, kind: str, side: str) -> None:
    """Rows padded before the collator: right with labels by position, pads in the loss with copied labels."""
    tok = words(pad=PADS[pad], side=side)
    pad_id, left = tok.pad_token_id, side == "left"
    rows = full_length(rows_of(kind), 12, pad_id, labels="position", left=left)
    assert codes(lm(tok), tok, rows, default_data_collator) == verdict_of("by-position", pad, kind)
    rows = full_length(rows_of(kind), 12, pad_id, labels="copy", left=left)
    found = codes(lm(tok), tok, rows, default_data_collator)
    # Copied labels train the first pad as an EOS, where the pad is one and stands behind the text.
    expected = verdict_of("copy", pad, kind) - ({"PAD402"} if pad == "eos" and side == "right" else set())
    assert found == {"PAD403"} | expected


@pytest.mark.parametrize("pad", PADS)
def test_padding_collator_without_labels(pad: str) -> None:
    """DataCollatorWithPadding makes no labels: nothing is flagged, and the report says what it could not see."""
    tok = words(pad=PADS[pad])
    report = sanity_check(lm(tok), tok, data=text(3, 5), collator=DataCollatorWithPadding(tok))
    assert {finding.code for finding in report.findings} & BLOCKING == set()
    assert any(skip.source == "labels" for skip in report.skipped)


@pytest.mark.parametrize("pad", PADS)
def test_classifier_with_padding_collator(pad: str) -> None:
    """The same collator for a classifier: a pad that ends the texts moves what a Llama pools."""
    tok = words(pad=PADS[pad])
    data = [{**row, "label": k % 2} for k, row in enumerate(text(3, 5, 8))]
    report = sanity_check(
        fitted(tok, "llama", "classifier"), tok, data=data, collator=DataCollatorWithPadding(tok)
    )
    assert ("PAD308" in {finding.code for finding in report.findings}) == (pad == "eos")


# --- TRL -------------------------------------------------------------------------------------------


@pytest.fixture
def trl() -> Any:
    return pytest.importorskip("trl", reason="TRL is not installed here")


@pytest.mark.parametrize("kind", ["present", "absent", "multi-turn", "unk"])
@pytest.mark.parametrize("pad", PADS)
def test_trl_sft_collator(trl: Any, pad: str, kind: str) -> None:
    """TRL's SFT collator pads labels by position, padded, padding-free and packed."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling as Collator

    tok = words(pad=PADS[pad])
    rows = rows_of(kind)
    for collator in (
        Collator(pad_token_id=tok.pad_token_id),
        Collator(pad_token_id=tok.pad_token_id, padding_free=True),
        Collator(pad_token_id=tok.pad_token_id, padding_free=True, pad_to_multiple_of=64),
        Collator(pad_token_id=tok.pad_token_id, return_position_ids=True),
    ):
        assert codes(lm(tok), tok, rows, collator) == verdict_of("by-position", pad, kind), collator
    packed = [
        {
            "input_ids": rows[k]["input_ids"] + rows[k + 1]["input_ids"],
            "labels": rows[k]["labels"] + rows[k + 1]["labels"],
            "seq_lengths": [len(rows[k]["input_ids"]), len(rows[k + 1]["input_ids"])],
        }
        for k in range(len(rows) - 1)
    ]
    collator = Collator(pad_token_id=tok.pad_token_id, padding_free=True)
    assert codes(lm(tok), tok, packed, collator) == verdict_of("flat", pad, kind)


@pytest.mark.parametrize("kind", ["present", "absent"])
@pytest.mark.parametrize("pad", ["eos", "distinct"])
def test_trl_preference_collators(trl: Any, pad: str, kind: str) -> None:
    """DPO scores completions by position; a completion without EOS is the data's fault, and named by its row."""
    from trl.trainer.dpo_trainer import DataCollatorForPreference as Dpo
    from trl.trainer.reward_trainer import DataCollatorForPreference as Reward

    tok = words(pad=PADS[pad])
    end = [EOS] if kind == "present" else []
    rows = [
        {"prompt_ids": [W, W + 1], "chosen_ids": [W + 2] * n + end, "rejected_ids": [W + 3] * (5 - n) + end}
        for n in (1, 3)
    ]
    assert codes(lm(tok), tok, rows, Dpo(pad_token_id=tok.pad_token_id)) == verdict_of(
        "by-position", pad, kind
    )
    if kind == "absent":
        report = sanity_check(lm(tok), tok, data=rows, collator=Dpo(pad_token_id=tok.pad_token_id))
        assert any("row 0 (chosen)" in finding.message for finding in report.findings)

    whole = [{k: row["prompt_ids"] + row[k] for k in ("chosen_ids", "rejected_ids")} for row in rows]
    model = fitted(tok, "llama", "classifier", num_labels=1)
    report = sanity_check(model, tok, data=whole, collator=Reward(pad_token_id=tok.pad_token_id))
    assert ("PAD308" in {f.code for f in report.findings}) == (pad == "eos" and kind == "present")


def test_completions_scored_without_their_end(trl: Any) -> None:
    """A completion mask that leaves the EOS out: PAD401, in a batch without labels."""
    from trl.trainer.dpo_trainer import DataCollatorForPreference as Dpo

    tok = words()
    rows = [
        {"prompt_ids": [W], "chosen_ids": [W + 2] * n + [EOS], "rejected_ids": [W + 3, EOS]} for n in (1, 3)
    ]
    batch = Dpo(pad_token_id=PAD)(rows)
    batch["completion_mask"][batch["input_ids"] == EOS] = 0
    assert codes(lm(tok), tok, batch, None) == {"PAD401"}


@pytest.mark.parametrize("kind", ["present", "absent"])
@pytest.mark.parametrize("pad", PADS)
def test_trl_vision_collators(trl: Any, pad: str, kind: str) -> None:
    """TRL's vision collators tokenize by themselves and mask labels by the attention mask."""
    image = pytest.importorskip("PIL.Image")
    import transformers
    from trl.trainer.dpo_trainer import DataCollatorForVisionPreference
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    images = getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor
    tok = words(pad=PADS[pad])
    processor = transformers.LlavaProcessor(
        image_processor=images(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
        tokenizer=tok,
        patch_size=8,
        vision_feature_select_strategy="default",
        image_token="<spare>",
        num_additional_image_tokens=1,
    )
    picture = image.new("RGB", (16, 16), (200, 10, 10))
    end = " </s>" if kind == "present" else ""
    texts = [{"images": [picture], "text": f"<spare> {words}{end}"} for words in ("w1 w2 w3", "w4")]
    collator = DataCollatorForVisionLanguageModeling(processor)
    assert codes(None, processor, texts, collator) == verdict_of("by-position", pad, kind)
    pairs = [
        {"images": [picture], "prompt": "<spare> w1 ", "chosen": f"w2{end}", "rejected": f"w3 w4{end}"},
        {"images": [picture], "prompt": "<spare> w5 ", "chosen": f"w6 w7 w8{end}", "rejected": f"w3{end}"},
    ]
    collator = DataCollatorForVisionPreference(processor)
    found = codes(None, processor, pairs, collator)
    # transformers' processor marks padding right; TRL falls back to EOS for a pad id of 0 (`or`), masked all the same.
    assert found == verdict_of("by-position", pad, kind)


# --- what training shows ---------------------------------------------------------------------------


def stops_after_training(
    tok: Any, rows: list[dict[str, Any]], collator: Any, prompts: list[list[int]]
) -> list[bool]:
    """Train a tiny Llama until it knows the rows, then see for each prompt whether greedy decoding ends."""
    model = copy.deepcopy(lm(tok, hidden_size=32, num_hidden_layers=1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2, weight_decay=0.0)
    model.train()
    for _ in range(60):
        batch = collator([dict(row) for row in rows])
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    model.eval()
    ends = []
    for prompt in prompts:
        made = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=20,
            do_sample=False,
        )
        ends.append(EOS in made[0, len(prompt) :].tolist())
    return ends


STORIES = [[W, W + 1, W + 2], [W + 10, W + 11], [W + 20, W + 21, W + 22, W + 23], [W + 30, W + 31, W + 32]]


@pytest.mark.parametrize(
    ("pad", "end", "collate", "code"),
    [
        ("</s>", True, lambda tok: DataCollatorForLanguageModeling(tok, mlm=False), "PAD401"),
        ("</s>", True, lambda tok: positional_labels(DataCollatorForLanguageModeling(tok, mlm=False)), None),
        ("<pad>", True, lambda tok: DataCollatorForLanguageModeling(tok, mlm=False), None),
        ("</s>", True, lambda tok: ByHand(tok, labels="by-id", mask="by-id"), "PAD401"),
        ("</s>", True, lambda tok: ByHand(tok, labels="by-position"), None),
        ("</s>", True, lambda tok: DataCollatorWithFlattening(), None),
        ("<pad>", False, lambda tok: DataCollatorForLanguageModeling(tok, mlm=False), "PAD402"),
        (
            "</s>",
            False,
            lambda tok: positional_labels(DataCollatorForLanguageModeling(tok, mlm=False)),
            "PAD402",
        ),
        ("</s>", False, lambda tok: ByHand(tok, labels="one-end"), None),
    ],
)
def test_training_agrees(pad: str, end: bool, collate: Any, code: str | None) -> None:
    """Where PAD401 or PAD402 speaks, the trained model never stops; where neither does, it stops."""
    tok = words(pad=pad)
    rows = [
        {"input_ids": ids, "attention_mask": [1] * len(ids)}
        for story in STORIES
        for ids in [story + [EOS] * end]
    ]
    found = codes(lm(tok), tok, rows, collate(tok))
    assert found & {"PAD401", "PAD402"} == ({code} if code else set())
    # The longest row has no padding behind it, so the first pad is trained as EOS in all rows but that one.
    prompts = [story[:1] for story in STORIES if len(story) < 4]
    ends = stops_after_training(tok, rows, collate(tok), prompts)
    assert ends == [code is None] * len(prompts)


def test_training_on_copied_labels_teaches_the_pad() -> None:
    """PAD403: the model has learned to write pads after the EOS; with labels by position it has not."""
    tok = words()
    rows = [{"input_ids": [*story, EOS]} for story in STORIES]
    learned = {}
    for labels in ("copy", "position"):
        data = full_length(rows, 12, PAD, labels=labels)
        assert ("PAD403" in codes(lm(tok), tok, data, default_data_collator)) == (labels == "copy")
        model = copy.deepcopy(lm(tok, hidden_size=32, num_hidden_layers=1))
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2, weight_decay=0.0)
        for _ in range(40):
            optimizer.zero_grad()
            model(**default_data_collator(data)).loss.backward()
            optimizer.step()
        with torch.no_grad():
            probabilities = model(torch.tensor([[*STORIES[0], EOS]])).logits[0, -1].softmax(-1)
        learned[labels] = float(probabilities[PAD])
    assert learned["copy"] > 0.9
    assert learned["position"] < 0.1
