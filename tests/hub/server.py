"""A faithful local hub: a real HTTP server process that speaks what huggingface_hub speaks.

Listing with pages, ``expand`` and ``config``; model info, trees, refs; resolve with ETag, ``X-Repo-Commit``,
ranges and redirects (small files to the same host, LFS files to another one, 127.0.0.2); gated, private,
renamed, deleted and disabled repositories; commits and pull requests; 429 with RateLimit headers; and
injected faults, by rate and seed. Run it as ``python server.py --corpus DIR --synthetic 10000``; it prints
``READY <url>`` and serves until its standard input closes. `running` does that from a test.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import functools
import gzip
import hashlib
import http.client
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import hub_repositories as hr

PAGE = 1000
EXPAND = frozenset(
    re.findall(
        r"\S+",
        "author cardData config createdAt disabled downloads downloadsAllTime evalResults gated gguf inference "
        "inferenceProviderMapping lastModified library_name likes mask_token model-index pipeline_tag private "
        "safetensors sha siblings spaces tags transformersInfo trendingScore widgetData usedStorage resourceGroup "
        "xetEnabled baseModels childrenModelCount",
    )
)
USERS = {"hf_owner": "owner", "hf_reader": "reader"}  # only the owner sees private and gated repositories
FAULTS = ("429", "500", "reset", "slow", "truncated", "malformed")
SUBPATHS = ("revision", "tree", "paths-info", "refs", "commits", "preupload", "commit", "discussions")


class Hub:
    """The state that all connections share."""

    def __init__(
        self, repos: hr.Repositories, *, faults: dict[str, float], seed: int, latency: float, slow: float
    ) -> None:
        self.repos, self.faults, self.seed, self.latency, self.slow = repos, faults, seed, latency, slow
        self.lock = threading.Lock()
        self.url = self.cdn = ""
        self.cdn_server: Server | None = None
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


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    wbufsize = 65536
    disable_nagle_algorithm = True
    hub: Hub

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

    # -- routing --------------------------------------------------------------------------------

    @property
    def user(self) -> str | None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ").strip()
        return USERS.get(token)

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
        if match := re.fullmatch(r"/api/resolve-cache/models/([^/]+(?:/[^/]+)?)/([0-9a-f]{40})/(.+)", path):
            return self.resolve(match[1], match[2], unquote(match[3]), cached=True)
        if path.startswith("/api/models/"):
            return self.model_api(path.removeprefix("/api/models/"))
        if match := re.fullmatch(r"/([^/]+(?:/[^/]+)?)/resolve/([^/]+)/(.+)", path):
            return self.resolve(match[1], unquote(match[2]), unquote(match[3]))
        return self.error(404, None, "Not found")

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

    # -- the API --------------------------------------------------------------------------------

    def list_models(self) -> None:
        query = self.query
        if "cursor" in query:
            query = {k: list(v) for k, v in json.loads(base64.urlsafe_b64decode(query["cursor"][0])).items()}
        expand = [*query.get("expand", []), *query.get("expand[]", [])]
        if unknown := [k for k in expand if k not in EXPAND]:
            return self.error(400, None, f"expand: unknown property {unknown[0]}")
        with self.hub.lock:
            if self.hub.listing is None:
                self.hub.listing = list(self.hub.repos)
            found = self.hub.listing
        one = {k: v[0] for k, v in query.items()}
        if "author" in one:
            found = [r for r in found if r.author == one["author"]]
        if "search" in one:
            found = [r for r in found if one["search"].lower() in r.id.lower()]
        for tag in query.get("filter", []):
            found = [r for r in found if tag in r.tags]
        if "gated" in one:
            found = [r for r in found if bool(r.gated) == (one["gated"] == "true")]
        found = [
            r for r in found if (not r.private or self.user == "owner") and r.id not in self.hub.repos.deleted
        ]
        if one.get("sort") in ("downloads", "likes"):
            found = sorted(found, key=lambda r: getattr(r, one["sort"]), reverse=one.get("direction") != "1")
        start, size = int(one.get("_start", 0)), min(int(one.get("limit", PAGE)), PAGE)
        page = found[start : start + size]
        headers = {}
        if start + size < len(found):
            state = {**query, "_start": [str(start + size)]}
            cursor = base64.urlsafe_b64encode(json.dumps(state).encode()).decode()
            headers["Link"] = f'<{self.hub.url}/api/models?cursor={quote(cursor)}>; rel="next"'
        full, config = one.get("full") == "true", one.get("config") == "true"
        return self.send(200, [self.entry(r, expand, full, config) for r in page], headers)

    def entry(self, repo: hr.Repository, expand: list[str], full: bool, config: bool) -> dict[str, Any]:
        every = self.info(repo, repo.sha, repo.files, blobs=False)
        if expand:
            return {k: every[k] for k in ("_id", "id", *expand) if every.get(k) is not None}
        keys = [
            "_id",
            "id",
            "likes",
            "private",
            "downloads",
            "tags",
            "pipeline_tag",
            "library_name",
            "createdAt",
            "modelId",
        ]
        keys += ["author", "sha", "lastModified", "gated", "disabled", "siblings"] if full else []
        keys += ["config"] if config else []
        return {k: every[k] for k in keys if every.get(k) is not None}

    def info(self, repo: hr.Repository, sha: str, files: Any, blobs: bool) -> dict[str, Any]:
        siblings: list[dict[str, Any]] = []
        for name, blob in files.items():
            sibling: dict[str, Any] = {"rfilename": name}
            if blobs:
                sibling.update(blobId=blob.oid, size=blob.size)
                if blob.lfs:
                    sibling["lfs"] = {"sha256": blob.sha256, "size": blob.size, "pointerSize": 130}
            siblings.append(sibling)
        return {
            "_id": hashlib.md5(repo.id.encode(), usedforsecurity=False).hexdigest()[:24], "id": repo.id, "modelId": repo.id,
            "author": repo.author, "sha": sha, "lastModified": "2026-01-02T03:04:05.000Z",
            "createdAt": "2025-01-02T03:04:05.000Z", "private": repo.private, "gated": repo.gated, "disabled": repo.disabled,
            "downloads": repo.downloads, "likes": repo.likes, "tags": list(repo.tags), "pipeline_tag": "text-generation",
            "library_name": "transformers", "config": repo.config(), "siblings": siblings, "spaces": [], "usedStorage": 1,
        }  # fmt: skip

    def model_api(self, path: str) -> None:
        parts = path.split("/")
        n = 1 if len(parts) == 1 or parts[1] in SUBPATHS else 2
        repo_id, action, rest = "/".join(parts[:n]), (parts[n] if len(parts) > n else ""), parts[n + 1 :]
        repo = self.find(repo_id, self.path, "/api/models/")
        if repo is None:
            return None
        if self.misbehave_info(repo):
            return None
        if action == "refs":
            pulls = [
                {"name": f"pr/{p.num}", "ref": f"refs/pr/{p.num}", "targetCommit": repo.sha}
                for p in repo.pulls
            ]
            branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.sha}
            return self.send(200, {"branches": [branch], "converts": [], "tags": [], "pullRequests": pulls})
        if action == "discussions":
            return self.discussions(repo, rest)
        revision = unquote(rest[0]) if rest else "main"
        found = repo.at(revision)
        if found is None:
            return self.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        sha, files = found
        if action in ("", "revision"):
            expand = [*self.query.get("expand", []), *self.query.get("expand[]", [])]
            info = self.info(repo, sha, files, blobs=self.query.get("blobs") == ["true"])
            if expand:
                info = {k: info[k] for k in ("_id", "id", *expand) if info.get(k) is not None}
            return self.send(200, {k: v for k, v in info.items() if v is not None})
        if action == "commits":
            return self.send(
                200,
                [
                    {
                        "id": sha,
                        "title": "commit",
                        "message": "",
                        "authors": [],
                        "date": "2026-01-02T03:04:05.000Z",
                    }
                ],
            )
        if action == "tree":
            return self.tree(files, "/".join(map(unquote, rest[1:])))
        if action == "paths-info":
            asked = (
                parse_qs(self.body.decode()).get("paths", [])
                if not self.body.startswith(b"{")
                else json.loads(self.body)["paths"]
            )
            return self.send(200, [self.node(name, files[name]) for name in asked if name in files])
        if action == "preupload":
            return self.preupload(sha, files)
        if action == "commit":
            return self.commit(repo)
        return self.error(404, None, "Not found")

    def node(self, name: str, blob: hr.Blob) -> dict[str, Any]:
        node: dict[str, Any] = {"type": "file", "oid": blob.oid, "size": blob.size, "path": name}
        if blob.lfs:
            node["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": 130}
        return node

    def tree(self, files: Any, folder: str) -> None:
        prefix = f"{folder}/" if folder else ""
        names = [n for n in files if n.startswith(prefix)]
        if folder and not names:
            return self.error(404, "EntryNotFound", f"{folder} does not exist")
        if self.query.get("recursive", ["false"])[0].lower() not in ("true", "1"):
            folders = sorted(
                {
                    prefix + n.removeprefix(prefix).split("/")[0]
                    for n in names
                    if "/" in n.removeprefix(prefix)
                }
            )
            nodes = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": f} for f in folders]
            names = [n for n in names if "/" not in n.removeprefix(prefix)]
        else:
            nodes = []
        nodes += [self.node(n, files[n]) for n in names]
        start = int(self.query.get("cursor", ["0"])[0])
        headers = {}
        if start + PAGE < len(nodes):
            headers["Link"] = (
                f'<{self.hub.url}{urlsplit(self.path).path}?recursive=true&cursor={start + PAGE}>; rel="next"'
            )
        return self.send(200, nodes[start : start + PAGE], headers)

    def preupload(self, sha: str, files: Any) -> None:
        if self.user is None:
            return self.error(401, "RepoNotFound", "Invalid username or password.")
        answer = [
            {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False,
             "oid": files[f["path"]].oid if f["path"] in files else None}
            for f in json.loads(self.body)["files"]
        ]  # fmt: skip
        return self.send(200, {"files": answer, "commitOid": sha})

    def commit(self, repo: hr.Repository) -> None:
        if self.user is None:
            return self.error(401, "RepoNotFound", "Invalid username or password.")
        header: dict[str, Any] = {}
        changes: dict[str, hr.Blob | None] = {}
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                header = value
            elif item["key"] == "file":
                changes[value["path"]] = hr.blob(value["path"], base64.b64decode(value["content"]))
            elif item["key"] == "deletedFile":
                if value["path"] not in repo.files:
                    return self.error(404, "EntryNotFound", "A file with this name doesn't exist")
                changes[value["path"]] = None
            else:
                return self.error(400, None, f"{item['key']} is not served here")
        if header.get("parentCommit") not in (None, repo.sha):
            return self.error(412, None, "A commit has happened since. Please refresh and try again.")
        repo = self.hub.repos.own(repo)
        oid = hashlib.sha1(self.body, usedforsecurity=False).hexdigest()
        answer = {
            "success": True,
            "commitOid": oid,
            "commitUrl": f"{self.hub.url}/{repo.id}/commit/{oid}",
            "hookOutput": "",
        }
        if self.query.get("create_pr") == ["1"]:
            pull = hr.PullRequest(
                len(repo.pulls) + 1, header["summary"], header.get("description", ""), changes, oid
            )
            repo.pulls.append(pull)
            answer["pullRequestUrl"] = f"{self.hub.url}/{repo.id}/discussions/{pull.num}"
        elif self.user != "owner":
            return self.error(403, None, "You don't have the rights to push here")
        else:
            repo.files = {p: b for p, b in {**repo.files, **changes}.items() if b is not None}
            repo.sha = oid
        return self.send(200, answer)

    def discussions(self, repo: hr.Repository, rest: list[str]) -> None:
        def shown(p: hr.PullRequest) -> dict[str, Any]:
            return {"num": p.num, "title": p.title, "status": "open", "isPullRequest": True, "author": {"name": "reader"},
                    "createdAt": "2026-01-02T03:04:05.000Z", "repo": {"name": repo.id, "type": "model"}}  # fmt: skip

        if rest:
            for pull in repo.pulls:
                if rest[0] == str(pull.num):
                    event = {"id": "e1", "type": "comment", "createdAt": "2026-01-02T03:04:05.000Z", "author": {"name": "reader"},
                             "data": {"edited": False, "hidden": False, "latest": {"raw": pull.description}}}  # fmt: skip
                    changes = {"base": "refs/heads/main", "mergeCommitId": None}
                    return self.send(
                        200,
                        {
                            **shown(pull),
                            "events": [event],
                            "filesWithConflicts": [],
                            "changes": changes,
                            "diff": "",
                        },
                    )
            return self.error(404, None, "Discussion not found")
        found = [shown(p) for p in repo.pulls]
        return self.send(200, {"discussions": found, "count": len(found), "start": 0})

    # -- files ----------------------------------------------------------------------------------

    def resolve(self, repo_id: str, revision: str, name: str, cached: bool = False) -> None:
        repo = self.find(repo_id, self.path, "/api/resolve-cache/models/" if cached else "/")
        if repo is None:
            return None
        found = repo.at(revision)
        if found is None:
            return self.error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        sha, files = found
        if repo.gated and self.user != "owner":
            return self.error(
                401 if self.user is None else 403, "GatedRepo", f"Access to model {repo.id} is restricted."
            )
        commit = {"X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        if name not in files:
            return self.send(
                404,
                {"error": "Entry not found"},
                {**commit, "X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"},
            )
        blob = files[name]
        if self.misbehave_file(repo, blob, commit):
            return None
        if self.headers.get("If-None-Match") == f'"{blob.etag}"':
            return self.send(304, b"", {**commit, "ETag": f'"{blob.etag}"'})
        if blob.lfs:
            target = f"{self.hub.cdn}/blob/{quote(repo.id)}/{quote(revision, safe='')}/{quote(name)}?X-Signature=s3cret"
            linked = {"X-Linked-ETag": f'"{blob.sha256}"', "X-Linked-Size": str(blob.size)}
            return self.send(302, b"Found. Redirecting", {**commit, **linked, "Location": target})
        if self.hub.resolve_cache and not cached:
            query = f"{quote(self.path, safe='')}=&etag=%22{blob.oid}%22"
            target = f"/api/resolve-cache/models/{repo.id}/{sha}/{quote(name)}?{query}"
            linked = {"ETag": f'"{blob.oid}"', "X-Linked-Size": str(blob.size)}
            return self.send(
                307, b"Temporary Redirect. Redirecting", {**commit, **linked, "Location": target}
            )
        return self.send_file(blob, commit)

    def send_file(self, blob: hr.Blob, headers: dict[str, str]) -> None:
        headers = {**headers, "ETag": f'"{blob.etag}"', "Content-Type": "text/plain; charset=utf-8"}
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
        if not match or match[0] == "bytes=-":
            if self.command == "HEAD":
                return self.send(200, b"", {**headers, "Content-Length": str(blob.size)})
            return self.send(200, blob.read(0, blob.size), headers)
        if match[1]:
            start, stop = int(match[1]), min(int(match[2]) + 1 if match[2] else blob.size, blob.size)
        else:
            start, stop = max(0, blob.size - int(match[2])), blob.size
        if start >= blob.size:
            return self.send(416, b"", {**headers, "Content-Range": f"bytes */{blob.size}"})
        return self.send(
            206, blob.read(start, stop), {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{blob.size}"}
        )

    def cdn_blob(self, path: str) -> None:
        if token := self.headers.get("Authorization"):
            with self.hub.lock:
                self.hub.cdn_tokens.add(token)
        match = re.fullmatch(r"/blob/([^/]+/[^/]+|[^/]+)/([^/]+)/(.+)", path)
        repo = self.hub.repos.get(unquote(match[1])) if match else None
        found = repo.at(unquote(match[2])) if repo and match else None
        if not match or repo is None or found is None or unquote(match[3]) not in found[1]:
            return self.send(404, b"NoSuchKey")
        self.repo_id = repo.id
        return self.send_file(found[1][unquote(match[3])], {"Accept-Ranges": "bytes"})

    # -- hostility ------------------------------------------------------------------------------

    def endless(self, headers: dict[str, str], piece: bytes, pause: float = 0.0) -> bool:
        self.begin(200, {**headers, "Transfer-Encoding": "chunked"})
        self.close_connection = True
        sent = 0
        try:
            while sent < 2**31:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
                sent += len(piece)
                time.sleep(pause)
        except OSError:
            pass
        self.hub.count(self.kind, self.repo_id, sent)
        return True

    def bomb(self, headers: dict[str, str]) -> bool:
        self.send(200, squeezed(), {**headers, "Content-Encoding": "gzip"})
        return True

    def misbehave_info(self, repo: hr.Repository) -> bool:
        how = repo.behaviour
        if how == "endless-info":
            return self.endless({"Content-Type": "application/json"}, b'[{"rfilename": "x"}, ' * 1000)
        if how == "gzip-bomb-info":
            return self.bomb({"Content-Type": "application/json"})
        answers: dict[str, bytes] = {"deep-info": b"[" * 100_000, "scalar-info": b'"hello"'}
        if how in answers:
            self.send(200, answers[how], {"Content-Type": "application/json"})
        elif how == "info-loop":
            self.send(307, b"", {"Location": self.path})
        return how in (*answers, "info-loop")

    def misbehave_file(self, repo: hr.Repository, blob: hr.Blob, commit: dict[str, str]) -> bool:
        how, headers = repo.behaviour, {**commit, "ETag": f'"{blob.etag}"'}
        raw = blob.read(0, min(blob.size, 10**6))
        if how == "endless":
            return self.endless(headers, b" " * 65536)
        if how == "slow-drip":
            return self.endless(headers, b" ", pause=0.05)
        if how == "gzip-bomb":
            return self.bomb(headers)
        if how == "redirect-loop":
            self.send(302, b"", {**headers, "Location": self.path})
        elif how == "redirect-elsewhere":
            self.send(
                302, b"", {**headers, "Location": f"{self.hub.cdn}/blob/{repo.id}/main/{quote(blob.path)}"}
            )
        elif how == "redirect-file":
            self.send(302, b"", {**headers, "Location": "file:///etc/passwd"})
        elif how == "lying-short":  # promises more than it sends
            self.close_connection = True
            self.send(200, raw, {**headers, "Content-Length": str(len(raw) + 1000)})
        elif how == "lying-long":  # sends more than it promises
            self.close_connection = True
            self.send(200, raw, {**headers, "Content-Length": str(len(raw) // 2)})
        elif how == "ignores-range":
            self.send(200, raw, headers)
        elif how == "wrong-range":
            self.send(206, raw[10:], {**headers, "Content-Range": f"bytes 10-{len(raw) - 1}/{len(raw)}"})
        elif how == "wrong-content":
            self.send(200, raw.replace(b"token", b"tokem"), headers)
        elif how == "html":
            self.send(200, b"<html>please log in</html>", {"Content-Type": "text/html"})
        elif how == "no-etag":
            self.send(200, raw, {})
        elif how == "header-bomb":
            self.send(200, raw, {**headers, "X-Big": "x" * 2_000_000})
        elif how == "bad-status":
            self.send(299, raw, headers)
        else:
            return False
        return True

    # -- for tests ------------------------------------------------------------------------------

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
