"""The results file of a long run: one JSON line per repository, appended and flushed, and resumable.

A line is written with one call and ends in a newline, so after a kill only the last one can be torn;
opening the file for `resume` cuts that off. A repository whose line is there is done.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from padfix.errors import SourceError
from padfix.types import Finding, PadState, Report, Skip, Token

if TYPE_CHECKING:
    from types import TracebackType

Spec = str | Skip | Report
"""What a stream of names holds: a name, one that could not be had, or one that was audited already."""

_HEAD: Final = re.compile(rb'\{"schema": \d+, "source": ("(?:[^"\\]|\\.)*")')


class Ledger:
    """A JSONL file of reports, open for appending by one process at a time.

    With ``resume`` an existing file is continued, else it must not exist yet or be empty. Raises
    `SourceError` when the file is another program's, in use, or holds results that would be overwritten.
    """

    def __init__(self, path: str | os.PathLike[str], *, resume: bool = False) -> None:
        self.path = Path(path)
        self.done = _Names()
        try:
            self._file = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise SourceError(f"cannot write {self.path}: {error.strerror}") from error
        try:
            _lock(self._file.fileno(), self.path)
            size = os.fstat(self._file.fileno()).st_size
            if size and not resume:
                raise SourceError(
                    f"{self.path} holds {size:,} bytes of results; --resume continues them, or name another file"
                )
            if size:
                self._mend()
        except BaseException:
            self._file.close()
            raise

    def _mend(self) -> None:
        """Read which repositories are done, and cut off a last line that was torn by a kill."""
        good = 0
        self._file.seek(0)
        with open(self._file.fileno(), "rb", closefd=False) as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    break  # only the last line can be without its newline
                self.done.add(_source(line, self.path, number))
                good += len(line)
        self._file.truncate(good)

    def pending(self, specs: Iterable[Spec]) -> Iterator[Spec]:
        """The names that have no line yet."""
        return (spec for spec in specs if (spec if isinstance(spec, str) else spec.source) not in self.done)

    def write(self, report: Report) -> None:
        """Append one report; it survives the death of this process."""
        from padfix.render import jsonl

        line = jsonl.one(report).encode("ascii")
        written = self._file.write(line)
        while written < len(line):  # a full disk or a signal: the rest, or an error
            written += self._file.write(line[written:])
        self.done.add(report.source)

    def close(self) -> None:
        """Put the file on the disk and let others have it."""
        if not self._file.closed:
            os.fsync(self._file.fileno())
            self._file.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Names:
    """A set of names at 60 bytes each: eight bytes of a hash, with one chance in 10^7 of a clash in a million."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def add(self, name: str) -> None:
        self._seen.add(self._key(name))

    def __contains__(self, name: str) -> bool:
        return self._key(name) in self._seen

    def __len__(self) -> int:
        return len(self._seen)

    @staticmethod
    def _key(name: str) -> int:
        return int.from_bytes(
            hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
        )


def read_lines(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """The reports of a results file, one dict at a time; a torn last line is left out.

    Raises `SourceError` for a line that is no report.
    """
    with Path(path).open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise SourceError(f"{path}: line {number} is no padfix report: {error}") from error
            if not isinstance(record, dict) or not isinstance(record.get("source"), str):
                raise SourceError(f"{path}: line {number} is no padfix report: it has no source")
            yield record


def report_from(record: Mapping[str, Any]) -> Report:
    """A report as tables and pages show it: findings, skips, and of the state the type, pad and EOS.

    >>> report_from({"source": "gpt2", "state": None, "findings": [], "skipped": []}).source
    'gpt2'
    """
    state = record.get("state")
    kept = None
    if isinstance(state, dict):
        pad, eos = (
            Token(**state[role]) if isinstance(state.get(role), dict) else None for role in ("pad", "eos")
        )
        kept = PadState(
            source=str(state.get("source") or ""), model_type=state.get("model_type"), pad=pad, eos=eos
        )
    findings = tuple(Finding(**finding) for finding in record.get("findings", ()))
    return Report(record["source"], kept, findings, tuple(Skip(**skip) for skip in record.get("skipped", ())))


def _source(line: bytes, path: Path, number: int) -> str:
    """The source of a line; only its beginning is parsed, since a million lines are gigabytes."""
    match = _HEAD.match(line)
    if match is None or not line.rstrip().endswith(b"}"):
        raise SourceError(
            f"{path}: line {number} is no padfix report; --resume continues padfix's own JSON lines only"
        )
    name = json.loads(match[1])
    assert isinstance(name, str)
    return name


def _lock(descriptor: int, path: Path) -> None:
    """Two processes that append to one file would repeat each other's work."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise SourceError(f"{path} is being written by another padfix run") from error
