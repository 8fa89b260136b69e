"""``padfix audit``: lint folders, trees of folders, the local cache, names from a list, or a hub."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from padfix.cli import console
from padfix.errors import SourceError
from padfix.hub.summary import Summary
from padfix.render.escape import safe
from padfix.types import Report, Skip

_MANY = 20  # repositories from which tables say more than a line

if TYPE_CHECKING:
    from padfix.cli.progress import Meter
    from padfix.cli.sinks import Sink
    from padfix.config import Config
    from padfix.hub.listing import Query
    from padfix.read.source import Source

_HUB = "Hub"
_EPILOG = console.examples(
    "padfix audit ./checkpoint",
    "padfix audit -r models -f text -f sarif:padfix.sarif",
    "padfix audit --cache --select PAD0,PAD1 -f html -o cache.html",
    "padfix audit org/name --requests 0",
    "padfix audit --author org -f jsonl:org.jsonl --resume",
)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(epilog=_EPILOG)(console.command(audit))


def audit(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folders, or repositories as org/name[@revision]; '-' reads names from stdin, one per line.",
            show_default=False,
        ),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Audit every repository below each folder.")
    ] = False,
    cache: Annotated[bool, typer.Option("--cache", help="Audit the local Hugging Face cache.")] = False,
    from_file: Annotated[
        list[Path] | None,
        typer.Option(
            "--from-file",
            metavar="FILE",
            help="Read names from a file, one per line; # starts a comment.",
            show_default=False,
        ),
    ] = None,
    select: Annotated[
        list[str] | None,
        typer.Option(
            "--select",
            metavar="CODES",
            help="Run only these rules: codes, prefixes or names, comma-separated.",
            show_default=False,
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="CODES", help="Leave these rules out.", show_default=False),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="TASK",
            help="generation, training, classification or serving. [default: by architecture]",
            show_default=False,
        ),
    ] = None,
    fail_on: Annotated[
        str | None,
        typer.Option(
            metavar="SEVERITY",
            help="Exit 1 from this severity up: error, warning, info, never. [default: error]",
            show_default=False,
        ),
    ] = None,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit 0 whatever was found.")] = False,
    author: Annotated[
        str | None,
        typer.Option(
            metavar="ORG",
            help="Audit this author's repositories on the hub.",
            rich_help_panel=_HUB,
            show_default=False,
        ),
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS",
            help="Audit repositories whose name has these words.",
            rich_help_panel=_HUB,
            show_default=False,
        ),
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="TAG",
            help="Audit repositories with this tag; repeatable.",
            rich_help_panel=_HUB,
            show_default=False,
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="downloads, likes, trending, created or modified: highest first.",
            rich_help_panel=_HUB,
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="At most this many of those listed.",
            rich_help_panel=_HUB,
            show_default=False,
        ),
    ] = None,
    survey: Annotated[
        bool,
        typer.Option(
            "--survey",
            help="Hints from the listing alone, a thousand repositories per request.",
            rich_help_panel=_HUB,
        ),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Continue the file of -f jsonl:FILE where it stops.", rich_help_panel=_HUB
        ),
    ] = False,
    requests: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Requests per repository, and 300 kB; 0: no bound, and every fact.",
            rich_help_panel=_HUB,
        ),
    ] = 4,
    concurrency: Annotated[
        int, typer.Option(metavar="N", min=1, max=256, help="Repositories at a time.", rich_help_panel=_HUB)
    ] = 16,
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The hub. [default: HF_ENDPOINT, else the Hugging Face Hub]",
            rich_help_panel=_HUB,
            show_default=False,
        ),
    ] = None,
    no_cache: Annotated[
        bool,
        typer.Option("--no-cache", help="Neither use nor keep small files by hash.", rich_help_panel=_HUB),
    ] = False,
    engine: Annotated[
        str, typer.Option(metavar="NAME", help="threads, or ray for a Ray cluster.", rich_help_panel=_HUB)
    ] = "threads",
    address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Of a running Ray cluster. [default: a local one]",
            rich_help_panel=_HUB,
            show_default=False,
        ),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            "-f",
            metavar="NAME[:PATH]",
            help="text, json, jsonl, markdown, sarif, github, html or parquet; repeatable. [default: text]",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the format without a path here.", show_default=False
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Use this configuration file.", show_default=False),
    ] = None,
    isolated: Annotated[bool, typer.Option("--isolated", help="Use no configuration file.")] = False,
    quiet: Annotated[
        int,
        typer.Option(
            "--quiet", "-q", count=True, show_default=False, help="No summary; -qq: only the exit code."
        ),
    ] = 0,
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            show_default=False,
            help="Also name clean repositories and the settings used.",
        ),
    ] = 0,
    color: Annotated[str, typer.Option("--color", metavar="WHEN", help="auto, always or never.")] = "auto",
) -> None:
    """Find padding mistakes in tokenizers and checkpoints, from their files alone.

    Reads JSON and safetensors headers only: no weights, no pickle, no code from the repository.

    Exit code 0: clean; 1: findings at or above --fail-on; 2: could not run; 130: interrupted.
    """
    from padfix import config as configuration
    from padfix.auditing import audit_many
    from padfix.cli import sinks
    from padfix.cli.hub_options import ENGINES, HubRun, earlier, with_ledger
    from padfix.cli.progress import Meter
    from padfix.hub.listing import SORTS, Query
    from padfix.hub.run import Options
    from padfix.hub.source import BYTES
    from padfix.rules import TASKS

    started = time.monotonic()
    settings = configuration.Config()
    if not isolated:
        path = config or configuration.find(Path.cwd())
        settings = configuration.load(path) if path else settings
    settings = dataclasses.replace(
        settings,
        task=console.choice("--task", task or settings.task, TASKS),
        fail_on=console.choice("--fail-on", fail_on or settings.fail_on, configuration.FAIL_ON) or "error",
        select=tuple(_codes(select)) or settings.select,
    )
    chosen = settings.select or None
    ignored = [*(code for code, _ in settings.ignore), *_codes(ignore)] or None
    query = Query(author, search, tuple(filters or ()), console.choice("--sort", sort, tuple(SORTS)), limit)
    named = Sources(
        tuple(sources or ()), tuple(from_file or ()), recursive=recursive, cache=cache, query=query
    )
    outputs = sinks.parse(formats or [], output, console.colour_choice(color), verbose=verbose > 0)
    hub: HubRun | None = None
    if survey or resume or named.ask_a_hub():
        options = Options(
            endpoint=endpoint, concurrency=concurrency, cache=not no_cache, requests=requests or None,
            n_bytes=BYTES if requests else None, task=settings.task, select=chosen, ignore=tuple(ignored) if ignored else None,
        )  # fmt: skip
        kind = console.choice("--engine", engine, ENGINES) or "threads"
        hub = HubRun(query, options, survey=survey, resume=resume, engine=kind, address=address)
    results = with_ledger(outputs, resume=resume) if hub else None
    shown = [sink for sink in outputs if quiet < 2 or sink.path is not None]
    for sink in shown:
        sink.open()
    streaming_to_screen = any(s.path is None and s.format.streams for s in shown) and sys.stdout.isatty()
    meter = Meter(named.total, wanted=not quiet and not streaming_to_screen)
    tally = Tally(settings)
    if hub is None:
        found = audit_many(named.each(), task=settings.task, select=chosen, ignore=ignored)
    else:
        found = hub.reports(named.each(), results.ledger if results else None)
    if results is not None and results.path is not None and resume:
        for report in earlier(results.path):
            kept = tally.take(report)
            for sink in shown:
                if sink is not results:
                    sink.add(kept)
            meter.step(kept.source)
    interrupted = _run(found, shown, meter, tally)
    if not quiet:
        if tally.repositories >= _MANY:
            console.note(tally.tables.text())
        console.note(tally.summary(interrupted=interrupted))
    if verbose:
        used = str(settings.path) if settings.path else "none"
        console.note(f"configuration: {used}; {time.monotonic() - started:.2f} s")
    if interrupted:
        raise console.Exit(console.INTERRUPTED)
    if tally.repositories == 0:
        console.fail(named.nothing())
    raise console.Exit(tally.exit_code(named, exit_zero=exit_zero))


def _run(found: Iterator[Report], sinks: list[Sink], meter: Meter, tally: Tally) -> bool:
    """Feed every report to every sink; true when the user stopped it. What was found by then is written."""
    interrupted = False
    try:
        for report in found:
            kept = tally.take(report)
            for sink in sinks:
                sink.add(kept)
            meter.step(kept.source)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        meter.close()
    for sink in sinks:
        sink.close()
    return interrupted


@dataclass(frozen=True)
class Sources:
    """What the command line names, as a stream of sources."""

    arguments: tuple[str, ...]
    lists: tuple[Path, ...]
    recursive: bool
    cache: bool
    query: Query

    def ask_a_hub(self) -> bool:
        """True when a hub may have to be asked: for a listing, or for a name that is no path."""
        from padfix.hub.run import is_offline, is_remote

        if self.query:
            return True
        if self.recursive or is_offline():
            return False
        return bool(self.lists) or "-" in self.arguments or any(is_remote(a) for a in self.arguments)

    def each(self) -> Iterator[str | Source | Skip]:
        """Every source once per mention, as early as it is known."""
        from padfix.auditing import cached_repositories, repositories_under

        for argument in self.arguments:
            if argument == "-":
                yield from _names(sys.stdin)
            elif self.recursive:
                if not Path(argument).is_dir():
                    yield Skip(argument, "-r needs a folder, and this is none")
                yield from repositories_under(argument)
            else:
                yield argument
        for path in self.lists:
            try:
                with path.open(encoding="utf-8") as file:
                    yield from _names(file)
            except (OSError, UnicodeDecodeError) as error:
                raise SourceError(
                    f"--from-file {path}: {getattr(error, 'strerror', None) or error}"
                ) from error
        if self.cache:
            yield from cached_repositories()

    @property
    def total(self) -> int | None:
        """How many there will be, where that is known beforehand."""
        known = not (self.recursive or self.cache or self.lists or "-" in self.arguments)
        if self.query:
            return len(self.arguments) + self.query.limit if known and self.query.limit is not None else None
        return len(self.arguments) if known else None

    def named(self, source: str) -> bool:
        """True when the user asked for this very source, so that failing to read it is a failure."""
        return source in self.arguments or not (self.recursive or self.cache or self.query)

    def nothing(self) -> str:
        """Why there was nothing to audit."""
        if self.query:
            return "nothing to audit: the hub lists no such repository (private ones need a token: hf auth login)"
        if not (self.arguments or self.lists or self.cache):
            return "nothing to audit: name a folder, or use --cache or --from-file; see padfix audit --help"
        where = "the cache" if self.cache else "the list"
        below = ", ".join(safe(a) for a in self.arguments if a != "-")
        return (
            f"nothing to audit: no tokenizer or model {f'below {below}' if self.recursive else f'in {where}'}"
        )


@dataclass
class Tally:
    """Counts, and the answer: which exit code."""

    settings: Config
    repositories: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    unread: list[str] = field(default_factory=list)
    tables: Summary = field(default_factory=Summary)

    def take(self, report: Report) -> Report:
        """Count a report, without the findings that the configuration ignores for its source."""
        from padfix.rules import resolve

        self.repositories += 1
        if report.state is None:
            self.unread.append(report.source)
        if ignored := self.settings.ignored_here(report.source):
            codes = resolve(ignored)
            report = dataclasses.replace(
                report, findings=tuple(f for f in report.findings if f.code not in codes)
            )
        self.findings.update(f.severity for f in report.findings)
        self.tables.add(report)
        return report

    def summary(self, *, interrupted: bool) -> str:
        """One line for the end of a run."""
        from padfix.render.plain import counts_text

        n = self.repositories - len(self.unread)
        line = f"audited {n} {'repository' if n == 1 else 'repositories'}: {counts_text(self.findings)}"
        if self.unread:
            line += f"; {len(self.unread)} could not be audited"
        return f"{line}; interrupted" if interrupted else line

    def exit_code(self, sources: Sources, *, exit_zero: bool) -> int:
        """2 where a source that the user named could not be read, else 1 for findings, else 0."""
        if any(sources.named(source) for source in self.unread):
            return console.COULD_NOT_RUN
        ranks = ("error", "warning", "info")
        counted = ranks[: ranks.index(self.settings.fail_on) + 1] if self.settings.fail_on in ranks else ()
        return console.FOUND if any(self.findings[s] for s in counted) and not exit_zero else console.CLEAN


def _names(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        name = line.partition("#")[0].strip()
        if name:
            yield name


def _codes(options: list[str] | None) -> list[str]:
    return [code.strip() for option in options or () for code in option.split(",") if code.strip()]
