"""Where a repository's files come from: a folder, one file, or the local Hugging Face cache.

A `Source` gives names and bytes and nothing else: no file is imported, unpickled or executed, nothing is
read that the caller did not bound, and nothing outside the repository is opened, whatever its links say.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from padfix.errors import SourceError

MAX_NAMES: Final = 20_000  # the largest model repositories have a few thousand shards
_SUBFOLDERS: Final = ("additional_chat_templates",)
_REPOSITORY: Final = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>[\w./-]+))?")


class Source(Protocol):
    """The files of one repository, by name; every method raises `SourceError` and nothing else."""

    @property
    def name(self) -> str:
        """What the user calls it: a path or ``org/name``."""
        ...

    def names(self) -> tuple[str, ...]:
        """Every file's name relative to the root, with ``/`` between folders, sorted."""
        ...

    def size(self, name: str) -> int:
        """Bytes in a file."""
        ...

    def read(self, name: str, limit: int) -> bytes:
        """A whole file; a file of more than ``limit`` bytes is refused."""
        ...

    def range(self, name: str, start: int, length: int) -> bytes:
        """At most ``length`` bytes from ``start``; fewer where the file ends."""
        ...


def kept_open(source: Source, name: str) -> contextlib.AbstractContextManager[None]:
    """Read from one file often, where a source can keep it open."""
    keep = getattr(source, "keep_open", None)
    return contextlib.nullcontext() if keep is None else keep(name)


def is_whole(source: Source, name: str) -> bool:
    """False for a file of which a hub gave only a part, with filler for the rest."""
    return bool(name != getattr(source, "completed_file", ""))


class FolderSource:
    """A folder on disk. Links that leave ``root`` (or ``inside``, where given) are refused."""

    def __init__(self, root: Path, *, name: str | None = None, inside: Path | None = None) -> None:
        self._name = name if name is not None else str(root)
        try:
            self._folder = os.path.realpath(root, strict=True)  # the resolve() of a `Path` takes 10 µs more
            self._inside = self._folder if inside is None else os.path.realpath(inside, strict=True)
        except (OSError, ValueError) as error:
            raise SourceError(f"{self._name}: cannot be opened: {_reason(error)}") from error
        if not os.path.isdir(self._folder):  # noqa: PTH112
            raise SourceError(f"{self._name}: is not a folder")
        self._held: dict[
            int, tuple[str, int, int]
        ] = {}  # by thread: the file kept open, its descriptor and bytes
        self._names: tuple[str, ...] | None = None
        self._regular: set[str] = set()  # of them, those that are files themselves and no links

    @property
    def name(self) -> str:
        """The path as it was given."""
        return self._name

    @property
    def root(self) -> Path:
        """The folder itself, after links."""
        return Path(self._folder)

    def names(self) -> tuple[str, ...]:
        """Files at the top, and in the one subfolder that tokenizers read."""
        if self._names is None:
            found = self._list("")
            for folder in _SUBFOLDERS:
                if folder in found:
                    found += [f"{folder}/{n}" for n in self._list(folder)]
            self._names = tuple(sorted(found))
        return self._names

    def _list(self, folder: str) -> list[str]:
        try:
            with os.scandir(self._path(folder) if folder else self._folder) as entries:
                listed = [entry for _, entry in zip(range(MAX_NAMES + 1), entries, strict=False)]
        except OSError as error:
            raise SourceError(
                f"{self._name}: cannot list {folder or 'the folder'}: {_reason(error)}"
            ) from error
        if len(listed) > MAX_NAMES:
            raise SourceError(
                f"{self._name}: more than {MAX_NAMES} files; point at one repository, not at a collection"
            )
        if not folder:
            self._regular = {entry.name for entry in listed if entry.is_file(follow_symlinks=False)}
        return [entry.name for entry in listed]

    def size(self, name: str) -> int:
        """Bytes in a file."""
        held, _, size = self._held.get(threading.get_ident(), ("", -1, 0))
        if held == name:
            return size
        descriptor, size = self._open(name)
        os.close(descriptor)
        return size

    @contextlib.contextmanager
    def keep_open(self, name: str) -> Iterator[None]:
        """One file is opened once for all `range` and `size` of this thread: opening takes 10 µs, most of a small read."""
        thread, (descriptor, size) = threading.get_ident(), self._open(name)
        before = self._held.get(thread)
        self._held[thread] = (name, descriptor, size)
        try:
            yield
        finally:
            os.close(descriptor)
            if before is None:
                del self._held[thread]
            else:
                self._held[thread] = before

    def read(self, name: str, limit: int) -> bytes:
        """A whole file of at most ``limit`` bytes."""
        descriptor, size = self._open(name)
        try:
            if size > limit:
                raise SourceError(
                    f"{self._name}: {name} has {size:,} bytes, more than the {limit:,} that are read"
                )
            # a byte more than there is, not ``limit``: the memory for 16 MB costs ten times a small file
            data = self._take(descriptor, name, size + 1)
            if len(data) > size:
                data += self._take(descriptor, name, limit + 1 - len(data))
        finally:
            os.close(descriptor)
        if len(data) > limit:
            raise SourceError(f"{self._name}: {name} grew past {limit:,} bytes while it was read")
        return data

    def range(self, name: str, start: int, length: int) -> bytes:
        """At most ``length`` bytes from ``start``."""
        held, descriptor, size = self._held.get(threading.get_ident(), ("", -1, 0))
        if held != name:
            with self.keep_open(name):
                return self.range(name, start, length)
        try:
            os.lseek(descriptor, start, os.SEEK_SET)
        except (OSError, ValueError, OverflowError) as error:
            raise SourceError(
                f"{self._name}: cannot read {name} from byte {start}: {_reason(error)}"
            ) from error
        return self._take(descriptor, name, min(length, size - start))

    def _take(self, descriptor: int, name: str, length: int) -> bytes:
        """The next ``length`` bytes, fewer where the file ends; file objects take 30 µs more for each file."""
        parts: list[bytes] = []
        try:
            while length > 0 and (part := os.read(descriptor, length)):
                parts.append(part)
                length -= len(part)
        except OSError as error:
            raise SourceError(f"{self._name}: cannot read {name}: {_reason(error)}") from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _path(self, name: str) -> Path:
        """The file a name leads to, after links, if it is still in the repository."""
        if not name or "\0" in name or name.startswith("/") or ".." in name.split("/"):
            raise SourceError(f"{self._name}: {name!r} is not a name inside the repository")
        try:
            real = Path(self._folder, name).resolve(strict=True)
        except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop before Python 3.13
            raise SourceError(f"{self._name}: cannot open {name}: {_reason(error)}") from error
        if not (real.is_relative_to(self._folder) or real.is_relative_to(self._inside)):
            raise SourceError(f"{self._name}: {name} is a link that leaves the folder; it was not followed")
        return real

    def _entry(self, name: str) -> tuple[str, int]:
        """Where a file is and its mode; only a link or a file in a subfolder needs its way looked at."""
        if name in self._regular:
            return f"{self._folder}{os.sep}{name}", stat.S_IFREG
        if "\0" not in name and os.path.basename(name) == name:  # noqa: PTH119 - pathlib takes ten times as long
            path = os.path.join(self._folder, name)  # noqa: PTH118
            mode = os.lstat(path).st_mode
            if not stat.S_ISLNK(mode):
                return path, mode
        real = self._path(name)
        return str(real), real.stat().st_mode

    def _open(self, name: str) -> tuple[int, int]:
        """A descriptor of a regular file and its bytes; opening a FIFO or a device must not block or act."""
        try:
            # the mode is asked before opening, since opening some devices has effects, and again after it
            path, mode = self._entry(name)
            if not stat.S_ISREG(mode):
                raise SourceError(f"{self._name}: {name} is not a regular file")
            flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
            descriptor = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        except OSError as error:
            if isinstance(error, SourceError):
                raise
            raise SourceError(f"{self._name}: cannot open {name}: {_reason(error)}") from error
        opened = os.fstat(descriptor)
        if not stat.S_ISREG(opened.st_mode):
            os.close(descriptor)
            raise SourceError(f"{self._name}: {name} is not a regular file")
        return descriptor, opened.st_size


class FileSource(FolderSource):
    """One file as a repository of its own, as a GGUF model is."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.parent, name=str(path))
        self._names = (path.name,)


def open_source(spec: str | Path) -> Source:
    """The source that a user's words name: a folder, a file, or ``org/name[@revision]`` in the local cache.

    An existing path wins over a cached repository of the same name, as in transformers. Raises
    `SourceError` when there is neither, and says where it looked.

    >>> open_source("no/such-model-here")
    Traceback (most recent call last):
    ...
    padfix.errors.SourceError: no/such-model-here: no such folder, and not in the local Hugging Face cache...
    """
    try:
        if os.path.isdir(spec):  # noqa: PTH112 - Path.is_dir raises where a name is too long, and takes 5 µs more
            return FolderSource(Path(spec), name=str(spec))
        if Path(spec).exists():
            return FileSource(Path(spec))
    except (OSError, ValueError) as error:
        raise SourceError(f"{spec}: cannot be opened: {_reason(error)}") from error
    match = _REPOSITORY.fullmatch(str(spec))
    if match is None or ".." in str(spec):
        raise SourceError(
            f"{spec}: no such folder, and not a repository name like org/name or org/name@revision"
        )
    return cached_repository(match["name"], match["revision"])


def cache_folder() -> Path:
    """The local Hugging Face cache, by the same variables that huggingface_hub reads."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return Path(os.environ[variable]).expanduser()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(os.environ.get("HF_HOME") or cache / "huggingface").expanduser() / "hub"


def cached_repositories(folder: Path | None = None) -> tuple[str, ...]:
    """The names of all models in the local cache, sorted."""
    folder = folder or cache_folder()
    try:
        entries = sorted(entry.name for entry in os.scandir(folder) if entry.name.startswith("models--"))
    except OSError:
        return ()
    return tuple(entry.removeprefix("models--").replace("--", "/", 1) for entry in entries)


def cached_repository(name: str, revision: str | None = None, *, folder: Path | None = None) -> FolderSource:
    """A repository in the local cache, at a branch, a tag or a commit (``main`` unless said)."""
    shown = name if revision is None else f"{name}@{revision}"
    repository = (folder or cache_folder()) / f"models--{name.replace('/', '--')}"
    try:
        known = repository.is_dir()
    except (OSError, ValueError) as error:
        raise SourceError(f"{shown}: cannot be looked up: {_reason(error)}") from error
    if not known:
        raise SourceError(
            f"{shown}: no such folder, and not in the local Hugging Face cache at {repository.parent}; "
            f"download it with `hf download {name}`"
        )
    commit = _commit(repository, revision or "main")
    snapshot = repository / "snapshots" / commit if commit else None
    if snapshot is None or not snapshot.is_dir():
        raise SourceError(
            f"{shown}: the local cache has no snapshot of it; download it with `hf download {name}`"
        )
    # files of a snapshot are links into the repository's own blobs
    return FolderSource(snapshot, name=shown, inside=repository)


def _commit(repository: Path, revision: str) -> str | None:
    """The commit that a branch, a tag or the beginning of a commit names."""
    if ".." in revision.split("/"):
        return None
    try:
        return (repository / "refs" / revision).read_bytes()[:64].decode("ascii").strip() or None
    except (OSError, UnicodeDecodeError, ValueError):
        pass
    try:
        found = [e.name for e in os.scandir(repository / "snapshots") if e.name.startswith(revision)]
    except OSError:
        return None
    return found[0] if len(found) == 1 and len(revision) >= 7 else None


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
