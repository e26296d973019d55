"""Fingerprints in model repositories: what is published, and how it is found again."""

from __future__ import annotations

import logging
import re
import tempfile
import warnings
from pathlib import Path
from typing import Any

from resque.errors import ResqueError, UsageError
from resque.fingerprint_file import (
    FILE_NAME,
    choose_file,
    file_of,
    files_in,
    read_file,
    write_file,
)
from resque.fingerprint_header import Header
from resque.fingerprints import Fingerprint
from resque.hub import (
    Target,
    check_repo_id,
    explained,
    is_offline,
    limit_requests,
    open_api,
    try_again,
)
from resque.hub import push as push_files
from resque.privacy import for_publication

log = logging.getLogger(__name__)

WEIGHTS = re.compile(r"(?!resque(?:/|\.safetensors$)).*\.(?:safetensors|bin)")
COMMIT = re.compile(r"[0-9a-f]{40}")


def push(
    fingerprint: Fingerprint,
    target: Target,
    *,
    name: str | None,
    message: str,
    min_class_count: int,
    epsilon: float | None,
    delta: float,
) -> str:
    """Publish a fingerprint; see `Fingerprint.push_to_hub`."""
    path_there = file_of(name)
    public = for_publication(
        fingerprint,
        target.repo_id,
        min_class_count=min_class_count,
        epsilon=epsilon,
        delta=delta,
    )
    few = len(fingerprint.class_counts) - len(public.class_counts)
    if few:
        log.warning("not published: %d class(es) of fewer than %d samples", few, min_class_count)
    with tempfile.TemporaryDirectory() as folder:
        path = write_file(Path(folder) / FILE_NAME, public.header, public.sums)
        return push_files(target, {path_there: path}, message)


def pull(
    repo_id: str,
    *,
    name: str | None,
    revision: str | None,
    token: str | None,
    cache_dir: str | Path | None,
    local_files_only: bool,
) -> Fingerprint:
    """Load a published fingerprint; see `Fingerprint.from_pretrained`.

    Warns where the repository's weights are no longer those that it was made of.
    """
    try:
        check_repo_id(repo_id)
    except UsageError:
        text = f"there is no folder {repo_id!r}, and it is no id on the Hub"
        raise ResqueError(text) from None
    limit_requests()
    where: dict[str, Any] = {"revision": revision, "token": token, "cache_dir": cache_dir}
    here = local_files_only or is_offline()
    path = _cached(repo_id, name, where) if here else _download(repo_id, name, where)
    fingerprint = Fingerprint(*read_file(path))
    commit = next((part for part in path.parts[::-1] if COMMIT.fullmatch(part)), None)
    if commit and not here:
        _warn_if_older(repo_id, fingerprint.header, commit, token)
    return fingerprint


def _download(repo_id: str, name: str | None, where: dict[str, Any]) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    def get(file: str) -> Path:
        return Path(try_again(lambda: hf_hub_download(repo_id, file, **where)))

    with explained("model", repo_id):
        try:
            return get(file_of(name))
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            api = open_api(where["token"])
            files = try_again(lambda: api.list_repo_files(repo_id, revision=where["revision"]))
            return get(choose_file(name, files, repo_id))


def _cached(repo_id: str, name: str | None, where: dict[str, Any]) -> Path:
    """Find a fingerprint in the cache, without any request."""
    from huggingface_hub import snapshot_download

    with explained("model", repo_id):
        folder = Path(snapshot_download(repo_id, local_files_only=True, **where))
    return folder / choose_file(name, files_in(folder), repo_id)


def _warn_if_older(repo_id: str, header: Header, commit: str, token: str | None) -> None:
    old = header.model_revision
    if header.model != repo_id or old is None or old == commit:
        return
    try:
        before, now = (_weights(repo_id, revision, token) for revision in (old, commit))
    except Exception as error:  # the fingerprint is here, and can be compared with the model
        log.info("whether the fingerprint is older than the weights is unknown: %s", error)
        return
    if before != now:
        warnings.warn(
            f"the fingerprint is of {repo_id}@{old}, and the weights have changed since; they are "
            f"now those of {repo_id}@{commit}. Take the model at its revision, or a new "
            "fingerprint",
            stacklevel=4,
        )


def _weights(repo_id: str, revision: str, token: str | None) -> dict[str, str]:
    entries = open_api(token).list_repo_tree(repo_id, recursive=True, revision=revision)
    files = ((x.path, getattr(x, "blob_id", "")) for x in entries)
    return {path: blob for path, blob in files if WEIGHTS.fullmatch(path)}
