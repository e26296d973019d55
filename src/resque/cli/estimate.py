"""`resque estimate`: the index of a shift or of a new task."""
# ruff: noqa: E501 (an example is one line)

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from resque.cli import options as o

EXAMPLES = """Examples, on what `resque demo` leaves behind:

`resque estimate --model resque-demo/model --original resque-demo/digits#test --corruption blur:1`

`resque estimate --model resque-demo/model --original resque-demo/digits#train --shifted resque-demo/digits#test --labels predicted`

`resque estimate --model resque-demo/model --task resque-demo/digits#test --label-column odd`

On the Hub: `--model ORG/NAME@REVISION`, `--original ORG/NAME:CONFIG#SPLIT`.
"""


@o.takes_pass_options
def estimate(
    model: o.Model,
    options: dict[str, Any],
    original: Annotated[
        str | None,
        typer.Option(
            help="ID_OR_FOLDER\\[@REVISION]\\[:CONFIG]\\[#SPLIT], or a fingerprint. Without it: "
            "the fingerprint beside the model's weights."
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Of the published fingerprint, where there are several."),
    ] = None,
    shifted: Annotated[str | None, typer.Option(help="The new data.")] = None,
    task: Annotated[str | None, typer.Option(help="A new task's labelled data.")] = None,
    corruption: o.Corruption = None,
    layer: o.Layers = None,
    init: Annotated[str, typer.Option(help="RESQUE_task: centroids or k-means++.")] = "centroids",
    embedding: Annotated[
        str, typer.Option(help="RESQUE_task: averaged or flattened.")
    ] = "averaged",
    n_init: Annotated[int, typer.Option(help="RESQUE_task: starts of k-means++.")] = 10,
    output: Annotated[Path | None, typer.Option(help="Write the report there, as JSON.")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Draw the report there (.png, .svg, .pdf).")
    ] = None,
    as_json: o.Json = False,
) -> None:
    """Measure how far a shift, or a new task, is from what the model knows."""
    o.prepare(as_json)
    from resque.estimation import estimate as measure
    from resque.processes import is_main_process

    if figure:
        from resque.plots import check_format

        check_format(figure)  # before the pass, not after it
    report = measure(
        model,
        original,
        shifted,
        name=name,
        task=task,
        corruption=corruption,
        layers=layer or None,
        init=init,
        embedding=embedding,
        n_init=n_init,
        **options,
    )
    if not is_main_process():
        return
    if output:
        report.to_json(output)
    if figure:
        from resque.plots import save

        save(report.plot(), figure)
    if as_json:
        o.show_json(report.to_dict())
    else:
        o.show(report.render())
