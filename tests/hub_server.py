"""A small server that speaks the routes of the Hub over real sockets, files in memory."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

RESOLVE = re.compile(r"/(datasets/|spaces/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
API = re.compile(r"/api/(models|datasets|spaces)/([^/]+/[^/]+)(?:/(.*))?")
LFS = re.compile(r"/(?:datasets/|spaces/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch")


@dataclass
class Hub:
    """What the server holds.

    Attributes:
        files: file contents by (kind and id, path).
        gated: ids that need a token which nobody has.
        requests: (method, path) of each request, in order.
        old: earlier commits by repository; they answer with the present files.
        tokens: the tokens that came with them.
    """

    address: str = ""
    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    repos: set[str] = field(default_factory=set)
    gated: set[str] = field(default_factory=set)
    requests: list[tuple[str, str]] = field(default_factory=list)
    old: dict[str, list[str]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)

    def sha(self, repo: str) -> str:
        """Return the repository's commit: a digest of its files."""
        parts = sorted((p, c) for (r, p), c in self.files.items() if r == repo)
        return hashlib.sha1(repr(parts).encode(), usedforsecurity=False).hexdigest()

    def info(self, repo: str) -> dict[str, Any]:
        paths = sorted(path for (r, path) in self.files if r == repo)
        name = repo.split("/", 1)[1]
        return {
            "id": name,
            "modelId": name,
            "sha": self.sha(repo),
            "private": False,
            "gated": False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": [{"rfilename": path} for path in paths],
        }

    def put(self, repo: str, path: str, content: bytes) -> None:
        """Put a file into a repository (`models/org/name`), making it where it is missing."""
        self.repos.add(repo)
        self.files[repo, path] = content


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token:
            self.hub.tokens.add(token)
        body = self._body()
        if found := RESOLVE.fullmatch(path):
            self._resolve((found[1] or "models/") + found[2], found[3], found[4])
        elif found := LFS.fullmatch(path):
            self._lfs(json.loads(body))
        elif path.startswith("/blobs/"):
            self.hub.blobs[path.removeprefix("/blobs/")] = body
            self._send(200, b"")
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/whoami-v2":
            self._json({"name": "someone", "type": "user", "auth": {}, "orgs": []})
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif found := API.fullmatch(path):
            self._api(f"{found[1]}/{found[2]}", found[3] or "", body)
        else:
            self._missing("RepoNotFound", 401)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _resolve(self, repo: str, revision: str, path: str) -> None:
        if repo in self.hub.gated:
            self._missing("GatedRepo", 403)
        elif repo not in self.hub.repos:
            self._missing("RepoNotFound", 401)
        elif not self._known(repo, revision):
            self._missing("RevisionNotFound", 404)
        elif (repo, path) not in self.hub.files:
            self._missing("EntryNotFound", 404, commit=self.hub.sha(repo))
        else:
            content = self.hub.files[repo, path]
            etag = hashlib.sha256(content).hexdigest()
            headers = {"ETag": f'"{etag}"', "X-Repo-Commit": self.hub.sha(repo)}
            found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if not found:
                self._send(200, content, headers)
                return
            start, size = int(found[1]), len(content)
            stop = min(int(found[2] or size - 1), size - 1)
            headers["Content-Range"] = f"bytes {start}-{stop}/{size}"
            self._send(206, content[start : stop + 1], headers)

    def _known(self, repo: str, revision: str) -> bool:
        return revision in ("", "main", self.hub.sha(repo), *self.hub.old.get(repo, ()))

    def _api(self, repo: str, rest: str, body: bytes) -> None:
        if repo in self.hub.gated:
            self._missing("GatedRepo", 403)
        elif repo not in self.hub.repos:
            self._missing("RepoNotFound", 401)
        elif rest.startswith("preupload/"):
            files = json.loads(body)["files"]
            self._json({"files": [self._upload_mode(file["path"]) for file in files]})
        elif rest.startswith("commit/"):
            self._commit(repo, body)
        elif rest.startswith("tree/") or rest.startswith("paths-info/"):
            self._json([self._entry(r, p) for (r, p) in sorted(self.hub.files) if r == repo])
        elif rest == "" or rest.startswith("revision/"):
            if not self._known(repo, rest.removeprefix("revision/")):
                self._missing("RevisionNotFound", 404)
            else:
                self._json(self.hub.info(repo))
        else:
            self._missing("EntryNotFound", 404)

    def _upload_mode(self, path: str) -> dict[str, Any]:
        big = path.endswith((".safetensors", ".parquet"))
        return {"path": path, "uploadMode": "lfs" if big else "regular", "shouldIgnore": False}

    def _entry(self, repo: str, path: str) -> dict[str, Any]:
        content = self.hub.files[repo, path]
        oid = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        return {"type": "file", "path": path, "size": len(content), "oid": oid}

    def _lfs(self, wanted: dict[str, Any]) -> None:
        objects = [
            {
                **item,
                "authenticated": True,
                "actions": {"upload": {"href": f"{self.hub.address}/blobs/{item['oid']}"}},
            }
            for item in wanted["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects})

    def _create(self, wanted: dict[str, Any]) -> None:
        organization = wanted.get("organization")
        name = f"{organization}/{wanted['name']}" if organization else wanted["name"]
        repo = f"{wanted.get('type', 'model')}s/{name}"
        known = repo in self.hub.repos
        self.hub.repos.add(repo)
        self._json({"url": f"{self.hub.address}/{name}"}, 409 if known else 200)

    def _commit(self, repo: str, body: bytes) -> None:
        before = self.hub.sha(repo)
        for line in body.decode().splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                self.hub.files[repo, value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                self.hub.files[repo, value["path"]] = self.hub.blobs[value["oid"]]
            elif item["key"] == "deletedFile":
                del self.hub.files[repo, value["path"]]
        self.hub.old.setdefault(repo, []).append(before)
        oid = self.hub.sha(repo)
        answer = {
            "commitUrl": f"{self.hub.address}/{repo}/commit/{oid}",
            "commitOid": oid,
            "success": True,
        }
        if "create_pr=1" in self.path:
            answer["pullRequestUrl"] = f"{self.hub.address}/{repo}/discussions/1"
        self._json(answer)

    def _missing(self, code: str, status: int, commit: str | None = None) -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": code}
        if commit:
            headers["X-Repo-Commit"] = commit
        self._send(status, b"{}", headers)

    def _json(self, answer: Any, status: int = 200) -> None:
        self._send(status, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def serve() -> Iterator[Hub]:
    """Run the server on a free port of this machine."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
