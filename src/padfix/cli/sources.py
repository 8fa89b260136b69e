"""What the command line names, as a stream of sources."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from padfix.errors import SourceError
from padfix.render.escape import safe
from padfix.types import Skip

if TYPE_CHECKING:
    from padfix.hub.listing import Query
    from padfix.read.source import Source


@dataclass(frozen=True)
class Sources:
    """Arguments, lists, the cache and a listing of a hub."""

    arguments: tuple[str, ...]
    lists: tuple[Path, ...]
    recursive: bool
    cache: bool
    query: Query | None = None

    def ask_a_hub(self) -> bool:
        """True when a hub may have to be asked: for a listing, or for a name that is no path."""
        from padfix.auditing import is_remote

        if self.query:
            return True
        if self.recursive:
            return False
        if self.lists or "-" in self.arguments:
            from padfix.hub.run import is_offline

            return not is_offline()
        return any(is_remote(argument) for argument in self.arguments)

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


def _names(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        name = line.partition("#")[0].strip()
        if name:
            yield name
