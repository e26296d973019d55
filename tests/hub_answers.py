"""What the local Hub answers about repositories, files, commits and discussions."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

from hub_cards import card_tags
from hub_repositories import DATE, Commit, Discussion, Refused, Repository

LFS_SUFFIXES = (".safetensors", ".parquet", ".bin", ".png", ".npz")


def is_lfs(path: str) -> bool:
    return path.endswith(LFS_SUFFIXES)


def blob_id(path: str, content: bytes) -> str:
    """Return what ETag and oid of a file are: SHA-256 for LFS, Git's blob id for others."""
    if is_lfs(path):
        return hashlib.sha256(content).hexdigest()
    head = b"blob %d\0" % len(content)
    return hashlib.sha1(head + content, usedforsecurity=False).hexdigest()


def entry(path: str, content: bytes) -> dict[str, Any]:
    """Describe a file as the tree does."""
    found: dict[str, Any] = {"type": "file", "path": path, "size": len(content)}
    found["oid"] = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    if is_lfs(path):
        found["lfs"] = {"oid": blob_id(path, content), "size": len(content), "pointerSize": 130}
    else:
        found["oid"] = blob_id(path, content)
    return found


def tree(files: dict[str, bytes], folder: str, recursive: bool) -> list[dict[str, Any]]:
    """List a folder: its files and folders, of all depths or of one."""
    start = f"{folder}/" if folder else ""
    inside = {p[len(start) :]: content for p, content in files.items() if p.startswith(start)}
    if folder and not inside:
        raise Refused(404, "EntryNotFound", f"{folder} does not exist")
    parents = {
        "/".join(parts[:depth])
        for parts in (path.split("/") for path in inside)
        for depth in range(1, len(parts))
    }
    wanted = itertools.chain(
        ((p, None) for p in parents), ((p, content) for p, content in inside.items())
    )
    return [
        entry(start + path, content)
        if content is not None
        else {"type": "directory", "path": start + path, "oid": "0" * 40, "size": 0}
        for path, content in sorted(wanted, key=lambda x: x[0])
        if recursive or "/" not in path
    ]


def info(repository: Repository, commit: Commit) -> dict[str, Any]:
    return {
        "_id": hashlib.sha256(repository.id.encode()).hexdigest()[:24],
        "id": repository.name,
        "modelId": repository.name,
        "author": repository.namespace,
        "sha": commit.oid,
        "lastModified": DATE,
        "createdAt": DATE,
        "private": repository.private,
        "gated": "manual" if repository.gated else False,
        "disabled": False,
        "tags": card_tags(commit.files.get("README.md", b"")),
        "downloads": 0,
        "likes": 0,
        "siblings": [
            {"rfilename": p, "size": len(c), "blobId": blob_id(p, c)}
            for p, c in sorted(commit.files.items())
        ],
    }


def describe(commit: Commit) -> dict[str, Any]:
    return {
        "id": commit.oid,
        "title": commit.title,
        "message": commit.message,
        "date": DATE,
        "authors": [{"user": commit.author}],
    }


def refs(repository: Repository) -> dict[str, Any]:
    found: dict[str, list[dict[str, str]]] = {
        "branches": [], "converts": [], "tags": [], "pullRequests": [],
    }  # fmt: skip
    for ref, oid in repository.refs.items():
        if ref.startswith("refs/pr/"):
            kind, full = "pullRequests", ref
        elif ref.startswith("refs/tags/"):
            kind, full = "tags", ref
        else:
            kind, full = "branches", f"refs/heads/{ref}"
        name = ref.removeprefix("refs/tags/").removeprefix("refs/")
        found[kind].append({"name": name, "ref": full, "targetCommit": oid})
    return found


def summary(repository: Repository, found: Discussion) -> dict[str, Any]:
    return {
        "num": found.num,
        "title": found.title,
        "author": {"name": found.author},
        "createdAt": DATE,
        "status": found.status,
        "isPullRequest": found.is_pull_request,
        "repo": {"name": repository.name, "type": repository.kind.removesuffix("s")},
    }


def discussion(repository: Repository, found: Discussion) -> dict[str, Any]:
    answer = summary(repository, found) | {"events": found.events}
    if found.is_pull_request:
        changes = {"base": f"refs/heads/{found.base}"}
        answer["changes"] = changes | ({"mergeCommitId": found.merged} if found.merged else {})
        open_ = found.status in ("open", "draft")
        answer["filesWithConflicts"] = repository.conflicts(found) if open_ else []
        answer["diff"] = ""
    return answer
