"""Copy a checkpoint's folder, with some files replaced; the copy appears whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from padfix.errors import PadfixError, SourceError
from padfix.write.files import JOURNAL

_FICLONE: Final = 0x40049409  # Linux: share the blocks of a file until one of the two is written
_NOT_COPIED: Final = frozenset({".git", ".cache", JOURNAL})


def copy_folder(src: Path, dst: Path, changes: Mapping[str, bytes]) -> Callable[[], None]:
    """Copy ``src`` to ``dst`` with the changed files in place of the old. Returns what removes the copy.

    Weights are cloned where the file system can (no space, no time) and copied where it cannot; they are
    not hard-linked, since a program that later writes into the copy would write into the original.
    Links inside the folder, or into the cache that it belongs to, become files.

    Raises `SourceError` when ``dst`` exists and is not empty, when a link leaves the folder, or when the
    copy cannot be written; nothing is left behind then.
    """
    if os.path.lexists(dst) and not (dst.is_dir() and not any(dst.iterdir())):
        raise SourceError(f"{dst} exists and is not empty; name a new folder")
    if dst.resolve().is_relative_to(src.resolve()):
        raise SourceError(f"{dst} is inside {src}; name a folder beside it")
    draft = dst.resolve().parent / f".{dst.name}.padfix-draft"
    try:
        draft.parent.mkdir(parents=True, exist_ok=True)
        if draft.exists():
            shutil.rmtree(draft)  # of a run that was killed
        draft.mkdir()
        for path, name in _files(src):
            target = draft / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if name not in changes:
                _clone(path, target)
        for name, data in changes.items():
            (draft / name).write_bytes(data)
            if (src / name).exists():
                shutil.copymode(src / name, draft / name)
        draft.replace(dst)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{dst}: cannot be written: {error.strerror or error}") from error
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise

    def remove() -> None:
        for name, data in changes.items():
            if not (dst / name).is_file() or (dst / name).read_bytes() != data:
                raise PadfixError(
                    f"{dst / name} was changed since the fix; remove {dst} yourself if you do not need it"
                )
        shutil.rmtree(dst)

    return remove


def cache_of(folder: Path) -> Path | None:
    """The cached repository that a folder is a snapshot of: its files are links into the blobs beside it."""
    parent = folder.absolute().parent
    return parent.parent if parent.name == "snapshots" and parent.parent.name.startswith("models--") else None


def _files(src: Path) -> Iterator[tuple[Path, str]]:
    """Every file below ``src``: where it really is, and its name."""
    root, shared = src.resolve(), cache_of(src)
    inside = [root] if shared is None else [root, shared.resolve()]
    for folder, folders, names in os.walk(src):
        folders[:] = sorted(name for name in folders if name not in _NOT_COPIED)
        for name in sorted(names) + [f for f in folders if Path(folder, f).is_symlink()]:
            path = Path(folder, name)
            shown = path.relative_to(src).as_posix()
            try:
                real = path.resolve(strict=True)
            except (OSError, RuntimeError) as error:
                raise SourceError(f"{path} is a link that leads nowhere; nothing was copied") from error
            if not any(real.is_relative_to(place) for place in inside):
                raise SourceError(f"{path} is a link that leaves the folder; nothing was copied")
            if not real.is_file():
                raise SourceError(f"{path} is neither a file nor a plain folder; nothing was copied")
            yield real, shown


def _clone(source: Path, target: Path) -> None:
    try:
        import fcntl

        with source.open("rb") as old, target.open("wb") as new:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
    except (ImportError, OSError):  # not Linux, or a file system that cannot share blocks
        shutil.copyfile(source, target)
    shutil.copystat(source, target)
