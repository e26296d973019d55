"""Renders the package's templates, and escapes what they are given for Markdown."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, content: dict[str, Any], **escaping: Any) -> str:
    """Return a template of the package, rendered; each caller says how it escapes."""
    return _environment(**escaping).get_template(template).render(content)


@functools.cache
def _environment(**escaping: Any) -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(  # noqa: S701
        loader=PackageLoader("resque"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **escaping,
    )


def escape_markdown(value: Any) -> str:
    r"""Return text that Markdown shows as it is, in a table too, on one line.

    >>> escape_markdown("a|b <i> *c* d_e _f_ [g](h)")
    'a\\|b \\<i> \\*c\\* d_e \\_f\\_ [g\\](h)'
    """
    line = " ".join(str(value).split())
    line = re.sub(r"([\\`*|<~&])", r"\\\1", line)
    line = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", line)  # inside a word it is but a letter
    return re.sub(r"\](?=[(\[:])", r"\\]", line)  # no link
