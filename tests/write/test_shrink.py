"""A plan that would cut rows off is refused, down to a single row."""

from __future__ import annotations

import pytest

import padfix
from padfix.testing import tiny_model, tiny_tokenizer
from padfix.types import Edit, Plan
from padfix.write.live import Transaction


@pytest.mark.parametrize("cut", [1, 28])
def test_not_one_row_is_cut(cut: int) -> None:
    """However the plan came about, a smaller row count is refused and the model stays as it is."""
    model, tok = tiny_model("llama", tied=True), tiny_tokenizer()
    plan = Plan("add", "add", None, (Edit("weights", "input_rows", 131, 131 - cut),))
    with pytest.raises(padfix.StrategyError, match=f"shrink from 131 to {131 - cut}"):
        Transaction(model, tok).apply(plan)
    assert model.get_input_embeddings().weight.shape[0] == 131
