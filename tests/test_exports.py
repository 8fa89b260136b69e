"""The public surface, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import padfix

HEAVY = ("torch", "transformers", "tokenizers", "huggingface_hub", "rich", "typer")
PROBE = "import sys; import {module}; print(*sorted(m for m in {heavy!r} if m in sys.modules))"


def loaded_by(statement: str) -> str:
    code = f"import sys; {statement}; print(*sorted(m for m in {HEAVY!r} if m in sys.modules))"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_all_is_sorted_and_every_name_exists() -> None:
    """`__all__` names exactly what the package offers."""
    assert len(set(padfix.__all__)) == len(padfix.__all__)
    for name in padfix.__all__:
        assert getattr(padfix, name) is not None
    assert set(padfix.__all__) <= set(dir(padfix))


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A typing error in a name fails as it does for any module."""
    try:
        padfix.ensure_padd  # type: ignore[attr-defined]
    except AttributeError as error:
        assert "ensure_padd" in str(error)
    else:
        raise AssertionError("no AttributeError")


def test_import_loads_nothing_heavy() -> None:
    """`import padfix` imports neither torch nor transformers nor anything else that is slow."""
    assert loaded_by("import padfix") == ""


def test_the_probe_can_fail() -> None:
    """The probe of the test above sees a heavy import where there is one."""
    assert "transformers" in loaded_by("import padfix, transformers")


def test_planning_loads_nothing_heavy() -> None:
    """States, strategies and rules need neither torch nor transformers."""
    assert loaded_by("import padfix.strategies, padfix.candidates, padfix.rules") == ""
