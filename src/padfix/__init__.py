"""padfix: a pad token that is safe to use, and the proof that the model's outputs did not move.

>>> import padfix
>>> padfix.Token("<pad>", 0)
Token(text='<pad>', id=0)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from padfix.errors import (
    ConfigError,
    MissingDependencyError,
    PadfixError,
    SourceError,
    StrategyError,
    VerificationError,
)
from padfix.types import (
    ABSENT,
    BackendPadding,
    BadValue,
    Candidate,
    Check,
    Edit,
    Finding,
    Location,
    PadReport,
    PadRow,
    PadState,
    Plan,
    Report,
    Skip,
    Token,
    Verdict,
)

if TYPE_CHECKING:
    from padfix.api import ensure_pad, inspect, plan, sanity_check, verify
    from padfix.auditing import audit, audit_many
    from padfix.training.callback import PadCheckCallback
    from padfix.training.collators import positional_labels
    from padfix.write.checkpoint import fix_checkpoint

_LAZY = {
    "PadCheckCallback": "padfix.training.callback",
    "audit": "padfix.auditing",
    "audit_many": "padfix.auditing",
    "ensure_pad": "padfix.api",
    "fix_checkpoint": "padfix.write.checkpoint",
    "inspect": "padfix.api",
    "plan": "padfix.api",
    "positional_labels": "padfix.training.collators",
    "sanity_check": "padfix.api",
    "verify": "padfix.api",
}

__all__ = [
    "ABSENT",
    "BackendPadding",
    "BadValue",
    "Candidate",
    "Check",
    "ConfigError",
    "Edit",
    "Finding",
    "Location",
    "MissingDependencyError",
    "PadCheckCallback",
    "PadReport",
    "PadRow",
    "PadState",
    "PadfixError",
    "Plan",
    "Report",
    "Skip",
    "SourceError",
    "StrategyError",
    "Token",
    "Verdict",
    "VerificationError",
    "audit",
    "audit_many",
    "ensure_pad",
    "fix_checkpoint",
    "inspect",
    "plan",
    "positional_labels",
    "sanity_check",
    "verify",
]


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("padfix")
    raise AttributeError(f"module 'padfix' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
