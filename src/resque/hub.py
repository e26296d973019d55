"""What every exchange with the Hub shares: names, time limits, further tries, one commit."""

from __future__ import annotations

import contextlib
import importlib
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from resque.errors import ResqueError, UsageError, explain, is_lost, response_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")
log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0  # to be connected
ANSWER_SECONDS = 30.0  # of silence, in an answer or before it
SILENCE_SECONDS = 60.0  # of silence over several requests
RETRY_AFTER_SECONDS = 60  # the longest wait that the Hub may ask for
SLOWEST_BYTES = 4096  # a second, over ANSWER_SECONDS
TRIES = 3
TRY_SECONDS = 30.0  # after so long, there is no further try
TRANSIENT = (408, 429, 500, 502, 503, 504)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


def check_repo_id(repo_id: str) -> None:
    """Raise UsageError where this cannot be a repository's id."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UsageError(str(error)) from error


def check_name(name: str, what: str = "name") -> None:
    """Raise UsageError where this cannot be a file's name without its suffix."""
    if not NAME.fullmatch(name) or ".." in name:
        raise UsageError(
            f"{what} is {name!r}; expected up to 96 letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit"
        )


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def open_api(token: str | None = None) -> HfApi:
    """Return the Hub's client, with time limits.

    Args:
        token: in place of HF_TOKEN or that of `hf auth login`.
    """
    from huggingface_hub import HfApi

    limit_requests()
    return HfApi(token=token)


def limit_requests() -> None:
    """Give the Hub's clients in this process time limits, unless they have been given some.

    huggingface_hub's own client waits for ever. This replaces it for every library that uses it
    (transformers, datasets), and leaves alone what `set_client_factory` was called with.
    """
    from huggingface_hub.utils import _http

    if getattr(_http, "_GLOBAL_CLIENT_FACTORY", None) is _http.default_client_factory:
        _http.set_client_factory(_limited_client)


def _limited_client() -> Any:
    from huggingface_hub.utils import _http

    client = _http.default_client_factory()
    library = importlib.import_module(type(client).__module__.partition(".")[0])
    client.timeout = library.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
    watch = _Watch(library)
    client.event_hooks["request"].append(watch.before)
    client.event_hooks["response"].append(watch.after)
    return client


class _Watch:
    """Ends what the client itself would go on with: silence, long waits, a trickle."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._since: float | None = None  # of the first request without an answer
        self._last = 0.0  # request

    def before(self, _: Any) -> None:
        now = time.monotonic()
        if self._since is None or now - self._last > 2 * ANSWER_SECONDS:
            self._since = now
        silent, self._last = now - self._since, now
        if silent > SILENCE_SECONDS:
            self._since = None
            raise ResqueError(f"the Hub has not answered for {silent:.0f} s. Try again later")
        if silent > 1:
            log.warning("the Hub has not answered for %.0f s; trying again", silent)

    def after(self, response: Any) -> None:
        self._since = None
        wait = response.headers.get("Retry-After", "")
        if response.status_code in TRANSIENT and wait.isdigit():
            if int(wait) > RETRY_AFTER_SECONDS:
                raise ResqueError(f"the Hub asks to come back in {wait} s (too many requests)")
            log.warning("the Hub asks to wait %s s", wait)
        response.stream = _at_least(response.stream, self._library)


def _at_least(stream: Any, library: Any) -> Any:
    """Return a body's stream that ends with an error where too little comes of it."""

    class Stream(library.SyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Iterator[bytes]:
            began, got = time.monotonic(), 0
            for chunk in stream:
                yield chunk
                got += len(chunk)
                seconds = time.monotonic() - began
                if seconds > ANSWER_SECONDS:
                    if got < SLOWEST_BYTES * seconds:
                        raise ResqueError(f"the Hub sent {got} bytes in {seconds:.0f} s")
                    began, got = time.monotonic(), 0

        def close(self) -> None:
            stream.close()

    return Stream()


@contextlib.contextmanager
def explained(kind: str, name: str) -> Iterator[None]:
    """Turn what the Hub's client raises into a sentence.

    Args:
        kind: "model", "data set" or "repository".
        name: its id.

    Raises:
        ResqueError: in place of any other error.
    """
    try:
        yield
    except ResqueError:
        raise
    except Exception as error:
        raise explain(error, kind, name) from error


def try_again(work: Callable[[], T], lost_is_safe: bool = True) -> T:
    """Do work, and do it again where the Hub or the network failed for the moment.

    Args:
        work: something that may be done twice.
        lost_is_safe: whether it may be done again where its answer was lost, so that nobody
            knows whether it was done.
    """
    began = time.monotonic()
    for number in range(1, TRIES + 1):
        try:
            return work()
        except Exception as error:
            again = _wait_of(error, number, lost_is_safe)
            late = time.monotonic() - began > TRY_SECONDS
            if again is None or number == TRIES or late:
                raise
            log.warning("the Hub failed; trying again in %.0f s (%d of %d)", again, number, TRIES)
            time.sleep(again)
    raise AssertionError


def _wait_of(error: BaseException, number: int, lost_is_safe: bool) -> float | None:
    """Return the seconds to wait before another try, or None where none would help."""
    response = response_of(error)
    if response is not None:
        asked = response.headers.get("Retry-After", "")
        wait = float(asked) if asked.isdigit() else float(number)
        return wait if response.status_code in TRANSIENT else None
    return float(number) if lost_is_safe and is_lost(error) else None


def push(
    repo_id: str,
    files: Mapping[str, bytes | Path],
    *,
    message: str,
    kind: str = "model",
    revision: str | None = None,
    create_pr: bool = False,
    private: bool | None = None,
    token: str | None = None,
) -> str:
    """Write files to a repository in one commit; make the repository where it is missing.

    Args:
        repo_id: its id.
        files: contents, or files here, by their path in the repository.
        message: of the commit.
        kind: "model", "dataset" or "space".
        revision: branch, made where it is missing; None for main.
        create_pr: ask for it in a pull request; the repository must exist.
        private: whether a new repository is private; None for the namespace's habit.
        token: in place of HF_TOKEN or that of `hf auth login`.

    Returns:
        The commit's (or the pull request's) address.

    Raises:
        UsageError: where the id is none.
        ResqueError: where the Hub cannot be reached or refuses; nothing is written then.
    """
    check_repo_id(repo_id)
    if is_offline():
        raise ResqueError(f"HF_HUB_OFFLINE is set: nothing can be written to {repo_id!r}")
    api = open_api(token)
    with explained("repository", repo_id):
        if create_pr:
            return _ask(api, repo_id, files, message, kind, revision)
        try_again(lambda: _make(api, repo_id, kind, private, revision))
        commit = try_again(
            lambda: api.create_commit(
                repo_id,
                _operations(files),
                commit_message=message,
                repo_type=kind,
                revision=revision,
            )
        )
    return str(commit.commit_url)


def _ask(
    api: HfApi,
    repo_id: str,
    files: Mapping[str, bytes | Path],
    message: str,
    kind: str,
    revision: str | None,
) -> str:
    """Open a pull request, never a second one where the first one's answer was lost."""
    try:
        commit = try_again(
            lambda: api.create_commit(
                repo_id,
                _operations(files),
                commit_message=message,
                repo_type=kind,
                revision=revision,
                create_pr=True,
            ),
            lost_is_safe=False,
        )
    except Exception as error:
        if not is_lost(error):
            raise
        raise ResqueError(
            "the connection to the Hub broke off: a pull request may have been opened. Look at "
            f"{api.endpoint}/{repo_id}/discussions before you try again"
        ) from error
    return str(commit.pr_url)


def _make(api: HfApi, repo_id: str, kind: str, private: bool | None, revision: str | None) -> None:
    api.create_repo(repo_id, repo_type=kind, private=private, exist_ok=True)
    if revision and not revision.startswith("refs/"):
        api.create_branch(repo_id, repo_type=kind, branch=revision, exist_ok=True)


def _operations(files: Mapping[str, bytes | Path]) -> list[Any]:
    from huggingface_hub import CommitOperationAdd

    return [CommitOperationAdd(path, content) for path, content in files.items()]
