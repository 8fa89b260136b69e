"""`positional_labels`: labels masked by position, whatever the pad is, and nothing else changed."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_setups import EOS, PAD, START, ByHand, CompletionOnly, W, chat, lm, text, without_labels, words
from transformers import (
    DataCollatorForLanguageModeling,
    DataCollatorForSeq2Seq,
    DataCollatorWithFlattening,
    DataCollatorWithPadding,
)

from padfix import PadfixError, positional_labels
from padfix.training import sanity_check


def expected(batch: Any) -> Any:
    """Labels by position: the ids where the mask is 1, -100 elsewhere."""
    return batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)


@given(
    rows=st.lists(
        st.lists(st.sampled_from([W, W + 1, W + 2, EOS]), min_size=1, max_size=9), min_size=1, max_size=4
    ),
    left=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_labels_of_all_real_tokens_come_back(rows: list[list[int]], left: bool) -> None:
    """For any rows with a word in them, any EOS inside, either side: exactly the padding is masked."""
    rows = [[W, *row] for row in rows]
    tok = words(pad="</s>", side="left" if left else "right")
    features = [{"input_ids": row, "attention_mask": [1] * len(row)} for row in rows]
    batch = positional_labels(DataCollatorForLanguageModeling(tok, mlm=False))(features)
    assert torch.equal(batch["labels"], expected(batch))


@pytest.mark.parametrize("side", ["right", "left"])
def test_lists_without_mask(side: str) -> None:
    """Rows as bare lists give no mask: the lengths of the rows tell."""
    tok = words(pad="</s>", side=side)
    rows = [row["input_ids"] for row in text(3, 5)]
    batch = positional_labels(DataCollatorForLanguageModeling(tok, mlm=False))(rows)
    assert sorted(int((row != -100).sum()) for row in batch["labels"]) == [4, 6]
    assert (batch["labels"] == EOS).sum() == 2


def test_a_text_that_starts_with_the_pad_id() -> None:
    """Where BOS, EOS and pad are one token, the first one gets its label back too."""
    tok = words(pad="</s>", side="left")
    features = [
        {"input_ids": [EOS, W, W + 1, EOS], "attention_mask": [1] * 4},
        {"input_ids": [EOS, W], "attention_mask": [1] * 2},
    ]
    batch = positional_labels(DataCollatorForLanguageModeling(tok, mlm=False))(features)
    assert torch.equal(batch["labels"], expected(batch))


def test_prompts_stay_masked() -> None:
    """A completion-only collator keeps its prompts masked, the EOS inside them included; answers end again."""
    tok = words(pad="</s>")
    rows = without_labels(chat(turns=1))
    inner = CompletionOnly(tok, [START, W + 5])
    plain, fixed = inner(rows)["labels"], positional_labels(inner)(rows)["labels"]
    assert (plain == EOS).sum() == 0
    assert (fixed == EOS).sum() == len(rows)
    changed = plain != fixed
    assert changed.sum() == len(rows)
    assert (fixed[:, :5] == -100).all()


def test_a_distinct_pad_changes_nothing() -> None:
    """With a pad of its own the wrapper returns what the collator made."""
    tok = words()
    for inner, rows in (
        (DataCollatorForLanguageModeling(tok, mlm=False), text(3, 5)),
        (DataCollatorForSeq2Seq(tok), chat()),
        (DataCollatorWithFlattening(), text(3, 5)),
        (DataCollatorWithPadding(tok), text(3, 5)),
    ):
        plain, wrapped = inner(rows), positional_labels(inner)(rows)
        assert plain.keys() == wrapped.keys()
        for key, value in plain.items():
            assert torch.equal(value, wrapped[key]), key


def test_right_labels_are_not_touched() -> None:
    """Labels that were right with pad = EOS stay: prompts masked, answers trained, texts packed."""
    tok = words(pad="</s>")
    for inner, rows in (
        (DataCollatorForSeq2Seq(tok), chat()),
        (DataCollatorWithFlattening(), text(3, 5)),
        (ByHand(tok, labels="by-position"), text(3, 5)),
    ):
        assert torch.equal(inner(rows)["labels"], positional_labels(inner)(rows)["labels"])


def test_masked_lm_is_left_alone() -> None:
    """A masked-language-model collator chooses which labels to train; none is added."""
    tok = words(pad="</s>", mask_token="[MASK]")
    inner = DataCollatorForLanguageModeling(tok, seed=1)
    other = DataCollatorForLanguageModeling(tok, seed=1)
    assert torch.equal(inner(text(9, 20))["labels"], positional_labels(other)(text(9, 20))["labels"])


def test_numpy_batches() -> None:
    """Numpy arrays are repaired as tensors are."""
    tok = words(pad="</s>")
    batch = positional_labels(DataCollatorForLanguageModeling(tok, mlm=False, return_tensors="np"))(
        text(3, 5)
    )
    assert isinstance(batch["labels"], np.ndarray)
    assert (batch["labels"] == np.where(batch["attention_mask"] == 0, -100, batch["input_ids"])).all()


def test_input_ids_stay() -> None:
    """Labels are written to, the ids they are taken from are not."""
    tok = words(pad="</s>")
    inner = DataCollatorForLanguageModeling(tok, mlm=False)
    assert torch.equal(inner(text(3, 5))["input_ids"], positional_labels(inner)(text(3, 5))["input_ids"])


def test_a_function_without_a_tokenizer() -> None:
    """A bare function: the pad is the id that the mask hides, or the one given."""
    tok = words(pad="</s>")
    inner = DataCollatorForLanguageModeling(tok, mlm=False)

    def collate(rows: list[Any]) -> Any:
        return inner(rows)

    for wrapped in (positional_labels(collate), positional_labels(collate, pad_token_id=EOS)):
        batch = wrapped(text(3, 5))
        assert torch.equal(batch["labels"], expected(batch))


def test_it_travels_to_worker_processes() -> None:
    """Loaders with workers pickle their collator."""
    tok = words(pad="</s>")
    wrapped = positional_labels(DataCollatorForLanguageModeling(tok, mlm=False))
    again = pickle.loads(pickle.dumps(wrapped))
    assert torch.equal(again(text(3, 5))["labels"], wrapped(text(3, 5))["labels"])


def test_what_cannot_be_called_is_refused() -> None:
    """A batch in the place of a collator is named as such."""
    with pytest.raises(PadfixError, match="a dict cannot be called"):
        positional_labels({})


def test_it_is_the_remedy() -> None:
    """PAD401 names the wrapper, and with it PAD401 is gone."""
    tok = words(pad="</s>")
    collator = DataCollatorForLanguageModeling(tok, mlm=False)
    before = sanity_check(lm(tok), tok, data=text(3, 5), collator=collator)
    finding = next(f for f in before.findings if f.code == "PAD401")
    assert "positional_labels" in (finding.fix or "")
    assert sanity_check(lm(tok), tok, data=text(3, 5), collator=positional_labels(collator)).ok
    assert PAD != EOS
