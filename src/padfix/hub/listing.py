"""Names of repositories from a hub's listing: by author, words, tags, order, page after page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from padfix.hub.client import Client
from padfix.hub.errors import HubError
from padfix.hub.file_list import split_name

PAGE: Final = 1000  # the hub's own bound
_MAX_PAGE: Final = 128 * 2**20  # bytes, unpacked: a thousand configs with chat templates are 10 to 30 MB
SORTS: Final = {
    "downloads": "downloads",
    "likes": "likes",
    "trending": "trendingScore",
    "created": "createdAt",
    "modified": "lastModified",
}
_NEXT: Final = re.compile(r'<([^<>]+)>\s*;[^,]*\brel="?next"?')


@dataclass(frozen=True, slots=True)
class Query:
    """What to list. ``filters`` are tags that must all be there; ``sort`` is a key of `SORTS`."""

    author: str | None = None
    search: str | None = None
    filters: tuple[str, ...] = ()
    sort: str | None = None
    limit: int | None = None
    gated: bool | None = None

    def __bool__(self) -> bool:
        return any((self.author, self.search, self.filters, self.sort, self.limit is not None))


def entries(client: Client, query: Query, expand: tuple[str, ...] = ()) -> Iterator[dict[str, Any]]:
    """The entries of a listing, a thousand per request. Raises `HubError`.

    The next page's address comes from the server; it must be the hub's own, and a new one.
    """
    params: list[tuple[str, str]] = [("limit", str(min(PAGE, query.limit or PAGE)))]
    params += [(key, value) for key, value in (("author", query.author), ("search", query.search)) if value]
    params += [("filter", tag) for tag in query.filters] + [("expand", key) for key in expand]
    if query.sort:
        params += [("sort", SORTS[query.sort]), ("direction", "-1")]
    if query.gated is not None:
        params.append(("gated", str(query.gated).lower()))
    url: str | None = f"{client.endpoint}/api/models?{urlencode(params)}"
    seen: set[str] = set()
    left = query.limit
    while url is not None and (left is None or left > 0):
        seen.add(url)
        answer = client.get(url, what="the listing", limit=_MAX_PAGE, check=_is_list)
        page = json.loads(answer.body)
        for entry in page[:left]:
            if isinstance(entry, dict) and _is_name(entry.get("id")):
                yield entry
        left = None if left is None else left - len(page)
        url = _next_page(client, answer.headers.get("link", ""), seen)


def names(client: Client, query: Query) -> Iterator[str]:
    """The names of a listing; nothing else is asked for, so that a page is small."""
    for entry in entries(client, query, ("gated",)):
        yield entry["id"]


def _next_page(client: Client, link: str, seen: set[str]) -> str | None:
    match = _NEXT.search(link[:8192])
    if match is None:
        return None
    url = match[1]
    if urlsplit(url)[:2] != urlsplit(client.endpoint)[:2]:
        # a mirror may quote the original hub's address; its own serves the same path
        parts = urlsplit(url)
        url = f"{client.endpoint}{parts.path}?{parts.query}"
    if url in seen:
        raise HubError("broken-answer", "the listing: its pages lead back to one already read")
    return url


def _is_list(body: bytes) -> str | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        return f"a page is not JSON ({type(error).__name__})"
    return None if isinstance(value, list) else "a page is not a JSON list"


def _is_name(value: Any) -> bool:
    try:
        return isinstance(value, str) and split_name(value)[1] is None
    except HubError:
        return False
