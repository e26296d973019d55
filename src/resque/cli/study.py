"""`resque study`: does the index tell the cost? A grid of shifts, measured and retrained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from resque.cli import options as o

if TYPE_CHECKING:
    from resque.ledger import Ledger
    from resque.study import Plan

EXAMPLES = """Examples, on what `resque demo` leaves behind:

`resque study examples/studies/digits.yaml --dry-run --output-dir digits`

`resque study examples/studies/digits.yaml --output-dir digits`

`resque study part-1 part-2 --output-dir merged`
"""
CONFIGS = (".yaml", ".yml")


def study(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="CONFIG.yaml | LEDGER…",
            help="A study to run; or ledgers (or folders with one) to merge and report on.",
        ),
    ],
    output_dir: Annotated[Path, typer.Option(help="Gets ledger.jsonl, report and figures.")],
    shard: Annotated[
        str, typer.Option(help="i/n: only the i-th of n parts; they may share a folder.")
    ] = "1/1",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show cells, time, energy and price; run none.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run cells that failed once more.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Run thousands of cells.")] = False,
    price_per_hour: Annotated[
        float | None, typer.Option(help="Of the hardware, for --dry-run; any currency.")
    ] = None,
    device: o.TrainingDevice = "auto",
    as_json: o.Json = False,
) -> None:
    """Run a study, or merge ledgers; either way a report comes out."""
    o.prepare(as_json)
    from resque.errors import ResqueError, UsageError
    from resque.estimation import parse_shard
    from resque.study import merge, plan, run
    from resque.study_config import read_study

    if not any(path.suffix in CONFIGS for path in inputs):
        _report(merge(inputs, output_dir), output_dir, output_dir.name, as_json)
        return
    if len(inputs) > 1:
        raise UsageError("one CONFIG.yaml at a time; or ledgers alone, to merge them")
    found = read_study(inputs[0])
    chosen = plan(found, output_dir, shard=parse_shard(shard), retry_failed=retry_failed, yes=yes)
    if dry_run:
        _show_plan(chosen, price_per_hour, device, as_json)
        return
    failed = run(chosen, device=device, progress=not as_json)
    from resque.ledger import read_ledger

    ledger = read_ledger([output_dir])
    if len(ledger.entries) < len(found.cells):
        missing = len(found.cells) - len(ledger.entries)
        said = f"{missing} cells are left to other shards; the last to end writes the report"
        _no_report(said, said, as_json)
    else:
        try:
            _report(ledger, output_dir, found.name, as_json)
        except UsageError as error:  # too few shifts: the ledger is whole all the same
            said = f"The ledger is in {output_dir}; there is no report: {error}"
            _no_report(str(error), said, as_json)
    if failed:
        raise ResqueError(f"{failed} cells failed: see above; --retry-failed runs them once more")


def _report(ledger: Ledger, folder: Path, title: str, as_json: bool) -> None:
    from resque.study_report import write_report

    report = write_report(ledger, folder, title=title)
    if as_json:
        o.show_json(report.to_dict())
    else:
        o.show([report.summary, f"Ledger, report.md, report.html and figures are in {folder}"])


def _no_report(reason: str, said: str, as_json: bool) -> None:
    o.show_json({"report": None, "reason": reason}) if as_json else o.show([said])


def _show_plan(chosen: Plan, price_per_hour: float | None, device: str, as_json: bool) -> None:
    from resque.study_estimate import estimate_plan

    document = estimate_plan(chosen, price_per_hour, device)
    if as_json:
        o.show_json(document)
        return
    document["not_looked_up"] = ", ".join(document["not_looked_up"]) or None
    lines = [f"{name}: {value}" for name, value in _readable(document).items()]
    o.show(["\n".join(lines)])


def _readable(document: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("_", " "): value for name, value in document.items() if value is not None}
