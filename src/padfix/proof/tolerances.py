"""How large a difference may be before it is more than rounding.

A difference is measured at the worst token of a row, as the root mean square over its vector in units of
the vector's own standard deviation; for logits also in nats (the KL divergence of the two distributions),
and as max |Δ|. Three zones per dtype:

* at most ``floor``: rounding, no question asked;
* at least ``certain``: no rounding does that;
* between: the noise is measured in the same call by a change of shape that is mathematically neutral, and
  four times that noise is the limit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Difference:
    """Two sets of vectors compared token by token.

    ``worst``: RMS over the vector at the worst token, in standard deviations of the reference.
    ``largest``: max |Δ|. ``nats``: the largest KL divergence (None: no distribution). ``finite``: False
    when the second set holds NaN or infinity where the first does not.
    """

    worst: float = 0.0
    largest: float = 0.0
    nats: float | None = None
    finite: bool = True

    def __or__(self, other: Difference) -> Difference:
        """The worse of both."""
        kl = [n for n in (self.nats, other.nats) if n is not None]
        return Difference(
            max(self.worst, other.worst),
            max(self.largest, other.largest),
            max(kl, default=None),
            self.finite and other.finite,
        )

    def __str__(self) -> str:
        if not self.finite:
            return "not finite (NaN or infinity)"
        shown = f"max |Δ| {self.largest:.2g}, {self.worst:.2g} standard deviations"
        return shown if self.nats is None else f"{shown}, KL {self.nats:.2g} nats"


@dataclass(frozen=True, slots=True)
class Limits:
    """The zones of one dtype, in standard deviations."""

    floor: float
    certain: float


# Measured on tiny random models of every architecture and on SmolLM2-135M; see tests/proof.
_LIMITS: Final = {
    "float64": Limits(1e-4, 1e-3),
    "float32": Limits(5e-4, 3e-3),
    "float16": Limits(0.05, 0.35),
    "bfloat16": Limits(0.08, 0.5),
}
_OTHER: Final = Limits(0.08, 0.5)


def limits(dtype: str) -> Limits:
    """The zones for a dtype; an unknown or 8-bit one is judged as bfloat16."""
    return _LIMITS.get(dtype, _OTHER)


def difference(reference: Any, other: Any, *, vocabulary: bool) -> Difference:
    """Compare ``(tokens, width)`` vectors; columns that only one of the two has are left out.

    One reading pass over the whole, so that 128 000 columns cost little beside the forward pass; the KL
    divergence is taken at the worst token.
    """
    import torch

    width = min(reference.shape[-1], other.shape[-1])
    a, b = reference[..., :width], other[..., :width]
    if a.numel() == 0 or torch.equal(a, b):
        return Difference(nats=0.0 if vocabulary else None)
    usable = torch.isfinite(a)
    if not bool(usable.all()):  # heads that forbid ids hold -inf: the same places in both
        if not bool(torch.isfinite(b[usable]).all()):
            return Difference(math.inf, math.inf, None, False)
        a, b = a.masked_fill(~usable, 0.0), b.masked_fill(~usable, 0.0)
    if a.dtype != torch.float64:
        a, b = a.float(), b.float()
    delta = b - a
    sizes = torch.linalg.vector_norm(delta, dim=-1)
    if not bool(torch.isfinite(sizes).all()):
        return Difference(math.inf, math.inf, None, False)
    some = a[:: max(1, len(a) // 4)]  # the spread of logits hardly varies along a text
    spread = float(some.std(-1).mean().clamp_min(1e-30)) * width**0.5
    at = int(sizes.argmax())
    nats = None
    if vocabulary:
        p, q = a[at].double().log_softmax(-1), b[at].double().log_softmax(-1)
        nats = max(0.0, float((p.exp() * (p - q)).sum()))
    return Difference(float(sizes[at]) / spread, float(delta.abs().max()), nats)


def unit(dtype: str) -> float:
    """Rounding that regrouped rows may show, in standard deviations: 16 units in the last place.

    Zero for low precision, where regrouping was exact in every architecture measured.
    """
    import torch

    return 16 * float(torch.finfo(getattr(torch, dtype)).eps) if dtype in ("float32", "float64") else 0.0


def rounding(values: Any, dtype: str) -> float:
    """What a changed number of columns alone may do to a logit: a few units in the last place of the largest."""
    import torch

    eps = float(torch.finfo(getattr(torch, dtype if dtype in _LIMITS else "bfloat16")).eps)
    usable = values[torch.isfinite(values)]
    ulps = 64 if dtype in ("float32", "float64") else 4
    return ulps * eps * float(usable.abs().max()) if usable.numel() else 0.0
