"""Turns what the Hub, datasets and transformers raise into a sentence that says what to do."""

from __future__ import annotations

from collections.abc import Iterable


class ResqueError(ValueError):
    """Something that the user can put right; its text says how."""


class UsageError(ResqueError):
    """An argument or option that is asked for wrongly: exit code 2 at the command line."""


class Stopped(ResqueError):
    """A run that was asked to stop, and saved what it had: exit code 128 + the signal."""

    def __init__(self, signal: int, text: str) -> None:
        super().__init__(text)
        self.exit_code = 128 + signal


def near(name: str, known: Iterable[str], n: int = 5) -> list[str]:
    """Return the known names most like this one, the nearest first.

    >>> near("encoder.layr.1", ["encoder.layer.1", "pooler"])
    ['encoder.layer.1']
    """
    import difflib

    return difflib.get_close_matches(name, list(known), n=n, cutoff=0.5)


def explain(error: BaseException, kind: str, name: str) -> ResqueError:
    """Return the error to raise instead of one from loading a model or data set.

    Args:
        error: what the library raised.
        kind: "model", "data set" or "repository".
        name: its id or folder, as the user gave it.
    """
    chain = list(_chain(error))
    names = {type(e).__name__ for e in chain}
    text = " ".join(str(e) for e in chain)
    where = f"{kind} {name!r}"
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
    if names & {
        "OfflineModeIsEnabled",
        "LocalEntryNotFoundError",
        "ConnectError",
        "ConnectionError",
    }:
        return ResqueError(
            f"{where} is not a folder here, not in the cache, and the Hub cannot be reached "
            "(is HF_HUB_OFFLINE set?)"
        )
    if "LocalTokenNotFoundError" in names or "401" in text or "403" in text:
        return ResqueError(f"{where}: the Hub refuses ({first_line(chain[0])}); {_LOGIN}")
    return ResqueError(f"{where} cannot be loaded or written: {first_line(chain[0])}")


_LOGIN = "log in with `hf auth login` or set HF_TOKEN"


def _chain(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type where it has none."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:400]
