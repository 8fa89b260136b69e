"""The undo log of a write: every change is recorded before it is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from padfix.errors import PadfixError

_ATTEMPTS = 3


class Journal:
    """What takes back each change so far, last one first.

    An entry is recorded *before* its change, so an exception between the two finds it there; it must
    therefore do no harm when the change never happened, nor when it runs twice.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[str, Callable[[], None]]] = []

    def __bool__(self) -> bool:
        return bool(self._entries)

    def record(self, what: str, undo: Callable[[], None]) -> None:
        """Remember how to take back the change that comes next; ``what`` names it in an error."""
        self._entries.append((what, undo))

    def replace(self, what: str, undo: Callable[[], None]) -> None:
        """Give the first entry of that name another way to be taken back."""
        at = [name for name, _ in self._entries].index(what)
        self._entries[at] = (what, undo)

    def set_attribute(self, owner: Any, name: str, value: Any) -> None:
        """``setattr`` on a plain object; a name that was not there is deleted again."""
        own: dict[str, Any] = vars(owner)
        if name in own:
            old = own[name]
            self.record(name, lambda: own.__setitem__(name, old))
        else:
            self.record(name, lambda: own.pop(name, None))
        setattr(owner, name, value)

    def roll_back(self) -> None:
        """Take back everything, whatever happens meanwhile.

        A second Ctrl-C or an out-of-memory error does not stop it: the entry is tried again, the rest
        follows, and the interrupt is raised at the end.
        """
        interrupt: BaseException | None = None
        lost: list[str] = []
        attempts = 0
        while self._entries:
            what, undo = self._entries[-1]
            try:
                undo()
                self._entries.pop()
                attempts = 0
            except BaseException as error:  # noqa: BLE001 - the rest must still be restored; raised below
                attempts += 1
                if not isinstance(error, Exception):
                    interrupt = error
                if attempts == _ATTEMPTS:
                    lost.append(f"{what} ({type(error).__name__}: {error})")
                    self._entries.pop()
                    attempts = 0
        if lost:
            raise PadfixError(
                f"could not restore {', '.join(lost)}; load the tokenizer and the model again"
            ) from interrupt
        if interrupt is not None:
            raise interrupt
