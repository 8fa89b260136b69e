"""Taking rows: what is read, and that nothing of the training that follows is used up or moved."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from training_setups import lm, lm_eos_pad, text, words
from transformers import DataCollatorForLanguageModeling

from padfix.training import sanity_check
from padfix.training.rows import take


@pytest.fixture
def datasets() -> Any:
    return pytest.importorskip("datasets", reason="the datasets library is not installed here")


class Stream(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
    """Rows made anew for every pass."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from text(3, 5, 7, 2)


class Cursor(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
    """Goes on where the last pass stopped, as streaming datasets with a state do."""

    def __init__(self) -> None:
        self.position = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        rows = text(3, 5, 7, 2)
        while self.position < len(rows):
            self.position += 1
            yield rows[self.position - 1]


class Spent(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
    """Hands on a generator that someone else made."""

    def __init__(self, rows: Iterator[dict[str, Any]]) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from self.rows


class Made(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
    """Calls a function for its rows, which may hand out the same iterator each time."""

    def __init__(self, make: Callable[[], Iterator[dict[str, Any]]]) -> None:
        self.make = make

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self.make()


def check(data: Any, **options: Any) -> Any:
    tok = words(pad="</s>")
    return sanity_check(
        lm(tok), tok, data=data, collator=DataCollatorForLanguageModeling(tok, mlm=False), **options
    )


def found(data: Any) -> bool:
    return "PAD401" in {finding.code for finding in check(data).findings}


def test_every_kind_of_data_is_read() -> None:
    """Map-style, iterable, list, dict of columns, DataLoader: the same mistake is found in each."""
    rows = text(3, 5, 7)
    for data in (
        rows,
        tuple(rows),
        {key: [row[key] for row in rows] for key in rows[0]},
        Stream(),
        Cursor(),
        torch.utils.data.Subset(rows, [0, 2]),  # type: ignore[arg-type]
        torch.utils.data.DataLoader(rows, batch_size=2, collate_fn=list),  # type: ignore[arg-type]
    ):
        assert found(data), type(data)


def test_every_kind_of_the_datasets_library_is_read(datasets: Any) -> None:
    """Its map-style, formatted, split, streamed and generated datasets, alone and in a DataLoader."""
    dataset = datasets.Dataset.from_list(text(3, 5, 7))
    for data in (
        dataset,
        dataset.with_format("torch"),
        datasets.DatasetDict({"test": dataset, "train": dataset}),
        dataset.to_iterable_dataset(),
        datasets.IterableDataset.from_generator(lambda: iter(text(3, 5))),
        torch.utils.data.Subset(dataset, [0, 2]),
        torch.utils.data.DataLoader(dataset, batch_size=2, collate_fn=list),
    ):
        assert found(data), type(data)


def test_a_loader_over_a_stream_is_read() -> None:
    """A DataLoader over an iterable dataset gives its collator and a copy of its dataset."""
    tok = words(pad="</s>")
    collator = DataCollatorForLanguageModeling(tok, mlm=False)
    loader = torch.utils.data.DataLoader(Cursor(), batch_size=2, collate_fn=collator)
    report = sanity_check(None, tok, data=loader)
    assert "PAD401" in {finding.code for finding in report.findings}
    assert len(list(loader)) == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: (row for row in text(3, 5, 7)),
        lambda: iter(text(3, 5, 7)),
        lambda: map(dict, text(3, 5, 7)),
        lambda: itertools.chain(text(3, 5, 7)),
    ],
)
def test_an_iterator_is_not_consumed(make: Any) -> None:
    """What can be read once is left alone, and the report says so."""
    rows = make()
    report = check(rows)
    assert any("only once" in skip.reason for skip in report.skipped)
    assert len(list(rows)) == 3


def test_a_hidden_iterator_is_not_consumed() -> None:
    """A dataset, a loader or a closure around a generator is refused as the generator is."""
    for wrap in (
        Spent,
        lambda rows: torch.utils.data.DataLoader(Spent(rows), batch_size=2),
        lambda rows: Made(lambda: rows),
    ):
        rows = (row for row in text(3, 5, 7))
        report = check(wrap(rows))
        assert any(
            "only once" in skip.reason or "cannot be copied" in skip.reason for skip in report.skipped
        ), wrap
        assert len(list(rows)) == 3


def test_a_position_does_not_move() -> None:
    """A stream with a state goes on where it was."""
    cursor = Cursor()
    next(iter(cursor))
    check(cursor)
    assert cursor.position == 1
    assert len(list(cursor)) == 3


def test_the_state_of_a_stream_stays(datasets: Any) -> None:
    """A stream of the datasets library, which can be resumed, keeps its state."""
    stream = datasets.Dataset.from_list(text(3, 5, 7)).to_iterable_dataset()
    before = [dict(row) for row in stream]
    state = copy.deepcopy(stream.state_dict())
    check(stream)
    assert stream.state_dict() == state
    assert [dict(row) for row in stream] == before


def test_rows_are_spread_over_the_data() -> None:
    """A long dataset is sampled from end to end, not only at its start."""
    taken = take(list(range(100)), None, 4)
    assert taken.indices == (0, 25, 50, 75)
    assert take([1, 2], None, 4).indices == (0, 1)


def test_rows_are_not_changed() -> None:
    """A collator that pops keys and extends lists works on copies."""

    def greedy(rows: list[dict[str, Any]]) -> dict[str, Any]:
        for row in rows:
            row["input_ids"].append(9)
            row.pop("attention_mask")
        tok = words(pad="</s>")
        return DataCollatorForLanguageModeling(tok, mlm=False)(rows)

    rows = text(3, 5)
    before = copy.deepcopy(rows)
    sanity_check(None, words(pad="</s>"), data=rows, collator=greedy)
    assert rows == before


def test_random_state_stays() -> None:
    """Python's, numpy's and torch's random state, and a collator's own generator, are where they were."""
    tok = words(mask_token="[MASK]")
    collator = DataCollatorForLanguageModeling(tok, seed=3)
    collator(text(5, 9))

    def noisy(rows: list[Any]) -> Any:
        random.random(), np.random.rand(), torch.rand(1)
        return collator(rows)

    for used in (noisy, collator):
        before = (
            random.getstate(),
            np.random.get_state()[1].tolist(),
            torch.get_rng_state(),
            collator.generator.get_state(),
        )
        sanity_check(None, tok, data=text(5, 9), collator=used)
        after = (
            random.getstate(),
            np.random.get_state()[1].tolist(),
            torch.get_rng_state(),
            collator.generator.get_state(),
        )
        assert before[:2] == after[:2]
        assert torch.equal(before[2], after[2])
        if used is collator:
            assert torch.equal(before[3], after[3])


def test_a_seeded_collator_starts_as_before() -> None:
    """The generator that a seeded collator makes on its first call is not made here."""
    tok = words(mask_token="[MASK]")
    collator, other = (DataCollatorForLanguageModeling(tok, seed=3) for _ in range(2))
    sanity_check(None, tok, data=text(5, 9), collator=collator)
    assert torch.equal(collator(text(25))["labels"], other(text(25))["labels"])


def test_tokenizer_and_model_stay() -> None:
    """Padding and truncation of the backend, sides, training mode of every module, gradients: as they were."""
    setup = lm_eos_pad()
    tok, model = setup["tok"], setup["model"]
    tok("w1 w2", padding="max_length", truncation=True, max_length=11)
    backend = tok.backend_tokenizer
    before = backend.padding, backend.truncation, tok.padding_side, tok.pad_token, len(tok)
    model.train()
    model.lm_head.eval()
    modes = [module.training for module in model.modules()]
    weight = model.lm_head.weight
    weight.grad = torch.ones_like(weight)
    report = sanity_check(
        model, tok, data=["w1 w2 w3 </s>", "w4 </s>"], collator=setup["collator"], step=True
    )
    assert "PAD401" in {finding.code for finding in report.findings}
    assert (backend.padding, backend.truncation, tok.padding_side, tok.pad_token, len(tok)) == before
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(weight.grad, torch.ones_like(weight))
    assert all(p.grad is None for p in model.parameters() if p is not weight)
    weight.grad = None
    model.eval()


def test_without_data_it_says_so() -> None:
    """No data: the live rules run, and the report names what was not looked at."""
    tok = words()
    report = sanity_check(lm(tok), tok)
    assert [skip.source for skip in report.skipped] == ["data"]
    assert "labels" in report.skipped[0].reason


def test_what_is_no_data_is_refused() -> None:
    """A number is neither rows nor a batch."""
    with pytest.raises(TypeError, match="expected a Dataset"):
        check(7)


def test_a_collator_that_fails_is_reported() -> None:
    """The error of the user's own collator is in the report, not raised, not swallowed."""

    def broken(rows: list[Any]) -> Any:
        raise KeyError("no such column")

    report = sanity_check(None, words(), data=text(3), collator=broken)
    (skip,) = report.skipped
    assert "broken" in skip.source
    assert "no such column" in skip.reason


def test_empty_data_is_reported() -> None:
    """An empty dataset is no reason to fail, and no reason to call the run safe."""
    assert any("no rows" in skip.reason for skip in check([]).skipped)
