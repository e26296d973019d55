"""What a forecast knows of a retraining before it, and a ledger's runs as a table of that."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from resque.errors import UsageError
from resque.forecast_models import Runs
from resque.ledger import Cell, Entry, Ledger
from resque.outcomes import Outcome, outcome
from resque.predictors import PREDICTORS
from resque.records import CostRecord
from resque.sums import Floats
from resque.targets import parse_target, wanted_accuracy

# By whether labels of the shifted data are there. What is derived: see `values`.
FEATURES = {
    True: ("resque_dist", "resque_scatter", "accuracy_gap"),
    False: ("resque_dist_soft", "resque_scatter_aligned", "accuracy_gap_estimated"),
}
# What a new task's cost does not fall with: of what `rank` knows, the least that forecasts models
# well that were not learnt from (`benchmarks/forecast_accuracy.py`).
TASK_FEATURES = ("knn_gap",)
# What else the cost may depend on, with the least unit of distance to what the ledger has seen.
CONTROLS = {"n_train": 1.0, "classes": 1.0, "n_parameters": 1.0, "recovery": 0.1}
TASK_CONTROLS = {"n_train": 1.0}
# Of these a ledger of tasks has too few values for an effect that would hold for other ones.
TASK_CONTEXT = {"classes": 1.0, "n_parameters": 1.0, "target_accuracy": 0.1}
SIZES = ("n_train", "classes", "n_parameters")  # count by their natural logs: a unit is a factor e
OFFSET = 1 / 8  # epochs, where no run says how often it was evaluated: `retrain` does so by itself
MAX_LOG_COST = 100.0  # far outside of a ledger, intervals grow past what floats can hold
# Leaving one family out must leave two, so that their difference can be seen.
MIN_FAMILIES = 3
MIN_RUNS = 20  # so that two errors lie beyond a 90 % interval
MIN_REACHED = 10  # so that 9 are exact, the least whose 90 % quantile is one of them: (1 + 1/9)·0.9


@dataclass(frozen=True)
class Kind:
    """A kind of forecast.

    Attributes:
        what: the runs that it learns from: "shifts" or "new tasks".
        by: what of its cell a run is left out with, to forecast it from the others: its "family",
            or, as tasks are forecast for models that no ledger has, its "model".
        groups: the same in words.
        labels: whether it uses labels of the new data.
        features: that the cost does not fall with, of those that `values` gives.
        controls: that it may rise or fall with, each with its least unit of distance.
        context: that only tell how far a case is from the runs, with the same.
        more: what to add to a ledger of too few.
    """

    what: str
    by: str
    groups: str
    labels: bool
    features: tuple[str, ...]
    controls: Mapping[str, float]
    context: Mapping[str, float]
    more: str


LABELLED, UNLABELLED = (
    Kind(
        "shifts", "family", "families of shifts", labels,
        FEATURES[labels], CONTROLS, {}, "shifts of other levels",
    )
    for labels in (True, False)
)  # fmt: skip
TASKS = Kind(
    "new tasks", "model", "models on new tasks", True,
    TASK_FEATURES, TASK_CONTROLS, TASK_CONTEXT, "other tasks",
)  # fmt: skip


def is_new_task(predictors: Mapping[str, float]) -> bool:
    """Whether what is known of labelled data shows classes that the model does not know.

    Args:
        predictors: see `Known`.
    """
    return "knn_error" in predictors and not {"accuracy", "resque_dist"} & predictors.keys()


@dataclass(frozen=True)
class Known:
    """What is known of a retraining before it.

    Attributes:
        predictors: by name (see `resque.predictors`), with "accuracy" on the shifted and
            "original_accuracy" on the original data, "classes", "n_train" (rows trained on) and
            "n_parameters" where known.
        strategy: "full", "head", "lora" or "scratch".
        target: "accuracy:A", or "recovery:R" of the original accuracy; None for the target that
            most runs of the ledger have.
        steps_per_epoch: optimizer steps, or None.
    """

    predictors: Mapping[str, float]
    strategy: str = "full"
    target: str | None = None
    steps_per_epoch: float | None = None


def values(known: Known) -> dict[str, float]:
    """Return features and controls by name, as far as they are known.

    Predictors are turned so that a greater value means a dearer retraining. `recovery` is the
    target as a share of the original accuracy, `accuracy_gap` the target less the accuracy,
    `accuracy_gap_estimated` the same with the accuracy that DoC estimates without labels, and
    `knn_gap` the target less the accuracy of nearest neighbours.

    Raises:
        UsageError: where the target is not of its form.
    """
    given = {name: x for name, x in known.predictors.items() if math.isfinite(x)}
    found = {name: PREDICTORS[name].sign * x for name, x in given.items() if name in PREDICTORS}
    found |= {name: math.log(given[name]) for name in SIZES if given.get(name, 0) > 0}
    if known.target is None:
        return found
    kind, share = parse_target(known.target)
    original = given.get("original_accuracy")
    if kind == "recovery":
        found["recovery"] = share
    elif original:
        found["recovery"] = share / original
    wanted = wanted_accuracy(known.target, original)
    if "accuracy" in given and wanted is not None:
        found["accuracy_gap"] = wanted - given["accuracy"]
    if original and "doc_drop" in given and wanted is not None:
        found["accuracy_gap_estimated"] = wanted - original + given["doc_drop"]
    if "knn_error" in given and wanted is not None:
        found |= {"knn_gap": wanted - 1 + given["knn_error"], "target_accuracy": wanted}
    return found


@dataclass(frozen=True, eq=False)
class Table:
    """A ledger's runs as arrays.

    Attributes:
        features: names of the P features.
        controls: names of the controls that are numbers; those after them are the strategies.
        strategies: of the runs.
        context: names of the X columns of context.
        families: of the runs (of tasks: their models), by number.
        runs: their features, controls and costs: log(epochs + offset).
        offset: in epochs: the median distance of two evaluations, below which costs blur.
        spread: (P + C + X,) unit of each column: its deviation, or the least unit of a control.
        typical: median of each control that is a number, and of the context.
        target: that of most runs.
        limit: the most epochs that a run of the ledger could take.
        notes: what was left out, a sentence each.
    """

    features: tuple[str, ...]
    controls: tuple[str, ...]
    strategies: tuple[str, ...]
    context: tuple[str, ...]
    families: tuple[str, ...]
    runs: Runs
    offset: float
    spread: Floats
    typical: dict[str, float]
    target: str
    limit: float
    notes: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of features, controls and context."""
        strategies = (f"strategy {x}" for x in self.strategies)
        return (*self.features, *self.controls, *strategies, *self.context)

    def row(self, found: Mapping[str, float], strategy: str) -> tuple[Floats, Floats, Floats]:
        """Return (1, P) features, (1, C) controls and (1, X) context; unknown ones are typical.

        Args:
            found: what `values` gave, with all features of the table.
            strategy: one of the table's.
        """
        features = [found[name] for name in self.features]
        controls = [found.get(name, self.typical[name]) for name in self.controls]
        controls += [float(strategy == name) for name in self.strategies]
        context = [found.get(name, self.typical[name]) for name in self.context]
        return np.array([features]), np.array([controls]), np.array([context])

    def epochs(self, log_cost: Floats) -> Floats:
        """Return epochs from log costs."""
        capped = np.minimum(log_cost, MAX_LOG_COST)
        return np.asarray(np.maximum(np.exp(capped) - self.offset, 0.0))


@dataclass(frozen=True)
class _Run:
    cell: Cell
    family: str
    record: CostRecord
    cost: Outcome
    known: dict[str, float]


def make_table(ledger: Ledger, wanted: Sequence[str], kind: Kind = LABELLED) -> Table:
    """Take from a ledger the runs that a forecast can learn from.

    A feature is used where it varies and half of the runs have it, and controls and context where
    all have it. Runs without a used feature are left out, and runs of another kind: shifts where
    tasks are forecast, and tasks where labels tell them from shifts.

    Args:
        ledger: of one or more studies.
        wanted: features, of those that `values` gives.
        kind: of the forecast.

    Raises:
        UsageError: where runs, families or features are too few; says how many are needed.
    """
    found, notes = _runs_with_target(ledger, kind)
    _check_numbers(found, notes, kind)
    features = _usable(found, wanted, kind)
    runs = [run for run in found if all(name in run.known for name in features)]
    if len(runs) < len(found):
        notes.append(f"{len(found) - len(runs)} runs lack one of {', '.join(features)}")
        _check_numbers(runs, notes, kind)
    controls, context = (
        tuple(name for name in names if all(name in run.known for run in runs))
        for names in (kind.controls, kind.context)
    )
    strategies = tuple(sorted({run.cell.strategy for run in runs}))
    families = tuple(sorted({run.family for run in runs}))
    offset = _offset(runs)
    arrays = _arrays(runs, features, controls, strategies, families, offset)
    arrays = replace(arrays, context=_numbers(runs, context))
    least = [0.0] * len(features) + [kind.controls[x] for x in controls] + [1.0] * len(strategies)
    least += [kind.context[x] for x in context]
    typical = (*controls, *context)
    return Table(
        features,
        controls,
        strategies,
        context,
        families,
        arrays,
        offset,
        np.maximum(arrays.columns.std(axis=0), least),
        {name: float(np.median([run.known[name] for run in runs])) for name in typical},
        Counter(run.cell.target for run in runs).most_common(1)[0][0],
        max(run.record.epochs_limit for run in runs),
        tuple(notes),
    )


def _runs_with_target(ledger: Ledger, kind: Kind) -> tuple[list[_Run], list[str]]:
    """Return the runs that give epochs or a bound of them, and what the other entries are."""
    runs, notes, done = [], [], [entry for entry in ledger.done if _is_of(entry, kind)]
    impossible = 0
    for entry in done:
        record = entry.record
        cost = outcome(record, "epochs") if record and record.target else None
        if record and cost and not _is_possible(entry, record, cost):
            impossible += 1
        elif record and cost:
            known = values(_known(entry, record))
            runs.append(_Run(entry.cell, getattr(entry.cell, kind.by), record, cost, known))
    if len(ledger.done) < len(ledger.entries):
        notes.append(f"{len(ledger.entries) - len(ledger.done)} cells failed")
    if len(done) < len(ledger.done):
        notes.append(f"{len(ledger.done) - len(done)} runs are no {kind.what}")
    if impossible:
        notes.append(f"{impossible} runs have numbers that cannot be")
    if len(runs) + impossible < len(done):
        notes.append(f"{len(done) - len(runs) - impossible} runs have no target or no evaluation")
    return runs, notes


def _is_possible(entry: Entry, record: CostRecord, cost: Outcome) -> bool:
    """Whether a run's numbers can be true: one that cannot, of a stranger's, would spoil all."""
    try:
        parse_target(entry.cell.target)
    except UsageError:
        return False
    training = record.training
    finite = 0 <= cost.value < math.inf and 0 < record.epochs_limit < math.inf
    return finite and training.steps_per_epoch > 0 and (training.eval_every or 1) > 0


def _is_of(entry: Entry, kind: Kind) -> bool:
    """Whether a kind of forecast learns from a run; without labels none can tell a new task."""
    return not kind.labels or is_new_task(entry.predictors) == (kind.what == TASKS.what)


def _known(entry: Entry, record: CostRecord) -> Known:
    """Return what was known of a ledger's run before it."""
    sizes = {"n_train": record.data.rows, "n_parameters": record.model.parameters}
    if record.data.classes is not None:
        sizes["classes"] = record.data.classes
    predictors = {**{name: float(x) for name, x in sizes.items()}, **entry.predictors}
    return Known(predictors, entry.cell.strategy, entry.cell.target)


def _check_numbers(runs: Sequence[_Run], notes: Sequence[str], kind: Kind) -> None:
    families = len({run.family for run in runs})
    costs = [run.cost.value for run in runs if not run.cost.censored]
    if families < MIN_FAMILIES or len(runs) < MIN_RUNS or len(costs) < MIN_REACHED:
        left_out = f" ({'; '.join(notes)})" if notes else ""
        raise UsageError(
            f"the ledger has {len(runs)} runs of {families} {kind.groups}, of which "
            f"{len(costs)} reached their target{left_out}. A forecast needs at least {MIN_RUNS} "
            f"runs of {MIN_FAMILIES} {kind.groups.split()[0]}, of which {MIN_REACHED} reached "
            f"their target: add {kind.what}, seeds or epochs to the study, or give more ledgers"
        )
    if len(set(costs)) == 1:
        raise UsageError(
            f"all runs of the ledger that reached their target took {costs[0]:g} epochs, so that "
            f"there is nothing to learn from them: add {kind.more}, or a higher target"
        )


def _usable(runs: Sequence[_Run], wanted: Sequence[str], kind: Kind) -> tuple[str, ...]:
    """Return the features that vary and that half of the runs have."""
    known = {name: [run.known[name] for run in runs if name in run.known] for name in wanted}
    often = {name: x for name, x in known.items() if 2 * len(x) >= len(runs)}
    used = tuple(name for name, x in often.items() if np.ptp(x) > 0)
    if used:
        return used
    if often:
        raise UsageError(
            f"all runs of the ledger have the same {', '.join(often)}: add {kind.more}"
        )
    raise UsageError(
        f"fewer than half of the ledger's runs have one of {', '.join(wanted)}: measure them "
        "by `resque study`"
    )


def _offset(runs: Sequence[_Run]) -> float:
    trainings = [run.record.training for run in runs]
    gaps = [min(x.eval_every / x.steps_per_epoch, 1.0) for x in trainings if x.eval_every]
    return float(np.median(gaps)) if gaps else OFFSET


def _arrays(
    runs: Sequence[_Run],
    features: Sequence[str],
    controls: Sequence[str],
    strategies: Sequence[str],
    families: Sequence[str],
    offset: float,
) -> Runs:
    kinds = [[float(run.cell.strategy == name) for name in strategies] for run in runs]
    epochs = np.array([run.cost.value for run in runs])
    censored = np.array([run.cost.censored for run in runs])
    return Runs(
        _numbers(runs, features),
        np.hstack([_numbers(runs, controls), np.array(kinds)]),
        np.log(epochs + offset),
        np.where(censored, 1, np.where(epochs <= 0, -1, 0)),
        np.array([families.index(run.family) for run in runs]),
    )


def _numbers(runs: Sequence[_Run], names: Sequence[str]) -> Floats:
    """Return (N, len(names)) of what is known."""
    found = np.array([[run.known[name] for name in names] for run in runs])
    return found.reshape(len(runs), len(names))
