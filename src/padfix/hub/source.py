"""One hub repository behind the interface of a folder, within a budget of requests and bytes.

Request 1 is the file list: revision, names, sizes, and the hash of every file. What the list already says
is not asked for again: a chat template that it quotes, a ``special_tokens_map.json`` or
``generation_config.json`` that is what `save_pretrained` writes from files read before. Such content is
used only where its git hash is the one in the list, so it is the file's content and no guess. The other
requests are spent on what rules need most (`HubSource.plan`). A file that exists but lies outside the
budget raises `NotRead`, so that a reader can tell "unknown" from "absent".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import quote

from padfix.hub.cache import BlobCache
from padfix.hub.client import Answer, Client, matches
from padfix.hub.complete import Completed, complete
from padfix.hub.errors import HubError
from padfix.hub.predict import as_object, predictions

REQUESTS: Final = 4  # per repository, the file list among them
BYTES: Final = 300_000
HEAD: Final = (
    216 * 1024
)  # of tokenizer.json: its vocabulary begins at 209 kB in DeepSeek V3, at 1.2 MB in Gemma 3
HEADER: Final = 64 * 1024  # of safetensors; 200 to 600 tensors
OPTIONAL: Final = (
    "special_tokens_map.json",
    "generation_config.json",
    "adapter_config.json",
    "added_tokens.json",
)
"""Files without which the rest still tells something, in the order in which they are worth a request."""
MAX_LIST: Final = 8 * 2**20  # bytes of a file list, unpacked
MAX_FILES: Final = 100_000
_WEIGHTS: Final = (".safetensors", ".gguf", ".bin", ".pt", ".h5")
_CONFIG_WHOLE: Final = 100_000  # bytes of tokenizer_config.json that are read as a whole; see `_fetch_tail`
_CONFIG_TAIL: Final = 48 * 1024
_HEX: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_NAME: Final = re.compile(r"(?P<id>[\w.-]{1,96}(?:/[\w.-]{1,96})?)(?:@(?P<revision>[\w./-]{1,200}))?")


class NotRead(HubError):  # noqa: N818 (the state of a file, not a fault)
    """The file is there, and reading it would cost more than the budget."""

    def __init__(self, message: str) -> None:
        super().__init__("over-budget", message)

    def __reduce__(self) -> tuple[type[NotRead], tuple[str]]:  # type: ignore[override]
        return (type(self), (self.detail,))


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of the list. ``digest``: git id, or sha256 for a file in LFS; None where the hub gave none."""

    name: str
    size: int | None
    digest: str | None
    lfs: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """What one model-info request tells of a repository."""

    id: str
    sha: str
    files: Mapping[str, RemoteFile]
    config: Mapping[str, Any] = field(
        default_factory=dict
    )  # the hub's own summary: a hint, no file's content
    received: int = 0  # bytes that it took


def split_name(spec: str) -> tuple[str, str | None]:
    """``org/name[@revision]`` in its parts. Raises `HubError`.

    >>> split_name("org/name@v1.0")
    ('org/name', 'v1.0')
    """
    match = _NAME.fullmatch(spec)
    if match is None or ".." in spec:
        raise HubError(
            "not-found", f"{spec[:200]!r} is not a repository name like org/name or org/name@revision"
        )
    return match["id"], match["revision"]


def fetch_listing(client: Client, spec: str) -> Listing:
    """The file list, revision and special-token hints of a repository, in one request. Raises `HubError`."""
    repo, revision = split_name(spec)
    at = f"/revision/{quote(revision, safe='')}" if revision else ""
    url = f"{client.endpoint}/api/models/{repo}{at}?blobs=true"
    answer = client.get(url, what=spec, limit=MAX_LIST, check=_is_object)
    return replace(parse_listing(json.loads(answer.body), spec), received=answer.received)


def _is_object(body: bytes) -> str | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        return f"the file list is not JSON ({type(error).__name__})"
    return None if isinstance(value, dict) else "the file list is not a JSON object"


def parse_listing(info: Mapping[str, Any], spec: str) -> Listing:
    """A model-info answer, each value checked: it comes from outside."""
    if info.get("disabled") is True:
        raise HubError("disabled", f"{spec}: the hub has disabled this repository")
    sha, name, siblings = info.get("sha"), info.get("id"), info.get("siblings")
    if not isinstance(sha, str) or not _HEX.fullmatch(sha) or not isinstance(siblings, list):
        raise HubError("broken-answer", f"{spec}: the file list has no revision or no files")
    if len(siblings) > MAX_FILES:
        raise HubError("too-large", f"{spec}: {len(siblings):,} files, more than {MAX_FILES:,}")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or "@" in name:
        name = split_name(spec)[0]
    files: dict[str, RemoteFile] = {}
    for entry in siblings:
        file = _remote_file(entry)
        if file is not None:
            files[file.name] = file
    config = info.get("config")
    return Listing(name, sha, files, config if isinstance(config, dict) else {})


def _remote_file(entry: Any) -> RemoteFile | None:
    """One file of the list, or None for what no reader may be given: a name that leaves the repository."""
    if not isinstance(entry, dict) or not isinstance(name := entry.get("rfilename"), str):
        return None
    if (
        not name
        or len(name) > 1000
        or name.startswith("/")
        or ".." in name.split("/")
        or not name.isprintable()
    ):
        return None
    lfs = entry.get("lfs") if isinstance(entry.get("lfs"), dict) else None
    size, digest = entry.get("size"), (lfs or {}).get("sha256") or entry.get("blobId")
    if lfs is not None and "sha256" not in lfs:
        digest = None  # the blob id of an LFS file is that of its pointer
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        size = None
    return RemoteFile(
        name, size, digest if isinstance(digest, str) and _HEX.fullmatch(digest) else None, lfs is not None
    )


class HubSource:
    """The files of one repository at one revision, as `padfix.read.source.Source` wants them.

    ``requests`` (the file list is the first) and ``n_bytes`` bound what it spends; None: no bound. With a
    bound, a large tokenizer.json is handed out as `complete` makes it of its head, and ``completed`` says so.
    """

    def __init__(
        self,
        client: Client,
        spec: str,
        *,
        requests: int | None = REQUESTS,
        n_bytes: int | None = BYTES,
        cache: BlobCache | None = None,
        listing: Listing | None = None,
    ) -> None:
        self.client, self.spec, self._cache = client, spec, cache
        self.listing = listing or fetch_listing(client, spec)
        self._requests = None if requests is None else max(0, requests - 1)
        # headers and redirects of a request are about 1.5 kB
        self._bytes = (
            None if n_bytes is None else max(0, n_bytes - self.listing.received - 1500 * (requests or 8))
        )
        self._known: dict[str, bytes] = {}  # whole files
        self._heads: dict[str, bytes] = {}  # beginnings of files
        self._planned = False
        self.unread: tuple[str, ...] = ()  # of `OPTIONAL`: there, and not read
        self.completed: Completed | None = None  # where only the head of tokenizer.json was read
        self.failure: HubError | None = None  # the first that another try, later, may not meet

    @property
    def name(self) -> str:
        """``org/name@revision``, the revision being the commit that was read."""
        return f"{self.listing.id}@{self.listing.sha}"

    def names(self) -> tuple[str, ...]:
        """Every file's name, sorted, without those that the budget left `unread` and a reader can do without."""
        self.plan()
        return tuple(sorted(self.listing.files.keys() - set(self.unread)))

    def size(self, name: str) -> int:
        """Bytes in a file, by the file list."""
        size = self._file(name).size
        if name == "tokenizer.json":
            self.plan()
        if name in self._known:
            return len(self._known[name])
        if size is None:
            return len(self.read(name, BYTES))
        return size

    def read(self, name: str, limit: int) -> bytes:
        """A whole file of at most ``limit`` bytes."""
        file = self._file(name)
        self.plan()
        if name in self._known:
            return self._known[name]
        if file.size is not None and file.size > limit:
            raise HubError(
                "too-large",
                f"{self.spec}: {name} has {file.size:,} bytes, more than the {limit:,} that are read",
            )
        self._fetch(file, limit)
        return self._known[name]

    def range(self, name: str, start: int, length: int) -> bytes:
        """At most ``length`` bytes from ``start``; fewer where the file ends."""
        file = self._file(name)
        self.plan()
        if name in self._known:
            return self._known[name][start : start + length]
        if self._requests is None and file.size is not None and not name.endswith(_WEIGHTS):
            self._fetch(file, file.size)  # a reader wants most of it, and a whole file can be verified
            return self._known[name][start : start + length]
        head = self._heads.get(name, b"")
        if start + length > len(head) and not (file.size is not None and len(head) == file.size):
            head = self._fetch_head(file, start + length)
        return head[start : start + length]

    # -- what to spend the budget on --------------------------------------------------------------

    def plan(self) -> None:
        """Spend the budget on what rules need most, once, before the first read.

        1. config.json, then tokenizer_config.json: they decide which tokenizer class it is.
        2. What the list's hashes let be known without asking.
        3. The head of tokenizer.json; special_tokens_map.json; generation_config.json; weights' headers.
        """
        if self._planned:
            return
        self._planned = True
        if self._requests is None:
            return
        self._quietly("config.json")
        self._quietly("tokenizer_config.json")
        self._predict()
        self._quietly("tokenizer.json", head=min(HEAD, HEAD if self._bytes is None else self._bytes))
        self._complete()
        self._predict()
        for name in OPTIONAL:
            self._quietly(name)
        self._quietly("model.safetensors.index.json")
        for name in ("model.safetensors", "adapter_model.safetensors"):
            self._quietly(name, head=HEADER)
        self.unread = tuple(n for n in OPTIONAL if n in self.listing.files and n not in self._known)

    def _quietly(self, name: str, head: int | None = None) -> None:
        """Fetch if it is there and the budget allows; a reader that asks again is told why it was not."""
        file = self.listing.files.get(name)
        if file is None or name in self._known or head == 0 or not self._affordable(file, head):
            return
        if head is not None and (file.size is None or file.size > head):
            self._fetch_head(file, head)
        else:
            self._fetch(file, BYTES)

    def _affordable(self, file: RemoteFile, head: int | None) -> bool:
        if self._requests is not None and self._requests < 1:
            return False
        size = min(
            head or 2**62, _CONFIG_TAIL if file.name == "tokenizer_config.json" else 2**62, file.size or 0
        )
        return self._bytes is None or size <= self._bytes

    def _complete(self) -> None:
        """Make a whole tokenizer.json of the head; without one the reader is told that it was not read."""
        head = self._heads.get("tokenizer.json")
        if head is None:
            return
        size = as_object(self._known.get("config.json")).get("vocab_size")
        size = size if isinstance(size, int) and not isinstance(size, bool) else None
        decoder = as_object(self._known.get("tokenizer_config.json")).get("added_tokens_decoder")
        table = decoder.items() if isinstance(decoder, dict) else ()
        more = {
            entry["content"]: int(key)
            for key, entry in table
            if key.isdigit()
            and len(key) < 8
            and isinstance(entry, dict)
            and isinstance(entry.get("content"), str)
        }
        self.completed = complete(head, size, more)
        if self.completed is not None:
            self._known["tokenizer.json"] = self.completed.document

    def _predict(self) -> None:
        """Know a file without asking, where its hash in the list proves it."""
        for name, candidates in predictions(self._known, self.listing.config):
            file = self.listing.files.get(name)
            if file is None or file.digest is None or name in self._known:
                continue
            for data in candidates:
                if len(data) == (file.size if file.size is not None else len(data)) and matches(
                    data, file.digest
                ):
                    self._known[name] = data
                    break

    # -- fetching ---------------------------------------------------------------------------------

    def _file(self, name: str) -> RemoteFile:
        try:
            return self.listing.files[name]
        except KeyError:
            raise HubError("no-file", f"{self.spec}: {name} is not in the repository") from None

    def _spend(self, name: str, n_bytes: int) -> None:
        if self._requests is not None and self._requests < 1:
            raise NotRead(f"{name} was not read: the budget of requests for this repository is spent")
        if self._bytes is not None and n_bytes > self._bytes:
            raise NotRead(
                f"{name} was not read: it needs {n_bytes:,} bytes and {self._bytes:,} of the budget are left"
            )
        if self._requests is not None:
            self._requests -= 1
        if self._bytes is not None:
            self._bytes -= n_bytes

    def _get(self, file: RemoteFile, **how: Any) -> Answer:
        url = f"{self.client.endpoint}/{self.listing.id}/resolve/{self.listing.sha}/{quote(file.name)}"
        try:
            return self.client.get(url, what=f"{self.spec}: {file.name}", **how)
        except HubError as error:
            self.failure = self.failure or error
            raise

    def _fetch(self, file: RemoteFile, limit: int) -> None:
        """A whole file, verified against its hash."""
        size = file.size
        if (
            file.name == "tokenizer_config.json"
            and size is not None
            and self._bytes is not None
            and size
            > (min(self._bytes, _CONFIG_WHOLE) if "tokenizer.json" in self.listing.files else self._bytes)
        ):
            self._known[file.name] = self._fetch_tail(file, size)
            return
        self._spend(file.name, size if size is not None else min(limit, HEADER))
        data = self._cache.get(file.digest, None) if self._cache and file.digest else None
        if data is None:
            bound = size if size is not None else min(limit, self._bytes or limit)
            data = self._get(file, limit=bound, check=_Whole(file)).body
            if self._cache and file.digest:
                self._cache.put(file.digest, None, data)
        self._known[file.name] = data

    def _fetch_head(self, file: RemoteFile, length: int) -> bytes:
        """The beginning of a file. Its hash cannot be checked; its length and range are."""
        wanted = max(length, HEADER if file.name.endswith(".safetensors") else 0)
        if file.size is not None:
            wanted = min(wanted, file.size)
        if wanted == 0:
            return b""
        self._spend(file.name, wanted)
        head = self._cached_range(file, 0, wanted)
        if file.size is not None and len(head) != wanted:
            raise HubError(
                "broken-answer", f"{self.spec}: {file.name}: {len(head):,} bytes where {wanted:,} belong"
            )
        self._heads[file.name] = head
        return head

    def _cached_range(self, file: RemoteFile, start: int, length: int) -> bytes:
        data = self._cache.get(file.digest, (start, length)) if self._cache and file.digest else None
        if data is None:
            what = f"{self.spec}: {file.name}"
            check = _looks_like_json if start == 0 and file.name.endswith(".json") else None
            answer = self._get(file, limit=BYTES, start=start, length=length, check=check)
            if answer.total is not None and file.size is not None and answer.total != file.size:
                raise HubError(
                    "broken-answer", f"{what}: has {answer.total:,} bytes, and {file.size:,} by the file list"
                )
            data = answer.body
            if self._cache and file.digest:
                self._cache.put(file.digest, (start, length), data)
        return data

    def _fetch_tail(self, file: RemoteFile, size: int) -> bytes:
        """The last keys of a large tokenizer_config.json, as JSON of their own.

        Gemma 3's has 1.2 MB of ``added_tokens_decoder``, which tokenizer.json repeats; the special tokens,
        the padding side and the class come after it. Only for files written with an indent of two.
        """
        length = min(size, _CONFIG_TAIL)
        self._spend(file.name, length)
        tail = self._cached_range(file, size - length, length)
        match = re.search(rb'\n  (?=")', tail)
        data = b"{" + tail[match.end() :] if match else b""
        try:
            if not isinstance(json.loads(data), dict):
                raise ValueError
        except (ValueError, RecursionError):
            raise NotRead(f"{file.name} was not read: it has {size:,} bytes") from None
        return data


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
