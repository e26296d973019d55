"""The answer to a new task as HTML: facts of the ranking for the template."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable
from typing import Any

import pages
from jobs import Task
from task_inputs import NAMES


def task_page(
    task: Task,
    ranking: dict[str, Any],
    *,
    note: str = "",
    link: str = "",
    public: Callable[[str], str] = str,
) -> str:
    """Return the answer.

    Args:
        task: what was asked.
        ranking: of `resque.rank`.
        note: how the answer came about.
        link: query that restores this state, or empty.
        public: takes out of a text what only the visitor may know.
    """
    rows = [_row(x) for x in ranking["candidates"]]
    page = pages.render(
        "task.html",
        rows=sorted(rows, key=lambda row: row["cost"]),
        sentence=sentence(ranking),
        sentences=[_named(x) for x in ranking["sentences"]],
        command=command(task),
        python=python(task),
        note=note,
        link=link,
        document=public(json.dumps(ranking, indent=2)),
    )
    return public(page)


def sentence(ranking: dict[str, Any]) -> str:
    """Say which model is expected to cost least, and which has the lowest RESQUE_task."""
    rows = [_row(x) for x in ranking["candidates"] if not x["error"]]
    if not rows:
        return "No model could be measured."
    nearest = min(rows, key=lambda row: row["index"]["value"])
    text = (
        f"The classes lie most apart in “{nearest['name']}”: "
        f"RESQUE_task {pages.index(nearest['index']['value'])}."
    )
    cheapest = min(rows, key=lambda row: row["cost"])
    if math.isinf(cheapest["cost"]):
        return f"{text} There is no forecast of the cost."
    return f"{text} Retraining “{cheapest['name']}” is expected to cost least."


def _row(candidate: dict[str, Any]) -> dict[str, Any]:
    """Return a candidate as the table shows it."""
    name = short_name(candidate["model"])
    if candidate["error"]:
        return {"name": name, "error": candidate["error"], "cost": math.inf}
    forecast = candidate["forecast"]
    row = {
        "name": name,
        "error": None,
        "index": {
            "value": candidate["resque_task"],
            "interval": candidate["intervals"]["resque_task"],
        },
        "knn": candidate["knn"],
        "parameters": candidate["parameters"],
        "speed": candidate["samples_per_second"],
        "cost": math.inf,
        "forecast": None,
    }
    if forecast is None:
        return row
    return row | {
        "cost": forecast["energy_kwh"]["value"],
        "forecast": {
            "epochs": pages.amount(forecast["epochs"], ""),
            "energy": pages.amount(forecast["energy_kwh"], "Wh", 1000),
            "carbon": pages.amount(forecast["co2eq_kg"], "g", 1000),
            "reached": forecast["reached_probability"],
            "outside": forecast["outside"],
            "sentence": forecast["sentence"],
        },
    }


def short_name(model: str) -> str:
    """Return what a model is called in an answer."""
    return NAMES.get(model, model).removesuffix(" (bundled)")


def _named(text: str) -> str:
    """Return a sentence with the bundled models' names in place of their folders."""
    for path in NAMES:
        text = text.replace(path, f"“{short_name(path)}”")
    return text


def command(task: Task) -> str:
    """Return the commands that do the same at home."""
    lines = ["pip install 'resque[study]'"]
    if any(x.startswith(("resque-demo/", "epochs-")) for x in task.models):
        lines.append("resque demo  # trains the bundled model anew")
    for model in task.models:
        if model.startswith("epochs-"):
            epochs = model.partition("/")[0].removeprefix("epochs-")
            lines.append(
                "resque retrain --model resque-demo/model --dataset resque-demo/digits#train "
                f"--strategy scratch --target-accuracy 0.99 --epochs {epochs} "
                f"--output-dir epochs-{epochs}"
            )
    words = ["resque", "rank", "--dataset", task.dataset, "--models", *task.models]
    words += ["--label-column", task.label_column] if task.label_column else []
    words += ["--max-samples", str(task.max_samples)] if task.max_samples else []
    words += ["--target-accuracy", f"{task.target_accuracy:g}"]
    return "\n".join([*lines, shlex.join([*words, *task.machine.flags()])])


def python(task: Task) -> str:
    """Return the Python lines that do the same at home."""
    options = f", label_column={task.label_column!r}" if task.label_column else ""
    options += f", max_samples={task.max_samples}" if task.max_samples else ""
    return (
        "import resque\n\n"
        f"costs = resque.Costs(target_accuracy={task.target_accuracy:g})\n"
        f"print(resque.rank({list(task.models)!r}, {task.dataset!r}, costs=costs{options}))"
    )
