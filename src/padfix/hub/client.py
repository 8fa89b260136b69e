"""Small, bounded, patient GET requests to a hub, through huggingface_hub's own session and headers.

Everything an answer says is distrusted: its length is bounded while it streams, gzip is unpacked with a
limit, a range must be the range that was asked for, content is checked against the git or LFS hash that
the file list gave, redirects are counted, and the token goes to the hub's own origin and nowhere else.
What may pass (429, 5xx, resets, time-outs, truncated or garbled bodies) is tried again, with waits that
the server names or that grow with jitter; huggingface_hub itself does not retry these calls.
"""

from __future__ import annotations

import functools
import importlib.metadata
import random
import sys
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from padfix.errors import MissingDependencyError, SourceError
from padfix.hub.errors import HubError, Retry
from padfix.hub.headers import checked_range, exhausted, line, origin, own_headers, quota, server_wait

MAX_HOPS: Final = 5
RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONNECT, _READ = 10.0, 30.0  # seconds: to connect; of silence while reading
_WHOLE = 4  # times the time-out, for one answer: a server that drips cannot hold a thread for ever
_LONGEST_WAIT = 330.0  # seconds; the hub's quota windows are 300 s long


@dataclass(frozen=True, slots=True)
class Answer:
    """One complete, checked answer. ``total`` is the whole file's size where the server told it."""

    body: bytes
    headers: Mapping[str, str]
    url: str
    total: int | None = None
    received: int = 0  # bytes of body over the wire, which gzip makes fewer


@dataclass
class Traffic:
    """What went over the wire: requests as asked, tries of them, redirects followed, body bytes received."""

    requests: int = 0
    tries: int = 0
    hops: int = 0
    bytes: int = 0
    waited: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(
        self, *, requests: int = 0, tries: int = 0, hops: int = 0, n_bytes: int = 0, waited: float = 0.0
    ) -> None:
        """Count; safe from any thread."""
        with self._lock:
            self.requests += requests
            self.tries += tries
            self.hops += hops
            self.bytes += n_bytes
            self.waited += waited


def hub_is_new() -> bool:
    """True when huggingface_hub is 1 or newer, as network audits need."""
    major = importlib.metadata.version("huggingface_hub").split(".")[0]
    return major.isdigit() and int(major) >= 1


def require_hub() -> None:
    """Raise `MissingDependencyError` unless huggingface_hub is new enough to audit over the network."""
    if not hub_is_new():
        found = importlib.metadata.version("huggingface_hub")
        raise MissingDependencyError(
            f"auditing over the network needs huggingface_hub >= 1, and {found} is installed (transformers 4 holds it "
            "below 1); use an environment with transformers 5, or `hf download` the repository and audit the folder"
        )


class Client:
    """GET with bounds, checks, retries and a shared respect for rate limits; one per audit, for all threads.

    ``endpoint`` defaults to ``HF_ENDPOINT``; ``token`` to the usual places (environment, then the file that
    ``hf auth login`` writes), False sends none. ``tries`` bounds the tries of one request; ``pause`` is the
    first wait in seconds, doubled each time up to 30 s, with jitter.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        token: str | bool | None = None,
        *,
        tries: int = 6,
        pause: float = 0.5,
        timeout: float = _READ,
    ) -> None:
        require_hub()
        from huggingface_hub import constants

        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        if urlsplit(self.endpoint).scheme not in ("http", "https") or not urlsplit(self.endpoint).hostname:
            raise SourceError(
                f"{self.endpoint!r} is not the address of a hub; HF_ENDPOINT must be like https://huggingface.co"
            )
        self._headers = own_headers(token)
        self.tries, self.pause, self.timeout = max(1, tries), pause, timeout
        self.traffic = Traffic()
        self.stop = threading.Event()  # set: give up waiting, at once
        self.heard = False  # whether any server answered anything yet
        self.direct: bool | None = None  # whether small files are had without a redirect; see `Fetcher`
        self._gates: dict[str, float] = {}  # per quota: no request before this time
        self._gates_lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Client({self.endpoint!r})"  # and never the token

    @property
    def has_token(self) -> bool:
        """True when requests to the hub carry a token."""
        return self.token is not None

    @property
    def token(self) -> str | None:
        """The token, for a worker on another machine; never for a message."""
        value = next((v for k, v in self._headers.items() if k.lower() == "authorization"), None)
        return None if value is None else value.removeprefix("Bearer ")

    def get(
        self,
        url: str,
        *,
        what: str,
        limit: int,
        start: int | None = None,
        length: int = 0,
        check: Callable[[bytes], str | None] | None = None,
        tries: int | None = None,
    ) -> Answer:
        """One answer of at most ``limit`` bytes, whole and checked; ``what`` names it in messages.

        With ``start``, ``length`` bytes from there (fewer where the file ends). ``check`` looks at the body
        and says what is wrong with it. ``tries``: fewer than the client's. Raises `HubError`.
        """
        self.traffic.add(requests=1)
        last: HubError | None = None
        deadline = time.monotonic() + 3 * _LONGEST_WAIT
        tries = tries or self.tries
        patience, failed = 3 * tries, 0
        while failed < tries and patience > 0:
            self._wait_for_quota(url, what)
            self.traffic.add(tries=1)
            try:
                answer = self._once(url, what, limit, start, length)
                if check is not None and (wrong := check(answer.body)):
                    raise Retry(HubError("broken-answer", f"{what}: {wrong}"))
            except Retry as retry:
                last = retry.error
                patience -= 1
                # being told to wait is no failure; three times the tries end even that
                failed += retry.wait is None
                wait = retry.wait if retry.wait is not None else min(30.0, self.pause * 2 ** (failed - 1))
                if retry.wait is None and failed >= min(tries, retry.tries or tries):
                    break
                if time.monotonic() + wait > deadline:
                    break
                self._sleep(
                    wait * random.uniform(1.0, 1.25) if retry.wait else wait * random.uniform(0.5, 1.0), what
                )
                continue
            return answer
        assert last is not None
        raise HubError(last.kind, f"{last.detail} (after {3 * tries - patience} tries)") from last

    # -- one try ----------------------------------------------------------------------------------

    def _once(self, url: str, what: str, limit: int, start: int | None, length: int) -> Answer:
        transport_error, invalid_url, offline_error = _errors()
        try:
            with _Following(self, url, what, self._range(start, length)) as response:
                return self._body(response, what, limit, start, length)
        except offline_error as error:
            raise HubError(
                "unavailable", f"{what}: HF_HUB_OFFLINE is set; unset it to audit over the network"
            ) from error
        except invalid_url as error:
            raise HubError("broken-answer", f"{what}: an address that is none: {line(str(error))}") from error
        except transport_error as error:
            if type(error).__name__ == "ConnectError" and not self.heard:  # no network, or a wrong address
                reason = (
                    f"{what}: {self.endpoint} cannot be reached: {line(str(error))}; without a network, "
                    "HF_HUB_OFFLINE=1 audits the local cache, and a folder is named by its path"
                )
                raise Retry(HubError("unavailable", reason), tries=2) from error
            # a reset, a time-out, a body cut short: httpx' words hold no secret, but the URL may be signed
            raise Retry(
                HubError("unavailable", f"{what}: {type(error).__name__}: {line(str(error))}")
            ) from error

    def _range(self, start: int | None, length: int) -> dict[str, str]:
        if start is None:
            return {"Accept-Encoding": "gzip"}
        return {"Accept-Encoding": "identity", "Range": f"bytes={start}-{start + length - 1}"}

    def _body(self, response: Any, what: str, limit: int, start: int | None, length: int) -> Answer:
        headers = {str(k).lower(): str(v) for k, v in response.headers.items()}
        total: int | None = None
        keep = limit
        if start is not None:
            if response.status_code == 416:
                return Answer(b"", headers, str(response.url))
            if response.status_code == 206:
                total = checked_range(headers.get("content-range", ""), what, start, length)
                keep = length
            else:  # the whole file, from its beginning: read no further than the range reaches
                keep = start + length
                if keep > limit:
                    raise HubError(
                        "broken-answer", f"{what}: the server ignores ranges; {keep:,} bytes would be needed"
                    )
        elif response.status_code != 200:
            raise HubError("broken-answer", f"{what}: status {response.status_code} where 200 belongs")
        whole = start is None or response.status_code == 206
        body = self._bounded(
            response, headers.get("content-encoding", "identity").lower(), keep, what, whole=whole
        )
        if start is not None and response.status_code == 200:
            body = body[start : start + length]
        if start is not None and total is not None and len(body) != min(length, max(0, total - start)):
            raise Retry(
                HubError("broken-answer", f"{what}: {len(body):,} bytes where the range has {length:,}")
            )
        return Answer(body, headers, str(response.url), total, response.num_bytes_downloaded)

    def _bounded(self, response: Any, encoding: str, keep: int, what: str, *, whole: bool) -> bytes:
        """The body, unpacked, up to ``keep`` bytes; a longer one is an error where it should be ``whole``."""
        if encoding not in ("identity", "", "gzip"):
            raise HubError("broken-answer", f"{what}: content encoding {line(encoding)} was not asked for")
        unpack = zlib.decompressobj(31) if encoding == "gzip" else None
        body = bytearray()
        deadline = time.monotonic() + _WHOLE * self.timeout
        for raw in response.iter_raw():  # as it arrives: with a chunk size httpx would wait for a full one
            self.traffic.add(n_bytes=len(raw))
            try:
                body += unpack.decompress(raw, keep + 1 - len(body)) if unpack else raw
            except zlib.error as error:
                raise Retry(
                    HubError("broken-answer", f"{what}: not gzip as it says: {line(str(error))}")
                ) from error
            if len(body) > keep:
                if whole:
                    raise HubError("too-large", f"{what}: more than {keep:,} bytes")
                return bytes(body[:keep])
            if time.monotonic() > deadline:
                raise HubError("unavailable", f"{what}: no end after {_WHOLE * self.timeout:.0f} s")
            if self.stop.is_set():
                raise HubError("unavailable", f"{what}: interrupted")
        if unpack is not None and not unpack.eof:
            raise Retry(HubError("broken-answer", f"{what}: the gzip body is cut short"))
        return bytes(body)

    # -- waiting ----------------------------------------------------------------------------------

    def _wait_for_quota(self, url: str, what: str) -> None:
        with self._gates_lock:
            wait = self._gates.get(quota(url), 0.0) - time.monotonic()
        if wait > 0:
            self._sleep(wait * random.uniform(1.0, 1.1), what)

    def close_gate(self, url: str, seconds: float) -> None:
        """Let nobody use this URL's quota for so many seconds."""
        with self._gates_lock:
            key = quota(url)
            self._gates[key] = max(self._gates.get(key, 0.0), time.monotonic() + min(seconds, _LONGEST_WAIT))

    def _sleep(self, seconds: float, what: str) -> None:
        self.traffic.add(waited=seconds)
        if self.stop.wait(seconds):
            raise HubError("unavailable", f"{what}: interrupted")

    def headers_for(self, url: str, extra: Mapping[str, str]) -> dict[str, str]:
        """Headers of a request: with the token only to the hub's own origin."""
        own = origin(url) == origin(self.endpoint)
        return {**{k: v for k, v in self._headers.items() if own or k.lower() != "authorization"}, **extra}


class _Following:
    """A streamed response after redirects, closed at the end; status codes become errors or retries."""

    def __init__(self, client: Client, url: str, what: str, extra: Mapping[str, str]) -> None:
        self.client, self.url, self.what, self.extra = client, url, what, extra
        self.response: Any = None

    def __enter__(self) -> Any:
        from huggingface_hub.utils._http import get_session

        timeout = (
            min(_CONNECT, self.client.timeout),
            self.client.timeout,
            self.client.timeout,
            2 * _WHOLE * self.client.timeout,
        )
        url = self.url
        for hop in range(MAX_HOPS + 1):
            session = get_session()
            request = session.build_request(
                "GET", url, headers=self.client.headers_for(url, self.extra), timeout=timeout
            )
            self.response = session.send(request, stream=True, follow_redirects=False)
            self.client.heard = True
            try:
                if self.response.status_code not in (301, 302, 303, 307, 308):
                    self._raise_for_status(url)
                    return self.response
                url = self._next(url, hop)
            except BaseException:
                self.response.close()
                raise
        raise HubError("broken-answer", f"{self.what}: more than {MAX_HOPS} redirects")

    def __exit__(self, *_: object) -> None:
        self.response.close()

    def _next(self, url: str, hop: int) -> str:
        where = str(self.response.headers.get("location", ""))
        try:
            target = urljoin(url, where)
            old, new = urlsplit(url), urlsplit(target)
            origin(target)
        except ValueError as error:
            raise HubError(
                "broken-answer", f"{self.what}: a redirect to no address: {line(str(error))}"
            ) from error
        if (
            not where
            or new.scheme not in ("http", "https")
            or (old.scheme == "https" and new.scheme == "http")
        ):
            raise HubError(
                "broken-answer",
                f"{self.what}: a redirect to {line(new.scheme or 'nowhere')!r} is not followed",
            )
        if hop < MAX_HOPS:
            self._drain()
        self.client.traffic.add(hops=1)
        return target

    def _drain(self) -> None:
        """Read a short rest, so that the connection can serve the next request; close on a long one."""
        length = self.response.headers.get("content-length", "")
        if length.isdigit() and int(length) <= 4096:
            for raw in self.response.iter_raw():
                self.client.traffic.add(n_bytes=len(raw))
        self.response.close()

    def _raise_for_status(self, url: str) -> None:
        status, headers = self.response.status_code, self.response.headers
        wait = server_wait(headers)
        if status < 400 or status == 416:
            if exhausted(headers) and wait is not None:
                self.client.close_gate(url, wait)  # the window's last request has just been used
            return
        what, said = self.what, line(headers.get("x-error-message", ""))
        code = headers.get("x-error-code", "")
        if status == 429:
            if wait is not None and wait > 0:
                self.client.close_gate(url, wait)
            raise Retry(
                HubError("rate-limited", f"{what}: 429 Too Many Requests"),
                min(wait, _LONGEST_WAIT) if wait else None,
            )
        if status in RETRIED:
            retry_after = wait if wait and "retry-after" in headers else None
            raise Retry(
                HubError("unavailable", f"{what}: status {status}"),
                min(retry_after, 60.0) if retry_after else None,
            )
        if code == "GatedRepo":
            need = (
                "accept its conditions on its page"
                if self.client.has_token
                else "log in with `hf auth login`, and accept its conditions"
            )
            raise HubError("gated", f"{what}: {need}")
        if code == "RepoNotFound" or (status == 401 and not code):
            hint = (
                "or private to others"
                if self.client.has_token
                else "or private; `hf auth login` shows private ones"
            )
            raise HubError("not-found", f"{what}: no such repository, {hint}")
        if code == "RevisionNotFound":
            raise HubError("no-revision", f"{what}: no such revision")
        if code == "EntryNotFound" or status == 404:
            raise HubError("no-file", f"{what}: not there (status {status})")
        if "disabled" in said.lower():
            raise HubError("disabled", f"{what}: {said}")
        raise HubError("refused", f"{what}: status {status}{': ' + said if said else ''}")


@functools.cache
def _errors() -> tuple[type[Exception], type[Exception], type[Exception]]:
    """The errors of whichever httpx this huggingface_hub uses: in transport, of an address; and when offline."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    base = next(c for c in HfHubHTTPError.__mro__ if c.__name__ == "HTTPError")
    return base, sys.modules[base.__module__].InvalidURL, OfflineModeIsEnabled
