"""Publishes the package's two Spaces: the `evaluate` metric, and the demo."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

from resque.errors import UsageError
from resque.hub import Target, push
from resque.metric_install import metric_source

PACKAGED = Path(__file__).parent / "_space"  # in an installed wheel
CHECKOUT = Path(__file__).parents[2] / "spaces_demo"
LEFT_OUT = re.compile(r"(^|.*/)(__pycache__/|\.).*")  # what tools leave beside the files


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
    if not target.repo_id.endswith("/resque"):
        raise UsageError(
            f"the Space is {target.repo_id!r}; expected ORG/resque: evaluate looks for a script "
            "of the Space's own name"
        )
    return _push(target, metric_source().parent, "the metric")


def push_demo(target: Target) -> str:
    """Write the demo to a Space, in one commit; the Space is made if missing.

    The Space runs this version of the package, and the PyTorch that the demo is tested with: its
    requirements name both.

    Args:
        target: the Space.

    Returns:
        The commit's (or the pull request's) address.

    Raises:
        UsageError: where the id is none.
        FileNotFoundError: where the package came without the demo.
        ResqueError: where the Hub cannot be reached or refuses; nothing is written then.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*commit a data file.*")  # the bundled digits are meant
        return _push(target, demo_folder(), "the demo")


def demo_folder() -> Path:
    """Return the demo's folder: the wheel's, else the checkout's.

    Raises:
        FileNotFoundError: where neither is there.
    """
    for folder in (PACKAGED, CHECKOUT):
        if (folder / "app.py").is_file():
            return folder
    raise FileNotFoundError(
        f"the demo is neither in {PACKAGED} nor in {CHECKOUT}: reinstall resque"
    )


def _push(target: Target, folder: Path, what: str) -> str:
    from resque import __version__

    paths = {x.relative_to(folder).as_posix(): x for x in sorted(folder.rglob("*")) if x.is_file()}
    files = {name: x.read_bytes() for name, x in paths.items() if not LEFT_OUT.fullmatch(name)}
    requirements = (folder / "requirements.txt").read_text(encoding="utf-8")
    pinned = {"requirements.txt": pin(requirements, __version__).encode()}
    return push(target, {**files, **pinned}, f"Publish {what} of resque {__version__}")


def pin(requirements: str, version: str) -> str:
    r"""Return a requirements file with resque's version named.

    >>> pin("resque[space]\n# on a CPU\ntorch==2.13.0\n", "1.2.0")
    'resque[space]==1.2.0\n# on a CPU\ntorch==2.13.0\n'
    """
    names = ("resque", "resque[space]")
    lines = (f"{x}=={version}" if x in names else x for x in requirements.splitlines())
    return "\n".join(lines) + "\n"
