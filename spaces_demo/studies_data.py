"""The committed studies as the tab "Does it hold?" asks for them: runs, correlations, losses."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from resque.study_words import brackets
from resque.study_words import number as two

ASSET = Path(__file__).parent / "assets" / "studies.json"
ALL = "all"  # the choice of every study
UNLABELLED = "resque_dist_predicted"  # our RESQUE without labels, chosen beforehand

Run = dict[str, Any]  # a retraining: the columns of the asset by name


@dataclass(frozen=True)
class Studies:
    """What `build_studies.py` wrote.

    Attributes:
        measures: of cost, by name: name, unit, whether a run without its target is a bound only.
        predictors: by name: name, what it is, needs_labels, is_resque, sign.
        families: kinds of shift, with what their level is ("" where they have none).
        studies: by name: title, about, ours, families, energy, correlations, differences.
        runs: in the order of the ledgers.
    """

    measures: dict[str, dict[str, Any]]
    predictors: dict[str, dict[str, Any]]
    families: dict[str, str]
    studies: dict[str, dict[str, Any]]
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Rho:
    """Spearman's ρ of a predictor with a cost over all families of a study.

    Attributes:
        study: name.
        predictor: name.
        value: in [−1, 1]; None where it is undefined.
        interval: 95 %, or None.
        runs: that have both.
        why: it is undefined.
        best: whether it is the greatest of those that need labels, or of those that need none.
    """

    study: str
    predictor: str
    value: float | None
    interval: tuple[float, float] | None
    runs: int
    why: str
    best: bool


@cache
def read_studies() -> Studies:
    """Return the asset, read once."""
    found = json.loads(ASSET.read_text(encoding="utf-8"))
    runs = tuple(dict(zip(found["columns"], row, strict=True)) for row in found["runs"])
    return Studies(
        found["measures"], found["predictors"], found["families"], found["studies"], runs
    )


def names(studies: Studies, study: str) -> list[str]:
    """Return the studies that a choice means."""
    return list(studies.studies) if study == ALL else [study]


def families_of(studies: Studies, study: str) -> list[str]:
    """Return the kinds of shift of a choice of studies, always in the same order."""
    found = {name for x in names(studies, study) for name in studies.studies[x]["families"]}
    return [name for name in studies.families if name in found]


def ours(studies: Studies, study: str) -> str:
    """Return the RESQUE that a study was made for: RESQUE_dist, or RESQUE_task of new tasks."""
    return "resque_dist" if study == ALL else str(studies.studies[study]["ours"])


def predictors_of(studies: Studies, study: str, measure: str) -> list[str]:
    """Return the predictors that a study compares, RESQUE first, those with labels first."""
    chosen = [studies.studies[name]["correlations"][measure] for name in names(studies, study)]
    known = {p for rows in chosen for p, row in rows.items() if row["runs"]}
    return sorted(known & set(studies.predictors), key=lambda p: _place(studies, p))


def _place(studies: Studies, predictor: str) -> tuple[bool, bool, int]:
    kind = studies.predictors[predictor]
    order = list(studies.predictors).index(predictor)
    return not kind["is_resque"], not kind["needs_labels"], order


def in_study(studies: Studies, study: str, families: Iterable[str], words: str = "") -> list[Run]:
    """Return the runs of a choice of studies and families that hold every one of the words."""
    chosen, wanted = set(families), words.casefold().split()
    kept = names(studies, study)
    return [
        run
        for run in studies.runs
        if run["study"] in kept and run["family"] in chosen and _holds(run, wanted)
    ]


def _holds(run: Run, wanted: Sequence[str]) -> bool:
    reached = "reached" if run["reached"] else "missed"
    facts = ("run", "model", "original", "data", "shift", "family", "strategy", "target")
    text = " ".join([*(str(run[fact]) for fact in facts), f"seed {run['seed']}", reached])
    return all(word in text.casefold() for word in wanted)


def in_order(runs: Sequence[Run], column: str) -> list[Run]:
    """Return runs by a column: numbers from the greatest, words from A; what lacks it last.

    Without a column they stay as they are.
    """
    if not column:
        return list(runs)
    known = [run for run in runs if run[column] is not None]
    lacking = [run for run in runs if run[column] is None]
    downwards = bool(known) and not isinstance(known[0][column], str)
    return sorted(known, key=lambda run: run[column], reverse=downwards) + lacking


def selected(
    studies: Studies, study: str, measure: str, predictor: str, families: Iterable[str]
) -> list[Run]:
    """Return the runs of a choice that have both the cost and the predictor: what is drawn."""
    runs = in_study(studies, study, families)
    return [run for run in runs if run[measure] is not None and run[predictor] is not None]


def censored(studies: Studies, run: Run, measure: str) -> bool:
    """Return whether a run's cost is a lower bound, as it did not reach its target."""
    return bool(studies.measures[measure]["bound_only"]) and not run["reached"]


def rho(studies: Studies, study: str, measure: str, predictor: str) -> Rho | None:
    """Return one coefficient; None where the study lacks the predictor."""
    return next((x for x in rhos(studies, study, measure) if x.predictor == predictor), None)


def rhos(studies: Studies, study: str, measure: str) -> list[Rho]:
    """Return one study's coefficients: those that need labels, then the others; best first."""
    rows = studies.studies[study]["correlations"][measure]
    kinds = studies.predictors
    best = {_best(rows, [p for p in rows if kinds[p]["needs_labels"] == x]) for x in (True, False)}
    order = sorted(rows, key=lambda p: (not kinds[p]["needs_labels"], -_or(rows[p]["rho"], -2)))
    return [_rho(study, p, rows[p], p in best) for p in order if rows[p]["runs"]]


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def _best(rows: dict[str, Any], candidates: Sequence[str]) -> str | None:
    known = {p: rows[p]["rho"] for p in candidates if rows[p]["rho"] is not None}
    return max(known, key=lambda p: known[p]) if known else None


def _rho(study: str, predictor: str, row: dict[str, Any], best: bool) -> Rho:
    interval = None if row["low"] is None else (row["low"], row["high"])
    return Rho(study, predictor, row["rho"], interval, row["runs"], row["undefined"], best)


def losses(studies: Studies, study: str, measure: str) -> dict[str, str]:
    """Say which rival does better than RESQUE, or that none does: with labels, and without.

    RESQUE is `ours` of the study, and RESQUE_dist with predicted labels where none are needed:
    chosen beforehand, not by their success.
    """
    return {
        "With labels": _loss(studies, study, measure, ours(studies, study)),
        "Without labels": _loss(studies, study, measure, UNLABELLED),
    }


def _loss(studies: Studies, study: str, measure: str, mine: str) -> str:
    rows, kinds = studies.studies[study]["correlations"][measure], studies.predictors
    rivals = [p for p in rows if _is_rival(kinds[p], kinds[mine]["needs_labels"])]
    name, best = kinds[mine]["name"], _best(rows, rivals)
    if mine not in rows or rows[mine]["rho"] is None or best is None:
        return f"Nothing can be said of {name}: {_why(rows.get(mine))}."
    own, other, rival = rows[mine]["rho"], rows[best]["rho"], kinds[best]["name"]
    clear = _difference(studies, study, measure, mine, best)
    if other <= own:
        return (
            f"No rival does better than {name}, {two(own)}; next is {rival}, {two(other)}.{clear}"
        )
    better = sum(_or(rows[p]["rho"], -2) > own for p in rivals)
    count = f"{better} of {len(rivals)} rivals do better." if better > 1 else ""
    needs = "; it needs the same rows before and after the shift" if best == "cka" else ""
    said = f"{rival} does better here: {two(other)} against {two(own)} of {name}{needs}."
    return f"{said}{clear} {count}".rstrip()


def losses_over_all(studies: Studies, measure: str) -> dict[str, str]:
    """Say in how many studies a rival does better than RESQUE, and which; see `losses`."""
    return {
        "With labels": _over_all(studies, measure, lambda name: ours(studies, name)),
        "Without labels": _over_all(studies, measure, lambda _: UNLABELLED),
    }


def _over_all(studies: Studies, measure: str, mine: Callable[[str], str]) -> str:
    lost: dict[str, list[str]] = {}
    kept: list[str] = []
    for name, study in studies.studies.items():
        rows, kinds = study["correlations"][measure], studies.predictors
        own = _or(rows.get(mine(name), {}).get("rho"), -2)
        labelled = kinds[mine(name)]["needs_labels"]
        best = _best(rows, [p for p in rows if _is_rival(kinds[p], labelled)])
        if best and rows[best]["rho"] > own:
            lost.setdefault(kinds[best]["name"], []).append(study["title"])
        else:
            kept.append(study["title"])
    n = len(studies.studies)
    said = [f"{rival} in {_list(names)}" for rival, names in lost.items()]
    lead = f"A rival does better in {n - len(kept)} of {n} studies: {'; '.join(said)}."
    return lead + (f" RESQUE leads in {_list(kept)}." if kept else "")


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _is_rival(kind: dict[str, Any], labelled: bool) -> bool:
    return not kind["is_resque"] and kind["needs_labels"] == labelled


def _why(row: dict[str, Any] | None) -> str:
    return row["undefined"] if row and row["undefined"] else "it was not measured, or has no rival"


CLEAR = {
    "clearly ahead": "is clear",
    "clearly behind": "is clear",
    "ahead, but not after Holm's correction": "is not clear once corrected for several rivals",
    "behind, but not after Holm's correction": "is not clear once corrected for several rivals",
    "no clear difference": "is not clear",
    "too few shifts to tell": "rests on too few shifts to tell",
}


def _difference(studies: Studies, study: str, measure: str, mine: str, rival: str) -> str:
    found = studies.studies[study]["differences"][measure].get(f"{mine} {rival}")
    if found is None or found["low"] is None:
        return ""
    value = interval_text(found["value"], (found["low"], found["high"]))
    runs, clear = found["runs"], CLEAR[found["verdict"]]
    return f" The difference over the {runs} runs that have both, {value}, {clear}."


def interval_text(value: float, interval: tuple[float, float] | None) -> str:
    """Return a value with its interval.

    >>> interval_text(0.86, (0.74, 0.93))
    '0.86 [0.74, 0.93]'
    """
    return f"{two(value)} {brackets(interval)}".rstrip()


def amount(x: float | None) -> str:
    """Return three digits, without an exponent where it needs none.

    >>> amount(0.0053211), amount(140.0), amount(None)
    ('0.00532', '140', '–')
    """
    if x is None:
        return "–"
    return (f"{x:.0f}" if abs(x) >= 100 else f"{x:.3g}").replace("-", "−")


def csv_of(studies: Studies, runs: Sequence[Run]) -> str:
    """Return runs as CSV, all columns."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([studies.runs[0], *(run.values() for run in runs)])
    return text.getvalue()


def json_lines(runs: Iterable[Run]) -> str:
    """Return runs as JSON Lines, all columns."""
    return "".join(json.dumps(run, ensure_ascii=False) + "\n" for run in runs)


def data_link(content: bytes, kind: str) -> str:
    """Return a link that holds its content itself.

    >>> data_link(b"a", "text/csv")
    'data:text/csv;base64,YQ=='
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def zipped(text: str) -> bytes:
    """Return a text compressed, the same bytes each time."""
    return gzip.compress(text.encode(), mtime=0)
