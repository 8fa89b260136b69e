"""One connection of the local hub's clients: requests in, answers out, faults and traffic counted."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import http.client
import json
import socket
import struct
import threading
import time
import zlib
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import hub_repositories as hr

USERS = {"hf_owner": "owner", "hf_reader": "reader"}  # only the owner sees private and gated repositories
FAULTS = ("429", "500", "reset", "slow", "truncated", "malformed")


class Hub:
    """The state that all connections share."""

    def __init__(
        self, repos: hr.Repositories, *, faults: dict[str, float], seed: int, latency: float, slow: float
    ) -> None:
        self.repos, self.faults, self.seed, self.latency, self.slow = repos, faults, seed, latency, slow
        self.lock = threading.Lock()
        self.url = self.cdn = ""
        self.cdn_server: ThreadingHTTPServer | None = None
        self.resolve_cache = True
        self.reset()

    def reset(self) -> None:
        with self.lock:
            self.tries: Counter[str] = Counter()
            self.kinds: Counter[str] = Counter()
            self.per_repo: dict[str, list[int]] = {}
            self.bytes = 0
            self.cdn_tokens: set[str] = set()
            self.listing: list[hr.Repository] | None = None

    def fault(self, key: str) -> str | None:
        """The fault for this try of this request: the same for the same seed, path and count of tries."""
        with self.lock:
            self.tries[key] += 1
            n = self.tries[key]
        draw = int.from_bytes(hashlib.sha256(f"{self.seed}:{key}:{n}".encode()).digest()[:8], "big") / 2**64
        for kind, rate in self.faults.items():
            if draw < rate:
                with self.lock:
                    self.kinds[f"fault-{kind}"] += 1
                return kind
            draw -= rate
        return None

    def count(self, kind: str, repo: str | None, n_bytes: int) -> None:
        if kind == "other":
            return  # a test's own question
        with self.lock:
            self.kinds[kind] += 1
            self.bytes += n_bytes
            if repo is not None:
                cell = self.per_repo.setdefault(repo, [0, 0, 0])
                cell[0 if kind in ("api", "resolve") else 1] += 1
                cell[2] += n_bytes


@functools.cache
def squeezed() -> bytes:
    """128 MiB of spaces in 130 kB."""
    squeeze = zlib.compressobj(1, zlib.DEFLATED, 31)
    return b"".join([*(squeeze.compress(b" " * 2**20) for _ in range(128)), squeeze.flush()])


class Wire(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    wbufsize = 65536
    disable_nagle_algorithm = True
    hub: Hub

    # what is answered is the business of the class that the server runs; this one only speaks HTTP

    def dispatch(self, path: str) -> None:
        raise NotImplementedError

    def control(self, verb: str) -> None:
        raise NotImplementedError

    def cdn_blob(self, path: str) -> None:
        raise NotImplementedError

    def log_message(self, *args: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            super().handle()

    def finish(self) -> None:
        with contextlib.suppress(ConnectionError, ValueError):
            super().finish()

    def do_GET(self) -> None:
        self.route()

    def do_HEAD(self) -> None:
        self.route()

    def do_POST(self) -> None:
        self.route()

    # -- answering ------------------------------------------------------------------------------

    def route(self) -> None:
        self.kind, self.repo_id, self.malform, self.cut = "other", None, False, False
        length = int(self.headers.get("Content-Length") or 0)
        if (self.headers.get("Transfer-Encoding") or "").lower() == "chunked":
            self.body = self.read_chunked()
        else:
            self.body = self.rfile.read(length) if length else b""
        split = urlsplit(self.path)
        self.query = parse_qs(split.query, keep_blank_values=True)
        path = split.path
        if path.startswith("/_hub/"):
            return self.control(path.removeprefix("/_hub/"))
        if self.hub.latency:
            time.sleep(self.hub.latency)
        self.kind = (
            "cdn" if self.server is self.hub.cdn_server else "api" if path.startswith("/api/") else "resolve"
        )
        if path.startswith("/api/resolve-cache/"):
            self.kind = "cache"
        elif path == "/api/agent-harnesses":
            self.kind = "telemetry"  # huggingface_hub's own, once a day
        fault = (
            self.hub.fault(f"{self.command} {self.path} {self.headers.get('Range')}")
            if self.hub.faults
            else None
        )
        if fault == "429":
            wait = '"api";r=0;t=0' if len(path) % 2 else '"resolvers";r=0;t=0'
            return self.send(
                429,
                {"error": "Too many requests"},
                {"RateLimit": wait, "RateLimit-Policy": '"fixed window";"api";q=500;w=300'},
            )
        if fault == "500":
            return self.send(
                503 if len(path) % 2 else 500,
                b"<html>Internal Server Error</html>",
                {"Content-Type": "text/html"},
            )
        if fault == "reset":
            return self.reset_connection()
        if fault == "slow":
            time.sleep(self.hub.slow)
        self.malform, self.cut = fault == "malformed", fault == "truncated"
        try:
            if self.kind == "cdn":
                return self.cdn_blob(path)
            return self.dispatch(path)
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def send(self, status: int, body: Any = b"", headers: dict[str, str] | None = None) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        shown = {
            "Content-Type": "application/json; charset=utf-8" if not isinstance(body, bytes) else "text/plain"
        }
        shown.update(headers or {})
        shown.setdefault("Content-Length", str(len(raw)))
        if (
            not isinstance(body, bytes)
            and len(raw) > 1024
            and "gzip" in (self.headers.get("Accept-Encoding") or "")
        ):
            raw = gzip.compress(raw, 1)
            shown.update({"Content-Encoding": "gzip", "Content-Length": str(len(raw))})
        if self.malform and status < 300 and self.command != "HEAD":
            raw = b"\x00<garbled>" * (len(raw) // 10) + b"!" * (len(raw) % 10)
        self.begin(status, shown)
        if self.command == "HEAD" or status in (204, 304):
            raw = b""
        elif self.cut and len(raw) > 1:
            raw, self.close_connection = raw[: len(raw) // 2], True
        self.hub.count(self.kind, self.repo_id, len(raw) + self.head_size)
        self.wfile.write(raw)
        self.wfile.flush()

    def begin(self, status: int, headers: dict[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} {http.client.responses.get(status, 'Strange')}", f"Date: {self.date_time_string()}",
                 f"X-Request-Id: req-{time.monotonic_ns():x}", *(f"{k}: {v}" for k, v in headers.items()), "", ""]  # fmt: skip
        raw = "\r\n".join(lines).encode("latin-1", "replace")
        self.head_size = len(raw)
        self.wfile.write(raw)

    def error(self, status: int, code: str | None, message: str) -> None:
        headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        self.send(status, {"error": message}, headers)

    def reset_connection(self) -> None:
        self.hub.count(self.kind, self.repo_id, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def read_chunked(self) -> bytes:
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    # -- who asks for what ----------------------------------------------------------------------

    @property
    def user(self) -> str | None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ").strip()
        return USERS.get(token)

    def find(self, repo_id: str, path: str, marker: str) -> hr.Repository | None:
        """The repository if this caller may see it; else the answer has been sent."""
        self.repo_id = repo_id
        repo = self.hub.repos.get(repo_id)
        if repo is None and (new := self.hub.repos.moved(repo_id)) is not None:
            target = path.replace(f"{marker}{repo_id}", f"{marker}{new}", 1)
            self.send(307, b"Temporary Redirect", {"Location": target})
            return None
        if repo is None or (repo.private and self.user != "owner"):
            if self.user is None:
                self.error(401, "RepoNotFound", "Invalid username or password.")
            else:
                self.error(404, "RepoNotFound", "Repository not found")
            return None
        if repo.disabled:
            self.error(403, None, "Access to this resource is disabled.")
            return None
        return repo
