"""The part of ``padfix audit`` that asks a hub: what its options mean, and where results of long runs go."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from padfix.cli.sinks import Sink
from padfix.errors import ConfigError
from padfix.types import Report, Skip

if TYPE_CHECKING:
    from padfix.auditing import Spec
    from padfix.hub.client import Client
    from padfix.hub.ledger import Ledger
    from padfix.hub.ledger import Spec as Name
    from padfix.hub.listing import Query
    from padfix.hub.run import Options

ENGINES = ("threads", "ray")


@dataclass(frozen=True)
class HubRun:
    """What the command line asks of a hub. ``requests`` 0: as many, and as many bytes, as it takes."""

    query: Query
    options: Options
    survey: bool = False
    resume: bool = False
    engine: str = "threads"
    address: str | None = None

    @property
    def total(self) -> int | None:
        """How many repositories there will be at most, where that was said."""
        return self.query.limit

    def reports(self, named: Iterable[Spec], ledger: Ledger | None) -> Iterator[Report]:
        """A report for every repository that is named or listed, as soon as it is there."""
        client = self.options.client()
        if self.survey:
            yield from self._survey(client, named, ledger)
            return
        names = self._names(client, named)
        if ledger is not None:
            names = ledger.pending(names)
        if self.engine == "ray":
            from padfix.hub.engine_ray import audit_ray

            yield from audit_ray(names, self.options, address=self.address)
            return
        from padfix.hub.run import audit_hub

        yield from audit_hub(names, self.options, client=client)

    def _names(self, client: Client, named: Iterable[Spec]) -> Iterator[Name]:
        from padfix.auditing import audit_many
        from padfix.hub import listing
        from padfix.hub.run import is_remote

        for spec in named:
            if (isinstance(spec, str) and is_remote(spec)) or isinstance(spec, Skip):
                yield spec
            else:
                o = self.options
                yield from audit_many([spec], task=o.task, select=o.select, ignore=o.ignore)
        if self.query:
            yield from listing.names(client, self.query)

    def _survey(self, client: Client, named: Iterable[Spec], ledger: Ledger | None) -> Iterator[Report]:
        from padfix.hub.survey import survey, survey_one

        def every() -> Iterator[Report]:
            for spec in named:
                if isinstance(spec, Skip):
                    yield Report(spec.source, None, (), (spec,))
                else:
                    yield survey_one(client, str(spec))
            if self.query:
                yield from survey(client, self.query)

        yield from (r for r in every() if ledger is None or r.source not in ledger.done)


class LedgerSink(Sink):
    """``-f jsonl:FILE`` of a hub run: appended line by line, and continued with ``--resume``."""

    ledger: Ledger | None = None
    resume = False

    def open(self) -> None:
        """Open the file, keeping what it holds. Raises `SourceError`."""
        from padfix.hub.ledger import Ledger

        assert self.path is not None
        self.ledger = Ledger(self.path, resume=self.resume)

    def add(self, report: Report) -> None:
        """Append one report."""
        assert self.ledger is not None
        self.ledger.write(report)

    def close(self) -> None:
        """Put the file on the disk."""
        assert self.ledger is not None
        self.ledger.close()


def with_ledger(sinks: list[Sink], *, resume: bool) -> LedgerSink | None:
    """Make the run's JSON lines file one that survives a kill; the sinks are changed in place.

    Raises `ConfigError` where there is nothing to resume from.
    """
    for k, sink in enumerate(sinks):
        if sink.format.name == "jsonl" and sink.path is not None:
            kept = LedgerSink(**{f.name: getattr(sink, f.name) for f in dataclasses.fields(sink)})
            kept.resume = resume
            sinks[k] = kept
            return kept
    if resume:
        raise ConfigError(
            "--resume continues a results file: add -f jsonl:FILE, as in the run that was interrupted"
        )
    return None


def earlier(path: Path) -> Iterator[Report]:
    """The reports that a results file held when it was opened, for the tables of the whole run."""
    from padfix.hub.ledger import read_lines, report_from

    return (report_from(record) for record in read_lines(path))
