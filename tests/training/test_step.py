"""The training-step proof: losses and gradients of real models on right and wrong batches."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from training_setups import (
    BAD,
    EOS,
    GOOD,
    ByHand,
    fitted,
    labelled,
    lm,
    lm_distinct_pad,
    lm_mixtral_with_mask,
    text,
    words,
)
from transformers import DataCollatorForLanguageModeling, DataCollatorForSeq2Seq

from padfix.read.live import inspect
from padfix.training import sanity_check
from padfix.training.batch import read_batch
from padfix.training.step import measure_step

PROVABLE = [
    name
    for name in GOOD
    if not name.startswith(
        ("flattening", "packed", "truncated", "prompts", "texts", "by_hand_shifted", "masked_lm")
    )
]


def measured(model: Any, tok: Any, rows: Any, collator: Any) -> Any:
    state = inspect(model, tok)
    collated = collator(rows)
    batch = read_batch(collated, rows, range(len(rows)), state)
    assert batch is not None
    step, skipped = measure_step(model, collated, batch, state)
    assert skipped == ()
    return step


@pytest.mark.parametrize("name", PROVABLE)
def test_right_batches_are_proven(name: str) -> None:
    """Causal, encoder-decoder and classifier batches: loss as of the rows alone, no gradient in the padding."""
    report = sanity_check(**GOOD[name](), step=True)
    assert [str(f) for f in report.findings if f.severity != "info"] == []
    assert not [skip for skip in report.skipped if skip.source == "step"], report.skipped


def test_loss_is_the_token_weighted_mean() -> None:
    """The padded loss equals the mean over all trained tokens; a mean over rows would not."""
    tok = words()
    model = lm(tok)
    rows = text(2, 9)
    step = measured(model, tok, rows, DataCollatorForLanguageModeling(tok, mlm=False))
    own = []
    for row in rows:
        ids = torch.tensor([row["input_ids"]])
        own.append((float(model(input_ids=ids, labels=ids).loss.detach()), ids.shape[1] - 1))
    by_token = sum(loss * n for loss, n in own) / sum(n for _, n in own)
    by_row = sum(loss for loss, _ in own) / len(own)
    assert step.loss_alone == pytest.approx(by_token, abs=1e-6)
    assert abs(step.loss - by_token) <= step.limit < abs(by_row - by_token)
    assert step.pad_gradient == 0.0
    assert step.text_gradient > 0.0


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("mask_of_ones", "PAD407"),
        ("labels_copied_after_padding", "PAD409"),
        ("labels_copied_after_padding_left", "PAD409"),
        ("gpt2_padded_on_the_left", "PAD409"),
        ("left_padded_without_mask", "PAD409"),
        ("left_padded_without_mask", "PAD410"),
        ("labels_padded_with_the_pad", "PAD410"),
        ("encoder_without_mask", "PAD407"),
    ],
)
def test_wrong_batches_are_measured(name: str, code: str) -> None:
    """What the batch rules infer is seen in the loss or the gradient."""
    report = sanity_check(**BAD[name][1](), step=True)
    assert code in {finding.code for finding in report.findings}, str(report)


def test_a_model_that_ignores_the_mask_is_named() -> None:
    """FNet mixes every position: its loss depends on the padding, and the finding says why."""
    tok = words(mask_token="[MASK]", cls_token="[CLS]", sep_token="[SEP]")
    model = fitted(tok, "fnet", "masked")
    torch.manual_seed(0)
    collator = DataCollatorForLanguageModeling(tok, mlm_probability=0.5, seed=1)
    report = sanity_check(model, tok, data=text(9, 20), collator=collator, step=True)
    found = {finding.code: finding.message for finding in report.findings}
    assert "ignores the attention mask" in found["PAD409"]
    assert "PAD410" in found


def test_frozen_eos_row_is_measured() -> None:
    """With ``padding_idx`` = EOS a gradient reaches the position and none its row."""
    tok = words(pad="</s>")
    rows = labelled([{"input_ids": [10, EOS, 11, EOS], "attention_mask": [1] * 4}, *text(2)])
    frozen = measured(lm(tok, config_pad=EOS), tok, rows, DataCollatorForSeq2Seq(tok))
    assert frozen.end_gradient > 0.0
    assert frozen.end_row_gradient == 0.0
    free = measured(lm(tok), tok, rows, DataCollatorForSeq2Seq(tok))
    assert free.end_row_gradient == free.end_gradient > 0.0
    report = sanity_check(
        lm(tok, config_pad=EOS), tok, data=rows, collator=DataCollatorForSeq2Seq(tok), step=True
    )
    assert any(f.code == "PAD110" and "reaches an EOS, and 0 its row" in f.message for f in report.findings)
    assert sum(f.code == "PAD110" for f in report.findings) == 1


def test_frozen_embedding_is_measured_too() -> None:
    """A table that does not train (adapters) still shows what reaches the padding."""
    tok = words()
    model = copy.deepcopy(lm(tok))
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.lm_head.weight.requires_grad_(True)
    step = measured(model, tok, text(2, 5), ByHand(tok, labels="copy"))
    assert step.pad_gradient > 0.0


def test_the_routers_loss_is_measured() -> None:
    """Mixtral leaves masked positions out of its router's loss; the change is zero."""
    setup = lm_mixtral_with_mask()
    report = sanity_check(**setup, step=True)
    assert "PAD408" not in {finding.code for finding in report.findings}
    state = inspect(setup["model"], setup["tok"])
    collated = setup["collator"](setup["data"])
    batch = read_batch(collated, setup["data"], range(2), state)
    assert batch is not None
    step, _ = measure_step(setup["model"], collated, dataclasses.replace(batch, router_loss=True), state)
    assert step is not None
    assert step.router_change is not None
    assert step.router_change <= 1e-6


def test_half_precision_has_its_own_limit() -> None:
    """bfloat16 moves a loss by more than float32 does; that is no finding."""
    tok = words()
    model = copy.deepcopy(lm(tok)).to(torch.bfloat16)
    report = sanity_check(
        model, tok, data=text(2, 9, 30), collator=DataCollatorForLanguageModeling(tok, mlm=False), step=True
    )
    assert [f.code for f in report.findings if f.severity != "info"] == []


def test_left_padded_rows_that_are_not_finite_are_found() -> None:
    """A model whose left-padded rows turn to NaN, as float16 attention over fully masked rows does: PAD305."""
    tok = words(side="left")
    model = copy.deepcopy(lm(tok))
    with torch.no_grad():
        model.get_input_embeddings().weight[tok.pad_token_id] = float(
            "nan"
        )  # a degenerate pad row: 0 * NaN leaks
    report = sanity_check(
        model, tok, data=text(3, 5), collator=DataCollatorForLanguageModeling(tok, mlm=False)
    )
    finding = next(f for f in report.findings if f.code == "PAD305")
    assert finding.severity == "error"
    assert "row 0, position 0: '<pad>' (0)" in finding.message


def test_without_a_loss_it_says_so() -> None:
    """Prompts have no labels: the proof is skipped with the reason."""
    setup = lm_distinct_pad()
    batch = {key: value for key, value in setup["collator"](setup["data"]).items() if key != "labels"}
    report = sanity_check(setup["model"], setup["tok"], data=batch, step=True)
    assert any(skip.source == "step" and "labels" in skip.reason for skip in report.skipped)
    report = sanity_check(None, setup["tok"], data=setup["data"], collator=setup["collator"], step=True)
    assert any(skip.source == "step" and "no model" in skip.reason for skip in report.skipped)
