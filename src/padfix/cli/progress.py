"""A progress line on stderr, for people: only on a terminal, only after half a second."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from padfix.render.escape import safe

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_DELAY = 0.5  # seconds; most audits are over by then, and rich takes 50 ms to import


class Meter:
    """Counts repositories; draws nothing when not ``wanted``, when piped, in CI, or when the work is short."""

    def __init__(self, total: int | None, *, wanted: bool) -> None:
        self.total = total
        self.wanted = wanted and sys.stderr.isatty() and not os.environ.get("CI")
        self.done = 0
        self._start = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def step(self, source: str) -> None:
        """One more repository is done."""
        self.done += 1
        if not self.wanted:
            return
        if self._bar is None and time.monotonic() - self._start > _DELAY:
            self._begin()
        if self._bar is not None and self._task is not None:
            rate = f"{self.done / max(0.001, time.monotonic() - self._start):.1f}/s"
            self._bar.update(self._task, completed=self.done, rate=rate, source=safe(source, limit=60))

    def close(self) -> None:
        """Remove the line."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _begin(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("auditing"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[source]}", markup=False),
            console=Console(stderr=True, markup=False, highlight=False),
            transient=True,
        )
        self._task = self._bar.add_task("", total=self.total, source="", rate="")
        self._bar.start()
