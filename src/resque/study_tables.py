"""The tables of a study's report, as people read them."""

from __future__ import annotations

from dataclasses import dataclass

from resque.correlations import COEFFICIENTS, Correlation, Estimate
from resque.predictors import PREDICTORS
from resque.study_analysis import Analysis, Comparison, Part
from resque.study_words import against_best, brackets, measure_name, number, p_text, verdict

NONE = "–"


@dataclass(frozen=True)
class Shown:
    """What stands in one place of a table.

    Attributes:
        value: the first line.
        detail: the second, smaller one; may be empty.
        best: whether it is in bold.
    """

    value: str
    detail: str = ""
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A table that people read.

    Attributes:
        caption: what it shows.
        header: names of the columns.
        rows: their first place is a name, the others are numbers.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Shown, ...], ...]


def main_tables(analysis: Analysis, energy: str) -> list[Table]:
    """Return Spearman's ρ of each predictor with each measure, in two blocks."""
    parts = [analysis.part(measure=measure) for measure in analysis.measures]
    tables = []
    for labelled, what in ((True, "need labels of the shifted data"), (False, "need no labels")):
        resque, rivals = (analysis.named(resque=x, labelled=labelled) for x in (True, False))
        names = resque + rivals
        best = {part.measure: part.best(names) for part in parts}
        sizes = (Shown("runs"), *map(_size, parts))
        rows = tuple(
            (Shown(name), *(_rho(part.correlations[name], name == best[part.measure], part.runs)
                            for part in parts))
            for name in names
        )  # fmt: skip
        if rows:
            header = ("predictor", *(measure_name(part.measure, energy) for part in parts))
            caption = f"Predictors that {what}: Spearman's ρ"
            tables.append(Table(caption, header, (sizes, *rows)))
    return tables


def _size(part: Part) -> Shown:
    return Shown(str(part.runs), f"{part.censored} censored" if part.censored else "")


def _rho(found: Correlation, best: bool, runs: int) -> Shown:
    if found.spearman is None:
        return Shown(NONE, found.undefined)
    fewer = f" ({found.runs} runs)" if found.runs < runs else ""
    return Shown(number(found.spearman.value), brackets(found.spearman.interval) + fewer, best)


def coefficient_table(analysis: Analysis) -> Table:
    """Return every coefficient of every predictor with the main measure."""
    part = analysis.part()
    left_out = f"; Pearson's r leaves out {part.censored} censored runs" if part.censored else ""
    header = ("predictor", "Pearson's r", "Spearman's ρ", "Kendall's τ", "Harrell's C")
    rows = tuple(
        (Shown(name), *(_estimate(getattr(found, kind)) for kind in COEFFICIENTS))
        for name, found in part.correlations.items()
    )
    return Table(f"Every coefficient: {analysis.main}{left_out}", header, rows)


def _estimate(found: Estimate | None) -> Shown:
    return Shown(NONE) if found is None else Shown(number(found.value), brackets(found.interval))


def difference_tables(analysis: Analysis, energy: str) -> list[Table]:
    """Return the paired differences of our RESQUE, and of the best one without labels."""
    unlabelled = analysis.part().best(analysis.named(resque=True, labelled=False))
    tables = []
    for ours in (name for name in (analysis.ours, unlabelled) if name):
        parts = [analysis.part(measure=measure) for measure in analysis.measures]
        rivals = dict.fromkeys(
            x.rival for part in parts for x in part.comparisons if x.ours == ours
        )
        rows = tuple(
            (Shown(rival), *(_difference(part.comparison(ours, rival)) for part in parts))
            for rival in rivals
        )
        if rows:
            caption = f"{ours} − rival: difference of Spearman's ρ; p after Holm's correction"
            header = ("rival", *(measure_name(measure, energy) for measure in analysis.measures))
            tables.append(Table(caption, header, rows))
    return tables


def _difference(found: Comparison | None) -> Shown:
    if found is None:
        return Shown(NONE)
    d = found.difference
    detail = f"{brackets(d.interval)}, {p_text(found.p_holm)}" if d.interval else ""
    return Shown(number(d.value), detail, verdict(found).startswith("clearly"))


def group_table(analysis: Analysis) -> Table | None:
    """Return who wins within each group; None where there is a single group of each kind."""
    resque, rivals = (
        tuple(name for name in analysis.predictors if PREDICTORS[name].is_resque == ours)
        for ours in (True, False)
    )
    header = ("group", "runs", "shifts", analysis.ours or "RESQUE", "best RESQUE", "best rival",
              "difference", "ceiling")  # fmt: skip
    rows = []
    for scope in analysis.scopes[1:]:
        part = analysis.part(scope)
        best = part.best(analysis.predictors)
        tested = against_best(analysis, scope)
        ours = part.correlations.get(analysis.ours or "")
        rows.append(
            (
                Shown(scope.name, scope.kind),
                _size(part),
                Shown(str(part.shifts)),
                _rho(ours, best == analysis.ours, part.runs) if ours else Shown(NONE),
                *(_winner(part, part.best(names), best) for names in (resque, rivals)),
                _difference(tested),
                _estimate(part.ceiling.spearman),
            )
        )
    if not rows:
        return None
    caption = f"Within groups, {analysis.main}: Spearman's ρ; difference: RESQUE − best rival"
    return Table(caption, header, tuple(rows))


def _winner(part: Part, name: str | None, best: str | None) -> Shown:
    found = part.rho(name) if name else None
    if name is None or found is None:
        return Shown(NONE)
    return Shown(f"{name} {number(found.value)}", brackets(found.interval), name == best)


def layer_table(analysis: Analysis) -> Table | None:
    """Return Spearman's ρ by layer and kind of labels; None where no layer was measured."""
    own = [x for x in analysis.layers if x.measure == analysis.main]
    if not own:
        return None
    kinds = [k for k in ("data", "predicted", "soft") if any(x.labels == k for x in own)]
    found = {(x.model, x.layer, x.labels): x.correlation for x in own}
    places = dict.fromkeys((x.model, x.depth, x.layer) for x in own)
    rows = tuple(
        (Shown(layer, model), Shown(number(depth)),
         *(_layer(found.get((model, layer, kind))) for kind in kinds))
        for model, depth, layer in places
    )  # fmt: skip
    caption = f"RESQUE_dist layer by layer, {analysis.main}: Spearman's ρ by what made the classes"
    return Table(caption, ("layer", "depth", *(f"labels: {kind}" for kind in kinds)), rows)


def _layer(found: Correlation | None) -> Shown:
    return Shown(NONE) if found is None else _rho(found, False, found.runs)


def ceiling_table(analysis: Analysis, energy: str) -> Table:
    """Return how well a run's cost goes with that of the other seeds, by measure."""
    parts = [analysis.part(measure=measure) for measure in analysis.measures]
    rows = tuple(
        (Shown(measure_name(part.measure, energy)), _rho(part.ceiling, False, part.ceiling.runs),
         Shown(str(part.ceiling.runs)), Shown(str(part.ceiling.clusters)))
        for part in parts
    )  # fmt: skip
    header = ("measure", "ρ with the other seeds", "runs", "shifts")
    return Table("The ceiling that the seeds' noise sets", header, rows)


def predictor_table(analysis: Analysis) -> Table:
    """Return what each predictor is and where it comes from."""
    rows = tuple(
        (Shown(name), Shown(PREDICTORS[name].what),
         Shown("yes" if PREDICTORS[name].needs_labels else "no"),
         Shown("+" if PREDICTORS[name].sign > 0 else "−"), Shown(PREDICTORS[name].source))
        for name in analysis.predictors
    )  # fmt: skip
    return Table("Predictors", ("name", "what", "needs labels", "sign", "source"), rows)
