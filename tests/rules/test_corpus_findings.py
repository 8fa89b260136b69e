"""Precision on real repositories: what the whole corpus shows, read line by line before it was written down."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest
from suggestions import suggested

from padfix.errors import SourceError
from padfix.read.repo import read_repo
from padfix.read.source import open_source
from padfix.rules import TASKS, check
from padfix.types import PadState
from padfix.write.checkpoint import plan_repair
from real_tokenizers import corpus_index

SNAPSHOT = Path(__file__).with_name("corpus_findings.txt")
LETTER = {"error": "E", "warning": "W", "info": "I"}


@functools.cache
def state_of(folder: Path, major: str | None = "5") -> PadState:
    """Read once, as the installed transformers would with None."""
    return read_repo(open_source(str(folder)), major=major)


def lines(corpus: Path) -> list[str]:
    """One line per repository and finding: its severities for the four tasks, its place, its words."""
    shown = []
    for name in corpus_index():
        shown.append(f"== {name}")
        try:
            state = state_of(corpus / name)
        except SourceError as error:
            shown.append(f"   skipped: {str(error).replace(str(corpus), '')}")
            continue
        seen: dict[tuple[str, str, str], dict[str, str]] = {}
        for task in TASKS:
            for f in check(state, task=task):
                place = "" if f.file is None else f" [{f.file}{'' if f.line is None else f':{f.line}'}]"
                seen.setdefault((f.code, f.message, place), {})[task] = LETTER[f.severity]
        for (code, message, place), grades in sorted(seen.items()):
            shown.append(f"   {code} {''.join(grades.get(task, '-') for task in TASKS)} {message}{place}")
    return shown


def test_the_corpus_shows_what_was_read(corpus: Path) -> None:
    """Severities for generation, training, classification and serving; PADFIX_UPDATE=1 writes the file anew."""
    found = "\n".join(lines(corpus)) + "\n"
    if os.environ.get("PADFIX_UPDATE"):
        SNAPSHOT.write_text(found, "utf-8")
    assert found == SNAPSHOT.read_text("utf-8")


def test_no_model_that_works_shows_an_error(corpus: Path) -> None:
    """For its own task, only IgLM does: its EOS 50256 is far outside of its 33 rows, and generate() pads with it."""
    errors = set()
    for name, entry in corpus_index().items():
        if entry.get("loads"):
            state = state_of(corpus / name)
            errors |= {(name, f.code) for f in check(state) if f.severity == "error"}
    assert errors == {("gpt2/iglm", "PAD101")}


def test_the_known_mistakes_show(corpus: Path) -> None:
    """The true positives of the corpus, each under its own code, when a model is trained or classifies."""

    def codes(name: str, task: str) -> set[str]:
        return {f.code for f in check(state_of(corpus / name), task=task)}

    for name, entry in corpus_index().items():
        if entry.get("category") == "no_pad":
            assert "PAD001" in codes(name, "training"), name
        if str(entry.get("category")).startswith("pad==eos") and entry["family"] not in ("clip", "whisper"):
            assert "PAD002" in codes(name, "training"), name
    assert "PAD101" in codes("gpt2/iglm", "generation")
    assert "PAD006" in codes("qwen/qwen3-235b-a22b-mlx-4bit", "training")
    assert "PAD201" in codes("falcon/falcon-40b", "generation")
    assert "PAD203" in codes("starcoder/wizardcoder-15b", "classification")
    assert "PAD004" in codes("yi/yi-lenml", "training")
    assert "PAD012" in codes("mpt/mpt-tokenizer-only", "training")
    assert "PAD110" in codes("phi/phi-3-mini", "training")


@pytest.mark.parametrize("task", TASKS)
def test_what_a_finding_tells_to_run_makes_it_go_away(corpus: Path, task: str) -> None:
    """Every `padfix fix` that a finding names is planned as it stands, and an audit of the result finds that rule no more."""
    tried = 0
    for name, entry in corpus_index().items():
        if not entry.get("loads"):
            continue
        try:
            state = state_of(corpus / name, None)
        except SourceError:  # this major cannot load it
            continue
        for found in check(state, task=task):
            options = suggested(found.fix or "")
            if options is None or not (found.fix or "").startswith("padfix fix"):
                continue
            repair = plan_repair(corpus / name, **options)
            assert repair, (name, found)
            assert found.code not in {f.code for f in check(repair.after, task=task)}, (name, found)
            tried += 1
    assert tried > 15
