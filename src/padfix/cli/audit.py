"""``padfix audit``: lint folders, trees of folders, the local cache, names from a list, or a hub."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from padfix.cli import console
from padfix.cli.light import Command
from padfix.cli.sources import Sources
from padfix.cli.tally import Tally
from padfix.types import Report

_MANY = 20  # repositories from which tables say more than a line

if TYPE_CHECKING:
    from padfix.cli.hub_options import HubRun, LedgerSink
    from padfix.cli.progress import Meter
    from padfix.cli.sinks import Sink
    from padfix.hub.listing import Query

_HUB = "Hub"
_EPILOG = console.examples(
    "padfix audit ./checkpoint",
    "padfix audit -r models -f text -f sarif:padfix.sarif",
    "padfix audit --cache --select PAD0,PAD1 -f html -o cache.html",
    "padfix audit ./adapter --base ./llama",
    "padfix audit org/name --requests 0",
    "padfix audit --author org -f jsonl:org.jsonl --resume",
)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(cls=Command, epilog=_EPILOG)(console.command(audit))


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
    base: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="What each source was made from: compare an adapter, a fine-tune or a GGUF file with it.",
            show_default=False,
        ),
    ] = None,
    draft: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="The small model that drafts for each source in speculative decoding: compare the two.",
            show_default=False,
        ),
    ] = None,
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

    Reads JSON and safetensors headers only: no weights, no pickle, no code from the repository. The options from
    --author to --address are for repositories on a hub.

    Exit code 0: clean; 1: findings at or above --fail-on; 2: could not run; 130: interrupted.
    """
    from padfix import config as configuration
    from padfix.auditing import Pair, audit_many
    from padfix.cli import sinks
    from padfix.cli.progress import Meter
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
    query = _query(author, search, filters, sort, limit)
    named = Sources(
        tuple(sources or ()), tuple(from_file or ()), recursive=recursive, cache=cache, query=query
    )
    outputs = sinks.parse(formats or [], output, console.colour_choice(color), verbose=verbose > 0)
    pair = Pair.of(base, draft)
    hub: HubRun | None = None
    results: LedgerSink | None = None
    if survey or resume or named.ask_a_hub():
        from padfix.cli.hub_options import ENGINES, HubRun, earlier, with_ledger
        from padfix.hub.listing import Query
        from padfix.hub.run import Options
        from padfix.hub.source import BYTES

        options = Options(
            endpoint=endpoint, concurrency=concurrency, cache=not no_cache, requests=requests or None,
            n_bytes=BYTES if requests else None, task=settings.task, select=chosen, ignore=tuple(ignored) if ignored else None,
        )  # fmt: skip
        kind = console.choice("--engine", engine, ENGINES) or "threads"
        hub = HubRun(query or Query(), options, survey=survey, resume=resume, engine=kind, address=address)
        results = with_ledger(outputs, resume=resume)
    shown = [sink for sink in outputs if quiet < 2 or sink.path is not None]
    for sink in shown:
        sink.open()
    streaming_to_screen = any(s.path is None and s.format.streams for s in shown) and sys.stdout.isatty()
    meter = Meter(named.total, wanted=not quiet and not streaming_to_screen)
    tally = Tally(settings, named)
    if hub is None:
        found = audit_many(named.each(), task=settings.task, select=chosen, ignore=ignored)
    else:
        found = hub.reports(named.each(), results.ledger if results else None)
    if pair:
        found = (pair.compared(report, task=settings.task, select=chosen, ignore=ignored) for report in found)
    if results is not None and results.path is not None and resume:
        for report in earlier(results.path):
            kept = tally.take(report)
            for sink in shown:
                if sink is not results:
                    sink.add(kept)
            meter.step(kept.source)
    interrupted = _run(found, shown, meter, tally)
    if not quiet and tally.repositories:
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
    raise console.Exit(tally.exit_code(exit_zero=exit_zero))


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


def _query(
    author: str | None, search: str | None, filters: list[str] | None, sort: str | None, limit: int | None
) -> Query | None:
    """What to list of a hub; None where no option asks for that, and the hub's client is not imported then."""
    if not (author or search or filters or sort or limit is not None):
        return None
    from padfix.hub.listing import SORTS, Query

    return Query(author, search, tuple(filters or ()), console.choice("--sort", sort, tuple(SORTS)), limit)


def _codes(options: list[str] | None) -> list[str]:
    return [code.strip() for option in options or () for code in option.split(",") if code.strip()]
