"""`resque metric install`, `uninstall` and `push`: the metric, for `evaluate.load`."""

from __future__ import annotations

from typing import Annotated

import typer

from resque.cli import options as o

app = typer.Typer(
    help='Install the metric, so that evaluate.load("resque") works from any folder, offline too; '
    "or publish it as a Space.",
    no_args_is_help=True,
)


@app.command()
def install(as_json: o.Json = False) -> None:
    """Put the metric where `evaluate` finds it, in place of any older version."""
    from resque.metric_install import install as put

    path = put()
    if as_json:
        o.show_json({"installed": str(path)})
    else:
        print(f"installed {path}")
        print('evaluate.load("resque") works now; offline, set HF_EVALUATE_OFFLINE=1')


@app.command()
def uninstall(as_json: o.Json = False) -> None:
    """Remove the metric."""
    from resque.metric_install import uninstall as remove

    folder = remove()
    if as_json:
        o.show_json({"removed": str(folder) if folder else None})
    else:
        print(f"removed {folder}" if folder else "the metric was not installed")


@app.command()
def push(
    repo_id: Annotated[str, typer.Argument(help="The Space: ORG/resque.")],
    create_pr: o.CreatePr = False,
    private: o.Private = False,
    as_json: o.Json = False,
) -> None:
    """Publish the metric as a Space that runs this version of the package."""
    o.prepare(as_json)
    from resque.hub import Target
    from resque.space_hub import push_metric

    address = push_metric(Target(repo_id, "space", None, create_pr, private or None))
    if as_json:
        o.show_json({"address": address})
    else:
        print(address)
        print(f'evaluate.load("{repo_id}") works now')
