"""Where reports go: one sink per ``-f NAME[:PATH]``, to stdout or to a file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from padfix.cli import console
from padfix.errors import ConfigError
from padfix.render import FORMATS, Format
from padfix.types import Report

if TYPE_CHECKING:
    from padfix.hub.parquet import ParquetFile
    from padfix.render.html import Page


@dataclass
class Sink:
    """A format and its destination. A format that streams is written and flushed report by report."""

    format: Format
    path: Path | None = None
    colour: bool = False
    verbose: bool = False
    kept: list[Report] = field(default_factory=list)
    file: TextIO | None = None

    def open(self) -> None:
        """Open the destination now, so that a wrong path fails before a long audit and not after it."""
        if self.path is None:
            return
        try:
            self.file = self.path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n")
        except OSError as error:
            raise ConfigError(f"cannot write {self.path}: {error.strerror}") from error

    def add(self, report: Report) -> None:
        """Take one report."""
        if not self.format.streams:
            self.kept.append(report)
        elif self.format.name == "text":
            from padfix.render import text

            self._write(text.one(report, colour=self.colour, clean=self.verbose))
        else:
            self._write(self.format.one(report))

    def close(self) -> None:
        """Write what only the whole run can say, and close the file."""
        if self.format.name == "sarif":
            from padfix.render import sarif
            from padfix.rules import RULES

            self._write(
                sarif.render(self.kept, docs={code: rule.documentation for code, rule in RULES.items()})
            )
        elif not self.format.streams:
            self._write(self.format.render(self.kept))
        if self.file is not None:
            self.file.close()

    def _write(self, text: str) -> None:
        if self.file is None:
            console.out(text)
            return
        self.file.write(text)
        self.file.flush()


class HtmlSink(Sink):
    """``-f html``: a page that keeps the worst repositories and counts the others."""

    page: Page | None = None

    def add(self, report: Report) -> None:
        """Take one report."""
        if self.page is None:
            from padfix.render.html import Page

            self.page = Page()
        self.page.add(report)

    def close(self) -> None:
        """Write the page."""
        self._write(self.page.render() if self.page is not None else self.format.render([]))
        if self.file is not None:
            self.file.close()


class ParquetSink(Sink):
    """``-f parquet:FILE``: one row per repository, for queries over whole hubs."""

    rows: ParquetFile | None = None

    def open(self) -> None:
        """Begin the file. Raises `MissingDependencyError` without pyarrow, `SourceError`."""
        from padfix.hub.parquet import ParquetFile

        if self.path is None:
            raise ConfigError("-f parquet needs a file: -f parquet:FILE")
        self.rows = ParquetFile(self.path)

    def add(self, report: Report) -> None:
        """Take one report."""
        assert self.rows is not None
        self.rows.add({**report.to_dict(), "ok": report.ok})

    def close(self) -> None:
        """Finish the file."""
        assert self.rows is not None
        self.rows.close()


PARQUET: Final = Format(
    "parquet", "one row per repository, for queries over whole hubs (needs padfix[parquet])"
)


def parse(
    specs: Sequence[str], output: Path | None, colour: console.Choice, *, verbose: bool = False
) -> list[Sink]:
    """The sinks that ``-f`` and ``-o`` ask for; text on stdout by default. Raises `ConfigError`."""
    sinks: list[Sink] = []
    for spec in specs or ["text"]:
        name, colon, path = spec.partition(":")
        if name == PARQUET.name and (not colon or path):
            sinks.append(ParquetSink(PARQUET, Path(path) if path else None))
            continue
        if name not in FORMATS:
            raise ConfigError(f"unknown format {name!r}; there are {', '.join((*FORMATS, PARQUET.name))}")
        if colon and not path:
            raise ConfigError(f"-f {spec}: no path after the colon")
        kind = HtmlSink if name == "html" else Sink
        sinks.append(kind(FORMATS[name], Path(path) if path else None, verbose=verbose))
    bare = [sink for sink in sinks if sink.path is None]
    if len(bare) > 1:
        names = " and ".join(sink.format.name for sink in bare)
        raise ConfigError(
            f"{names} would be mixed on one stream; give all but one a path: -f {bare[1].format.name}:FILE"
        )
    if output is not None:
        if not bare:
            raise ConfigError(f"-o {output}: every format has a path of its own already")
        bare[0].path = output
    for sink in sinks:
        sink.colour = console.coloured(sys.stdout, colour) if sink.path is None else colour == "always"
    return sinks
