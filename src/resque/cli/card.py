"""`resque card`: puts indices, measured costs and forecasts on a model's card."""
# ruff: noqa: E501 (an example is one line)

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resque.cli import options as o

if TYPE_CHECKING:
    from resque.card_push import Draft

EXAMPLES = """Examples, on what `resque demo` leaves behind:

`resque card --report resque-demo/report.json --card resque-demo/model --output resque-demo/model`

`resque estimate --model ORG/NAME --original D#test --corruption blur:1 --output report.json && resque card --report report.json --repo-id ORG/NAME`

Without --push-to-hub, --create-pr or --output nothing is written: the change is shown.
"""


def card(
    report: Annotated[
        list[Path] | None,
        typer.Option(help="JSON of `resque estimate` or `resque forecast`; may be repeated."),
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(help="Of a study, or the records of `resque retrain`: measured costs."),
    ] = None,
    repo_id: Annotated[str | None, typer.Option(help="The model on the Hub.")] = None,
    card_file: Annotated[
        Path | None,
        typer.Option("--card", help="A card here, or its folder, in place of the Hub's."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder that card, figure and reports are written into.")
    ] = None,
    push_to_hub: Annotated[
        bool, typer.Option("--push-to-hub", help="Write it to the model, in one commit.")
    ] = False,
    create_pr: Annotated[
        bool, typer.Option("--create-pr", help="Ask for it in a pull request instead.")
    ] = False,
    as_json: o.Json = False,
) -> None:
    """Put what a shift does, and what retraining costs, on a model's card; shows the change."""
    from resque.errors import UsageError

    push = push_to_hub or create_pr
    if (repo_id is None) and (card_file is None):
        raise UsageError("give --repo-id, the model on the Hub, or --card, a card here")
    if push and (card_file or output or not repo_id):
        raise UsageError("--push-to-hub and --create-pr go with --repo-id, not --card or --output")
    o.prepare(as_json)
    from resque.card import gather
    from resque.card_push import draft_of_file, draft_of_repository, push_card, write_folder
    from resque.card_reports import read_reports

    documents = [document for path in report or () for document in read_reports(path)]
    content = gather(documents, ledger, repo_id)
    url = None
    if push and repo_id:
        url, made = push_card(repo_id, content, create_pr=create_pr)
    elif card_file is not None:
        made = draft_of_file(card_file, content)
    else:
        made = draft_of_repository(str(repo_id), content)
    written = write_folder(made, output) if output else None
    _show(made, url, written, as_json)


def _show(made: Draft, url: str | None, written: Path | None, as_json: bool) -> None:
    import sys

    from resque.errors import printable

    if as_json:
        o.show_json(
            {
                "changed": made.before != made.after,
                "diff": made.diff,
                "files": sorted(made.files),
                "url": url,
                "path": None if written is None else str(written),
            }
        )
        return
    if made.before == made.after:
        print("the card says this already", file=sys.stderr)
    else:
        print(printable(made.diff))
    if url or written:
        print(url or written)
    else:
        print(
            "resque: nothing was written. --push-to-hub writes it, --create-pr asks the owner of "
            "another's model, --output FOLDER writes it here",
            file=sys.stderr,
        )
