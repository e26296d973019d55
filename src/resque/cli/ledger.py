"""`resque ledger push` and `pull`: retraining costs pooled as a data set on the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from resque.cli import options as o

EXAMPLES = """Examples:

`resque ledger push ORG/NAME --ledger OUT/ledger.jsonl --dry-run`

`resque ledger push ORG/NAME --ledger OUT/ledger.jsonl`

`resque ledger pull ORG/NAME --output pooled.jsonl`

`resque forecast --ledger pooled.jsonl --model M --original D --shifted E`
"""

app = typer.Typer(
    help="Pool what retrainings cost as a data set on the Hub.",
    epilog=EXAMPLES,
    rich_markup_mode="markdown",
    no_args_is_help=True,
)

Repo = Annotated[str, typer.Argument(help="The data set: ORG/NAME.")]


@app.command()
def push(
    repo_id: Repo,
    ledger: Annotated[
        list[str], typer.Option(help="File, or folder that holds one; may be repeated.")
    ],
    revision: Annotated[str | None, typer.Option(help="Branch, made where it is missing.")] = None,
    create_pr: o.CreatePr = False,
    private: o.Private = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the lines that would be published.")
    ] = False,
    as_json: o.Json = False,
) -> None:
    """Add the entries that the data set does not have yet; nobody's are changed."""
    o.prepare(as_json, notes=True)
    from resque.files import json_line
    from resque.hub import Target, check_repo_id
    from resque.ledger_hub import public_entries
    from resque.ledger_hub import push as run

    check_repo_id(repo_id)
    if dry_run:
        entries = [entry.to_dict() for entry in public_entries(ledger)]
        if as_json:
            o.show_json({"entries": entries})
        else:
            print(*(json_line(entry).decode() for entry in entries), sep="", end="")
        return
    done = run(Target(repo_id, "dataset", revision, create_pr, private or None), ledger)
    if as_json:
        o.show_json(
            {
                "added": done.entries,
                "known": done.known,
                "left_out": done.left_out,
                "address": done.address,
            }
        )
        return
    print(f"added {done.entries} entries; {done.known} were there, {done.left_out} have no costs")
    if done.address:
        print(done.address)


@app.command()
def pull(
    repo_id: Repo,
    output: Annotated[Path, typer.Option(help="The ledger to write.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
    as_json: o.Json = False,
) -> None:
    """Write the pooled entries as a ledger, for `resque forecast --ledger`."""
    o.prepare(as_json, notes=True)
    from resque.ledger_hub import pull as run
    from resque.ledger_hub import write_pulled

    entries = run(repo_id, revision=revision)
    write_pulled(entries, output)
    if as_json:
        o.show_json({"entries": len(entries), "output": str(output)})
    else:
        print(f"{output} holds {len(entries)} entries")
