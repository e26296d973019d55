"""Prepared answers: the bundled cases, computed beforehand by `build_cases.py`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobs import Machine, Shift, Task

FILE = Path(__file__).resolve().parent / "assets" / "cases.json"
MODEL, DATA = "resque-demo/model", "resque-demo/digits#test"
CORRUPTIONS = ("blur", "contrast", "gaussian", "pixelate", "rotation", "salt_pepper")
SAMPLES = 500
FIRST = ("gaussian", 0.38)  # what the page opens with
OPENING = f"{FIRST[0]}:{FIRST[1]:g}"
MODELS = (MODEL, "epochs-1/model", "epochs-0.04/model")
TASKS = {"odd": "odd or even", "ink": "how much ink, in four parts"}
TARGET_ACCURACY = 0.75


@dataclass(frozen=True)
class Cases:
    """What was computed beforehand.

    Attributes:
        made: how and when, a sentence.
        shifts: `report` and `forecast` by shift.
        tasks: `ranking` and `maps` by task.
        samples: some rows of each class of the bundled data, before and after the first
            corruption, as `jobs.samples` gives them.
    """

    made: str
    shifts: dict[Shift, dict[str, Any]]
    tasks: dict[Task, dict[str, Any]]
    samples: list[dict[str, Any]]

    def samples_of(self, corruption: str) -> list[dict[str, Any]]:
        """Return the samples; those after a corruption where it is the first."""
        if corruption == OPENING:
            return self.samples
        return [x | {"after": None} for x in self.samples]

    def sweep(self, shift: Shift) -> list[tuple[float, dict[str, Any]]]:
        """Return (level, index) of the prepared levels of a shift's corruption, in order."""
        name = shift.corruption.partition(":")[0]
        found = []
        for case, answer in self.shifts.items():
            other, _, level = case.corruption.partition(":")
            if other == name and case == shift.at(level):
                found.append((float(level), answer["report"]["resque_dist"]))
        return sorted(found, key=lambda x: x[0])


def bundled(corruption: str, labels: str = "auto") -> Shift:
    """Return the shift of the bundled model and data by a corruption."""
    return Shift(MODEL, DATA, corruption=corruption, labels=labels, max_samples=SAMPLES)


def bundled_task(label_column: str) -> Task:
    """Return the task of the bundled models and data by a column."""
    return Task(MODELS, DATA, label_column, TARGET_ACCURACY, SAMPLES)


def read_cases() -> Cases:
    """Return what `build_cases.py` wrote."""
    found = json.loads(FILE.read_text(encoding="utf-8"))
    return Cases(
        found["made"],
        {_shift(x["shift"]): x["answer"] for x in found["shifts"]},
        {_task(x["task"]): x["answer"] for x in found["tasks"]},
        found["samples"],
    )


def write_cases(cases: Cases) -> None:
    """Write the prepared answers."""
    document = {
        "made": cases.made,
        "shifts": [{"shift": asdict(k), "answer": v} for k, v in cases.shifts.items()],
        "tasks": [{"task": asdict(k), "answer": v} for k, v in cases.tasks.items()],
        "samples": cases.samples,
    }
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    FILE.write_text(text + "\n", encoding="utf-8")


def _shift(found: dict[str, Any]) -> Shift:
    return Shift(**{**found, "machine": Machine(**found["machine"])})


def _task(found: dict[str, Any]) -> Task:
    return Task(
        **{**found, "models": tuple(found["models"]), "machine": Machine(**found["machine"])}
    )
