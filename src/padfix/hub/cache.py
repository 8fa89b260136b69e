"""Content of small files by hash: a second audit of an unchanged repository asks for its file list only.

Keys are the hashes that the file list names (git id or sha256) and, for a part of a file, its range.
Such content can never be stale, is shared by every repository that holds the same file (a fine-tune's
tokenizer is its base model's), and needs no clean-up protocol: the folder may be deleted at any time. An
audit of a million repositories fills no disk: it keeps 4 GB at most, and nothing where 2 GB are left free.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_VERSION: Final = "v1"
_MOST: Final = 4 * 2**30  # bytes that one audit adds
_FREE: Final = 2 * 2**30  # bytes that stay free on the disk
_LOCKS: Final = 256
_WORTH: Final = 100_000  # bytes of a file for which others wait


def default_folder() -> Path:
    """``PADFIX_CACHE``, else ``padfix`` in the user's cache folder."""
    if os.environ.get("PADFIX_CACHE"):
        return Path(os.environ["PADFIX_CACHE"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "padfix"


class BlobCache:
    """Files' content, or parts of it, under their hashes; safe for many threads and processes at once.

    Each entry begins with a sha256 of the rest, so a torn or edited one is a miss and not a wrong answer.
    Where the folder cannot be written, nothing is kept and nothing fails.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or default_folder()) / "blobs" / _VERSION
        self._locks = tuple(threading.Lock() for _ in range(_LOCKS))
        self._written = 0

    @contextlib.contextmanager
    def alone(self, digest: str, n_bytes: int) -> Iterator[None]:
        """Let one thread at a time ask for a large content: the others then find it here.

        Thirty fine-tunes audited at once have one tokenizer.json between them, which is downloaded once.
        """
        if n_bytes < _WORTH:
            yield
            return
        with self._locks[int(digest[:8], 16) % _LOCKS]:
            yield

    def get(self, digest: str, part: tuple[int, int] | None) -> bytes | None:
        """The content, or None where it is not here."""
        try:
            raw = self._path(digest, part).read_bytes()
        except OSError:
            return None
        data = raw[32:]
        return data if len(raw) >= 32 and hashlib.sha256(data).digest() == raw[:32] else None

    def put(self, digest: str, part: tuple[int, int] | None, data: bytes) -> None:
        """Keep content; a reader sees all of it or nothing."""
        path = self._path(digest, part)
        if self._written + len(data) > _MOST:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if shutil.disk_usage(path.parent).free < _FREE + len(data):
                return
            descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
        except OSError:
            return
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(hashlib.sha256(data).digest() + data)
            Path(temporary).replace(path)
            self._written += len(data)  # by many threads at once: near enough
        except OSError:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()

    def _path(self, digest: str, part: tuple[int, int] | None) -> Path:
        name = digest if part is None else f"{digest}-{part[0]}-{part[1]}"
        return self.folder / digest[:2] / name
