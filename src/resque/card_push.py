"""Puts what a report tells on the card of a model on the Hub, or of a folder, in one step."""

from __future__ import annotations

import difflib
import functools
import importlib.util
import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resque.card import Content, facts_on, write_card
from resque.card_figure import card_figure
from resque.errors import ResqueError
from resque.files import write_whole
from resque.hub import (
    check_repo_id,
    explained,
    is_offline,
    open_api,
    open_pull_request,
    try_again,
)

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CARD = "README.md"
FIGURE = "resque/shifts.png"
MESSAGE = "Tell what a shift does to this model, and what retraining costs"
MAX_BYTES = 20_000_000


@dataclass(frozen=True)
class Draft:
    """A card with its new content, before it is written anywhere.

    Attributes:
        before: the card as it is.
        after: the card as it is going to be.
        files: contents by path in the repository, the card among them.
        parent: the commit that it is a change of; None for a folder.
    """

    before: str
    after: str
    files: dict[str, bytes]
    parent: str | None = None

    @property
    def diff(self) -> str:
        """The card's change as a unified diff; empty where it is none."""
        old, new = (re.split(r"\r\n|\n", text) for text in (self.before, self.after))
        return "\n".join(difflib.unified_diff(old, new, CARD, CARD, lineterm=""))


def draft(text: str, content: Content, parent: str | None = None) -> Draft:
    """Write a card's text anew, with the figure and the reports that go beside it.

    Raises:
        ResqueError: where the card cannot be edited safely.
    """
    can_draw = importlib.util.find_spec("matplotlib") is not None
    after = write_card(text, content, FIGURE if can_draw else None)
    figure = card_figure(facts_on(after)) if can_draw else None
    files = {CARD: after.encode(), **({FIGURE: figure} if figure else {})}
    for path, report in content.reports.items():
        files[path] = (json.dumps(report, indent=2, allow_nan=False) + "\n").encode()
    return Draft(text, after, files, parent)


def draft_of_file(path: Path, content: Content) -> Draft:
    """Draft the card of a file or folder here; a folder without one gets one.

    Raises:
        ResqueError: where it cannot be read, or edited safely.
    """
    file = path / CARD if path.is_dir() else path
    try:
        text = file.read_bytes().decode() if file.exists() or not path.is_dir() else ""
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8"
        raise ResqueError(f"cannot read the card {file}: {reason}") from error
    return _named(str(file), text, content)


def draft_of_repository(repo_id: str, content: Content, token: str | None = None) -> Draft:
    """Draft the card of a model on the Hub, and write nothing.

    Raises:
        UsageError: where the id is none.
        ResqueError: where it cannot be read, or edited safely.
    """
    check_repo_id(repo_id)
    if is_offline():
        raise ResqueError(
            f"HF_HUB_OFFLINE is set: the card of {repo_id!r} cannot be read. Give it as --card"
        )
    api = open_api(token)
    with explained("repository", repo_id):
        return try_again(lambda: _draft(api, repo_id, content))


def _draft(api: HfApi, repo_id: str, content: Content) -> Draft:
    parent, text = _read(api, repo_id)
    return _named(repo_id, text, content, parent)


def _named(where: str, text: str, content: Content, parent: str | None = None) -> Draft:
    try:
        return draft(text, content, parent)
    except ResqueError as error:
        raise ResqueError(f"the card of {where}: {error}") from error


def _read(api: HfApi, repo_id: str) -> tuple[str, str]:
    """Return the newest commit and its card, empty where there is none."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    commit = str(api.model_info(repo_id).sha)
    url = hf_hub_url(repo_id, CARD, revision=commit, endpoint=api.endpoint)
    with tempfile.TemporaryDirectory() as folder:
        try:
            size = api.get_hf_file_metadata(url=url).size or 0
            if size > MAX_BYTES:
                raise ResqueError(f"its card has {size / 1e6:.0f} MB: it is no card")
            file = api.hf_hub_download(repo_id, CARD, revision=commit, local_dir=folder)
        except EntryNotFoundError:
            return commit, ""
        try:
            return commit, Path(file).read_bytes().decode()
        except UnicodeDecodeError:
            raise ResqueError("its card is no UTF-8") from None


def push_card(
    repo_id: str, content: Content, *, create_pr: bool = False, token: str | None = None
) -> tuple[str, Draft]:
    """Put content on a model's card on the Hub: card, figure and reports in one commit.

    The commit is a change of the card that was read; where somebody else wrote meanwhile, it is
    made anew from the newest card.

    Args:
        repo_id: the model's.
        content: see `resque.card.gather`.
        create_pr: ask for it in a pull request.
        token: in place of HF_TOKEN or that of `hf auth login`.

    Returns:
        The commit's (or the pull request's) address, and what was written.

    Raises:
        UsageError: where the id is none.
        ResqueError: where the card cannot be edited safely, or the Hub cannot be reached or
            refuses; nothing is written then.
    """
    check_repo_id(repo_id)
    if is_offline():
        raise ResqueError(f"HF_HUB_OFFLINE is set: nothing can be written to {repo_id!r}")
    api = open_api(token)

    def change() -> tuple[str, Draft]:
        made = _checked(api, repo_id, content)
        return str(_commit(api, repo_id, made).commit_url), made

    with explained("repository", repo_id):
        if not create_pr:
            return try_again(change)
        made = try_again(lambda: _checked(api, repo_id, content))
        address = f"{api.endpoint}/{repo_id}/discussions"
        asked = functools.partial(_commit, api, repo_id, made, create_pr=True)
        return open_pull_request(asked, address), made


def _checked(api: HfApi, repo_id: str, content: Content) -> Draft:
    made = _draft(api, repo_id, content)
    _validate(api, made.after)
    return made


def _validate(api: HfApi, text: str) -> None:
    """Let the Hub check a card's front matter before it is sent.

    Raises:
        ResqueError: where the Hub finds it wrong.
    """
    from huggingface_hub.utils._http import get_session, hf_raise_for_status

    body = {"repoType": "model", "content": text}
    response = get_session().post(f"{api.endpoint}/api/validate-yaml", json=body)
    if response.status_code != 400:
        hf_raise_for_status(response)
    try:
        errors = response.json().get("errors", [])
    except (ValueError, AttributeError):
        errors = [{"message": response.text}] if response.status_code == 400 else []
    if errors:
        said = "; ".join(str(x.get("message", x)) for x in errors)[:400]
        raise ResqueError(f"the Hub does not take this card: {said}")


def _commit(api: HfApi, repo_id: str, made: Draft, create_pr: bool = False) -> Any:
    from huggingface_hub import CommitOperationAdd

    return api.create_commit(
        repo_id,
        [CommitOperationAdd(path, content) for path, content in made.files.items()],
        commit_message=MESSAGE,
        parent_commit=made.parent,
        create_pr=create_pr,
    )


def _write(content: bytes, file: Path) -> None:
    file.write_bytes(content)


def write_folder(made: Draft, folder: Path) -> Path:
    """Write a draft's files into a folder, each whole or not at all, the card last.

    Raises:
        ResqueError: where one cannot be written.
    """
    for path in sorted(made.files, key=lambda name: name == CARD):
        write_whole(folder / path, functools.partial(_write, made.files[path]))
    return folder / CARD
