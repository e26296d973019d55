"""Forecast each kind of shift from the others, and compare with what retraining really took.

    python benchmarks/forecast_accuracy.py \
        benchmarks/results/{digits,fashion,mnist-domains,paper-small,text}/ledger.jsonl \
        --tasks benchmarks/results/tasks/ledger.jsonl \
        --output benchmarks/results/forecast_accuracy.json

For every ledger, and for all of them as one: the median absolute error in epochs over runs of
families that nothing was learnt from, with labels of the shifted data and without, beside that of
the naive forecast (the median of the other families), and how often the 90 % intervals held; of
all as one also how much greater the error is without labels, with an interval of resampled
families, and both mean absolute errors of log costs, which a forecast's model is chosen by.
Of new tasks (`--tasks`), each model is forecast from the others; and of what `rank` knows of a
task, the mean absolute log error of every choice of features and controls, where models, data sets
or families of tasks are left out in turn.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from resque.documents import plain
from resque.errors import UsageError
from resque.forecast_evaluation import (
    Checked,
    evaluate_forecasters,
    evaluate_task_forecasts,
    make_forecasters,
)
from resque.forecast_folds import Folds
from resque.forecast_models import family_mean, shortfall
from resque.forecast_runs import TASKS, make_table
from resque.forecasters import Forecaster
from resque.ledger import Ledger, read_ledger
from resque.measurement import library_versions

KNOWN_OF_TASKS = ("knn_gap", "resque_task", "leep", "logme", "hscore")
RESAMPLES = 4_000
CONTROLS_OF_TASKS: tuple[tuple[str, ...], ...] = (
    (), ("n_train",), ("n_train", "classes"), ("n_train", "classes", "n_parameters"),
)  # fmt: skip


def row(name: str, kind: str, found: Checked | None) -> list[str]:
    """Return a line of the table."""
    if found is None:
        return [name, kind, "–", "–", "–", "–", "–"]
    held = found.coverage
    share = f"{held.share:.0%} ({held.held} of {held.held + held.missed})"
    errors = ["–" if x is None else f"{x:.3f}" for x in (found.error, found.naive_error)]
    return [name, kind, str(found.runs), *errors, share, str(held.undecided)]


def errors_by_family(forecaster: Forecaster) -> tuple[dict[str, np.ndarray], float]:
    """Return each unseen family's absolute errors in epochs, and the mean one of log costs."""
    table, predicted = forecaster.table, forecaster.unseen.predicted
    error = np.abs(table.epochs(predicted) - table.epochs(table.runs.cost))
    reached = table.runs.side <= 0
    each = {name: error[reached & (table.runs.families == i)]
            for i, name in enumerate(table.families)}  # fmt: skip
    return each, family_mean(shortfall(table.runs, predicted), table.runs.families)


def without_labels(made: Mapping[bool, Forecaster]) -> dict[str, Any]:
    """Return the error without labels over that with labels, and its 95 % interval."""
    (known, log_known), (unknown, log_unknown) = (errors_by_family(made[x]) for x in (True, False))
    names = sorted(known.keys() | unknown.keys())

    def ratio(families: Any) -> float:
        medians = [
            np.median(np.concatenate([found.get(name, np.empty(0)) for name in families]))
            for found in (unknown, known)
        ]
        with np.errstate(divide="ignore"):  # half of the errors may be 0
            return float(medians[0] / medians[1])

    rng = np.random.default_rng(0)
    draws = [ratio(rng.choice(names, len(names))) for _ in range(RESAMPLES)]
    return {
        "ratio": ratio(names),
        "interval": np.quantile(draws, [0.025, 0.975]).tolist(),
        "log_error": {"labelled": log_known, "unlabelled": log_unknown},
    }


def by_data(ledger: Ledger) -> Ledger:
    """Return a ledger whose families are the data sets."""
    return Ledger(
        tuple(
            replace(x, cell=replace(x.cell, family=x.cell.dataset.split("#")[0]))
            for x in ledger.entries
        )
    )


def errors_of_choices(ledger: Ledger) -> list[dict[str, Any]]:
    """Return the error of each choice of features and controls, the least mean first."""
    groups = {"model": (ledger, "model"), "data set": (by_data(ledger), "family"),
              "family": (ledger, "family")}  # fmt: skip
    found = []
    sets = [x for n in (1, 2, 3) for x in itertools.combinations(KNOWN_OF_TASKS, n)]
    for features, controls in itertools.product(sets, CONTROLS_OF_TASKS):
        errors = {}
        for name, (grouped, by) in groups.items():
            kind = replace(TASKS, by=by, controls=dict.fromkeys(controls, 1.0), context={})
            table = make_table(grouped, features, kind)
            folds = Folds(table.runs, features, table.spread, 0.9)
            predicted = folds.forecast_unseen().predicted
            errors[name] = family_mean(shortfall(table.runs, predicted), table.runs.families)
        mean = sum(errors.values()) / len(errors)
        found.append({"features": features, "controls": controls, **errors, "mean": mean})
    return sorted(found, key=lambda x: x["mean"])


def print_choices(choices: list[dict[str, Any]], console: Console) -> None:
    """Print the best choices, and of each feature alone."""
    table = Table(title="New tasks: log error with another model, data set, or family of tasks")
    for name in ("features", "controls", "model", "data set", "family", "mean"):
        table.add_column(name)
    for i, x in enumerate(choices):
        if i < 8 or (len(x["features"]) == 1 and x["controls"] == ("n_train",)):
            numbers = [f"{x[k]:.3f}" for k in ("model", "data set", "family", "mean")]
            table.add_row(", ".join(x["features"]), ", ".join(x["controls"]) or "–", *numbers)
    console.print(table)


def main() -> None:
    """Print the table and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ledgers", nargs="+", type=Path)
    parser.add_argument("--tasks", type=Path)
    parser.add_argument("--output", type=Path)
    use = parser.parse_args()
    table, console = Table(), Console()
    for name in ("ledger", "labels", "runs", "error", "naive", "90 % intervals held", "undecided"):
        table.add_column(name)
    document: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "command": "python benchmarks/forecast_accuracy.py "
        + " ".join(str(x) for x in use.ledgers)
        + (f" --tasks {use.tasks}" if use.tasks else ""),
        "versions": library_versions(),
    }
    groups = [[x] for x in use.ledgers] + ([use.ledgers] if len(use.ledgers) > 1 else [])
    for paths in groups:
        name = "all" if len(paths) > 1 else paths[0].parent.name
        try:
            made, notes = make_forecasters(read_ledger(paths))
            found = evaluate_forecasters(made, notes)
        except UsageError as error:
            document[name] = str(error)
            continue
        document[name] = found.to_dict()
        table.add_row(*row(name, "yes", found.labelled))
        table.add_row(*row(name, "no", found.unlabelled))
        if name == "all" and len(made) == 2:
            document["without labels over with labels"] = told = without_labels(made)
            low, high = told["interval"]
            console.print(
                f"all, without labels over with: {told['ratio']:.2f} [{low:.2f}, {high:.2f}]"
            )
            console.print(f"all, errors of log costs: {told['log_error']}")
    if use.tasks:
        ledger = read_ledger([use.tasks])
        checked, choices = evaluate_task_forecasts(ledger), errors_of_choices(ledger)
        name = f"new tasks of {use.tasks.parent.name}"
        document[name] = plain(asdict(checked)) | {"choices": plain(choices)}
        table.add_row(*row(name, "yes", checked))
        print_choices(choices, console)
    console.print(table)
    if use.output:
        text = json.dumps(document, indent=1, allow_nan=False)
        use.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
