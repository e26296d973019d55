"""`resque metric install` and `uninstall`: the `evaluate` metric, for `evaluate.load("resque")`."""

from __future__ import annotations

import typer

from resque.cli import options as o

app = typer.Typer(
    help='Install the metric, so that evaluate.load("resque") works from any folder, offline too.',
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
