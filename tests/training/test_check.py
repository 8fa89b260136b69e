"""What a report of the check holds, and that odd batches neither crash it nor are called wrong."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from training_setups import (
    BAD,
    EOS,
    PAD,
    ByHand,
    W,
    fitted,
    labelled,
    lm,
    lm_eos_pad,
    text,
    words,
)
from transformers import DataCollatorForLanguageModeling, DataCollatorForSeq2Seq, DataCollatorWithPadding

import padfix
from padfix.rules import RULES, check
from padfix.training import sanity_check
from padfix.training.recipes import RECIPES, STACKS, recipe, recipes_for, stack_of

POSITIONED = [
    name
    for name, (code, _) in BAD.items()
    if code
    in ("PAD302", "PAD303", "PAD304", "PAD308", "PAD401", "PAD403", "PAD404", "PAD406", "PAD407", "PAD408")
]


def codes(report: Any) -> set[str]:
    return {finding.code for finding in report.findings}


@pytest.mark.parametrize("name", POSITIONED)
def test_findings_name_row_position_and_token(name: str) -> None:
    """Every finding about a batch says where to look: row, position, decoded token."""
    code, setup = BAD[name]
    messages = [f.message for f in sanity_check(**setup()).findings if f.code == code]
    assert any("row " in said and "position" in said and "'" in said for said in messages)


def test_the_public_verb_is_this_check() -> None:
    """`padfix.sanity_check` gives the same report, step proof included."""
    setup = lm_eos_pad()
    assert padfix.sanity_check(**setup, step=True) == sanity_check(**setup, step=True)


def test_raise_for_errors_holds_the_finding() -> None:
    """One chained word turns the report into an exception."""
    with pytest.raises(padfix.PadfixError, match="PAD401"):
        sanity_check(**lm_eos_pad()).raise_for_errors()


def test_absent_and_masked_ends_are_told_apart() -> None:
    """EOS not in the data: PAD402 says that another pad will not help, and PAD401 is silent; and the other way round."""
    absent = sanity_check(**{**lm_eos_pad(), "data": text(3, 5, end=None)})
    assert "PAD401" not in codes(absent)
    assert any(
        "another pad token will not help" in (f.fix or "") for f in absent.findings if f.code == "PAD402"
    )
    masked = sanity_check(**lm_eos_pad())
    assert "PAD402" not in codes(masked)


def test_the_real_end_is_named() -> None:
    """Chat rows that end in a token that is no EOS: the finding names it and where to put it."""
    report = sanity_check(**BAD["chat_ends_with_another_token"][1]())
    finding = next(f for f in report.findings if f.code == "PAD402")
    assert "'<|im_end|>' (5), which is no EOS here" in finding.message


def test_only_cut_rows_say_nothing_about_ends() -> None:
    """Rows cut at a known length do not count; one whole row without EOS does."""
    setup = {**lm_eos_pad(), "data": text(7, 7, end=None)}
    assert "PAD402" in codes(sanity_check(**setup))
    assert "PAD402" not in codes(sanity_check(**setup, limits=[7]))
    setup["data"] = text(7, 7, 3, end=None)
    assert "PAD402" in codes(sanity_check(**setup, limits=[7]))


def test_pad_equals_eos_is_settled_by_the_batch() -> None:
    """PAD002 is an error with a collator that masks by id, a note with one that does not, a warning unseen."""
    tok = words(pad="</s>")
    severity = {}
    for name, options in {
        "by-id": {"data": text(3, 5), "collator": DataCollatorForLanguageModeling(tok, mlm=False)},
        "by-position": {"data": labelled(text(3, 5)), "collator": DataCollatorForSeq2Seq(tok)},
        "unseen": {},
    }.items():
        report = sanity_check(lm(tok), tok, **options)
        severity[name] = next(f.severity for f in report.findings if f.code == "PAD002")
    assert severity == {"by-id": "error", "by-position": "info", "unseen": "warning"}


def test_recipes_are_for_rules_and_stacks() -> None:
    """Each recipe belongs to a rule and a known stack; PAD401 to 403 have one for every stack that trains."""
    assert set(RECIPES) <= set(RULES)
    for code, own in RECIPES.items():
        assert set(own) <= set(STACKS)
        assert len(recipes_for(code)) == len(own)
    for code in ("PAD401", "PAD402", "PAD403"):
        assert set(RECIPES[code]) >= set(STACKS) - {"lm_eval"}
    assert {
        "transformers Trainer",
        "TRL",
        "axolotl",
        "LLaMA-Factory",
        "torchtune",
        "unsloth",
        "lm-evaluation-harness",
    } == {name for name, _ in recipes_for("PAD401")}


def test_the_fix_is_in_the_users_own_stack() -> None:
    """A collator of TRL is told TRL's remedy, through the wrappers of a trainer."""
    tok = words(pad="</s>")

    class Trl(ByHand):
        pass

    class RemoveColumns:
        def __init__(self, inner: Any) -> None:
            self.data_collator = inner

        def __call__(self, rows: Any) -> Any:
            return self.data_collator(rows)

    Trl.__module__ = "trl.trainer.sft_trainer"
    collator = RemoveColumns(Trl(tok))
    assert stack_of(collator) == "trl"
    report = sanity_check(lm(tok), tok, data=text(3, 5), collator=collator)
    finding = next(f for f in report.findings if f.code == "PAD401")
    assert finding.fix == recipe("PAD401", "trl")
    assert "Trl" in report.source


def test_hostile_tokens_are_escaped() -> None:
    """A token that is markup or a terminal escape stays text in every rendering."""
    tok = words(pad="</s>")
    evil = "<script>alert(1)</script>\x1b[31m"
    tok.add_special_tokens({"eos_token": evil})
    tok.pad_token = tok.eos_token
    rows = [
        {"input_ids": [W, W + 1, tok.eos_token_id], "attention_mask": [1] * 3},
        {"input_ids": [W, tok.eos_token_id]},
    ]
    report = sanity_check(None, tok, data=rows, collator=ByHand(tok))
    assert "PAD401" in codes(report)
    assert "\x1b" not in str(report)
    assert "<script>" not in report._repr_html_()


@pytest.mark.parametrize("make", [np.array, torch.tensor, list])
def test_batches_of_any_array(make: Any) -> None:
    """Torch tensors, numpy arrays and lists of lists are read alike."""
    tok = words(pad="</s>")
    batch = {
        "input_ids": make([[W, W + 1, EOS], [W, EOS, EOS]]),
        "attention_mask": make([[1, 1, 1], [1, 1, 0]]),
        "labels": make([[W, W + 1, -100], [W, -100, -100]]),
    }
    assert "PAD401" in codes(sanity_check(lm(tok), tok, data=batch))


def test_wrapped_models_and_processors() -> None:
    """PEFT and torch.compile wrappers are seen through."""
    peft = pytest.importorskip("peft")
    tok = words(pad="</s>")
    collator = DataCollatorForLanguageModeling(tok, mlm=False)
    model = peft.get_peft_model(
        copy.deepcopy(lm(tok)), peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"])
    )
    for wrapped in (model, torch.compile(lm(tok))):
        report = sanity_check(wrapped, tok, data=text(3, 5), collator=collator, step=True)
        assert "PAD401" in codes(report)
        assert not [skip for skip in report.skipped if skip.source == "step"], report.skipped


def test_targets_without_input_ids() -> None:
    """Speech batches have features and labels: the targets are checked, the rest is left alone."""
    tok = words()
    batch = {
        "input_features": torch.zeros(2, 4, 8),
        "labels": torch.tensor([[W, EOS, PAD, PAD], [W, W, W, EOS]]),
    }
    state_model = fitted(tok, "t5", "seq2seq")
    assert "PAD403" in codes(sanity_check(state_model, tok, data=batch))
    batch["labels"][batch["labels"] == PAD] = -100
    assert not codes(sanity_check(state_model, tok, data=batch)) & {"PAD401", "PAD402", "PAD403", "PAD407"}


@pytest.mark.parametrize(
    "batch",
    [
        {"prompt": ["a", "b"]},
        {"input_ids": torch.zeros(0, 4, dtype=torch.long)},
        {"input_ids": torch.full((2, 3), -100)},
        {"input_ids": torch.full((2, 3), 10**9)},
        {"input_ids": torch.full((2, 3), PAD), "attention_mask": torch.zeros(2, 3, dtype=torch.long)},
        {"input_ids": torch.full((2, 3), W), "attention_mask": torch.ones(2, 1, 3, 3)},
        {"input_ids": torch.full((2, 3), W), "attention_mask": torch.ones(2, 3), "labels": torch.zeros(2)},
        {"input_ids": torch.full((2, 3), W), "labels": torch.full((2, 5), W)},
        {
            "input_ids": torch.full((2, 2, 3), W),
            "attention_mask": torch.ones(2, 2, 3),
            "labels": torch.zeros(2).long(),
        },
        {"input_ids": torch.full((2, 3), W), "position_ids": torch.zeros(3, 2, 3, dtype=torch.long)},
        {"input_ids": torch.full((1, 0), W)},
    ],
)
@pytest.mark.parametrize("pad", ["<pad>", "</s>", None])
def test_odd_batches_do_not_crash(batch: dict[str, Any], pad: str | None) -> None:
    """No ids, no rows, ids out of range, masks of four dimensions, labels of another shape: a report, no exception."""
    tok = words(pad=pad)
    for model in (None, lm(tok)):
        report = sanity_check(model, tok, data=dict(batch), step=True)
        assert isinstance(str(report), str)


@given(
    ids=st.lists(
        st.lists(st.sampled_from([PAD, EOS, W, W + 1]), min_size=5, max_size=5), min_size=1, max_size=3
    ),
    mask=st.lists(st.integers(0, 2), min_size=15, max_size=15),
    labels=st.lists(st.sampled_from([-100, PAD, EOS, W, W + 1]), min_size=15, max_size=15),
    pad=st.sampled_from(["<pad>", "</s>", "<unk>", None]),
    keys=st.sets(st.sampled_from(["attention_mask", "labels", "position_ids"])),
)
@settings(max_examples=200, deadline=None)
def test_any_batch_gives_a_report(ids: Any, mask: Any, labels: Any, pad: str | None, keys: set[str]) -> None:
    """Any numbers in any columns: a report, whose texts lie inside the rows."""
    tok = words(pad=pad)
    rows = len(ids)
    columns = {
        "attention_mask": [mask[5 * r : 5 * r + 5] for r in range(rows)],
        "labels": [labels[5 * r : 5 * r + 5] for r in range(rows)],
        "position_ids": [mask[5 * r : 5 * r + 5] for r in range(rows)],
    }
    batch = {"input_ids": torch.tensor(ids), **{key: torch.tensor(columns[key]) for key in keys}}
    report = sanity_check(None, tok, data=batch)
    assert all(finding.code in RULES for finding in report.findings)


@given(
    rows=st.lists(st.lists(st.sampled_from([W, W + 1, EOS]), min_size=1, max_size=7), min_size=1, max_size=4),
    left=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_positional_batches_are_never_flagged(rows: list[list[int]], left: bool) -> None:
    """For any rows, with EOS anywhere and pad = EOS: labels and mask by position raise neither PAD401, 403 nor 407."""
    tok = words(pad="</s>")
    data = [{"input_ids": [W, *row]} for row in rows]
    assume(all(row[-4:] != [EOS] * 4 for row in rows))  # nobody ends a text so often
    report = sanity_check(None, tok, data=data, collator=ByHand(tok, labels="by-position", left=left))
    assert not codes(report) & {"PAD401", "PAD403", "PAD407"}
    report = sanity_check(None, tok, data=ByHand(tok, labels="by-position", left=left)(data))
    assert not codes(report) & {"PAD401", "PAD403", "PAD407"}


@given(
    rows=st.lists(st.lists(st.sampled_from([W, W + 1, EOS]), min_size=1, max_size=7), min_size=1, max_size=4)
)
@settings(max_examples=100, deadline=None)
def test_masking_by_id_is_always_found(rows: list[list[int]]) -> None:
    """For any rows that end in EOS: labels masked by id raise PAD401, given the rows and given the batch alone."""
    tok = words(pad="</s>")
    data = [{"input_ids": [W, *row, W, EOS]} for row in rows]
    assert "PAD401" in codes(sanity_check(None, tok, data=data, collator=ByHand(tok)))
    assert "PAD401" in codes(sanity_check(None, tok, data=ByHand(tok)(data)))


def test_classifier_prompts_are_not_asked_for_ends() -> None:
    """A classifier's texts need no EOS."""
    tok = words()
    data = [{**row, "label": 0} for row in text(3, 5, end=None)]
    report = sanity_check(
        fitted(tok, "llama", "classifier"), tok, data=data, collator=DataCollatorWithPadding(tok)
    )
    assert [f for f in report.findings if f.severity != "info"] == []


def test_rules_read_the_record_alone() -> None:
    """The rules give the same findings from the record as the check gives from the objects."""
    from padfix.read.live import inspect
    from padfix.training.batch import read_batch

    setup = lm_eos_pad()
    state = inspect(setup["model"], setup["tok"])
    batch = read_batch(setup["collator"](setup["data"]), setup["data"], range(3), state)
    assert batch is not None
    batch = dataclasses.replace(batch, decoded=((EOS, "</s>"),), collator="DataCollatorForLanguageModeling")
    (own,) = [f for f in check(state, batch=batch, task="training") if f.code == "PAD401"]
    (other,) = [f for f in sanity_check(**setup).findings if f.code == "PAD401"]
    assert own.message == other.message
