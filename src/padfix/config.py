"""padfix's own configuration: ``padfix.toml``, ``.padfix.toml`` or ``[tool.padfix]`` in ``pyproject.toml``.

::

    [tool.padfix]
    task = "training"              # generation, training, classification or serving
    select = ["PAD0", "PAD1"]      # codes, prefixes of codes, or names
    fail-on = "warning"            # error (the default), warning, info or never

    [tool.padfix.ignore]           # every ignore carries its reason
    PAD002 = "labels are masked by position, see train.py"

    [tool.padfix.per-source."models/legacy-*"]
    PAD001 = "kept as it was published"

The file is looked for in the working directory and upwards, never in what is being audited: a
repository cannot switch off the rules that judge it. Every problem of a file is reported at once.
"""

from __future__ import annotations

import difflib
import fnmatch
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from padfix.errors import ConfigError
from padfix.rules import resolve
from padfix.rules.registry import TASKS
from padfix.types import Severity

NAMES: Final = ("padfix.toml", ".padfix.toml", "pyproject.toml")
FAIL_ON: Final = (*get_args(Severity), "never")
_KEYS: Final = ("task", "select", "fail-on", "ignore", "per-source")


@dataclass(frozen=True, slots=True)
class Config:
    """What a configuration file says; the defaults where there is none.

    ``ignore`` is (selector, reason); ``per_source`` is (pattern of sources, selector, reason).
    """

    path: Path | None = None
    task: str | None = None
    select: tuple[str, ...] = ()
    fail_on: str = "error"
    ignore: tuple[tuple[str, str], ...] = ()
    per_source: tuple[tuple[str, str, str], ...] = ()

    def ignored_here(self, source: str) -> tuple[str, ...]:
        """The selectors that are ignored for this source alone.

        >>> Config(per_source=(("old/*", "PAD001", "why"),)).ignored_here("old/gpt")
        ('PAD001',)
        """
        return tuple(code for pattern, code, _ in self.per_source if fnmatch.fnmatch(source, pattern))


def find(start: Path) -> Path | None:
    """The nearest configuration file at or above a directory, or None."""
    for folder in (start, *start.parents):
        for name in NAMES:
            path = folder / name
            if path.is_file() and (name != "pyproject.toml" or _mentions_padfix(path)):
                return path
    return None


def _mentions_padfix(pyproject: Path) -> bool:
    """A cheap look, so that somebody else's broken pyproject.toml is not our problem."""
    try:
        return b"tool.padfix" in pyproject.read_bytes()
    except OSError:
        return False


def load(path: Path) -> Config:
    """Read one configuration file. Raises `ConfigError` with every problem in it."""
    document = _parsed(path)
    table: Any = document
    if path.name == "pyproject.toml":
        table = document.get("tool", {}).get("padfix", {})
    prefix = "tool.padfix." if path.name == "pyproject.toml" else ""
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: tool.padfix must be a table, not {type(table).__name__}")
    problems = [f"{prefix}{problem}" for problem in _problems(table)]
    if problems:
        head = f"{path}: {len(problems)} problem{'s' if len(problems) != 1 else ''}"
        raise ConfigError("\n".join([head, *(f"  {problem}" for problem in problems)]))
    return Config(
        path=path,
        task=table.get("task"),
        select=tuple(table.get("select", ())),
        fail_on=table.get("fail-on", "error"),
        ignore=tuple(table.get("ignore", {}).items()),
        per_source=tuple(
            (pattern, code, reason)
            for pattern, codes in table.get("per-source", {}).items()
            for code, reason in codes.items()
        ),
    )


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error


def _problems(table: Mapping[str, Any]) -> Iterator[str]:
    for key in table.keys() - set(_KEYS):
        yield f"{key}: unknown key{_hint(key, _KEYS)}"
    if "task" in table:
        yield from _choice("task", table["task"], TASKS)
    if "fail-on" in table:
        yield from _choice("fail-on", table["fail-on"], FAIL_ON)
    select = table.get("select", [])
    if isinstance(select, list) and all(isinstance(item, str) for item in select):
        for item in select:
            yield from _selector("select", item)
    else:
        yield f'select: must be a list of codes, such as ["PAD0", "PAD101"], not {select!r}'
    yield from _reasons("ignore", table.get("ignore", {}))
    per_source = table.get("per-source", {})
    if isinstance(per_source, dict):
        for pattern, codes in per_source.items():
            yield from _reasons(f'per-source."{pattern}"', codes)
    else:
        yield f'per-source: must be tables such as [per-source."models/old-*"], not {per_source!r}'


def _reasons(where: str, codes: object) -> Iterator[str]:
    if not isinstance(codes, dict):
        yield f'{where}: must map codes to reasons, such as PAD002 = "labels are masked by position", not {codes!r}'
        return
    for code, reason in codes.items():
        yield from _selector(where, code)
        if not isinstance(reason, str) or not reason.strip():
            yield f"{where}.{code}: needs a reason, not {reason!r}"


def _selector(where: str, code: str) -> Iterator[str]:
    try:
        resolve(code, option=where)
    except ConfigError as error:
        yield str(error)


def _choice(key: str, value: object, legal: tuple[str, ...]) -> Iterator[str]:
    if value not in legal:
        yield f"{key}: {value!r} is not one of {', '.join(legal)}{_hint(value, legal)}"


def _hint(value: object, legal: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(str(value).replace("_", "-"), legal, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(legal)}"
