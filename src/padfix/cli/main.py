"""The command ``padfix``: one module per command, each imported for its options only.

typer costs 50 ms to import; everything else is imported inside the command that needs it.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Annotated, Final

import typer

from padfix.cli import console
from padfix.cli.light import Group

COMMANDS: Final = tuple(
    name
    for name in ("audit", "fix", "check", "rule", "demo")
    if importlib.util.find_spec(f"padfix.cli.{name}")
)
"""Each is a module of this package with ``register(app)``."""


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        console.out(f"padfix {version('padfix')}\n")
        raise typer.Exit


def _main(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Declared for --version."""


def build(wanted: str | None = None) -> typer.Typer:
    """The app, with every command, or with the one wanted: typer looks at the signature of each (20 ms in all)."""
    app = typer.Typer(
        name="padfix",
        cls=Group,
        help="Safe pad tokens for transformers models: audit checkpoints, fix them, prove that outputs did not move.",
        no_args_is_help=True,
        rich_markup_mode=None,  # plain help: 50 ms faster, and markup is never interpreted
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(_main)
    for name in (wanted,) if wanted in COMMANDS else COMMANDS:
        importlib.import_module(f"padfix.cli.{name}").register(app)
    return app


def main() -> None:
    """Entry point: exit code 0 clean, 1 findings, 2 could not run, 130 interrupted."""
    console.prepare()
    try:
        build(sys.argv[1] if len(sys.argv) > 1 else None)(prog_name="padfix")
    except KeyboardInterrupt:
        raise SystemExit(console.INTERRUPTED) from None
