"""Turns what the Hub, datasets and transformers raise into a sentence that says what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any


class ResqueError(ValueError):
    """Something that the user can put right; its text says how."""


class UsageError(ResqueError):
    """An argument or option that is asked for wrongly: exit code 2 at the command line."""


class Stopped(ResqueError):
    """A run that was asked to stop, and saved what it had: exit code 128 + the signal."""

    def __init__(self, signal: int, text: str) -> None:
        super().__init__(text)
        self.signal, self.exit_code = signal, 128 + signal


def near(name: str, known: Iterable[str]) -> list[str]:
    """Return the known names most like this one, five at most, the nearest first.

    >>> near("encoder.layr.1", ["encoder.layer.1", "pooler"])
    ['encoder.layer.1']
    """
    import difflib

    return difflib.get_close_matches(name, list(known), n=5, cutoff=0.5)


def explain(error: BaseException, kind: str, name: str) -> ResqueError:
    """Return the error to raise instead of one from loading or writing a model or data set.

    Args:
        error: what the library raised.
        kind: "model", "data set" or "repository".
        name: its id or folder, as the user gave it.
    """
    chain = list(_chain(error))
    names = {type(e).__name__ for e in chain}
    text = " ".join(str(e) for e in chain)
    where = f"{kind} {name!r}"
    if own := [e for e in chain if isinstance(e, ResqueError)]:
        return ResqueError(f"{where}: {own[0]}")
    if "GatedRepoError" in names or "access a gated repo" in text:
        return ResqueError(f"{where} is gated: ask for access on its page, then {_LOGIN}")
    if names & {"RevisionNotFoundError"} or "is not a valid git identifier" in text:
        return ResqueError(f"{where} has no such revision; look at its branches, tags and commits")
    if "RepositoryNotFoundError" in names or "is not a valid model identifier" in text:
        return ResqueError(
            f"{where} is neither a folder here nor on the Hub. If it is private, {_LOGIN}"
        )
    if "trust_remote_code" in text:
        return ResqueError(
            f"{where} runs code of its own. Read that code; if you trust it, add "
            "--trust-remote-code (trust_remote_code=True) and pin a revision with @REVISION"
        )
    if "UnicodeEncodeError" in names:
        return ResqueError(f"{where}: the token has characters that no token has; {_LOGIN}")
    if (refused := _explain_status(chain, where)) is not None:
        return refused
    if names & _UNREACHED:
        return ResqueError(
            f"{where} is not a folder here, not in the cache, and the Hub cannot be reached "
            "(is HF_HUB_OFFLINE set?)"
        )
    if is_lost(error):
        return ResqueError(
            f"{where}: the connection to the Hub broke off before its answer was here "
            f"({first_line(chain[0])}). Try again"
        )
    if "LocalTokenNotFoundError" in names:
        return ResqueError(f"{where}: the Hub refuses ({first_line(chain[0])}); {_LOGIN}")
    # datasets hides the reason under an error that says nothing.
    told = next((e for e in chain if type(e).__name__ != "DatasetGenerationError"), error)
    return ResqueError(f"{where} cannot be loaded or written: {first_line(told)}")


def _explain_status(chain: list[BaseException], where: str) -> ResqueError | None:
    """Return the error for an answer of the Hub that refuses, if there is one."""
    response = response_of(chain[0])
    status = response.status_code if response is not None else 200
    said = first_line(chain[0])
    if status == 403 and "create_pr=1" in response.headers.get("X-Error-Message", ""):
        return ResqueError(
            f"{where} is not yours to write to. Ask its owner with a pull request: --create-pr "
            "(create_pr=True)"
        )
    if status in (401, 403):
        return ResqueError(f"{where}: the Hub refuses ({said}); {_LOGIN}")
    if status == 412:
        return ResqueError(f"{where}: somebody else wrote to it at the same time. Try again")
    if status == 429:
        return ResqueError(f"{where}: too many requests for the Hub. Try again later")
    if status >= 500:
        return ResqueError(f"{where}: the Hub fails (HTTP {status}). Try again later")
    return None


_LOGIN = "log in with `hf auth login` or set HF_TOKEN"
_UNREACHED = {
    "OfflineModeIsEnabled",
    "LocalEntryNotFoundError",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionError",
}
_LOST = {"NetworkError", "RemoteProtocolError", "TimeoutException"}


def response_of(error: BaseException) -> Any:
    """Return the Hub's answer that an error comes from, or None."""
    found = (getattr(e, "response", None) for e in _chain(error))
    return next((x for x in found if hasattr(x, "status_code")), None)


def is_lost(error: BaseException) -> bool:
    """Whether a connection ended before its answer was whole."""
    return any(_LOST & {t.__name__ for t in type(e).__mro__} for e in _chain(error))


def printable(text: str) -> str:
    r"""Return a text without characters that steer a terminal; these are spelled out.

    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda m: repr(m[0])[1:-1], text)


def _chain(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text without a token, or its type where it has none."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"\b(Bearer |hf_)\S+", r"\1…", lines[0][:400])
