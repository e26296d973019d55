"""What a retraining will cost: epochs learnt from a ledger, times what an epoch costs here."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from resque.documents import plain
from resque.errors import UsageError
from resque.records import Measured, Probe
from resque.sums import Floats
from resque.units import CARBON, ENERGY, fitting_unit


@dataclass(frozen=True)
class Predicted:
    """A median with its prediction interval.

    Attributes:
        value: the median, at least 0.
        interval: (low, high) at the forecast's level, at least 0.
    """

    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Coverage:
    """How often a run's epochs lay in the interval that was made without its family.

    Attributes:
        held: runs whose epochs lay in it.
        missed: runs whose epochs did not, those without their target too if it ended before them.
        undecided: the other runs without their target, whose epochs nobody knows.
    """

    held: int
    missed: int
    undecided: int

    @property
    def share(self) -> float:
        """Share of those decided that held, in [0, 1]; NaN where none is."""
        decided = self.held + self.missed
        return self.held / decided if decided else math.nan


@dataclass(frozen=True)
class EpochForecast:
    """Epochs until the target.

    Attributes:
        epochs: until the target.
        steps: the same in optimizer steps, or None where those of an epoch are not known.
        steps_per_epoch: optimizer steps, or None.
        level: probability that intervals are made for.
        method: the model that was chosen.
        candidates: leave-one-family-out error of each model, in log units.
        runs: of the ledger that it was learnt from.
        families: of these runs; of new tasks, their models.
        coverage: of such intervals on unseen families of the ledger.
        error: median absolute error in epochs of such forecasts there, over the runs that reached
            their target.
        naive_error: the same of the naive forecast, the median of the other families' runs.
        outside: a sentence for each thing that is outside of what the ledger has seen.
        growth: what the interval's half-width, in log units, was multiplied by for that.
        labels: whether it uses labels of the shifted data.
        limit: epochs that the run may take.
        reached_probability: that it reaches its target within the limit, in (0, 1).
        notes: what was assumed or left out, a sentence each.
        kind: of the runs that it was learnt from: "shifts" or "new tasks".
        draws: (M,) equally likely epochs.
    """

    epochs: Predicted
    steps: Predicted | None
    steps_per_epoch: float | None
    level: float
    method: str
    candidates: dict[str, float]
    runs: int
    families: int
    coverage: Coverage
    error: float
    naive_error: float
    outside: tuple[str, ...]
    growth: float
    labels: bool
    limit: float
    reached_probability: float
    notes: tuple[str, ...]
    kind: str
    draws: Floats = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, without the draws; `coverage` with its `share`."""
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "draws"}
        for name, value in found.items():
            if isinstance(value, Predicted | Coverage):
                found[name] = asdict(value)
        found["coverage"]["share"] = self.coverage.share
        plain_types: dict[str, Any] = plain(found)
        return plain_types

    def sentence(self) -> str:
        """Return the forecast in words."""
        held, of = self.coverage.held, self.coverage.held + self.coverage.missed
        tasks = self.kind != "shifts"
        groups = f"models on {self.kind}" if tasks else "families"
        return (
            f"about {', '.join(self._words())}; "
            f"from {self.runs} runs of {self.families} {groups}; "
            f"{held} of {of} such forecasts held{self._against_the_median() if tasks else ''}"
        )

    def _against_the_median(self) -> str:
        better = "" if self.error < self.naive_error else "no better than the ledger's median: "
        return (
            f"; {better}their median error was {self.error:.2g} epochs, that of the ledger's "
            f"median {self.naive_error:.2g}"
        )

    def _words(self) -> list[str]:
        return [_in_words(self.epochs, "epochs")]


@dataclass(frozen=True)
class Forecast(EpochForecast):
    """Epochs until the target, and what they cost. Evaluation and overhead are not counted.

    Attributes:
        energy_kwh: of training, all machines, in kWh.
        co2eq_kg: of training, in kg.
        seconds: of training.
        price: of training, in the currency of the price per hour, or None.
    """

    energy_kwh: Predicted
    co2eq_kg: Predicted
    seconds: Predicted
    price: Predicted | None

    def _words(self) -> list[str]:
        words = [
            *super()._words(),
            _in_words(self.energy_kwh, *ENERGY),
            _in_words(self.co2eq_kg, *CARBON),
            _in_words(self.seconds, "s"),
        ]
        return words if self.price is None else [*words, "price " + _in_words(self.price)]


def _in_words(found: Predicted, *units: str) -> str:
    """Return an amount in words, in the first unit that it is 0.01 of; each is 1/1000 of the last.

    >>> _in_words(Predicted(3.3e-7, (0.0, 4.3e-5)), "kWh", "Wh", "mWh")
    '0.33 mWh (0 to 43)'
    """
    unit, factor = fitting_unit(found.value or found.interval[1], units or ("",), 0.01)
    numbers = (x * factor for x in (found.value, *found.interval))
    value, low, high = (f"{x:,.0f}" if x >= 100 else f"{x:.2g}" for x in numbers)
    return f"{value}{unit and ' '}{unit} ({low} to {high})"


def predicted_of(value: float, draws: Floats, level: float) -> Predicted:
    """Return a median with the interval of equally likely values that has a level."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Predicted(float(value), (float(low), float(high)))


def price_forecast(
    forecast: EpochForecast,
    probe: Probe,
    *,
    grid_intensity: float,
    price_per_hour: float | None = None,
) -> Forecast:
    """Multiply epochs by what a step costs on the probe's hardware.

    Intervals are quantiles of products of draws: of the forecast's epochs, and of rates from
    Student's t, as the probe's intervals are, cut at 0.

    Args:
        forecast: with its steps per epoch.
        probe: rates of a step.
        grid_intensity: g CO2eq per kWh.
        price_per_hour: of all hardware together, or None.

    Raises:
        UsageError: where the steps of an epoch are not known, or intensity or price is below 0.
    """
    per_epoch = forecast.steps_per_epoch
    if not per_epoch:
        raise UsageError("the steps of an epoch are not known; give Known(steps_per_epoch=…)")
    for name, given in (("grid_intensity", grid_intensity), ("price_per_hour", price_per_hour)):
        if given is not None and not 0 <= given < math.inf:
            raise UsageError(f"{name} is {given}; expected a number from 0 up")
    rng = np.random.default_rng(0)
    rates = probe.seconds_per_step, probe.energy_kwh_per_step
    step_draws = [_rate_draws(x, probe.blocks, len(forecast.draws), rng) for x in rates]

    def cost(i: int, unit: float) -> Predicted:
        value = forecast.epochs.value * per_epoch * max(rates[i].value, 0.0) * unit
        draws = forecast.draws * per_epoch * step_draws[i] * unit
        return predicted_of(value, draws, forecast.level)

    return Forecast(
        **vars(forecast),
        energy_kwh=cost(1, 1.0),
        co2eq_kg=cost(1, grid_intensity / 1000),
        seconds=cost(0, 1.0),
        price=None if price_per_hour is None else cost(0, price_per_hour / 3600),
    )


def _rate_draws(rate: Measured, blocks: int, n: int, rng: np.random.Generator) -> Floats:
    from scipy.stats import t

    freedom = max(blocks - 1, 1)
    scale = (rate.interval[1] - rate.interval[0]) / 2 / t.ppf(0.975, freedom)
    return np.asarray(np.maximum(rate.value + scale * rng.standard_t(freedom, n), 0.0))
