"""The only module that prints: data to stdout, everything else to stderr; colours where they are wanted."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn, ParamSpec, TextIO, cast, get_args

from padfix.errors import ConfigError, PadfixError
from padfix.render.escape import safe

Choice = Literal["auto", "always", "never"]
P = ParamSpec("P")

CLEAN, FOUND, COULD_NOT_RUN, INTERRUPTED = 0, 1, 2, 130


class Exit(Exception):  # noqa: N818 - a way out, not an error
    """Leave the command with this exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def prepare() -> None:
    """Make the standard streams safe to write to: no encoding error, no missing stream."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # started with the stream closed, as in `padfix audit . >&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - lives as long as the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a latin-1 terminal shows \u2581 for ▁

    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(
            errors="surrogateescape"
        )  # names of files that are not UTF-8 stay names of files


def out(text: str) -> None:
    """Data, to stdout, at once: a reader of a pipe sees each report as it is found."""
    sys.stdout.write(text)
    sys.stdout.flush()


def note(text: str) -> None:
    """A line for the user, to stderr. ``text`` is padfix's own; what comes from a file went through `safe`."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except BrokenPipeError:
        hush(sys.stderr)


def fail(error: BaseException | str) -> NoReturn:
    """Say what could not be done, and leave with exit code 2."""
    note(f"error: {safe(error, newlines=True)}")
    raise Exit(COULD_NOT_RUN)


def hush(stream: TextIO) -> None:
    """Point a stream whose reader went away at nothing, so that the interpreter's last flush is silent."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def coloured(stream: TextIO, choice: Choice = "auto") -> bool:
    """``--color`` beats ``NO_COLOR`` beats ``FORCE_COLOR`` beats whether the stream is a terminal."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def choice(option: str, value: str | None, legal: Sequence[str]) -> str | None:
    """The value of an option, if it is one of these. Raises `ConfigError` with what there is."""
    if value is not None and value not in legal:
        raise ConfigError(f"{option} {value!r} is not one of {', '.join(legal)}")
    return value


def colour_choice(value: str) -> Choice:
    """The value of ``--color``."""
    for known in get_args(Choice):
        if value == known:
            return cast(Choice, known)
    raise ConfigError(f"--color {value!r} is not one of {', '.join(get_args(Choice))}")


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Run a command: padfix's own errors become a sentence and exit code 2, Ctrl-C 130, a closed pipe nothing."""
    import typer

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        prepare()
        try:
            function(*args, **kwargs)
        except Exit as leaving:
            raise typer.Exit(leaving.code) from None
        except KeyboardInterrupt:
            note("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            hush(sys.stdout)
            raise typer.Exit(CLEAN) from None
        except PadfixError as error:
            note(f"error: {safe(error, newlines=True)}")
            raise typer.Exit(COULD_NOT_RUN) from None

    return run


def examples(*commands: str) -> str:
    """The end of a ``--help``: real commands."""
    lines: list[Any] = ["\b", "Examples:", *(f"  {line}" for line in commands)]
    return "\n".join(lines)
