"""The repositories of the local Hub: commits, branches, pull requests, who may read and write."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

DATE = "2026-01-01T00:00:00.000Z"


class Refused(Exception):
    """An answer that is no success: status, the Hub's error code, and a message."""

    def __init__(self, status: int, code: str = "", message: str = "", commit: str = "") -> None:
        super().__init__(message or code)
        self.status, self.code, self.message = status, code, message or code
        self.commit = commit


@dataclass(frozen=True)
class Account:
    """Whom a token belongs to, and whether it may "read" or "write"."""

    name: str
    role: str = "write"
    organizations: tuple[str, ...] = ()

    def owns(self, namespace: str) -> bool:
        return namespace in (self.name, *self.organizations)


@dataclass(frozen=True)
class Commit:
    """A commit: all files of the repository at that time."""

    oid: str
    parent: str | None
    title: str
    message: str
    author: str
    files: dict[str, bytes]


@dataclass
class Discussion:
    """A discussion, or a pull request: then with its branch `refs/pr/N`."""

    num: int
    title: str
    author: str
    is_pull_request: bool
    description: str = ""
    base: str = "main"
    status: str = "open"
    merged: str | None = None
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ref(self) -> str:
        return f"refs/pr/{self.num}"

    def add_event(self, kind: str, author: str, **data: Any) -> dict[str, Any]:
        event = {
            "id": f"{self.num}-{len(self.events)}",
            "type": kind,
            "createdAt": DATE,
            "author": {"name": author},
            "data": data,
        }
        self.events.append(event)
        return event

    def comment(self, author: str, text: str) -> dict[str, Any]:
        latest = {"raw": text, "html": text, "updatedAt": DATE, "author": {"name": author}}
        data = {"edited": False, "hidden": False, "latest": latest, "history": [latest]}
        return self.add_event("comment", author, **data)


@dataclass
class Repository:
    """A repository, named `models/org/name`.

    Attributes:
        id: kind, namespace and name.
        private: only the namespace's accounts see it.
        gated: its files need a token whose account is in `granted` or of the namespace.
        granted: names of accounts.
        commits: by oid, the oldest first.
        refs: branches, tags (`refs/tags/…`) and pull requests (`refs/pr/…`) to oids.
        discussions: and pull requests, the oldest first.
    """

    id: str
    private: bool = False
    gated: bool = False
    granted: set[str] = field(default_factory=set)
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    discussions: list[Discussion] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._add(None, "initial commit", "", self.namespace, {}, "main")

    @property
    def kind(self) -> str:
        return self.id.split("/")[0]

    @property
    def namespace(self) -> str:
        return self.id.split("/")[1]

    @property
    def name(self) -> str:
        return self.id.split("/", 1)[1]

    def at(self, revision: str = "main") -> Commit:
        """Return the commit of a branch, tag or (the beginning of a) commit id."""
        for name in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if name in self.refs:
                return self.commits[self.refs[name]]
        found = [c for oid, c in self.commits.items() if len(revision) > 6 and oid == revision]
        if not found:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found[0]

    def check_readable(self, account: Account | None, files: bool = False) -> None:
        mine = account is not None and account.owns(self.namespace)
        if self.private and not mine:
            raise Refused(404 if account else 401, "RepoNotFound", "Repository not found")
        if self.gated and files and not mine and (not account or account.name not in self.granted):
            raise Refused(403 if account else 401, "GatedRepo", f"Access to {self.name} is gated")

    def check_writable(self, account: Account | None) -> Account:
        account = writing(account)
        if not account.owns(self.namespace):
            raise Refused(
                403, "", "pass `create_pr=1` as a query parameter to create a Pull Request"
            )
        return account

    def commit(
        self,
        changes: dict[str, bytes | None],
        title: str,
        message: str = "",
        author: str = "someone",
        branch: str = "main",
        parent: str | None = None,
    ) -> Commit:
        """Write files (None deletes) on a branch, all of them or none."""
        before = self.at(branch)
        if parent and parent != before.oid:
            raise Refused(412, "", "A commit has happened since. Please refresh and try again.")
        files = dict(before.files)
        for path, content in changes.items():
            check_path(path)
            if content is not None:
                files[path] = content
            elif files.pop(path, None) is None:
                raise Refused(404, "EntryNotFound", f"{path} does not exist")
        return self._add(before.oid, title, message, author, files, branch)

    def _add(
        self,
        parent: str | None,
        title: str,
        message: str,
        author: str,
        files: dict[str, bytes],
        branch: str,
    ) -> Commit:
        text = json.dumps([self.id, parent, title, message, author, len(self.commits)])
        digest = hashlib.sha1(text.encode(), usedforsecurity=False)
        for path in sorted(files):
            digest.update(path.encode() + b"\0" + files[path])
        commit = Commit(digest.hexdigest(), parent, title, message, author, files)
        self.commits[commit.oid] = commit
        self.refs[branch] = commit.oid
        return commit

    def history(self, revision: str) -> list[Commit]:
        """Return the commits that led to a revision, the newest first."""
        commit: Commit | None = self.at(revision)
        found = []
        while commit is not None:
            found.append(commit)
            commit = self.commits[commit.parent] if commit.parent else None
        return found

    def open_discussion(
        self, title: str, author: str, is_pull_request: bool, description: str = "", base: str = ""
    ) -> Discussion:
        base = base or "main"
        made = Discussion(
            len(self.discussions) + 1, title, author, is_pull_request, description, base
        )
        made.comment(author, description or title)
        if is_pull_request:
            self.refs[made.ref] = self.at(base).oid
        self.discussions.append(made)
        return made

    def conflicts(self, pull: Discussion) -> list[str]:
        """Return the files that a pull request and its branch changed since they parted."""
        own, its_base, theirs = self._parts(pull)
        return sorted(
            path
            for path in {*own, *its_base, *theirs}
            if own.get(path) != its_base.get(path)
            and theirs.get(path) != its_base.get(path)
            and own.get(path) != theirs.get(path)
        )

    def merge(self, pull: Discussion, author: str) -> Commit:
        if not pull.is_pull_request or pull.status != "open":
            raise Refused(400, "", "This is no open pull request")
        if found := self.conflicts(pull):
            raise Refused(409, "", f"There are conflicts in {', '.join(found)}")
        own, its_base, _ = self._parts(pull)
        changed = [p for p in {*own, *its_base} if own.get(p) != its_base.get(p)]
        changes = {p: own.get(p) for p in changed}
        commit = self.commit(changes, f"{pull.title} (#{pull.num})", "", author, pull.base)
        pull.status, pull.merged = "merged", commit.oid
        pull.add_event("status-change", author, status="merged")
        return commit

    def _parts(
        self, pull: Discussion
    ) -> tuple[dict[str, bytes], dict[str, bytes], dict[str, bytes]]:
        """Return the files of a pull request, of the commit both came from, and of its branch."""
        base = {commit.oid for commit in self.history(pull.base)}
        parted = next(c for c in self.history(pull.ref) if c.oid in base)
        return self.at(pull.ref).files, parted.files, self.at(pull.base).files


def writing(account: Account | None) -> Account:
    """Return an account that may write, or refuse."""
    if account is None:
        raise Refused(401, "", "Invalid username or password.")
    if account.role != "write":
        raise Refused(403, "", "This token has no write access")
    return account


def check_path(path: str) -> None:
    if not path or path.startswith("/") or {"", ".", "..", ".git"} & set(path.split("/")):
        raise Refused(400, "", f"{path!r} is no path in a repository")
