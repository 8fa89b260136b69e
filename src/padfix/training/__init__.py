"""What one real batch says before a run starts: the check, the callback for trainers, the collator that repairs labels."""

from __future__ import annotations

from padfix.training.check import sanity_check
from padfix.training.collators import positional_labels

__all__ = ["positional_labels", "sanity_check"]
