"""Publishes the `evaluate` metric as a Space, for `evaluate.load("ORG/resque")`."""

from __future__ import annotations

from resque.errors import UsageError
from resque.hub import Target, push
from resque.metric_install import metric_source

FILES = ("resque.py", "app.py", "README.md")


def push_metric(target: Target) -> str:
    """Write the metric and its page to a Space, in one commit; the Space is made if missing.

    The Space runs this version of the package: its requirements name it.

    Args:
        target: the Space; `evaluate` takes the script by the Space's name, so that is "resque".

    Returns:
        The commit's (or the pull request's) address.

    Raises:
        UsageError: where the id is none, or does not end in "/resque".
        FileNotFoundError: where the package came without the metric.
        ResqueError: where the Hub cannot be reached or refuses; nothing is written then.
    """
    from resque import __version__

    if not target.repo_id.endswith("/resque"):
        raise UsageError(
            f"the Space is {target.repo_id!r}; expected ORG/resque: evaluate looks for a script "
            "of the Space's own name"
        )
    folder = metric_source().parent
    files = {name: (folder / name).read_bytes() for name in FILES}
    requirements = (folder / "requirements.txt").read_text(encoding="utf-8")
    files["requirements.txt"] = pin(requirements, __version__).encode()
    return push(target, files, f"Publish the metric of resque {__version__}")


def pin(requirements: str, version: str) -> str:
    r"""Return a requirements file with resque's version named.

    >>> pin("resque\nevaluate>=0.4.6\n", "1.2.0")
    'resque==1.2.0\nevaluate>=0.4.6\n'
    """
    lines = (f"resque=={version}" if x == "resque" else x for x in requirements.splitlines())
    return "\n".join(lines) + "\n"
