"""The local hub's API: listings, model info, trees, commits and pull requests."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import hub_repositories as hr
from hub_files import Files

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
SUBPATHS = ("revision", "tree", "paths-info", "refs", "commits", "preupload", "commit", "discussions")


class Api(Files):
    """Answers with JSON about repositories."""

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
