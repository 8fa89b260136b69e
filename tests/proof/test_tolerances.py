"""What counts as a difference, and how large a difference may be."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from padfix.proof.tolerances import Difference, difference, limits  # noqa: E402


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)) * 3


def test_the_worst_token_is_measured_in_its_own_standard_deviations() -> None:
    """One token moved by a tenth of a standard deviation in every logit shows 0.1, however many others did not."""
    a = random(30, 500)
    b = a.clone()
    b[7] += 0.1 * a.std(-1).mean() * torch.sign(random(500))
    found = difference(a, b, vocabulary=True)
    assert found.worst == pytest.approx(0.1, rel=0.05)
    assert found.largest == pytest.approx(float((b - a).abs().max()))


def test_the_divergence_is_that_of_the_two_distributions() -> None:
    """KL in nats, of reference against other, at the worst token; a constant added to all logits is none."""
    a, b = random(1, 50), random(1, 50).roll(3)
    expected = torch.nn.functional.kl_div(
        b.log_softmax(-1), a.log_softmax(-1), reduction="sum", log_target=True
    )
    assert difference(a, b, vocabulary=True).nats == pytest.approx(float(expected), rel=1e-4)
    assert difference(a, a + 5, vocabulary=True).nats == pytest.approx(0.0, abs=1e-6)
    assert difference(a, b, vocabulary=False).nats is None


def test_columns_that_one_side_lacks_are_left_out() -> None:
    """Logits after growth are compared on the old vocabulary."""
    a = random(4, 10)
    assert difference(a, torch.cat([a, torch.ones(4, 2)], dim=1), vocabulary=True) == Difference(nats=0.0)


def test_nan_and_infinity_are_never_a_pass() -> None:
    """A NaN, or a new infinity, is not finite and infinitely far; the same -inf in both is no difference."""
    a = random(3, 8)
    for bad in (math.nan, math.inf, -math.inf):
        b = a.clone()
        b[1, 2] = bad
        found = difference(a, b, vocabulary=True)
        assert not found.finite
        assert found.worst == math.inf
    a[:, 3] = -math.inf
    b = a.clone()
    assert difference(a, b, vocabulary=True).worst == 0.0
    b[0, 0] += 1
    assert 0 < difference(a, b, vocabulary=True).worst < math.inf


def test_of_two_differences_the_worse_counts() -> None:
    """Joining keeps the larger of each figure, and a NaN stays a NaN."""
    joined = Difference(0.1, 5.0, 0.2) | Difference(0.3, 1.0, None, finite=False)
    assert joined == Difference(0.3, 5.0, 0.2, finite=False)


def test_limits_are_ordered() -> None:
    """Rounding lies below certainty in every dtype, and a less precise dtype is not judged more strictly."""
    zones = [limits(dtype) for dtype in ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn")]
    assert all(0 < zone.floor < zone.certain < 1 for zone in zones)
    assert [zone.floor for zone in zones] == sorted(zone.floor for zone in zones)
