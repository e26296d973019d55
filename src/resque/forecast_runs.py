"""What a forecast knows of a retraining before it, and a ledger's runs as a table of that."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from resque.errors import UsageError
from resque.forecast_models import Runs
from resque.ledger import Cell, Entry, Ledger
from resque.outcomes import Outcome, outcome
from resque.predictors import PREDICTORS
from resque.records import CostRecord
from resque.sums import Floats
from resque.targets import parse_target, wanted_accuracy

# By whether labels of the shifted data are there. `accuracy_gap` is derived: see `values`.
FEATURES = {
    True: ("resque_dist", "resque_scatter", "accuracy_gap"),
    False: (
        "resque_dist_predicted",
        "resque_dist_soft",
        "resque_angle_loss",
        "entropy_increase",
        "atc_drop",
    ),
}
# What else the cost may depend on, with the least unit of distance to what the ledger has seen.
CONTROLS = {"n_train": 1.0, "classes": 1.0, "n_parameters": 1.0, "recovery": 0.1}
SIZES = ("n_train", "classes", "n_parameters")  # count by their natural logs: a unit is a factor e
OFFSET = 1 / 8  # epochs, where no run says how often it was evaluated: `retrain` does so by itself
MAX_LOG_COST = 100.0  # far outside of a ledger, intervals grow past what floats can hold
# Leaving one family out must leave two, so that their difference can be seen.
MIN_FAMILIES = 3
MIN_RUNS = 20  # so that two errors lie beyond a 90 % interval
MIN_REACHED = 10  # so that 9 are exact, the least whose 90 % quantile is one of them: (1 + 1/9)·0.9


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
    target as a share of the original accuracy, and `accuracy_gap` the target less the accuracy.

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
    return found


@dataclass(frozen=True, eq=False)
class Table:
    """A ledger's runs as arrays.

    Attributes:
        features: names of the P features.
        controls: names of the controls that are numbers; those after them are the strategies.
        strategies: of the runs.
        families: of the runs, by number.
        runs: their features, controls and costs: log(epochs + offset).
        offset: in epochs: the median distance of two evaluations, below which costs blur.
        spread: (P + C,) unit of each column: its deviation, or the least unit of a control.
        typical: median of each control that is a number.
        target: that of most runs.
        limit: the most epochs that a run of the ledger could take.
        notes: what was left out, a sentence each.
    """

    features: tuple[str, ...]
    controls: tuple[str, ...]
    strategies: tuple[str, ...]
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
        """Names of features and controls."""
        return (*self.features, *self.controls, *(f"strategy {x}" for x in self.strategies))

    def row(self, found: Mapping[str, float], strategy: str) -> tuple[Floats, Floats]:
        """Return (1, P) features and (1, C) controls; controls that are not known are typical.

        Args:
            found: what `values` gave, with all features of the table.
            strategy: one of the table's.
        """
        features = [found[name] for name in self.features]
        controls = [found.get(name, self.typical[name]) for name in self.controls]
        controls += [float(strategy == name) for name in self.strategies]
        return np.array([features]), np.array([controls])

    def epochs(self, log_cost: Floats) -> Floats:
        """Return epochs from log costs."""
        capped = np.minimum(log_cost, MAX_LOG_COST)
        return np.asarray(np.maximum(np.exp(capped) - self.offset, 0.0))


@dataclass(frozen=True)
class _Run:
    cell: Cell
    record: CostRecord
    cost: Outcome
    known: dict[str, float]


def make_table(ledger: Ledger, wanted: Sequence[str]) -> Table:
    """Take from a ledger the runs that a forecast can learn from.

    A feature is used where it varies and half of the runs have it, and a control where all have
    it. Runs without a used feature are left out.

    Args:
        ledger: of one or more studies.
        wanted: features, of those that `values` gives.

    Raises:
        UsageError: where runs, families or features are too few; says how many are needed.
    """
    found, notes = _runs_with_target(ledger)
    _check_numbers(found, notes)
    features = _usable(found, wanted)
    runs = [run for run in found if all(name in run.known for name in features)]
    if len(runs) < len(found):
        notes.append(f"{len(found) - len(runs)} runs lack one of {', '.join(features)}")
        _check_numbers(runs, notes)
    controls = tuple(name for name in CONTROLS if all(name in run.known for run in runs))
    strategies = tuple(sorted({run.cell.strategy for run in runs}))
    families = tuple(sorted({run.cell.family for run in runs}))
    offset = _offset(runs)
    arrays = _arrays(runs, features, controls, strategies, families, offset)
    deviation = np.hstack([arrays.features, arrays.controls]).std(axis=0)
    least = [0.0] * len(features) + [CONTROLS[x] for x in controls] + [1.0] * len(strategies)
    return Table(
        features,
        controls,
        strategies,
        families,
        arrays,
        offset,
        np.maximum(deviation, least),
        {name: float(np.median([run.known[name] for run in runs])) for name in controls},
        Counter(run.cell.target for run in runs).most_common(1)[0][0],
        max(run.record.epochs_limit for run in runs),
        tuple(notes),
    )


def _runs_with_target(ledger: Ledger) -> tuple[list[_Run], list[str]]:
    """Return the runs that give epochs or a bound of them, and what the other entries are."""
    runs, notes, done = [], [], ledger.done
    for entry in done:
        record = entry.record
        cost = outcome(record, "epochs") if record and record.target else None
        if record and cost:
            runs.append(_Run(entry.cell, record, cost, values(_known(entry, record))))
    if len(done) < len(ledger.entries):
        notes.append(f"{len(ledger.entries) - len(done)} cells failed")
    if len(runs) < len(done):
        notes.append(f"{len(done) - len(runs)} runs have no target or no evaluation")
    return runs, notes


def _known(entry: Entry, record: CostRecord) -> Known:
    """Return what was known of a ledger's run before it."""
    sizes = {"n_train": record.data.rows, "n_parameters": record.model.parameters}
    if record.data.classes is not None:
        sizes["classes"] = record.data.classes
    predictors = {**{name: float(x) for name, x in sizes.items()}, **entry.predictors}
    return Known(predictors, entry.cell.strategy, entry.cell.target)


def _check_numbers(runs: Sequence[_Run], notes: Sequence[str]) -> None:
    families = len({run.cell.family for run in runs})
    costs = [run.cost.value for run in runs if not run.cost.censored]
    if families < MIN_FAMILIES or len(runs) < MIN_RUNS or len(costs) < MIN_REACHED:
        left_out = f" ({'; '.join(notes)})" if notes else ""
        raise UsageError(
            f"the ledger has {len(runs)} runs of {families} families of shifts, of which "
            f"{len(costs)} reached their target{left_out}. A forecast needs at least {MIN_RUNS} "
            f"runs of {MIN_FAMILIES} families, of which {MIN_REACHED} reached their target: add "
            "shifts, seeds or epochs to the study, or give more ledgers"
        )
    if len(set(costs)) == 1:
        raise UsageError(
            f"all runs of the ledger that reached their target took {costs[0]:g} epochs, so that "
            "there is nothing to learn from them: add shifts of other levels, or a higher target"
        )


def _usable(runs: Sequence[_Run], wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the features that vary and that half of the runs have."""
    known = {name: [run.known[name] for run in runs if name in run.known] for name in wanted}
    often = {name: x for name, x in known.items() if 2 * len(x) >= len(runs)}
    used = tuple(name for name, x in often.items() if np.ptp(x) > 0)
    if used:
        return used
    if often:
        raise UsageError(
            f"all runs of the ledger have the same {', '.join(often)}: add shifts of other levels"
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
    numbers = [[run.known[name] for name in controls] for run in runs]
    kinds = [[float(run.cell.strategy == name) for name in strategies] for run in runs]
    epochs = np.array([run.cost.value for run in runs])
    censored = np.array([run.cost.censored for run in runs])
    return Runs(
        np.array([[run.known[name] for name in features] for run in runs]),
        np.hstack([np.array(numbers).reshape(len(runs), -1), np.array(kinds)]),
        np.log(epochs + offset),
        np.where(censored, 1, np.where(epochs <= 0, -1, 0)),
        np.array([families.index(run.cell.family) for run in runs]),
    )
