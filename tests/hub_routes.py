"""The routes of the local Hub: what a request changes and is answered."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

from hub_answers import (
    blob_id,
    describe,
    discussion,
    entry,
    info,
    is_lfs,
    refs,
    summary,
    tree,
)
from hub_cards import card_problems
from hub_repositories import (
    DATE,
    Account,
    Commit,
    Discussion,
    Refused,
    Repository,
    check_path,
    writing,
)

if TYPE_CHECKING:
    from hub_server import Hub

RESOLVE = re.compile(r"/(datasets/|spaces/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")
API = re.compile(r"/api/(models|datasets|spaces)/([^/]+/[^/]+)(?:/(.*))?")
LIST = re.compile(r"/api/(models|datasets|spaces)")
LFS = re.compile(r"/(datasets/|spaces/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch")

Answer = tuple[int, bytes, dict[str, str]]  # status, body, headers


@dataclass
class Request:
    """A request that came whole.

    Attributes:
        hub: the server's state.
        command: "GET", ….
        path: as sent, so that a quoted slash is none.
        query: of the address.
        body: of the request.
        range: the Range header.
        account: whose token it has.
        wrong_etag: whether to answer with another file's ETag.
    """

    hub: Hub
    command: str
    path: str
    query: dict[str, list[str]]
    body: bytes
    range: str
    account: Account | None
    wrong_etag: bool

    def answer(self) -> Answer:
        path = self.path
        if found := RESOLVE.fullmatch(path):
            repository = self._open((found[1] or "models/") + unquote(found[2]), files=True)
            return self._resolve(repository, unquote(found[3]), unquote(found[4]))
        if found := LFS.fullmatch(path):
            writing(self.account)
            return _json(self._lfs())
        if path.startswith("/lfs/"):
            return self._large_file(path.removeprefix("/lfs/"))
        if found := LIST.fullmatch(path):
            return _json(self._list(found[1]))
        if found := API.fullmatch(path):
            repository = self._open(f"{found[1]}/{unquote(found[2])}")
            return self._api(repository, found[3] or "")
        if path == "/api/repos/create":
            return self._create(json.loads(self.body))
        if path == "/api/whoami-v2":
            return _json(self._who())
        if path == "/api/validate-yaml":
            return self._validate(json.loads(self.body))
        raise Refused(404, "", "Not found")

    def _open(self, name: str, files: bool = False) -> Repository:
        if name not in self.hub.repositories:
            raise Refused(404 if self.account else 401, "RepoNotFound", "Repository not found")
        repository = self.hub.repositories[name]
        repository.check_readable(self.account, files)
        return repository

    def _resolve(self, repository: Repository, revision: str, path: str) -> Answer:
        commit = repository.at(revision)
        if path not in commit.files:
            raise Refused(404, "EntryNotFound", "Entry not found", commit.oid)
        content = commit.files[path]
        headers = {"ETag": f'"{blob_id(path, content)}"', "X-Repo-Commit": commit.oid}
        headers["Accept-Ranges"] = "bytes"
        if self.wrong_etag:
            headers["ETag"] = f'"{hashlib.sha256(b"another" + content).hexdigest()}"'
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.range)
        if not found:
            return 200, content, headers
        start, size = int(found[1]), len(content)
        if start >= size:
            return 416, b"", headers | {"Content-Range": f"bytes */{size}"}
        stop = min(int(found[2] or size - 1), size - 1)
        headers["Content-Range"] = f"bytes {start}-{stop}/{size}"
        return 206, content[start : stop + 1], headers

    def _api(self, repository: Repository, rest: str) -> Answer:
        what, _, argument = rest.partition("/")
        revision, _, inside = argument.partition("/")
        revision, inside = unquote(revision), unquote(inside)
        if what == "":
            return _json(info(repository, repository.at()))
        if what == "revision":
            return _json(info(repository, repository.at(revision)))
        if what == "tree":
            recursive = self.query.get("recursive", [""])[0].lower() in ("1", "true")
            return _json(tree(repository.at(revision).files, inside, recursive))
        if what == "paths-info":
            return _json(self._paths(repository.at(revision)))
        if what == "commits":
            return _json([describe(commit) for commit in repository.history(revision)])
        if what == "refs":
            return _json(refs(repository))
        if what == "preupload":
            return _json(self._preupload(repository, revision))
        if what == "commit":
            return _json(self._commit(repository, revision))
        if what == "branch":
            return self._branch(repository, revision)
        if what == "discussions":
            return _json(self._discussions(repository, argument))
        raise Refused(404, "", "Not found")

    def _paths(self, commit: Commit) -> list[dict[str, Any]]:
        wanted = parse_qs(self.body.decode()).get("paths", [])
        found = []
        for path in wanted:
            if path in commit.files:
                found.append(entry(path, commit.files[path]))
            elif any(p.startswith(f"{path}/") for p in commit.files):
                found.append({"type": "directory", "path": path, "oid": "0" * 40, "size": 0})
        return found

    def _preupload(self, repository: Repository, revision: str) -> dict[str, Any]:
        writing(self.account)
        files = repository.at(revision).files
        return {
            "files": [
                {
                    "path": x["path"],
                    "uploadMode": "lfs" if is_lfs(x["path"]) else "regular",
                    "shouldIgnore": False,
                    "oid": blob_id(x["path"], files[x["path"]]) if x["path"] in files else None,
                }
                for x in json.loads(self.body)["files"]
            ]
        }

    def _lfs(self) -> dict[str, Any]:
        objects = []
        for x in json.loads(self.body)["objects"]:
            where = f"{self.hub.address}/lfs/{x['oid']}"
            actions = {"upload": {"href": where}, "verify": {"href": f"{where}/verify"}}
            objects.append(x if x["oid"] in self.hub.blobs else {**x, "actions": actions})
        return {"transfer": "basic", "objects": objects}

    def _large_file(self, rest: str) -> Answer:
        oid, _, verify = rest.partition("/")
        if verify and oid not in self.hub.blobs:
            raise Refused(404, "", "Object not found")
        if not verify and hashlib.sha256(self.body).hexdigest() != oid:
            raise Refused(400, "", "The content is not of this SHA-256")
        if not verify:
            self.hub.blobs[oid] = self.body
        return _json({})

    def _commit(self, repository: Repository, revision: str) -> dict[str, Any]:
        lines = [json.loads(line) for line in self.body.decode().splitlines()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        title = header["summary"]
        branch, pull = revision, None
        if "create_pr" in self.query:
            author = writing(self.account).name
        elif revision.startswith("refs/pr/"):
            pull = _pull(repository, int(revision.rpartition("/")[2]))
            author = writing(self.account).name
            if author != pull.author:
                repository.check_writable(self.account)
        else:
            author = repository.check_writable(self.account).name
        parent = header.get("parentCommit")
        changes = self._changes(lines, repository.at(revision))
        if "create_pr" in self.query:
            if parent and parent != repository.at(revision).oid:
                raise Refused(412, "", "A commit has happened since. Please refresh and try again.")
            for path in changes:
                check_path(path)
            pull = repository.open_discussion(
                title, author, True, header.get("description", ""), revision
            )
            branch, parent = pull.ref, None
        commit = repository.commit(
            changes, title, header.get("description", ""), author, branch, parent
        )
        web = f"{self.hub.address}/{repository.id.removeprefix('models/')}"
        answer = {
            "success": True,
            "commitOid": commit.oid,
            "commitUrl": f"{web}/commit/{commit.oid}",
        }
        if pull:
            pull.add_event("commit", author, subject=title, oid=commit.oid)
            answer["pullRequestUrl"] = f"{web}/discussions/{pull.num}"
        return answer

    def _changes(self, lines: list[dict[str, Any]], before: Commit) -> dict[str, bytes | None]:
        changes: dict[str, bytes | None] = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.blobs:
                    raise Refused(400, "", f"LFS object {value['oid']} was not uploaded")
                changes[value["path"]] = self.hub.blobs[value["oid"]]
            elif line["key"] == "deletedFile":
                changes[value["path"]] = None
            elif line["key"] == "deletedFolder":
                start = value["path"].rstrip("/") + "/"
                changes |= dict.fromkeys(p for p in before.files if p.startswith(start))
        return changes

    def _create(self, wanted: dict[str, Any]) -> Answer:
        account = writing(self.account)
        namespace = wanted.get("organization") or account.name
        kind, name = f"{wanted.get('type', 'model')}s", f"{namespace}/{wanted['name']}"
        id, url = f"{kind}/{name}", {"url": f"{self.hub.address}/{name}"}
        if kind != "models":
            url = {"url": f"{self.hub.address}/{id}"}
        if not account.owns(namespace):
            message = f"You don't have the rights to create a repository under {namespace}"
            raise Refused(403, "", message)
        if id in self.hub.repositories:
            return _json(url | {"error": "You already created this repo"}, 409)
        made = self.hub.repository(id)
        made.private = bool(wanted.get("private") or wanted.get("visibility") == "private")
        return _json(url)

    def _branch(self, repository: Repository, name: str) -> Answer:
        repository.check_writable(self.account)
        start = json.loads(self.body or b"{}").get("startingPoint") or "main"
        if name in repository.refs:
            raise Refused(409, "", "Reference already exists")
        repository.refs[name] = repository.at(start).oid
        return _json({"url": f"{self.hub.address}/{repository.name}/tree/{name}"})

    def _discussions(self, repository: Repository, rest: str) -> dict[str, Any]:
        number, _, action = rest.partition("/")
        if not number and self.command == "GET":
            return self._list_discussions(repository)
        given = (json.loads(self.body) if self.body else None) or {}
        if not number:
            author = writing(self.account).name
            is_pull = bool(given.get("pullRequest"))
            made = repository.open_discussion(
                given["title"], author, is_pull, given.get("description") or ""
            )
            return {"num": made.num}
        found = _pull(repository, int(number))
        if action == "merge":
            account = repository.check_writable(self.account)
            return {"commitId": repository.merge(found, account.name).oid}
        if action == "comment":
            event = found.comment(writing(self.account).name, given["comment"])
            return {"newMessage": event}
        if action == "status":
            found.status = given["status"]
            event = found.add_event(
                "status-change", repository.check_writable(self.account).name, status=found.status
            )
            return {"newStatus": event}
        return discussion(repository, found)

    def _list_discussions(self, repository: Repository) -> dict[str, Any]:
        kind, status = (self.query.get(name, ["all"])[0] for name in ("type", "status"))
        found = [
            summary(repository, x)
            for x in reversed(repository.discussions)
            if kind in ("all", "pull_request" if x.is_pull_request else "discussion")
            and (status == "all" or (status == "open") == (x.status in ("open", "draft")))
        ]
        return {"count": len(found), "start": 0, "discussions": found}

    def _list(self, kind: str) -> list[dict[str, Any]]:
        wanted = {x for name in ("filter", "pipeline_tag") for x in self.query.get(name, [])}
        search = self.query.get("search", [""])[0]
        limit = int(self.query.get("limit", ["1000"])[0])
        found = []
        for repository in self.hub.repositories.values():
            if repository.kind != kind or search not in repository.name:
                continue
            with contextlib.suppress(Refused):
                repository.check_readable(self.account)
                described = info(repository, repository.at())
                if wanted <= set(described["tags"]):
                    found.append(described)
        return found[:limit]

    def _who(self) -> dict[str, Any]:
        if self.account is None:
            raise Refused(401, "", "Invalid username or password.")
        token = {"displayName": "test", "role": self.account.role, "createdAt": DATE}
        return {
            "type": "user",
            "name": self.account.name,
            "fullname": self.account.name,
            "orgs": [{"name": x, "roleInOrg": "admin"} for x in self.account.organizations],
            "auth": {"type": "access_token", "accessToken": token},
        }

    def _validate(self, wanted: dict[str, Any]) -> Answer:
        errors, warnings = card_problems(wanted["content"], wanted.get("repoType", "model"))
        return _json(
            {
                "errors": [{"message": x} for x in errors],
                "warnings": [{"message": x} for x in warnings],
            },
            400 if errors else 200,
        )


def _json(answer: Any, status: int = 200) -> Answer:
    return status, json.dumps(answer).encode(), {"Content-Type": "application/json"}


def _pull(repository: Repository, number: int) -> Discussion:
    if not 1 <= number <= len(repository.discussions):
        raise Refused(404, "", "Discussion not found")
    return repository.discussions[number - 1]
