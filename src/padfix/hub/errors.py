"""Why a repository could not be audited, as a kind that a program can count and a sentence for people."""

from __future__ import annotations

from typing import Final, Literal

from padfix.errors import SourceError

Kind = Literal[
    "gated", "not-found", "disabled", "no-revision", "no-file", "refused", "rate-limited", "unavailable", "broken-answer",
    "too-large", "nothing-to-audit", "over-budget",
]  # fmt: skip

LEFT_OUT: Final = "not looked at: "
"""How a line of a state's ``problems`` begins where a budget kept something unread."""
ALL: Final = "--requests 0 reads all"
"""What to do about it."""
TRANSIENT: Final[frozenset[Kind]] = frozenset({"rate-limited", "unavailable", "broken-answer"})
"""Kinds that another try, later, may not meet again."""


class HubError(SourceError):
    """A hub did not give what was asked for. ``kind`` says why; the message begins with it.

    >>> str(HubError("gated", "org/model: ask for access first"))
    'gated: org/model: ask for access first'
    """

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind: Kind = kind
        self.detail = message

    def __reduce__(self) -> tuple[type[HubError], tuple[Kind, str]]:
        return (type(self), (self.kind, self.detail))


class Retry(Exception):  # noqa: N818 (a signal within the client)
    """This try failed; another may not. ``wait``: seconds the server asked for; ``tries``: how many to make at most."""

    def __init__(self, error: HubError, wait: float | None = None, *, tries: int | None = None) -> None:
        super().__init__(str(error))
        self.error, self.wait, self.tries = error, wait, tries
