"""The proof that outputs stay unchanged under the mask: `capture` before a write, `prove` after it."""

from padfix.proof.prove import Baseline, capture, prove

__all__ = ["Baseline", "capture", "prove"]
