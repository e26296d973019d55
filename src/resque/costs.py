"""Books seconds and energy on what they were spent for: training, evaluation, or neither."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from resque.energy import Energy, EnergyMeter

READ_EVERY = 1.0  # s; between energy readings, phases share the energy by their seconds


@dataclass(frozen=True)
class Spent:
    """Time and energy.

    Attributes:
        seconds: wall-clock time of one process.
        energy: of all machines together.
    """

    seconds: float = 0.0
    energy: Energy = field(default_factory=Energy)

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.seconds + other.seconds, self.energy + other.energy)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.seconds - other.seconds, self.energy - other.energy)


@dataclass(frozen=True)
class Costs:
    """What a run has spent so far, by purpose.

    Attributes:
        training: steps, with the wait for their data.
        evaluation: passes over the evaluation data.
        overhead: setting up, measuring parameter change, saving.
        waiting: seconds of training that were spent waiting for data.
    """

    training: Spent = field(default_factory=Spent)
    evaluation: Spent = field(default_factory=Spent)
    overhead: Spent = field(default_factory=Spent)
    waiting: float = 0.0

    @property
    def total(self) -> Spent:
        """All purposes together."""
        return self.training + self.evaluation + self.overhead

    def __add__(self, other: Costs) -> Costs:
        return Costs(
            self.training + other.training,
            self.evaluation + other.evaluation,
            self.overhead + other.overhead,
            self.waiting + other.waiting,
        )

    def energy_only(self) -> Costs:
        """Return another machine's costs as they add up: its energy, not its time."""
        phases = (self.training, self.evaluation, self.overhead)
        training, evaluation, overhead = (Spent(0.0, spent.energy) for spent in phases)
        return Costs(training, evaluation, overhead)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self)

    @staticmethod
    def from_dict(found: dict[str, Any]) -> Costs:
        """Read what `to_dict` gave."""
        phases = {
            name: Spent(found[name]["seconds"], Energy(**found[name]["energy"]))
            for name in ("training", "evaluation", "overhead")
        }
        return Costs(**phases, waiting=found["waiting"])


class CostMeter:
    """Books the time since its start on phases, and the energy on a machine's first process.

    Energy is read when a phase ends, but at most once a second; what several short phases used
    between two readings is shared by their seconds. Only monotonic clocks are read.
    """

    def __init__(self, measures_energy: bool = True) -> None:
        """Start in the phase "overhead".

        Args:
            measures_energy: whether this process is the one of its machine that reads energy.
        """
        self.energy = EnergyMeter() if measures_energy else None
        self._lock = threading.Lock()
        self._spent = {name: Spent() for name in ("training", "evaluation", "overhead")}
        self._waiting = 0.0
        self._pending = dict.fromkeys(self._spent, 0.0)
        self._phase = "overhead"
        self._since = self._read_at = time.perf_counter()
        self._last = self.energy.read() if self.energy else Energy()

    def __enter__(self) -> CostMeter:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Book the time within on a phase, and then go back to the one before."""
        before = self._phase
        self.switch(name)
        try:
            yield
        finally:
            self.switch(before)

    def switch(self, name: str) -> None:
        """End the present phase and begin another."""
        with self._lock:
            self._book()
            if time.perf_counter() - self._read_at >= READ_EVERY:
                self._read()
            self._phase = name

    def wait(self, seconds: float) -> None:
        """Book seconds of the present phase as spent waiting for data."""
        self._waiting += seconds

    def costs(self) -> Costs:
        """Return what this process, and as its first process its machine, has spent so far."""
        with self._lock:
            self._book()
            self._read()
            return Costs(**self._spent, waiting=self._waiting)

    def stop(self) -> None:
        """End the energy meter."""
        if self.energy:
            self.energy.stop()

    def _book(self) -> None:
        now = time.perf_counter()
        elapsed, self._since = now - self._since, now
        self._spent[self._phase] += Spent(elapsed)
        self._pending[self._phase] += elapsed

    def _read(self) -> None:
        self._read_at = time.perf_counter()
        if self.energy is None:
            return
        now = self.energy.read()
        used, self._last = now - self._last, now
        total = sum(self._pending.values()) or 1.0
        for name, seconds in self._pending.items():
            self._spent[name] += Spent(0.0, used * (seconds / total))
            self._pending[name] = 0.0
