"""Precision: what well-known models show as their makers ship them."""

from __future__ import annotations

import pytest
from shipped_models import MODELS

from padfix.rules import TASKS, check

# An architecture that ignores the mask is an error to train with, whoever ships it.
TRUE_ERRORS = {("fnet-base", "PAD501")}


@pytest.mark.parametrize("name", MODELS)
def test_a_shipped_model_shows_no_error_for_its_own_task(name: str) -> None:
    """No error, and exactly the notes and warnings that its users would agree with."""
    state, expected = MODELS[name]
    found = check(state)
    assert {f.code for f in found} == expected
    assert [f for f in found if f.severity == "error"] == []


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", MODELS)
def test_a_shipped_model_shows_no_false_error_for_any_task(name: str, task: str) -> None:
    """To train or classify, a missing pad is an error; a decoder also needs one in the config to classify."""
    state, _ = MODELS[name]
    errors = {(name, f.code) for f in check(state, task=task) if f.severity == "error"}
    allowed = {(name, "PAD001")} if task in ("training", "classification") else set()
    if task == "classification" and state.head == "causal":
        allowed |= {(name, "PAD203"), (name, "PAD205")}
    assert errors - TRUE_ERRORS <= allowed


def test_there_are_enough_models_to_mean_something() -> None:
    """Families, not variations of one: at least 25 architectures."""
    assert len({state.model_type for state, _ in MODELS.values()}) >= 25
