"""The exception tree. Every message says what was found, with the numbers, and what to do next.

::

    PadfixError
    ├── StrategyError (ValueError)            the wanted repair does not apply; nothing was changed
    ├── VerificationError (RuntimeError)      the proof failed; everything was rolled back
    ├── SourceError (OSError)                 a folder, file or repository could not be read
    ├── ConfigError (ValueError)              padfix's own configuration is wrong
    └── MissingDependencyError (ImportError)  an optional package is needed, and which

"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from padfix.types import Verdict


class PadfixError(Exception):
    """Base class of every error that padfix raises on purpose."""


class StrategyError(PadfixError, ValueError):
    """The wanted strategy does not apply here; nothing was changed.

    A ``ValueError`` too, because the cause is an argument that does not fit the tokenizer or model.
    """


class VerificationError(PadfixError, RuntimeError):
    """The proof failed and everything was rolled back. ``verdict`` holds every check."""

    def __init__(self, message: str, verdict: Verdict) -> None:
        super().__init__(message)
        self.verdict = verdict

    def __reduce__(self) -> tuple[type[VerificationError], tuple[str, Verdict]]:
        return (type(self), (str(self), self.verdict))


class SourceError(PadfixError, OSError):
    """A folder, file or repository could not be read: missing, malformed, too large or refused."""


class ConfigError(PadfixError, ValueError):
    """``padfix.toml`` or ``[tool.padfix]`` holds something padfix does not know."""


class MissingDependencyError(PadfixError, ImportError):
    """An optional package is missing; the message holds the command that installs it."""
