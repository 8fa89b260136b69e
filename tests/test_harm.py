"""The scripts of examples/harm: each common recipe does the harm it claims, and padfix does not."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples" / "harm"
NUMBER = r"(-?[\d.]+(?:e-?\d+)?)"


def run(name: str, capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[float, float]]:
    """Run one script; what it printed, as line -> (number of the recipe, number with padfix)."""
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    lines = re.findall(rf"^(.+): recipe {NUMBER}, padfix {NUMBER}", capsys.readouterr().out, re.MULTILINE)
    return {what: (float(recipe), float(fixed)) for what, recipe, fixed in lines}


def one(numbers: dict[str, tuple[float, float]], words: str) -> tuple[float, float]:
    found = [pair for what, pair in numbers.items() if words in what]
    assert len(found) == 1, numbers
    return found[0]


def test_every_script_is_tested() -> None:
    """A script that nobody runs would rot."""
    source = Path(__file__).read_text("utf-8")
    assert all(f'run("{path.stem}"' in source for path in FOLDER.glob("*.py"))


def test_eos_is_never_learned_with_pad_equal_eos(capsys: pytest.CaptureFixture[str]) -> None:
    """With pad = EOS the collator hides all 8 EOS labels and no text ever ends; with padfix all 8 do."""
    numbers = run("eos_never_learned", capsys)
    assert one(numbers, "EOS labels") == (0, 8)
    assert one(numbers, "texts that end") == (0, 8)


def test_resizing_to_the_tokenizer_shrinks_the_vocabulary(capsys: pytest.CaptureFixture[str]) -> None:
    """The recipe deletes 28 of 160 rows, so two matrices no longer fit the base; padfix keeps every row."""
    numbers = run("vocabulary_shrunk", capsys)
    assert one(numbers, "rows of 160") == (132, 160)
    lost, kept = one(numbers, "tensors of")
    assert lost < kept


def test_the_eos_row_is_frozen_after_a_reload(capsys: pytest.CaptureFixture[str]) -> None:
    """The recipe's EOS row gets a gradient of exactly zero after a reload; with padfix it trains."""
    numbers = run("eos_row_frozen", capsys)
    assert one(numbers, "padding_idx after a reload") == (2, -1)
    frozen, trains = one(numbers, "gradient norm")
    assert frozen == 0
    assert trains > 0.01


def test_the_classifier_is_moved(capsys: pytest.CaptureFixture[str]) -> None:
    """The recipe moves the score of a text that ends in EOS, alone too; padfix moves none by more than rounding."""
    numbers = run("classifier_moved", capsys)
    for words in ("batch of one", "batch of two"):
        moved, kept = one(numbers, words)
        assert moved > 0.05
        assert kept < 1e-5


def test_the_pad_becomes_the_most_likely_token(capsys: pytest.CaptureFixture[str]) -> None:
    """A zero row takes all probability; padfix rolls it back, and its mean row stays below 1/(V+1)."""
    numbers = run("pad_most_likely", capsys)
    dominant, bounded = one(numbers, "p(pad)")
    assert dominant > 0.99
    assert bounded <= 1 / 132
    assert one(numbers, "comes first") == (1, 0)


def test_the_pad_moves_on_reload(capsys: pytest.CaptureFixture[str]) -> None:
    """The recipe's pad is unk before and a row past the end after a reload; padfix's is one id that works."""
    numbers = run("pad_moves_on_reload", capsys)
    assert one(numbers, "before saving") == (0, 131)
    assert one(numbers, "after a reload") == (131, 131)
    assert one(numbers, "a padded batch runs") == (0, 1)
