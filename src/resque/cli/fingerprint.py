"""`resque fingerprint` and `resque fingerprint merge`: make, publish and add fingerprints."""

from __future__ import annotations

from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resque.cli import options as o

if TYPE_CHECKING:
    from resque.fingerprints import Fingerprint

EXAMPLES = """Examples, on what `resque demo` leaves behind:

`resque fingerprint --model resque-demo/model --dataset resque-demo/digits#train --output fp`

`resque fingerprint --model resque-demo/model --dataset resque-demo/digits --shard 1/2 --output 1`

`resque fingerprint --model resque-demo/model --dataset resque-demo/digits --shard 2/2 --output 2`

`resque fingerprint merge 1 2 --output merged`
"""

app = typer.Typer(
    help="Make, publish and add fingerprints.",
    epilog=EXAMPLES,
    rich_markup_mode="markdown",
    invoke_without_command=True,
)

Output = Annotated[Path, typer.Option(help="Folder that resque.safetensors is written into.")]


@app.callback()
@o.takes_pass_options
def make(
    context: typer.Context,
    options: dict[str, Any],
    model: Annotated[str, typer.Option(help="ID_OR_FOLDER\\[@REVISION].")] = "",
    dataset: Annotated[
        str, typer.Option(help="ID_OR_FOLDER\\[@REVISION]\\[:CONFIG]\\[#SPLIT].")
    ] = "",
    output: Annotated[
        Path | None, typer.Option(help="Folder that resque.safetensors is written into.")
    ] = None,
    shard: Annotated[str, typer.Option(help="i/n: only the i-th part of n.")] = "1/1",
    push_to_hub: Annotated[
        str | None, typer.Option(help="Also upload it to this model repository.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Tells several apart: writes resque/NAME.safetensors instead."),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch to upload to, made where it is missing.")
    ] = None,
    create_pr: o.CreatePr = False,
    private: o.Private = False,
    min_class_count: Annotated[
        int, typer.Option(help="Upload no sum over fewer samples of a class.")
    ] = 5,
    epsilon: Annotated[
        float | None,
        typer.Option(help="Upload with noise for (ε, δ)-privacy; needs --clip-norm."),
    ] = None,
    delta: Annotated[float, typer.Option(help="Of that noise.")] = 1e-5,
    corruption: o.Corruption = None,
    layer: o.Layers = None,
    as_json: o.Json = False,
) -> None:
    """Make the fingerprint of a data set in one inference pass."""
    if context.invoked_subcommand:
        return
    from resque.errors import UsageError

    if not (model and dataset and (output or push_to_hub)):
        raise UsageError("give --model, --dataset, and --output or --push-to-hub (see --help)")
    o.prepare(as_json)
    from resque.estimation import fingerprint
    from resque.files import check_folder
    from resque.fingerprint_file import file_of
    from resque.hub import check_repo_id
    from resque.processes import is_main_process

    file_of(name)  # before the pass, not after it
    if push_to_hub:
        check_repo_id(push_to_hub)
    elif epsilon is not None:
        raise UsageError("--epsilon is for what is uploaded: it needs --push-to-hub")
    if output:
        check_folder(output)
    made = fingerprint(
        model,
        dataset,
        layer or None,
        corruption=corruption,
        shard=shard,
        **options,
    )
    if not is_main_process():
        return
    path = made.save_pretrained(output, name=name) if output else None
    address = None
    if push_to_hub:
        address = made.push_to_hub(
            push_to_hub,
            name=name,
            revision=revision,
            create_pr=create_pr,
            private=private or None,
            min_class_count=min_class_count,
            epsilon=epsilon,
            delta=delta,
        )
    _show(made, path, address, as_json)


@app.command()
def merge(
    folders: Annotated[list[Path], typer.Argument(help="Folders of the parts.")],
    output: Output,
    as_json: o.Json = False,
) -> None:
    """Add fingerprints of parts of the data into one."""
    o.prepare(as_json)
    from resque.fingerprints import Fingerprint

    total = reduce(add, (Fingerprint.from_pretrained(folder) for folder in folders))
    _show(total, total.save_pretrained(output), None, as_json)


def _show(made: Fingerprint, path: Path | None, address: str | None, as_json: bool) -> None:
    document = _describe(made, path, address)
    if as_json:
        o.show_json(document)
        return
    lines = [f"{name}: {value}" for name, value in document.items() if value is not None]
    o.show(["\n".join(lines)])


def _describe(made: Fingerprint, path: Path | None, address: str | None) -> dict[str, Any]:
    header = made.header
    return {
        "model": header.model,
        "data": [str(source) for source in header.sources],
        "layers": list(header.layers),
        "pooling": list(header.pooling),
        "labels": header.labels,
        "classes": len(made.class_counts),
        "samples": header.counts.samples,
        "left_out": header.counts.unlabelled + header.counts.bad + header.counts.empty,
        "accuracy": header.counts.accuracy,
        "loss": header.counts.loss,
        "path": str(path) if path else None,
        "bytes": path.stat().st_size if path else None,
        "address": address,
    }
