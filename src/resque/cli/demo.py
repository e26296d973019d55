"""`resque demo`: a real model's shift and new tasks measured, offline, in a minute or two."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from resque.cli import options as o

EXAMPLES = "Example: `resque demo --output-dir my-demo`"


def demo(
    output_dir: Annotated[
        Path, typer.Option(help="Folder of report, figure, model and data.")
    ] = Path("resque-demo"),
    as_json: o.Json = False,
) -> None:
    """Train a small model on scikit-learn's digits; measure corruptions and new tasks."""
    o.prepare(False)
    from resque.demo import run

    document, renderables = run(output_dir)
    if as_json:
        o.show_json(document)
    else:
        o.show(renderables)
