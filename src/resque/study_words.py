"""A study in words: what was run, who wins, and where. Each sentence follows a fixed rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from resque.correlations import MIN_CLUSTERS_CLAIM, Correlation, Estimate
from resque.ledger import FAILED, Entry, Ledger
from resque.records import CostRecord
from resque.study_analysis import Analysis, Comparison, Part, Scope

LISTED = 10  # names in one line
LISTED_ERRORS = 5
RIVAL = "accuracy_drop"  # the first thing that anyone would try
SIGNIFICANT = 0.05
VERDICTS = (
    "clearly ahead",
    "ahead, but not after Holm's correction",
    "clearly behind",
    "behind, but not after Holm's correction",
    "no clear difference",
    "too few shifts to tell",
)


def number(x: float) -> str:
    """Return two decimals, with a true minus.

    >>> number(-0.125), number(-0.001)
    ('−0.12', '0.00')
    """
    text = f"{x:.2f}"
    return text[1:] if text == "-0.00" else text.replace("-", "−")


def brackets(interval: tuple[float, float] | None) -> str:
    """Return an interval as it is printed; empty where there is none.

    >>> brackets((0.7, 0.881))
    '[0.70, 0.88]'
    """
    return "" if interval is None else f"[{number(interval[0])}, {number(interval[1])}]"


def estimate_text(found: Estimate | None) -> str:
    """Return a coefficient with its interval; "undefined" where there is none."""
    if found is None:
        return "undefined"
    return f"{number(found.value)} {brackets(found.interval)}".rstrip()


def p_text(p: float | None) -> str:
    """Return a p-value as it is printed.

    >>> p_text(0.0123), p_text(0.0012)
    ('p = 0.01', 'p < 0.01')
    """
    if p is None:
        return "no p"
    return f"p = {number(p)}" if p >= 0.01 else "p < 0.01"


def verdict(tested: Comparison) -> str:
    """Say what a difference shows: its interval first, then Holm's correction."""
    interval, few = tested.difference.interval, tested.difference.clusters < MIN_CLUSTERS_CLAIM
    if few or interval is None or tested.p_holm is None:
        return VERDICTS[5]
    if interval[0] <= 0 <= interval[1]:
        return VERDICTS[4]
    return VERDICTS[2 * (interval[1] < 0) + (tested.p_holm >= SIGNIFICANT)]


def energy_kind(records: Iterable[CostRecord]) -> str:
    """Return "measured" where every part of every record's energy is, else "estimated"."""
    return "measured" if all(record.energy_is_measured for record in records) else "estimated"


def measure_name(measure: str, energy: str) -> str:
    """Return a measure's name, with how its energy is known where it rests on energy."""
    return f"{measure} ({energy})" if measure in ("energy_kwh", "co2eq_kg") else measure


def facts(ledger: Ledger, analysis: Analysis) -> list[tuple[str, str]]:
    """Return what was run, as (name, text)."""
    entries, done = ledger.entries, ledger.done
    failed = [entry for entry in entries if entry.status == FAILED]
    main = analysis.part()
    ended = sorted(entry.ended for entry in entries)
    runs = f"{len(done)} done, {len(failed)} failed; {_target(main)}"
    found = [
        ("cells", runs),
        ("studies", _names(entry.study for entry in entries)),
        ("families", _names(entry.cell.family for entry in done)),
        ("modalities", _names(entry.modality or "unknown" for entry in done)),
        ("models", _names(entry.cell.model for entry in done)),
        ("shifts", f"{main.shifts} different (model, data, corruption and level)"),
        ("strategies", _names(entry.cell.strategy for entry in done)),
        ("targets", _names(entry.cell.target for entry in done)),
        ("seeds", _names(str(entry.cell.seed) for entry in done)),
        ("ended", " to ".join(dict.fromkeys((ended[0][:10], ended[-1][:10])))),
        ("versions", _versions(entries)),
        *_energy([entry.record for entry in entries if entry.record is not None]),
    ]
    if failed:
        found.insert(1, ("failures", _errors(failed)))
    if ledger.skipped:
        lines = "; ".join(ledger.skipped[:LISTED_ERRORS])
        found.append(("lines skipped in the ledger", f"{len(ledger.skipped)}: {lines}"))
    return found


def _target(main: Part) -> str:
    return f"{main.censored} of {main.runs} did not reach their target (censored)"


def _names(names: Iterable[str]) -> str:
    known = sorted(set(names))
    return f"{len(known)}: {_some(known)}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _errors(failed: Sequence[Entry]) -> str:
    counts = Counter(entry.error or "unknown" for entry in failed).most_common()
    more = len(counts) - LISTED_ERRORS
    listed = "; ".join(f"{n} × {error}" for error, n in counts[:LISTED_ERRORS])
    return listed + (f"; and {more} other errors" if more > 0 else "")


def _versions(entries: Iterable[Entry]) -> str:
    known: dict[str, set[str]] = {}
    for entry in entries:
        for name, version in (entry.record.host.versions if entry.record else {}).items():
            known.setdefault(name, set()).add(version)
    return ", ".join(f"{name} {'/'.join(sorted(versions))}" for name, versions in known.items())


def _energy(records: Sequence[CostRecord]) -> list[tuple[str, str]]:
    training = sum(r.energy_kwh for r in records)
    rest = sum(r.evaluation_energy_kwh + r.overhead_energy_kwh for r in records)
    total = training + rest + sum(r.wasted.energy_kwh for r in records)
    methods = Counter(
        f"CPU {r.energy_method.cpu}; GPU {r.energy_method.gpu}; RAM {r.energy_method.ram}"
        for r in records
    ).most_common(LISTED_ERRORS)
    kind = energy_kind(records)
    return [
        ("energy", f"{total:.3g} kWh in all ({kind}), {training:.3g} kWh of it training"),
        ("how energy is known", " | ".join(f"{n} runs: {method}" for method, n in methods)),
    ]


def findings(analysis: Analysis) -> list[str]:
    """Return what was found, a few sentences to the point, one a list item."""
    by_measure: dict[str, list[str]] = {}
    for measure in analysis.measures:
        by_measure.setdefault(_winners(analysis, measure), []).append(measure)
    found = [f"{', '.join(measures)}: {text}" for text, measures in by_measure.items()]
    found += [text for kind in ("family", "modality") if (text := _by_group(analysis, kind))]
    found.append(_ceiling(analysis))
    if best := _layers(analysis):
        found.append(best)
    return [*found, *_caveats(analysis)]


def _winners(analysis: Analysis, measure: str) -> str:
    """Say who leads, with labels and without, and whether RESQUE's distance to rivals is clear."""
    part = analysis.part(measure=measure)
    if not any_defined(part):
        return _reasons(part.correlations.values())
    sentences = []
    for labelled, what in ((True, "need labels of the shifted data"), (False, "need no labels")):
        resque, rivals = (analysis.named(resque=x, labelled=labelled) for x in (True, False))
        leader, best_rival = part.best(resque + rivals), part.best(rivals)
        champion = analysis.ours if labelled else part.best(resque)
        if leader is None:
            continue
        text = f"of the predictors that {what}, {leader} leads with ρ = "
        text += estimate_text(part.rho(leader))
        if champion and champion != leader:
            text += f" ({champion}: {estimate_text(part.rho(champion))})"
        pairs = dict.fromkeys([RIVAL, best_rival] if labelled else [best_rival])
        tests = [found for rival in pairs if (found := part.comparison(champion, rival))]
        sentences.append("; ".join([text, *map(difference_text, tests)]))
    return ". And ".join(sentences) + "."


def any_defined(part: Part) -> bool:
    """Return whether any predictor has a rank correlation."""
    return any(found.spearman for found in part.correlations.values())


def difference_text(tested: Comparison) -> str:
    """Return a comparison in words."""
    return f"{tested.ours} − {tested.rival} = {_difference(tested)}, {verdict(tested)}"


def _difference(tested: Comparison) -> str:
    d = tested.difference
    return f"{number(d.value)} {brackets(d.interval)}".rstrip()


def _reasons(correlations: Iterable[Correlation]) -> str:
    reasons = dict.fromkeys(found.undefined for found in correlations if found.undefined)
    return f"no correlation is defined: {'; '.join(reasons)}."


def _by_group(analysis: Analysis, kind: str) -> str:
    """Say in which groups RESQUE leads its best rival, in which it loses, and which are open."""
    said: dict[str, list[str]] = {}
    mute = []
    for scope in (scope for scope in analysis.scopes if scope.kind == kind):
        found = against_best(analysis, scope)
        if found is None:
            mute.append(f"{scope.name} ({_why_mute(analysis, scope)})")
            continue
        text = f"{scope.name} ({_difference(found)} against {found.rival})"
        said.setdefault(verdict(found), []).append(text)
    if not said:
        return ""
    ranked = "; ".join(f"{x} in {_some(said[x])}" for x in VERDICTS if x in said)
    text = (
        f"Within each {kind}, ρ of {analysis.ours} minus that of the best rival there "
        f"({analysis.main}): {ranked}."
    )
    return text + (f" Nothing can be said of {_some(mute)}." if mute else "")


def against_best(analysis: Analysis, scope: Scope) -> Comparison | None:
    """Return our RESQUE against the best rival of a scope, whether it needs labels or not."""
    part = analysis.part(scope)
    rivals = [name for name in analysis.predictors if name not in _all_ours(analysis)]
    return part.comparison(analysis.ours, part.best(rivals))


def _all_ours(analysis: Analysis) -> tuple[str, ...]:
    return analysis.named(resque=True, labelled=True) + analysis.named(resque=True, labelled=False)


def _why_mute(analysis: Analysis, scope: Scope) -> str:
    found = analysis.part(scope).correlations
    ours = found.get(analysis.ours or "")
    if ours is None:
        return "no RESQUE with labels"
    return ours.undefined or "no rival has a correlation"


def _ceiling(analysis: Analysis) -> str:
    part = analysis.part()
    ceiling = part.ceiling.spearman
    if ceiling is None:
        why = part.ceiling.undefined if part.ceiling.runs else "no cell was run with two seeds"
        return f"How far the noise of the seeds bounds any predictor is not known: {why}."
    best = part.best(analysis.predictors)
    rho = part.rho(best) if best else None
    said = (
        f"The noise of the seeds bounds what a predictor of the shift can reach: the "
        f"{analysis.main} of a run and the mean rank of the other seeds of its cell have "
        f"ρ = {estimate_text(ceiling)}"
    )
    if rho is None:
        return f"{said}."
    said += f"; the best predictor, {best}, has {number(rho.value)}"
    above = rho.value > ceiling.value
    why = ", which is above it, as what is measured on each seed's own rows may be"
    return f"{said}{why if above else ''}."


def _layers(analysis: Analysis) -> str:
    """Name each model's best layer, where it has several."""
    said = []
    for model in dict.fromkeys(x.model for x in analysis.layers):
        known = [
            (x.correlation.spearman, x)
            for x in analysis.layers
            if (x.model, x.labels, x.measure) == (model, "data", analysis.main)
        ]
        defined = [(rho, x) for rho, x in known if rho]
        if len(defined) < 2:
            continue
        rho, best = max(defined, key=lambda pair: pair[0].value)
        last_rho, last = max(defined, key=lambda pair: pair[1].depth)
        text = f"{model}: {best.layer} (depth {number(best.depth)}) with ρ = {estimate_text(rho)}"
        if last is not best:
            text += f"; the deepest, {last.layer}, has {estimate_text(last_rho)}"
        said.append(text)
    return f"The layer that tells most about {analysis.main}: {'. '.join(said)}." if said else ""


def _caveats(analysis: Analysis) -> list[str]:
    kinds = Counter(scope.kind for scope in analysis.scopes)
    mixed = [f"{kinds[kind]} {what}" for kind, what in _MIXED.items() if kinds[kind]]
    if not mixed:
        return []
    return [
        f"The correlations over all runs mix {' and '.join(mixed)}, whose costs may differ for "
        "reasons that no index knows; the table of groups shows each by itself."
    ]


_MIXED = {"model": "models", "strategy": "strategies"}
