"""Bytes of one repository's files, verified, cached by hash, and within a budget of requests and bytes.

A hub answers ``/org/name/resolve/commit/file`` with a redirect: for a small file to its own
``/api/resolve-cache/models/org/name/commit/file``, for one in LFS to a signed address of its storage. The
first is a documented address that can be written down without asking, so a small file is one request; the
second cannot, so a file in LFS is two. It spares the hub's quota for such redirects and nothing else: who
follows them asks for the same address. A server that has no such address is asked the usual way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlsplit

from padfix.hub.cache import BlobCache
from padfix.hub.client import Answer, Client
from padfix.hub.errors import ALL, TRANSIENT, HubError
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

    A request is one over the wire: `cost` counts the redirect to a hub's storage. What a server of another
    kind redirects on top of that is not counted, and neither is a second try.

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
    _stored: dict[str, str] = field(default_factory=dict, repr=False)  # where the hub's storage has a file
    _usual: bool = False  # ask for small files the usual way
    _had: set[str] = field(default_factory=set, repr=False)  # files of which some part was read

    def cost(self, file: RemoteFile) -> int:
        """How many requests one part of a file, or all of it, takes over the wire, whatever the cache has."""
        return 2 if file.lfs and file.name not in self._had else 1

    def affords(self, file: RemoteFile, n_bytes: int) -> bool:
        """True when so many bytes of a file are within the budget."""
        enough = self.n_bytes is None or n_bytes <= self.n_bytes
        return enough and (self.requests is None or self.requests >= self.cost(file))

    def whole(self, file: RemoteFile, limit: int) -> bytes:
        """A whole file of at most ``limit`` bytes, verified against its length and hash."""
        size = file.size
        self._spend(file, size if size is not None else min(limit, _UNSIZED))
        bound = size if size is not None else min(limit, self.n_bytes or limit)
        return self._cached(file, None, bound, lambda: self._get(file, limit=bound, check=_Whole(file)).body)

    def part(self, file: RemoteFile, start: int, length: int) -> bytes:
        """``length`` bytes from ``start``. Their hash cannot be checked; length and place are."""
        if file.size is not None:
            length = max(0, min(length, file.size - start))
        if length == 0:
            return b""
        self._spend(file, length)
        data = self._cached(file, (start, length), length, lambda: self._ranged(file, start, length))
        if file.size is not None and len(data) != length:
            raise HubError(
                "broken-answer", f"{self.spec}: {file.name}: {len(data):,} bytes where {length:,} belong"
            )
        return data

    def _ranged(self, file: RemoteFile, start: int, length: int) -> bytes:
        check = _looks_like_json if start == 0 and file.name.endswith(".json") else None
        answer = self._get(file, limit=MOST, start=start, length=length, check=check)
        if answer.total is not None and file.size is not None and answer.total != file.size:
            raise HubError(
                "broken-answer",
                f"{self.spec}: {file.name}: has {answer.total:,} bytes, and {file.size:,} by the file list",
            )
        return answer.body

    def _cached(
        self, file: RemoteFile, part: tuple[int, int] | None, n_bytes: int, fetch: Callable[[], bytes]
    ) -> bytes:
        """Content from the cache, else fetched and kept; of several that want the same, one fetches."""
        if self.cache is None or file.digest is None:
            return fetch()
        with self.cache.alone(file.digest, n_bytes):
            data = self.cache.get(file.digest, part)
            if data is None:
                data = fetch()
                self.cache.put(file.digest, part, data)
        return data

    def _spend(self, file: RemoteFile, n_bytes: int) -> None:
        cost = self.cost(file)
        if self.requests is not None and self.requests < cost:
            raise NotRead(f"{file.name} was not read: {self._too_dear(cost)}; {ALL}")
        if self.n_bytes is not None and n_bytes > self.n_bytes:
            raise NotRead(
                f"{file.name} was not read: it needs {n_bytes:,} bytes and {self.n_bytes:,} of the budget are left; {ALL}"
            )
        if self.requests is not None:
            self.requests -= cost
        self._had.add(file.name)
        if self.n_bytes is not None:
            self.n_bytes -= n_bytes

    def _too_dear(self, cost: int) -> str:
        if not self.requests:
            return "the budget of requests for this repository is spent"
        return f"it needs {cost} requests, one of them to the hub's storage, and {self.requests} is left"

    def _get(self, file: RemoteFile, **how: Any) -> Answer:
        what = f"{self.spec}: {file.name}"
        try:
            answer = self._shortly(file, what, how)
            if answer is not None:
                return answer
            url = f"{self.client.endpoint}{self._path(file)}"
            answer = self.client.get(url, what=what, **how)
        except HubError as error:
            self.failure = self.failure or error
            raise
        if file.lfs:
            # some signatures hold for one range only, and say so
            if answer.url != url and "range" not in answer.url.lower():
                self._stored[file.name] = answer.url
        else:
            redirected = urlsplit(answer.url).path == urlsplit(self._direct(file)).path
            self._usual = not redirected  # of a hub that has short addresses, this repository may have none
            if self.client.direct is None:
                self.client.direct = redirected
        return answer

    def _shortly(self, file: RemoteFile, what: str, how: dict[str, Any]) -> Answer | None:
        """The answer without a redirect, or None where it must be asked for the usual way."""
        known = self._stored.pop(file.name, None) if file.lfs else self._direct(file)
        if known is None:
            return None
        if not file.lfs and (self._usual or self.client.direct is False or file.digest is None):
            return None
        proven = not file.lfs and self.client.direct is True
        try:
            answer = self.client.get(known, what=what, tries=None if proven else 1, **how)
        except HubError as error:
            if error.kind in ("gated", "disabled", "too-large") or (proven and error.kind in TRANSIENT):
                raise
            return None
        if file.lfs:
            self._stored[file.name] = known
        else:
            self.client.direct = True
        return answer

    def _path(self, file: RemoteFile) -> str:
        return f"/{self.listing.id}/resolve/{self.listing.sha}/{quote(file.name)}"

    def _direct(self, file: RemoteFile) -> str:
        """Where the hub's own redirect for a small file leads, to the letter, so that its caches have it."""
        path = f"/api/resolve-cache/models/{self.listing.id}/{self.listing.sha}/{quote(file.name)}"
        return f"{self.client.endpoint}{path}?{quote(self._path(file), safe='')}=&etag=%22{file.digest}%22"


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
