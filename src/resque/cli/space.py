"""`resque space`: the demo in a browser; `resque space push`: the demo as a Space of the Hub."""

from __future__ import annotations

from typing import Annotated

import typer

from resque.cli import options as o

EXAMPLES = "Example: `resque space --port 7861`"

app = typer.Typer(invoke_without_command=True)


@app.callback()
def space(
    context: typer.Context,
    port: Annotated[
        int | None, typer.Option(help="Else GRADIO_SERVER_PORT, or the first free from 7860 on.")
    ] = None,
) -> None:
    """Open the demo in a browser: what a shift costs, for people without a terminal."""
    if context.invoked_subcommand is not None:
        return
    o.prepare(False)
    import importlib.util
    import os
    import subprocess
    import sys

    from resque.errors import ResqueError
    from resque.space_hub import demo_folder

    if not all(map(importlib.util.find_spec, ("codecarbon", "gradio", "pebble"))):
        raise ImportError("the demo needs more packages: pip install 'resque[space]'")
    port_given = {} if port is None else {"GRADIO_SERVER_PORT": str(port)}
    command = [sys.executable, str(demo_folder() / "app.py")]
    done = subprocess.run(command, env=os.environ | port_given, check=False)  # noqa: S603
    if done.returncode:
        raise ResqueError(f"the demo ended with exit code {done.returncode}; its words are above")


@app.command()
def push(
    repo_id: Annotated[str, typer.Argument(help="The Space: ORG/NAME.")],
    create_pr: o.CreatePr = False,
    private: o.Private = False,
    as_json: o.Json = False,
) -> None:
    """Publish the demo as a Space that runs this version of the package."""
    o.prepare(as_json)
    from resque.hub import Target
    from resque.space_hub import push_demo

    address = push_demo(Target(repo_id, "space", None, create_pr, private or None))
    if as_json:
        o.show_json({"address": address})
    else:
        print(address)
