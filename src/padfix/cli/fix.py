"""``padfix fix``: give a checkpoint on disk a pad token, without touching its weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from padfix.cli import console
from padfix.cli.light import Command

if TYPE_CHECKING:
    from padfix.write.checkpoint import Repair

_EPILOG = console.examples(
    "padfix fix ./checkpoint --dry-run",
    "padfix fix ./checkpoint --strategy eos",
    "padfix fix org/name --create-pr",
    "padfix fix ./checkpoint --pad-token '<|finetune_right_pad_id|>' -o ./fixed",
)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(cls=Command, epilog=_EPILOG)(console.command(fix))


def fix(
    folder: Annotated[
        Path, typer.Argument(help="The checkpoint's folder, or org/name on a hub.", show_default=False)
    ],
    strategy: Annotated[
        str,
        typer.Option(
            "--strategy",
            "-s",
            metavar="NAME",
            help="auto, eos, unk, reserved, spare, or a token with --pad-token.",
        ),
    ] = "auto",
    pad_token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN", help="Exactly this token; also replaces a pad that is valid.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Write a fixed copy here instead.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Show the change and write nothing.")
    ] = False,
    create_pr: Annotated[
        bool,
        typer.Option(
            "--create-pr", help="For org/name: open a pull request on the hub; a dry run without --yes."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before writing in place.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the diff.")] = False,
    color: Annotated[str, typer.Option("--color", metavar="WHEN", help="auto, always or never.")] = "auto",
) -> None:
    """Set the pad token of a checkpoint, and bring every config in step.

    Writes small JSON files only, all of them or none; weights are never touched. The diff goes to stdout.
    What needs a new embedding row is refused with the reason. A fix that was killed while it put its files in
    place is finished by the next one; with -o the copy appears at once.

    Exit code 0: done, or nothing to do; 1: the result still has errors; 2: refused; 130: interrupted.
    """
    from padfix.render import plain
    from padfix.render.escape import safe
    from padfix.write import checkpoint

    colour = console.coloured(sys.stdout, console.colour_choice(color))
    if _on_a_hub(folder):
        _fix_on_hub(
            str(folder), strategy, pad_token, colour, send=create_pr and not dry_run, asked=yes, quiet=quiet
        )
    if create_pr:
        console.fail(f"--create-pr needs a repository on a hub, like org/name; {safe(folder)} is a folder")
    repair = checkpoint.plan_repair(folder, strategy, pad_token=pad_token)
    console.out(_painted(repair.diff(), colour))
    if not quiet:
        console.note(plain.plan_text(repair.plan))
    if repair or output is not None:
        done = _write(repair, output, dry_run=dry_run, asked=yes)
        if not quiet:
            names = ", ".join(repair.new) or "nothing to change"
            console.note(f"{done}: {names}" if repair else f"{done}; {names}")
    errors = [finding for finding in repair.findings if finding.severity == "error"]
    if errors and not quiet:
        console.note(f"an audit of the result still finds {plain.count_text(errors)}:")
        for finding in errors:
            console.note("\n".join(plain.finding_lines(finding)))
    if not quiet and repair and not dry_run and output is None:
        console.note(f"check it with: padfix check {safe(folder)}")
    raise console.Exit(console.FOUND if errors else console.CLEAN)


def _on_a_hub(folder: Path) -> bool:
    from padfix.auditing import is_remote

    return is_remote(str(folder))


def _fix_on_hub(
    spec: str, strategy: str, pad_token: str | None, colour: bool, *, send: bool, asked: bool, quiet: bool
) -> NoReturn:
    """Show the repair of a hub repository; open a pull request with it where that was asked for."""
    from padfix.hub.pull_request import propose
    from padfix.hub.run import Options
    from padfix.render import plain
    from padfix.render.escape import safe

    options = Options(requests=None, n_bytes=None)
    with propose(spec, options, strategy, pad_token=pad_token) as proposal:
        console.out(_painted(proposal.repair.diff(), colour))
        if not quiet:
            console.note(plain.plan_text(proposal.repair.plan))
        if not proposal:
            done = "nothing to change"
        elif send and (asked or _confirmed(f"open a pull request on {safe(proposal.repo)}?")):
            done = f"opened {safe(proposal.open(options))}"
        elif send:
            done = "dry run, nothing sent; --yes opens the pull request"
        else:
            done = "dry run, nothing sent; --create-pr opens a pull request with this"
        if not quiet:
            console.note(done)
        errors = [finding for finding in proposal.repair.findings if finding.severity == "error"]
    raise console.Exit(console.FOUND if errors else console.CLEAN)


def _confirmed(question: str) -> bool:
    """Ask, where there is somebody to answer."""
    if sys.stdin is None or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    console.note(f"{question} [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _write(repair: Repair, output: Path | None, *, dry_run: bool, asked: bool) -> str:
    """Write the repair, and say what was done."""
    from padfix.render.escape import safe
    from padfix.write import checkpoint

    if dry_run:
        return "dry run, nothing written"
    if output is not None:
        checkpoint.write_copy(repair, output)
        return f"wrote {safe(output)}"
    if not asked and sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty():
        console.note(
            f"write {len(repair.new)} file{'s' if len(repair.new) != 1 else ''} in {safe(repair.folder)}? [y/N]"
        )
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            console.note("nothing written")
            raise console.Exit(console.CLEAN)
    checkpoint.write_in_place(repair)
    return "wrote"


def _painted(diff: str, colour: bool) -> str:
    from padfix.render.escape import safe

    lines = []
    for line in diff.removesuffix("\n").split("\n") if diff else ():
        code = {"+": "32", "-": "31", "@": "36"}.get(line[:1]) if colour else None
        shown = safe(line.removesuffix("\r"), limit=2000)
        lines.append(f"\x1b[{code}m{shown}\x1b[0m\n" if code else f"{shown}\n")
    return "".join(lines)
