"""A faithful local hub: a real HTTP server process that speaks what huggingface_hub speaks.

Listing with pages, ``expand`` and ``config``; model info, trees, refs; resolve with ETag, ``X-Repo-Commit``,
ranges and redirects (small files to the same host, LFS files to another one, 127.0.0.2); gated, private,
renamed, deleted and disabled repositories; commits and pull requests; 429 with RateLimit headers; and
injected faults, by rate and seed. Run it as ``python server.py --corpus DIR --synthetic 10000``; it prints
``READY <url>`` and serves until its standard input closes. `running` does that from a test.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import hub_repositories as hr
from hub_api import Api
from hub_wire import FAULTS, Hub, squeezed


class Handler(Api):
    """One connection of a client."""

    def dispatch(self, path: str) -> None:
        if path == "/api/models":
            return self.list_models()
        if path == "/api/whoami-v2":
            if self.user is None:
                return self.error(401, None, "Invalid credentials in Authorization header")
            return self.send(
                200,
                {"type": "user", "name": self.user, "auth": {"accessToken": {"role": "write"}}, "orgs": []},
            )
        if path == "/api/validate-yaml":
            return self.send(200, {"errors": [], "warnings": []})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/safetensors-metadata/.*", path):
            return self.error(404, "EntryNotFound", "not served here")
        if path.startswith("/api/resolve-cache/") and not self.hub.resolve_cache:
            return self.error(404, None, "Not found")
        if match := re.fullmatch(r"/api/resolve-cache/models/([^/]+(?:/[^/]+)?)/([0-9a-f]{40})/(.+)", path):
            return self.resolve(match[1], match[2], unquote(match[3]), cached=True)
        if path.startswith("/api/models/"):
            return self.model_api(path.removeprefix("/api/models/"))
        if match := re.fullmatch(r"/([^/]+(?:/[^/]+)?)/resolve/([^/]+)/(.+)", path):
            return self.resolve(match[1], unquote(match[2]), unquote(match[3]))
        return self.error(404, None, "Not found")

    def control(self, verb: str) -> None:
        hub = self.hub
        if verb == "reset":
            hub.reset()
        elif verb == "set":
            wanted = json.loads(self.body)
            for name in ("faults", "seed", "latency", "slow", "resolve_cache"):
                if name in wanted:
                    setattr(hub, name, wanted[name])
            hub.repos.deleted |= set(wanted.get("delete", ()))
        with hub.lock:
            stats = {
                "kinds": dict(hub.kinds),
                "bytes": hub.bytes,
                "repos": hub.per_repo,
                "cdn_tokens": sorted(hub.cdn_tokens),
            }
        if verb == "pulls":
            stats = {r.id: [{"title": p.title, "description": p.description,
                             "files": {n: b and b.load().decode() for n, b in p.files.items()}} for p in r.pulls]
                     for r in hub.repos.real.values() if r.pulls}  # fmt: skip
        self.send(200, stats)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), (OSError, ValueError)):
            super().handle_error(request, client_address)


def serve(args: argparse.Namespace) -> None:
    """Serve until standard input closes, so that no server outlives the test that started it."""
    repos = list(hr.from_corpus(Path(args.corpus))) if args.corpus else []
    for spec in args.folder:
        repo_id, _, folder = spec.partition("=")
        repos.append(hr.from_folder(repo_id, Path(folder)))
    if args.hostile:
        squeezed()
        repos += hr.hostile()
    faults = dict.fromkeys(FAULTS, args.fault_rate) if args.fault_rate else {}
    hub = Hub(
        hr.Repositories(repos, args.synthetic, args.seed),
        faults=faults,
        seed=args.seed,
        latency=args.latency,
        slow=args.slow,
    )
    handler = type("BoundHandler", (Handler,), {"hub": hub})
    main = Server(("127.0.0.1", args.port), handler)
    hub.cdn_server = cdn = Server(("127.0.0.2", 0), handler)
    hub.url, hub.cdn = (f"http://{s.server_address[0]}:{s.server_address[1]}" for s in (main, cdn))
    for server in (main, cdn):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"READY {hub.url}", flush=True)  # noqa: T201
    sys.stdin.read()


class Running:
    """A hub in another process, as a test sees it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.host = urlsplit(url).netloc

    def ask(self, verb: str, **body: object) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self.host, timeout=30)
        connection.request("POST", f"/_hub/{verb}", json.dumps(body))
        answer = json.loads(connection.getresponse().read())
        connection.close()
        assert isinstance(answer, dict)
        return answer

    def stats(self) -> dict[str, Any]:
        return self.ask("stats")

    def reset(self) -> None:
        self.ask("reset")

    def set(self, **wanted: object) -> None:
        self.ask("set", **wanted)


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[Running]:
    """Start a hub process with these command line arguments; it ends with the block.

    >>> with running("--synthetic", "10") as hub:
    ...     hub.stats()["bytes"]
    0
    """
    command = [sys.executable, str(Path(__file__).resolve()), *arguments]
    env = {**os.environ, "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        line = process.stdout.readline()
        if not line.startswith("READY "):
            raise RuntimeError(f"the local hub did not start: {line!r}")
        try:
            yield Running(line.split()[1])
        finally:
            process.stdin.close()
            process.stdout.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", help="folder of family/name folders")
    parser.add_argument("--folder", action="append", default=[], metavar="ORG/NAME=DIR")
    parser.add_argument("--synthetic", type=int, default=0, help="how many made-up repositories")
    parser.add_argument("--hostile", action="store_true")
    parser.add_argument("--fault-rate", type=float, default=0.0, help="share of requests, per kind of fault")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before every answer")
    parser.add_argument("--slow", type=float, default=1.0, help="seconds of the slow fault")
    parser.add_argument("--port", type=int, default=0)
    serve(parser.parse_args())


if __name__ == "__main__":
    main()
