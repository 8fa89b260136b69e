"""Over many set-ups of real collators: no false alarm, and every mistake found."""

from __future__ import annotations

import pytest
from training_setups import BAD, GOOD

from padfix.training import sanity_check


def test_there_are_enough() -> None:
    """The matrix holds at least 30 right and 30 wrong set-ups."""
    assert len(GOOD) >= 30
    assert len(BAD) >= 30


@pytest.mark.parametrize("name", GOOD)
def test_no_false_alarm(name: str) -> None:
    """A right set-up raises no warning and no error."""
    report = sanity_check(**GOOD[name]())
    assert [str(f) for f in report.findings if f.severity != "info"] == []
    assert report.ok


@pytest.mark.parametrize("name", BAD)
def test_every_mistake_is_found(name: str) -> None:
    """A wrong set-up raises its code, with a fix."""
    code, setup = BAD[name]
    report = sanity_check(**setup())
    found = {f.code: f for f in report.findings}
    assert code in found, str(report)
    assert found[code].fix
