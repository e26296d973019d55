"""What forecasts are learnt from: the ledgers given, or else the package's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from resque.errors import UsageError
from resque.forecast_runs import TASKS, Kind
from resque.forecasters import Forecaster, make_forecaster, make_task_forecaster
from resque.ledger import Ledger, read_ledger

DEFAULT_LEDGER = Path(__file__).with_name("default_ledger.jsonl")
DEFAULT_TASK_LEDGER = Path(__file__).with_name("default_task_ledger.jsonl")


@dataclass
class Sources:
    """Ledgers, read once, and forecasters, learnt once: a fit takes seconds.

    Attributes:
        given: files or folders; the package's own where empty, one of shifts and one of new tasks.
    """

    given: tuple[str | Path, ...] = ()
    _ledgers: dict[tuple[str | Path, ...], Ledger] = field(default_factory=dict, repr=False)
    _forecasters: dict[tuple[str, bool], Forecaster] = field(default_factory=dict, repr=False)

    def paths(self, kind: Kind) -> tuple[str | Path, ...]:
        """Return files or folders."""
        return self.given or (DEFAULT_TASK_LEDGER if kind is TASKS else DEFAULT_LEDGER,)

    def ledger(self, kind: Kind) -> Ledger:
        """Return what they hold.

        Raises:
            ResqueError: where one cannot be read.
        """
        paths = self.paths(kind)
        if paths not in self._ledgers:
            self._ledgers[paths] = read_ledger(paths)
        return self._ledgers[paths]

    def names(self, kind: Kind) -> tuple[str, ...]:
        """Return the ledgers as an answer names them."""
        if self.given:
            return tuple(map(str, self.given))
        of = " of new tasks" if kind is TASKS else ""
        return (f"the package's own{of}, {len(self.ledger(kind).done)} runs",)

    def forecaster(self, kind: Kind) -> Forecaster:
        """Return what was learnt from them.

        Raises:
            UsageError: where they hold too little.
        """
        key = kind.what, kind.labels
        if key not in self._forecasters:
            self._forecasters[key] = self._learn(kind)
        return self._forecasters[key]

    def _learn(self, kind: Kind) -> Forecaster:
        ledger = self.ledger(kind)
        try:
            if kind is TASKS:
                return make_task_forecaster(ledger)
            return make_forecaster(ledger, labels=kind.labels)
        except UsageError as error:
            if not self.given:
                raise
            raise UsageError(f"{error}, or none for the package's own") from None
