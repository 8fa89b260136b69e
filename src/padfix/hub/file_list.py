"""The file list of a hub repository: one request that tells revision, names, sizes and hashes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import quote

from padfix.hub.client import Client
from padfix.hub.errors import HubError

MAX_LIST: Final = 8 * 2**20  # bytes of a file list, unpacked
MAX_FILES: Final = 100_000
_HEX: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_NAME: Final = re.compile(r"(?P<id>[\w.-]{1,96}(?:/[\w.-]{1,96})?)(?:@(?P<revision>[\w./-]{1,200}))?")


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
