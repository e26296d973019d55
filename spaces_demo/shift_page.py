"""The answer to a shift as HTML: facts of report and forecast for the template."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from typing import Any

import pages
from jobs import STRATEGIES, TARGET, Shift

NOTHING = ("0", "")
NAMES = {"full": "all weights", "head": "the classifier head only"}


def shift_page(
    shift: Shift,
    report: dict[str, Any],
    forecast: dict[str, Any] | None,
    *,
    samples: Sequence[dict[str, Any]] = (),
    pending: str = "",
    note: str = "",
    link: str = "",
    public: Callable[[str], str] = str,
) -> str:
    """Return the answer.

    Args:
        shift: what was asked.
        report: of `resque.estimate`.
        forecast: of `resque.forecast`, or None where there is none (yet).
        samples: rows of some classes, to show what a class consists of.
        pending: why there is no forecast.
        note: how the answer came about.
        link: query that restores this state, or empty.
        public: takes out of a text what only the visitor may know.
    """
    score = report["resque_dist"]
    original, shifted = report["original"], report["shifted"]
    document = json.dumps({"report": report, "forecast": forecast}, indent=2)
    page = pages.render(
        "shift.html",
        sentence=sentence(score, forecast),
        score=score,
        original=original,
        shifted=shifted,
        classes=_classes(score, samples),
        choices=[] if forecast is None else _choices(forecast),
        forecast=forecast,
        command=command(shift, report),
        python=python(shift),
        pending=pending,
        note=note,
        link=link,
        document=public(document),
    )
    return public(page)


def sentence(score: dict[str, Any], forecast: dict[str, Any] | None) -> str:
    """Say what the index and the forecast tell, in plain words."""
    words = [_shift_in_words(score)]
    if forecast is not None:
        words.append(_cost_in_words(forecast))
    return " ".join(words)


def _cost_in_words(forecast: dict[str, Any]) -> str:
    share = f"{100 * float(TARGET.partition(':')[2]):.0f} % of the accuracy it had"
    nothing = next(x for x in forecast["candidates"] if x["strategy"] == "nothing")
    if nothing["reached_probability"] == 1:
        return f"The model still has {share}: no retraining is needed."
    low, high = map(pages.number, forecast["epochs"]["interval"])
    value = pages.number(forecast["epochs"]["value"])
    way = NAMES[forecast["strategy"]]
    return f"Expect {value} epochs ({low} to {high}) of retraining {way} to reach {share}."


def _shift_in_words(score: dict[str, Any]) -> str:
    floor, p = score["noise_floor"], score["p_value"]
    if p is None or p != p:
        return "There are too few samples to tell a shift from noise."
    if p >= 0.05:
        return f"This cannot be told from no shift at all (p = {p:.2g})."
    if not floor:
        return "This is a shift beyond sampling noise."
    times = score["value"] / floor
    much = pages.number(times) if times >= 1.95 else f"{times:.1f}"
    return f"This shift is {much} times the noise floor."


def _classes(score: dict[str, Any], samples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the classes, the most shifted first."""
    most = max(score["per_class"].values(), default=0) or 1
    return [
        {
            "name": name,
            "value": value,
            "width": value / most,
            "counts": score["counts"].get(name, ("?", "?")),
            "samples": [x for x in samples if x["label"] == name],
        }
        for name, value in sorted(score["per_class"].items(), key=lambda x: -x[1])
    ]


def _choices(forecast: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the candidates as rows; doing nothing first."""
    rows = []
    for x in forecast["candidates"]:
        nothing = x["strategy"] == "nothing"
        rows.append(
            {
                "name": "leave it as it is" if nothing else f"retrain {NAMES[x['strategy']]}",
                "epochs": NOTHING if nothing else pages.amount(x["epochs"], ""),
                "energy": NOTHING if nothing else pages.amount(x["energy_kwh"], "Wh", 1000),
                "carbon": NOTHING if nothing else pages.amount(x["co2eq_kg"], "g", 1000),
                "time": NOTHING if nothing else pages.amount(x["seconds"], "s"),
                "price": _price(x.get("price")),
                "reached": x["reached_probability"],
            }
        )
    return rows


def _price(found: dict[str, Any] | None) -> tuple[str, str]:
    return ("–", "") if found is None else pages.amount(found, "")


def command(shift: Shift, report: dict[str, Any]) -> str:
    """Return the commands that do the same at home."""
    lines = ["pip install 'resque[study]'"]
    if shift.model.startswith("resque-demo/"):
        lines.append("resque demo  # trains the bundled model anew")
    lines.append(report["command"])
    if shift.original:
        ways = [word for way in STRATEGIES for word in ("--strategy", way)]
        flags = [*_flags(shift), *ways, *_samples(shift), *shift.machine.flags()]
        lines.append(shlex.join(["resque", "forecast", *flags]))
    return "\n".join(lines)


def estimate_command(shift: Shift) -> str:
    """Return the command that measures a shift at home."""
    labels = ["--labels", shift.labels] if shift.labels != "auto" else []
    return shlex.join(["resque", "estimate", *_flags(shift), *labels, *_samples(shift)])


def _flags(shift: Shift) -> list[str]:
    words = ["--model", shift.model]
    for flag in ("original", "shifted", "corruption"):
        value = getattr(shift, flag)
        words += [f"--{flag}", value] if value else []
    return words


def _samples(shift: Shift) -> list[str]:
    return ["--max-samples", str(shift.max_samples)] if shift.max_samples else []


def python(shift: Shift) -> str:
    """Return the Python lines that do the same at home."""
    given = [repr(shift.model)]
    for name in ("original", "shifted", "corruption"):
        value = getattr(shift, name)
        given += [f"{name}={value!r}"] if value else []
    given += [f"labels={shift.labels!r}"] if shift.labels != "auto" else []
    given += [f"max_samples={shift.max_samples}"] if shift.max_samples else []
    return f"import resque\n\nreport = resque.estimate({', '.join(given)})\nprint(report)"
