"""What a request's headers say, and those of a hub's answers: ranges, waits, quotas, origins; none is trusted."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

from padfix.errors import SourceError
from padfix.hub.errors import HubError, Retry

_LINE: Final = 200  # characters of a server's message that are shown


def own_headers(token: str | bool | None) -> dict[str, str]:
    """Who asks, and the token from where huggingface_hub keeps it.

    huggingface_hub's own function for this first asks the hub which coding agents there are, once a day: a
    request that no audit needs.
    """
    from huggingface_hub import constants, get_token

    if token is None and not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        token = get_token()
    elif token is True:
        token = get_token()
        if token is None:
            raise SourceError("no token is stored here; `hf auth login` stores one, and so does HF_TOKEN")
    agent = "; ".join(
        f"{name}/{importlib.metadata.version(package)}"
        for name, package in (("padfix", "padfix"), ("hf_hub", "huggingface_hub"))
    )
    headers = {"user-agent": f"{agent}; python/{platform.python_version()}"}
    if isinstance(token, str) and token:
        headers["authorization"] = f"Bearer {token}"
    return headers


def checked_range(header: str, what: str, start: int, length: int) -> int | None:
    """The total of a Content-Range that answers this request."""
    unit, _, rest = header.partition(" ")
    span, _, total = rest.partition("/")
    first, _, last = span.partition("-")
    if (
        unit != "bytes"
        or not (first.isdigit() and last.isdigit())
        or int(first) != start
        or int(last) >= start + length
    ):
        raise Retry(
            HubError(
                "broken-answer",
                f"{what}: asked for bytes {start}-{start + length - 1}, got {line(header)!r}",
            )
        )
    return int(total) if total.isdigit() and len(total) < 20 else None


def server_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by ``RateLimit: "api";r=0;t=55`` or ``Retry-After`` (seconds or a date)."""
    if exhausted(headers):
        after = headers["ratelimit"].replace(" ", "").partition("t=")[2].partition(";")[0]
        if after.isdigit() and len(after) < 8:
            return float(after) + (0.5 if after != "0" else 0.0)  # the header is rounded down
    value = headers.get("retry-after", "").strip()
    if value.isdigit() and len(value) < 8:
        return float(value)
    if value:
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        except (ValueError, OverflowError, TypeError):
            return None
    return None


def exhausted(headers: Mapping[str, str]) -> bool:
    """True when this answer used the window's last request."""
    return "r=0" in headers.get("ratelimit", "").replace(" ", "").split(";")


def quota(url: str) -> str:
    """The quota that a request counts against: the hub counts API and resolve requests apart.

    Of which kind the addresses are that it redirects small files to is not documented: they wait alone.

    >>> [quota(f"https://hub{path}") for path in ("/api/models", "/a/b/resolve/main/c")]
    ['hub api', 'hub resolve']
    """
    parts = urlsplit(url)
    kind = "resolve"
    if parts.path.startswith("/api/"):
        kind = "resolve-cache" if parts.path.startswith("/api/resolve-cache/") else "api"
    return f"{parts.netloc} {kind}"


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port: what a token may be sent to."""
    parts = urlsplit(url)
    return (
        parts.scheme,
        (parts.hostname or "").lower(),
        parts.port or {"http": 80, "https": 443}.get(parts.scheme),
    )


def line(text: str) -> str:
    """A server's words, printable, in one bounded line."""
    shown = "".join(c if c.isprintable() else " " for c in text[:_LINE])
    return " ".join(shown.split())
