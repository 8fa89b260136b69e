"""Bytes of one repository's files, verified, cached by hash, and within a budget of requests and bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from padfix.hub.cache import BlobCache
from padfix.hub.client import Answer, Client
from padfix.hub.errors import HubError
from padfix.hub.file_list import Listing, RemoteFile
from padfix.hub.hashes import matches

MOST: Final = 300_000  # bytes of a part of a file
_UNSIZED: Final = 64 * 1024  # what a file is taken to have where the file list does not tell


class NotRead(HubError):  # noqa: N818 (the state of a file, not a fault)
    """The file is there, and reading it would cost more than the budget."""

    def __init__(self, message: str) -> None:
        super().__init__("over-budget", message)

    def __reduce__(self) -> tuple[type[NotRead], tuple[str]]:  # type: ignore[override]
        return (type(self), (self.detail,))


@dataclass
class Fetcher:
    """Files of one commit. ``requests`` and ``n_bytes`` are what is left to spend; None: no bound.

    ``failure`` is the first that another try, later, may not meet: a file that could not be had for now
    must not look like an absent one.
    """

    client: Client
    spec: str
    listing: Listing
    cache: BlobCache | None = None
    requests: int | None = None
    n_bytes: int | None = None
    failure: HubError | None = None

    def affords(self, n_bytes: int) -> bool:
        """True when one more request for so many bytes is within the budget."""
        enough = self.n_bytes is None or n_bytes <= self.n_bytes
        return enough and (self.requests is None or self.requests > 0)

    def whole(self, file: RemoteFile, limit: int) -> bytes:
        """A whole file of at most ``limit`` bytes, verified against its length and hash."""
        size = file.size
        self._spend(file.name, size if size is not None else min(limit, _UNSIZED))
        data = self.cache.get(file.digest, None) if self.cache and file.digest else None
        if data is None:
            bound = size if size is not None else min(limit, self.n_bytes or limit)
            data = self._get(file, limit=bound, check=_Whole(file)).body
            if self.cache and file.digest:
                self.cache.put(file.digest, None, data)
        return data

    def part(self, file: RemoteFile, start: int, length: int) -> bytes:
        """``length`` bytes from ``start``. Their hash cannot be checked; length and place are."""
        if file.size is not None:
            length = max(0, min(length, file.size - start))
        if length == 0:
            return b""
        self._spend(file.name, length)
        data = self.cache.get(file.digest, (start, length)) if self.cache and file.digest else None
        if data is None:
            what = f"{self.spec}: {file.name}"
            check = _looks_like_json if start == 0 and file.name.endswith(".json") else None
            answer = self._get(file, limit=MOST, start=start, length=length, check=check)
            if answer.total is not None and file.size is not None and answer.total != file.size:
                raise HubError(
                    "broken-answer", f"{what}: has {answer.total:,} bytes, and {file.size:,} by the file list"
                )
            data = answer.body
            if self.cache and file.digest:
                self.cache.put(file.digest, (start, length), data)
        if file.size is not None and len(data) != length:
            raise HubError(
                "broken-answer", f"{self.spec}: {file.name}: {len(data):,} bytes where {length:,} belong"
            )
        return data

    def _spend(self, name: str, n_bytes: int) -> None:
        if self.requests is not None and self.requests < 1:
            raise NotRead(f"{name} was not read: the budget of requests for this repository is spent")
        if self.n_bytes is not None and n_bytes > self.n_bytes:
            raise NotRead(
                f"{name} was not read: it needs {n_bytes:,} bytes and {self.n_bytes:,} of the budget are left"
            )
        if self.requests is not None:
            self.requests -= 1
        if self.n_bytes is not None:
            self.n_bytes -= n_bytes

    def _get(self, file: RemoteFile, **how: Any) -> Answer:
        url = f"{self.client.endpoint}/{self.listing.id}/resolve/{self.listing.sha}/{quote(file.name)}"
        try:
            return self.client.get(url, what=f"{self.spec}: {file.name}", **how)
        except HubError as error:
            self.failure = self.failure or error
            raise


class _Whole:
    """The check of a whole file: its length and hash are those of the file list."""

    def __init__(self, file: RemoteFile) -> None:
        self.file = file

    def __call__(self, body: bytes) -> str | None:
        if self.file.size is not None and len(body) != self.file.size:
            return f"{len(body):,} bytes where the file list says {self.file.size:,}"
        if self.file.digest is not None and not matches(body, self.file.digest):
            return f"not the content with hash {self.file.digest[:12]} that the file list names"
        return None


def _looks_like_json(body: bytes) -> str | None:
    """A range cannot be verified by hash; at least it must begin as an object does and be text."""
    if body[:64].lstrip()[:1] != b"{" or b"\0" in body:
        return "not the beginning of a JSON object"
    return None
