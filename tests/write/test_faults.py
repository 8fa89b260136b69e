"""Whatever is raised at whatever line of a write, everything is as it was before.

The steps are found by tracing: one run counts how often each line of `padfix.write`, and of the transformers
code that it calls to set a token or a config key, is reached; then one run per line raises there, at its first
and at its last time.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from live_facts import differences, model_facts, tokenizer_facts

from padfix.errors import PadfixError
from padfix.read.live import inspect
from padfix.strategies import plan
from padfix.testing import matching_tokenizer, tiny_model, tiny_tokenizer
from padfix.write.live import Transaction

Step = tuple[str, int]

SHAPES: dict[str, Callable[[], tuple[Any, Any, str, dict[str, Any]]]] = {
    "eos": lambda: (*_pair("llama"), "eos", {}),
    "reserved": lambda: (*_pair("llama", reserved=2), "reserved", {}),
    "spare": lambda: (*_pair("llama", tokens=120), "spare", {}),
    "add-mean": lambda: (*_pair("phi"), "add", {"init": "mean"}),
    "add-mean-tied": lambda: (*_pair("gpt2"), "add", {"init": "mean"}),
    "add-zero": lambda: (*_pair("llama"), "add", {"init": "zero"}),
    "add-nested": lambda: (*_pair("bart", head="seq2seq"), "add", {"pad_token": "<new>"}),
    "zero-row": lambda: (*_pair("llama", pad="<pad>"), "auto", {"init": "zero"}),
    "zero-row-tied": lambda: (*_pair("gpt2", pad="<pad>"), "auto", {"init": "zero"}),
    "mean-row": lambda: (*_pair("llama", pad="<pad>"), "auto", {"init": "mean"}),
}


def _pair(model_type: str, *, head: Any = "causal", tokens: int = 131, **options: Any) -> tuple[Any, Any]:
    model = tiny_model(model_type, head, num_hidden_layers=1)
    return model, tiny_tokenizer(vocab_size=tokens, pad=options.pop("pad", None), **options)


def _is_step(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    if "/padfix/write/" in file:
        return True
    return "/transformers/" in file and ("/tokenization" in file or "/configuration_utils" in file)


def _counted(action: Callable[[], object]) -> Counter[Step]:
    """How often each step is reached."""
    steps: Counter[Step] = Counter()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if event == "line" and _is_step(frame):
            steps[(frame.f_code.co_filename, frame.f_lineno)] += 1
        return trace if _is_step(frame) else None

    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(None)
    return steps


def _raising(
    action: Callable[[], object], step: Step, time: int, error: BaseException
) -> BaseException | None:
    """Run the action, raising at one step; returns what came out."""
    left = time

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if event == "line" and (frame.f_code.co_filename, frame.f_lineno) == step:
            left -= 1
            if left == 0:
                sys.settrace(None)
                raise error
        return trace if _is_step(frame) else None

    sys.settrace(trace)
    try:
        action()
    except BaseException as raised:  # noqa: BLE001 - whatever comes out is what is looked at
        return raised
    finally:
        sys.settrace(None)
    return None


def _attempts(steps: Counter[Step]) -> list[tuple[Step, int]]:
    """Each line at its first and its last time; those before the first change once, since they are many."""
    return [
        (step, time)
        for step, times in sorted(steps.items())
        for time in ({1} if step[0].endswith(("survey.py", "twin.py")) else sorted({1, times}))
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_write_that_fails_at_any_line_leaves_no_trace(shape: str) -> None:
    """A Ctrl-C, an out-of-memory error or a bug at any step: tokenizer, weights, configs, attributes as before."""
    model, tok, strategy, options = SHAPES[shape]()
    wanted = plan(inspect(model, tok), strategy, **options)
    assert wanted, "a plan that changes nothing would test nothing"
    before = {**model_facts(model), **tokenizer_facts(tok)}

    def rehearsal() -> None:
        transaction = Transaction(model, tok)
        transaction.apply(wanted)
        assert differences(before, {**model_facts(model), **tokenizer_facts(tok)})
        transaction.rollback()

    rehearsal()  # imports and caches are warm from here on
    assert not differences(before, {**model_facts(model), **tokenizer_facts(tok)})
    steps = _counted(lambda: (transaction := Transaction(model, tok)).apply(wanted) or transaction.rollback())
    attempts = _attempts(steps)
    if shape not in ("add-mean", "eos"):  # the others: each line that may change something, once
        changing = ("live.py", "embeddings.py", "tokenizer.py", "journal.py")
        attempts = [(step, time) for step, time in attempts if time == 1 and step[0].endswith(changing)]
    assert len(attempts) > 80
    errors = itertools.cycle((KeyboardInterrupt, MemoryError, RuntimeError))
    kept: list[str] = []
    for step, time in attempts:
        error = next(errors)("injected")
        transaction = Transaction(model, tok)
        raised = _raising(lambda: transaction.apply(wanted), step, time, error)  # noqa: B023
        if raised is None:  # the step belongs to the rollback of the counting run
            transaction.rollback()
        elif raised is not error:
            assert isinstance(raised, PadfixError) and error in _causes(raised), (step, time, raised)
        if changed := differences(before, {**model_facts(model), **tokenizer_facts(tok)}):
            kept.append(f"{step[0].rsplit('/', 1)[-1]}:{step[1]} ({type(error).__name__}): {changed[:4]}")
            break
    assert not kept, kept
    rehearsal()


@pytest.mark.parametrize("shape", ["eos", "add-mean", "zero-row"])
def test_an_undo_that_fails_at_any_line_undoes_all_or_nothing(shape: str) -> None:
    """An interrupted undo has either not begun, and can be called again, or is complete."""
    model, tok, strategy, options = SHAPES[shape]()
    wanted = plan(inspect(model, tok), strategy, **options)
    before = {**model_facts(model), **tokenizer_facts(tok)}

    def committed() -> Callable[[], None]:
        transaction = Transaction(model, tok)
        transaction.apply(wanted)
        return transaction.commit()

    steps = _counted(committed())
    for step, time in _attempts(steps):
        undo = committed()
        raised = _raising(undo, step, time, KeyboardInterrupt())
        assert isinstance(raised, KeyboardInterrupt), (step, time, raised)
        if differences(before, {**model_facts(model), **tokenizer_facts(tok)}):
            undo()
        assert not differences(before, {**model_facts(model), **tokenizer_facts(tok)}), (step, time)


def test_the_trace_finds_a_write_that_is_not_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: without the rollback, the same injection leaves traces."""
    model, tok = tiny_model("llama"), tiny_tokenizer(pad=None)
    wanted = plan(inspect(model, tok), "add")
    before = {**model_facts(model), **tokenizer_facts(tok)}
    steps = _counted(lambda: (transaction := Transaction(model, tok)).apply(wanted) or transaction.rollback())
    monkeypatch.setattr(Transaction, "rollback", lambda self: None)
    last = next(s for s in sorted(steps, reverse=True) if s[0].endswith("live.py"))
    left = set()
    for step, time in _attempts(steps):
        if step[0] == last[0]:
            _raising(lambda: Transaction(model, tok).apply(wanted), step, time, KeyboardInterrupt())
            left.update(differences(before, {**model_facts(model), **tokenizer_facts(tok)}))
            if left:
                break
    assert left


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
        found.append(error)
    return found


def test_a_second_interrupt_during_the_rollback_does_not_stop_it() -> None:
    """Two Ctrl-C: the rollback goes on, and the interrupt comes out at the end."""
    model, tok = tiny_model("llama"), matching_tokenizer(tiny_model("llama"), pad=None)
    wanted = plan(inspect(model, tok), "add")
    before = {**model_facts(model), **tokenizer_facts(tok)}

    transaction = Transaction(model, tok)
    transaction.apply(wanted)
    only_back = _counted(transaction.rollback)
    assert any("embeddings.py" in file for file, _ in only_back)
    for step in [s for s in only_back if s[0].endswith(("embeddings.py", "tokenizer.py"))]:
        transaction = Transaction(model, tok)
        transaction.apply(wanted)
        raised = _raising(transaction.rollback, step, 1, KeyboardInterrupt())
        assert isinstance(raised, KeyboardInterrupt), step
        assert not differences(before, {**model_facts(model), **tokenizer_facts(tok)}), step
