"""The text of the tab "Does it hold?": caption, losses, coefficients with bars, one run, links."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import studies_charts as charts
import studies_data as data
from studies_data import ALL, Rho, Run, Studies

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    undefined=StrictUndefined,
)
TAB = "holds"  # the tab in a link
CARD = (  # of the predictors, those that are told of one run
    "resque_dist", "resque_dist_predicted", "resque_task", "accuracy_drop", "logme", "knn_error",
    "cka", "arm",
)  # fmt: skip


def looks(studies: Studies) -> str:
    """Return the style sheet that puts each family's mark beside its switch."""
    known = {family: charts.look(studies, family) for family in studies.families}
    marks = [
        {"family": family, "colour": colour, "clip": charts.SHAPES[shape]}
        for family, (colour, shape) in known.items()
    ]
    return _html("looks", marks=marks)


def intro(studies: Studies) -> str:
    """Return what the tab is about."""
    return _html("intro", runs=len(studies.runs), studies=len(studies.studies))


def caption(
    studies: Studies, study: str, measure: str, predictor: str, families: Iterable[str]
) -> str:
    """Return what the figure shows."""
    runs = data.selected(studies, study, measure, predictor, families)
    of = len(data.in_study(studies, study, data.families_of(studies, study)))
    paragraphs = [
        (
            f"{len(runs)} of {of} runs shown." if runs else "No run is shown.",
            " ".join(_of_marks(studies, runs, measure, predictor)),
        ),
        ("", _of_rho(studies, study, measure, predictor)),
    ]
    if study != ALL:
        kind = studies.studies[study]
        paragraphs.insert(0, (f"{kind['title']}:", f"{kind['about']}."))
    link = f"?tab={TAB}&study={study}&cost={measure}&predictor={predictor}"
    return _html("caption", paragraphs=paragraphs, link=link)


def _of_marks(studies: Studies, runs: list[Run], measure: str, predictor: str) -> Iterator[str]:
    """Say what the marks are, sentence by sentence."""
    kind = studies.predictors[predictor]
    missed = sum(data.censored(studies, run, measure) for run in runs)
    free = sum(run[measure] == 0 for run in runs)
    if not runs:
        yield "Switch on a family above that has this predictor."
        return
    if missed:
        yield f"Hollow: {missed} that did not reach their target and would have cost more."
    if free:
        yield f"At the bottom: {free} that were at their target before the first step."
    yield f"To the right: {kind['what']}."
    if kind["sign"] < 0:
        yield "A smaller one should mean a dearer retraining."
    yield "Upwards: the cost, on a square-root scale that spreads small ones."
    if measure in ("energy_wh", "co2eq_g"):
        methods = dict.fromkeys(studies.studies[run["study"]]["energy"] for run in runs)
        yield f"How energy is known: {' | '.join(methods)}."


def _of_rho(studies: Studies, study: str, measure: str, predictor: str) -> str:
    if study == ALL:
        return (
            "Models and targets differ between the studies, so there is no one coefficient over "
            "all; those of each study stand beside."
        )
    found = data.rho(studies, study, measure, predictor)
    if found is None or found.value is None:
        return f"Over all families, no correlation is defined: {found.why if found else 'no run'}."
    name = studies.predictors[predictor]["name"]
    value = data.interval_text(found.value, found.interval)
    return (
        f"Over all families, {name} and the cost have Spearman’s ρ = {value} ({found.runs} runs)."
    )


def losses(studies: Studies, study: str, measure: str) -> str:
    """Return what RESQUE loses, and where it leads."""
    if study == ALL:
        return _html("losses", lines=data.losses_over_all(studies, measure))
    return _html("losses", lines=data.losses(studies, study, measure))


def forest(studies: Studies, study: str, measure: str, predictor: str) -> str:
    """Return the coefficients of a choice of studies as a table with bars."""
    groups = _groups(studies, study, measure, predictor)
    negative = any((x.value or 0) < 0 for _, rows in groups for x in rows)
    axis = _Axis(-0.5 if negative else 0.0)
    return _html(
        "forest",
        caption=f"Spearman’s ρ with {_lower(studies.measures[measure]['name'])}",
        ticks=axis.ticks,
        groups=[_group(studies, name, rows, axis, predictor) for name, rows in groups if rows],
    )


def _groups(
    studies: Studies, study: str, measure: str, predictor: str
) -> list[tuple[str, list[Rho]]]:
    if study == ALL:
        return [
            (studies.studies[name]["title"], _in_short(studies, name, measure, predictor))
            for name in studies.studies
        ]
    found = data.rhos(studies, study, measure)
    needs = {x: studies.predictors[x.predictor]["needs_labels"] for x in found}
    return [
        ("Need labels of the shifted data", [x for x in found if needs[x]]),
        ("Need no labels", [x for x in found if not needs[x]]),
    ]


def _group(
    studies: Studies, name: str, rows: Sequence[Rho], axis: _Axis, predictor: str
) -> dict[str, Any]:
    runs = max(row.runs for row in rows)
    return {
        "name": f"{name}: {runs} runs",
        "rows": [_row(studies, row, axis, predictor, runs) for row in rows],
    }


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]


def _in_short(studies: Studies, study: str, measure: str, predictor: str) -> list[Rho]:
    """Return the chosen predictor, the study's RESQUE, and the best of either kind."""
    found = data.rhos(studies, study, measure)
    first = (predictor, data.ours(studies, study))
    return [x for x in found if x.predictor in first or x.best]


@dataclass(frozen=True)
class _Axis:
    """Where a coefficient lies on a bar, in percent of its width.

    Attributes:
        low: where the bar starts; it ends at 1.
    """

    low: float

    def at(self, x: float) -> float:
        return max(0.0, round(100 * (x - self.low) / (1 - self.low), 2))

    @property
    def ticks(self) -> list[dict[str, Any]]:
        known = [x / 2 for x in range(-1, 3) if x / 2 >= self.low]
        return [{"at": self.at(x), "text": f"{x:g}".replace("-", "−")} for x in known]


def _row(studies: Studies, found: Rho, axis: _Axis, predictor: str, most: int) -> dict[str, Any]:
    kind = studies.predictors[found.predictor]
    low, high = found.interval or (None, None)
    notes = ["best"] if found.best else []
    notes += [f"{found.runs}\N{NO-BREAK SPACE}runs"] if found.runs < most else []
    notes += [found.why] if found.why else []
    value, _, interval = (
        ("–", "", "")
        if found.value is None
        else data.interval_text(found.value, found.interval).partition(" ")
    )
    return {
        "name": kind["name"],
        "what": kind["what"],
        "note": ", ".join(notes),
        "ours": kind["is_resque"],
        "best": found.best,
        "chosen": found.predictor == predictor,
        "value": value,
        "interval": interval,
        "at": None if found.value is None else axis.at(found.value),
        "cut": low is not None and low < axis.low,
        "low": None if low is None else axis.at(low),
        "width": None if low is None or high is None else round(axis.at(high) - axis.at(low), 2),
    }


def downloads(studies: Studies, study: str, runs: Sequence[Run]) -> str:
    """Return the link to the rows of the table, which holds them itself."""
    content = data.csv_of(studies, runs).encode()
    return _html(
        "downloads",
        runs=len(runs),
        name=f"resque-studies-{study}",
        csv=data.data_link(content, "text/csv;charset=utf-8"),
        size=round(len(content) / 1000),
    )


def whole(studies: Studies) -> str:
    """Return the link to all runs, which holds them itself."""
    content = data.zipped(data.json_lines(studies.runs))
    link = data.data_link(content, "application/gzip")
    return _html("all", link=link, runs=len(studies.runs), size=round(len(content) / 1000))


def card(studies: Studies, name: str | None) -> str:
    """Return all that is known of a run; nothing where there is none of this name."""
    run = next((x for x in studies.runs if x["run"] == name), None)
    return _html("run", run=run, facts=_facts(studies, run) if run else [])


def _facts(studies: Studies, run: Run) -> list[tuple[str, str]]:
    level = studies.families[run["family"]]
    return [
        ("Study", studies.studies[run["study"]]["title"]),
        ("Model", run["model"]),
        ("It knows", run["original"]),
        ("Retrained on", run["data"]),
        ("Shift", run["shift"] + (f" ({level})" if level else "")),
        ("Seed", str(run["seed"])),
        ("Retrained", charts.STRATEGIES[run["strategy"]]),
        ("Target", _target(run)),
        ("Accuracy", f"{run['accuracy_before']:.3f} before, {run['accuracy_best']:.3f} at best"),
        *((studies.predictors[p]["name"], data.amount(run[p])) for p in CARD if run[p] is not None),
        *(charts.cost_parts(studies, run, measure) for measure in studies.measures),
    ]


def _target(run: Run) -> str:
    kind, _, value = run["target"].partition(":")
    what = f"{float(value):.0%}".replace("%", " %")
    what += " of the original accuracy" if kind == "recovery" else " accuracy"
    return f"{what}: {'reached' if run['reached'] else 'not reached'}"


def _html(template: str, /, **values: Any) -> str:
    return TEMPLATES.get_template(f"studies_{template}.html").render(values)
