"""The local hub's files: resolve with ETag, ranges and redirects, the other host, and ways to misbehave."""

from __future__ import annotations

import re
import time
from urllib.parse import quote, unquote

import hub_repositories as hr
from hub_wire import Wire, squeezed


class Files(Wire):
    """Answers with content."""

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
