"""Assertions about padding for a user's own test suite: thin over `padfix.verify` and the rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from padfix.types import Finding, Side, Verdict


def assert_pad_invisible(
    model: Any, tok: Any, *, texts: Sequence[str] | None = None, sides: tuple[Side, ...] | None = None
) -> Verdict:
    """Assert that padded positions do not reach real ones, and that a padded row equals its text alone.

    Judges ``pad-invisible`` and the padding check of every side in ``sides`` (default: the
    tokenizer's own ``padding_side``). Raises ``AssertionError`` with each failed check's cause and
    remedy; returns the verdict.

    >>> from padfix.testing import tiny_model, tiny_tokenizer
    >>> assert_pad_invisible(tiny_model("fnet", "masked"), tiny_tokenizer("wordpiece", pad="[PAD]"))
    Traceback (most recent call last):
        ...
    AssertionError: pad-invisible: ...
    """
    from padfix.api import verify
    from padfix.read.live import text_tokenizer

    wanted = sides or (text_tokenizer(tok).padding_side,)
    names = {"pad-invisible", *(f"padding-{side}" for side in wanted)}
    verdict = verify(model, tok, texts=texts, sides=wanted)
    _raise(verdict, [check for check in verdict.checks if check.name in names and not check.passed])
    return verdict


def assert_pad_safe(
    model: Any, tok: Any, *, texts: Sequence[str] | None = None, generate: bool = False
) -> Verdict:
    """Assert that every gating check of the proof passes.

    ``generate=True`` also compares greedy generation of a batch with each prompt's own. Raises
    ``AssertionError`` with each failed check's cause and remedy; returns the verdict.

    >>> from padfix.testing import tiny_model, tiny_tokenizer
    >>> bool(assert_pad_safe(tiny_model("llama"), tiny_tokenizer(pad="<pad>")))
    True
    """
    from padfix.api import verify

    verdict = verify(model, tok, texts=texts, generate=generate)
    _raise(verdict, list(verdict.failed))
    return verdict


def assert_no_findings(model: Any, tok: Any, *, ignore: Sequence[str] = ()) -> tuple[Finding, ...]:
    """Assert that no rule finds an error in a model and its tokenizer (either may be None).

    ``ignore`` holds codes of rules to leave out. Raises ``AssertionError`` with code, message and fix
    of every error; returns the findings that are not errors.

    >>> from padfix.testing import tiny_tokenizer
    >>> assert_no_findings(None, tiny_tokenizer(pad="<pad>"))
    ()
    """
    from padfix.api import inspect
    from padfix.rules import check

    findings = check(inspect(model, tok), ignore=tuple(ignore))
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        lines = (f"{f.code} {f.name}: {f.message}" + (f" Fix: {f.fix}" if f.fix else "") for f in errors)
        raise AssertionError("\n".join(lines))
    return findings


def _raise(verdict: Verdict, failed: list[Any]) -> None:
    if failed:
        lines = (f"{c.name}: {c.cause or 'failed'}" + (f"; {c.remedy}" if c.remedy else "") for c in failed)
        raise AssertionError("\n".join(lines))
