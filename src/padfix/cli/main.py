"""The command ``padfix``: one module per command, each imported for its options only.

typer costs 50 ms to import; everything else is imported inside the command that needs it.
"""

from __future__ import annotations

from typing import Annotated

import typer

from padfix.cli import audit, check, console, fix, rule

app = typer.Typer(
    name="padfix",
    help="Safe pad tokens for transformers models: audit checkpoints, fix them, prove that outputs did not move.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: 50 ms faster, and markup is never interpreted
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        console.out(f"padfix {version('padfix')}\n")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Declared for --version."""


for module in (audit, fix, check, rule):
    module.register(app)


def main() -> None:
    """Entry point: exit code 0 clean, 1 findings, 2 could not run, 130 interrupted."""
    console.prepare()
    try:
        app(prog_name="padfix")
    except KeyboardInterrupt:
        raise SystemExit(console.INTERRUPTED) from None
