"""Replace several files of a folder as one step: all of them or none, whenever the process dies.

A rename is atomic, several are not, so they go through a journal (a folder ``.padfix-journal``):

1. every new file is written there, with the old one's mode, and flushed to the disk;
2. a manifest is renamed into place: from here on the new state is decided;
3. each new file is renamed over the old one; 4. the journal is removed.

Killed before 2, the folder still has every old byte; killed after, `recover` finishes the renames. Each
start of `replace_files` recovers first, and padfix refuses to read a folder that has a manifest
(`interrupted`). Another program that reads it between two renames, microseconds apart, sees some new files
beside old ones; each file is whole, and a token is declared before anything names it. Where that is too
much, `padfix.write.folders.copy_folder` makes a copy that appears at once. (Swapping whole folders would
close the gap and open others: a shell or a mount inside the folder would keep the old one.)
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from padfix.errors import SourceError

JOURNAL: Final = ".padfix-journal"
WRITABLE: Final = (
    "tokenizer.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
    "config.json",
    "generation_config.json",
)
"""The files that a fix may write, in the order in which they are put in place.

Weights are not among them. After any first few of them the folder still loads: a token is there before
something names it as the pad. A journal may hold no other name, so one that came with a hostile
repository cannot write elsewhere.
"""

_MANIFEST: Final = "manifest.json"


def replace_files(folder: Path, changes: Mapping[str, bytes | None]) -> None:
    """Give each named file of the folder its new content (None: remove it), all of them or none.

    New files get the mode of the folder's other files. Raises `SourceError` when the folder cannot be
    written, when a file to be replaced is a link (it belongs to somebody else, such as the cache), or
    when another fix is at work; nothing was changed then.
    """
    if unknown := set(changes) - set(WRITABLE):
        raise SourceError(
            f"{folder}: will not write {', '.join(sorted(unknown))}; a fix writes {', '.join(WRITABLE)}"
        )
    with _locked(folder):
        recover(folder)
        for name in changes:
            if (folder / name).is_symlink():
                raise SourceError(
                    f"{folder / name} is a link, so its file is shared; nothing was changed. "
                    "Make a fixed copy instead: padfix fix FOLDER -o NEW_FOLDER"
                )
        journal = folder / JOURNAL
        try:
            _stage(folder, journal, changes)
        except OSError as error:
            shutil.rmtree(journal, ignore_errors=True)
            raise SourceError(
                f"{folder}: cannot be written, nothing was changed: {error.strerror or error}"
            ) from error
        _roll_forward(folder, journal)


def recover(folder: Path) -> bool:
    """Finish or forget a fix that was killed here. True when it was finished."""
    journal = folder / JOURNAL
    if journal.is_symlink() or not journal.is_dir():
        return False
    if not (journal / _MANIFEST).is_file():
        shutil.rmtree(journal)
        return False
    _roll_forward(folder, journal)
    return True


def interrupted(folder: Path) -> bool:
    """True when a fix was killed between its first and its last rename, so that old and new may be mixed."""
    try:
        return stat.S_ISREG(os.stat(os.path.join(folder, JOURNAL, _MANIFEST)).st_mode)  # noqa: PTH116, PTH118 - in every audit
    except PermissionError as error:
        raise SourceError(
            f"{folder}: cannot see whether a fix is half done in {JOURNAL}: {error.strerror}"
        ) from error
    except (OSError, ValueError):
        return False


def _stage(folder: Path, journal: Path, changes: Mapping[str, bytes | None]) -> None:
    journal.mkdir()
    digests: dict[str, str | None] = {}
    for name in WRITABLE:
        if name not in changes:
            continue
        data = changes[name]
        digests[name] = None if data is None else hashlib.sha256(data).hexdigest()
        if data is not None:
            _write(journal / name, data, _mode(folder, name))
    _flush(journal)
    draft = journal / f"{_MANIFEST}.draft"
    _write(draft, json.dumps(digests).encode(), 0o600)
    draft.rename(journal / _MANIFEST)  # the decision
    _flush(journal)


def _roll_forward(folder: Path, journal: Path) -> None:
    try:
        digests = json.loads((journal / _MANIFEST).read_bytes()[:65536])
    except (ValueError, RecursionError) as error:
        raise SourceError(
            f"{journal / _MANIFEST} is not readable; check the folder and remove {journal}"
        ) from error
    if not isinstance(digests, dict) or not set(digests) <= set(WRITABLE):
        raise SourceError(f"{journal} names files that padfix never writes; it is not padfix's, remove it")
    # everything is checked first, so that the renames follow each other within microseconds
    moves = []
    for name in (name for name in WRITABLE if name in digests):
        staged = journal / name
        if digests[name] is not None and (staged.is_symlink() or not staged.is_file()):
            continue  # moved before the kill
        if digests[name] is not None and hashlib.sha256(staged.read_bytes()).hexdigest() != digests[name]:
            raise SourceError(f"{staged} is not what was written; check the folder and remove {journal}")
        moves.append((staged, folder / name, digests[name] is None))
    pressed: KeyboardInterrupt | None = None
    try:
        _move(moves)
    except KeyboardInterrupt as error:
        pressed = error
        _move(moves)  # it is decided: the rest follows within microseconds, then Ctrl-C has its way
    _flush(folder)
    shutil.rmtree(journal)
    if pressed is not None:
        raise pressed


def _move(moves: list[tuple[Path, Path, bool]]) -> None:
    for staged, target, removed in moves:
        if removed:
            target.unlink(missing_ok=True)
        elif staged.exists():
            staged.replace(target)


def _mode(folder: Path, name: str) -> int:
    """The permissions of the file itself, else of a file beside it, else what the umask gives."""
    for candidate in (name, *WRITABLE):
        with contextlib.suppress(FileNotFoundError):
            return stat.S_IMODE((folder / candidate).stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _write(path: Path, data: bytes, mode: int) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(mode)


def _flush(folder: Path) -> None:
    """Make renames in a folder durable, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One fix at a time per folder. The lock is the kernel's, so it dies with its process."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SourceError(f"{folder}: another fix is at work here; wait for it") from error
        except OSError:
            pass  # a network file system without locks
        yield
    finally:
        os.close(descriptor)
