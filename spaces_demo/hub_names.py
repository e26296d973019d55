"""Which models and data of the Hub this page runs: by id, without a token, and not too large."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from limits import MAX_DOWNLOAD_BYTES, MAX_MODEL_PARAMETERS

MAX_CACHE_BYTES = 4_000_000_000  # of what was downloaded for visitors


def check_names(models: tuple[str, ...], data: tuple[str, ...]) -> None:
    """Refuse what this page does not run; make room for what it does.

    Raises:
        ValueError: saying why.
    """
    for name in models:
        check_model(name)
    for name in data:
        check_data(name)
    trim_cache()


def check_model(name: str) -> None:
    """Refuse a model that is no id of the Hub, or too large for this page.

    Raises:
        ValueError: saying why.
    """
    repo_id, _, revision = name.partition("@")
    _check_id(repo_id, "model")
    info = _ask("model", repo_id, revision or None)
    parameters = info.safetensors.total if info.safetensors else 0
    if parameters > MAX_MODEL_PARAMETERS:
        raise ValueError(
            f"Model {repo_id} has {parameters:,} parameters; this page takes "
            f"{MAX_MODEL_PARAMETERS:,} at most. Run the command at home."
        )
    weights = [x for x in info.siblings or () if x.rfilename.endswith(".safetensors")]
    if not weights:
        raise ValueError(
            f"Model {repo_id} has no safetensors weights. This page reads no pickled ones: take "
            "a revision that has safetensors, such as its pull request by the Hub's converter."
        )
    _check_size(repo_id, weights)


def check_data(text: str) -> None:
    """Refuse data that is no id of the Hub, or too large for this page.

    Raises:
        ValueError: saying why.
    """
    from resque.data import parse_spec

    spec = parse_spec(text)
    _check_id(spec.path, "data set")
    info = _ask("dataset", spec.path, spec.revision)
    _check_size(spec.path, info.siblings or ())


def trim_cache() -> None:
    """Remove downloads, the longest unused first, until they are within this page's limit."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        cache = scan_cache_dir()
    except CacheNotFound:
        return
    kept = cache.size_on_disk
    for repo in sorted(cache.repos, key=lambda x: x.last_accessed):
        if kept <= MAX_CACHE_BYTES:
            return
        hashes = [revision.commit_hash for revision in repo.revisions]
        cache.delete_revisions(*hashes).execute()
        kept -= repo.size_on_disk


def _check_id(repo_id: str, kind: str) -> None:
    from resque.errors import UsageError
    from resque.hub import check_repo_id

    try:
        check_repo_id(repo_id)
        valid = not Path(repo_id).exists()  # no file of this computer, whatever its name
    except UsageError:
        valid = False
    if not valid:
        raise ValueError(
            f"{repo_id!r} is no id of a {kind} on the Hub; expected ORG/NAME, or what is bundled "
            "here."
        )


def _ask(kind: str, repo_id: str, revision: str | None) -> Any:
    from huggingface_hub import HfApi

    from resque.hub import explained, limit_requests

    limit_requests()
    with explained("data set" if kind == "dataset" else kind, repo_id):
        return HfApi(token=False).repo_info(
            repo_id, repo_type=kind, revision=revision, files_metadata=True
        )


def _check_size(repo_id: str, files: Any) -> None:
    size = sum(x.size or 0 for x in files)
    if size > MAX_DOWNLOAD_BYTES:
        raise ValueError(
            f"{repo_id} is a download of {size / 1e6:,.0f} MB; this page takes "
            f"{MAX_DOWNLOAD_BYTES / 1e6:,.0f} MB at most. Run the command at home."
        )
