"""What every exchange with the Hub shares: names, time limits, further tries, one commit."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from resque.errors import ResqueError, UsageError, explain, first_line, is_lost, response_of

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
STALE_TRIES = 8
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


def check_name(name: str) -> None:
    """Raise UsageError where this cannot be a file's name without its suffix."""
    if not NAME.fullmatch(name) or ".." in name:
        raise UsageError(
            f"name is {name!r}; expected up to 96 letters, digits, '.', '_' or '-', "
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

    _silence.since = None  # what was not answered before is another story
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


def is_silent(error: ResqueError) -> bool:
    """Whether the Hub did not answer, so that there is no use in asking it for something else."""
    return isinstance(error.__cause__, _Ended)


class _Ended(ResqueError):
    """An exchange that was ended here; its text names no repository."""


class _Silence(threading.local):
    """A thread's own: it alone tries again what was not answered."""

    since: float | None = None  # when the first request was sent that is not answered
    last = 0.0  # when the last one was sent


_silence = _Silence()


class _Watch:
    """Ends what the client itself would go on with: silence, long waits, a trickle."""

    def __init__(self, library: Any) -> None:
        self._library = library

    def before(self, request: Any) -> None:
        limits = request.extensions.get("timeout", {})
        for kind, seconds in limits.items():  # huggingface_hub asks for a minute where it retries
            limits[kind] = min(seconds or ANSWER_SECONDS, ANSWER_SECONDS)
        now = time.monotonic()
        if _silence.since is None or now - _silence.last > 2 * ANSWER_SECONDS:
            _silence.since = now
        silent, _silence.last = now - _silence.since, now
        if silent > SILENCE_SECONDS:
            _silence.since = None
            raise _Ended(f"the Hub has not answered for {silent:.0f} s. Try again later")
        if silent > 1:
            log.warning("the Hub has not answered for %.0f s; trying again", silent)

    def after(self, response: Any) -> None:
        _silence.since = None
        wait = response.headers.get("Retry-After", "")
        if response.status_code in TRANSIENT and wait.isdigit():
            if int(wait) > RETRY_AFTER_SECONDS:
                raise _Ended(f"the Hub asks to come back in {wait} s (too many requests)")
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
                        raise _Ended(f"the Hub sent {got} bytes in {seconds:.0f} s")
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
    except Exception as error:
        if isinstance(error, ResqueError) and not isinstance(error, _Ended):
            raise
        raise explain(error, kind, name) from error


def try_again(work: Callable[[], T], lost_is_safe: bool = True) -> T:
    """Do work, and do it again where the Hub or the network failed for the moment.

    Args:
        work: something that may be done twice, and reads anew what it depends on.
        lost_is_safe: whether it may be done again where its answer was lost, so that nobody
            knows whether it was done.
    """
    began = time.monotonic()
    for number in itertools.count(1):
        try:
            return work()
        except ResqueError:
            raise
        except Exception as error:
            wait = _wait_of(error, number, lost_is_safe)
            if wait is None or time.monotonic() - began > TRY_SECONDS:
                raise
            log.warning("the Hub failed (%s); trying again", _reason(error))
            time.sleep(wait)
    raise AssertionError


def _reason(error: BaseException) -> str:
    response = response_of(error)
    if response is not None:
        return f"HTTP {response.status_code}"
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


def _wait_of(error: BaseException, number: int, lost_is_safe: bool) -> float | None:
    """Return the seconds to wait before another try, or None where none would help."""
    response = response_of(error)
    if response is not None and response.status_code == 412:  # others write at the same time
        return random.uniform(0, number) if number < STALE_TRIES else None
    if number == TRIES:
        return None
    if response is not None:
        asked = response.headers.get("Retry-After", "")
        wait = float(asked) if asked.isdigit() else float(number)
        return wait if response.status_code in TRANSIENT else None
    return float(number) if lost_is_safe and is_lost(error) else None


@dataclass(frozen=True)
class Target:
    """Where files go.

    Attributes:
        repo_id: the repository's id.
        kind: "model", "dataset" or "space".
        revision: branch, made where it is missing; None for main.
        create_pr: ask for it in a pull request; the repository must exist.
        private: whether a new repository is private; None for the namespace's habit.
        token: in place of HF_TOKEN or that of `hf auth login`; never shown.
    """

    repo_id: str
    kind: str = "model"
    revision: str | None = None
    create_pr: bool = False
    private: bool | None = None
    token: str | None = field(default=None, repr=False)


def push(
    target: Target,
    files: Mapping[str, bytes | Path],
    message: str,
    once: Mapping[str, bytes] | None = None,
) -> str:
    """Write files to a repository in one commit; make the repository where it is missing.

    Args:
        target: where they go.
        files: contents, or files here, by their path in the repository.
        message: of the commit.
        once: files that are written where they are missing, and else left alone.

    Returns:
        The commit's (or the pull request's) address.

    Raises:
        UsageError: where the id is none.
        ResqueError: where the Hub cannot be reached or refuses; nothing is written then.
    """
    check_repo_id(target.repo_id)
    if is_offline():
        raise ResqueError(f"HF_HUB_OFFLINE is set: nothing can be written to {target.repo_id!r}")
    api = open_api(target.token)

    def commit() -> Any:
        return _commit(api, target, files, message, once or {})

    with explained("repository", target.repo_id):
        if target.create_pr:
            prefix = "" if target.kind == "model" else f"{target.kind}s/"
            address = f"{api.endpoint}/{prefix}{target.repo_id}/discussions"
            return open_pull_request(commit, address)
        try_again(lambda: _make(api, target))
        return str(try_again(commit).commit_url)


def open_pull_request(commit: Callable[[], Any], discussions: str) -> str:
    """Open a pull request, never a second one where the first one's answer was lost.

    Returns its address, or that of the newest commit where that holds the same already.

    Args:
        commit: asks for it, and returns the Hub's answer.
        discussions: address of the repository's.
    """
    try:
        made = try_again(commit, lost_is_safe=False)
    except Exception as error:
        if not is_lost(error):
            raise
        raise ResqueError(
            "the connection to the Hub broke off: a pull request may have been opened. Look at "
            f"{discussions} before you try again"
        ) from error
    return str(made.pr_url or made.commit_url)  # where nothing changes, none is opened


def _commit(
    api: HfApi,
    target: Target,
    files: Mapping[str, bytes | Path],
    message: str,
    once: Mapping[str, bytes],
) -> Any:
    """Commit; where a file must not be there yet, only upon the commit where it is not."""
    from huggingface_hub import CommitOperationAdd

    missing, parent = {}, None
    if once:
        info = api.repo_info(target.repo_id, repo_type=target.kind, revision=target.revision)
        there = {x.rfilename for x in getattr(info, "siblings", None) or ()}
        missing = {path: content for path, content in once.items() if path not in there}
        parent = info.sha if missing else None
    return api.create_commit(
        target.repo_id,
        [CommitOperationAdd(path, content) for path, content in {**files, **missing}.items()],
        commit_message=message,
        repo_type=target.kind,
        revision=target.revision,
        create_pr=target.create_pr,
        parent_commit=parent,
    )


def _make(api: HfApi, target: Target) -> None:
    repo_id, kind, revision = target.repo_id, target.kind, target.revision
    sdk = "gradio" if kind == "space" else None
    api.create_repo(repo_id, repo_type=kind, private=target.private, space_sdk=sdk, exist_ok=True)
    if revision and not revision.startswith("refs/"):
        api.create_branch(repo_id, repo_type=kind, branch=revision, exist_ok=True)
