"""Fills in the parts of a cost record that every way of training shares: costs and host."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from resque.costs import CostMeter, Costs, Spent
from resque.energy import Energy, Grid
from resque.measurement import library_versions
from resque.options import flags_of
from resque.records import Host, Measured, Methods, Parts, Wasted
from resque.retrain_options import RetrainOptions

NO_ENERGY = dict.fromkeys(("cpu", "gpu", "ram"), "none: this process does not measure")


@dataclass(frozen=True)
class Rates:
    """What turns seconds and energy into carbon and money.

    Attributes:
        grid: the electricity.
        method: how the energy of each part is known.
        price_per_hour: of all hardware together, or None.
    """

    grid: Grid
    method: dict[str, str]
    price_per_hour: float | None

    def carbon(self, kwh: float) -> float:
        """Return kg CO2eq."""
        return kwh * self.grid.intensity / 1000


def total_costs(meter: CostMeter) -> Costs:
    """Return what this attempt has spent: the main process's time, all machines' energy.

    Every process calls it.
    """
    from accelerate import PartialState
    from accelerate.utils import gather_object

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    state = PartialState()
    own = meter.costs()
    if state.num_processes > 1:
        own, *others = gather_object([own if state.is_local_main_process else None])
        for other in filter(None, others):
            own = own + other.energy_only()
    return own


def cost_fields(costs: Costs, wasted: Spent, rates: Rates, world: int) -> dict[str, Any]:
    """Return the fields of a record that say what a run cost.

    Args:
        costs: useful costs, energy of all machines.
        wasted: work that was lost and done again.
        rates: grid, methods and price.
        world: processes.
    """
    training, price = costs.training, rates.price_per_hour
    energy = training.energy
    return {
        "seconds_training": training.seconds,
        "seconds_evaluation": costs.evaluation.seconds,
        "seconds_waiting": costs.waiting,
        "seconds_overhead": costs.overhead.seconds,
        "device_seconds": training.seconds * world,
        "energy_kwh": energy.total,
        "energy_parts_kwh": Parts(energy.cpu, energy.gpu, energy.ram),
        "evaluation_energy_kwh": costs.evaluation.energy.total,
        "overhead_energy_kwh": costs.overhead.energy.total,
        "co2eq_kg": rates.carbon(energy.total),
        "co2eq_parts_kg": _carbon_parts(energy, rates),
        "evaluation_co2eq_kg": rates.carbon(costs.evaluation.energy.total),
        "energy_method": Methods(**rates.method),
        "country": rates.grid.country,
        "grid_intensity_g_per_kwh": rates.grid.intensity,
        "grid_source": rates.grid.source,
        "price_per_hour": price,
        "price": None if price is None else price * training.seconds / 3600,
        "wasted": Wasted(wasted.seconds, wasted.energy.total, rates.carbon(wasted.energy.total)),
    }


def _carbon_parts(energy: Energy, rates: Rates) -> Parts:
    return Parts(*(rates.carbon(x) for x in (energy.cpu, energy.gpu, energy.ram)))


def describe_host() -> Host:
    """Describe the hardware and the versions, and nothing that names machine or user."""
    import psutil

    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return Host(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_bytes=int(psutil.virtual_memory().total),
        accelerators=tuple(torch.cuda.get_device_name(i) for i in range(found)),
        system=f"{platform.system()} {platform.machine()}",
        versions=all_versions(),
    )


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open() as lines:
            return next(x.split(":")[1].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def all_versions() -> dict[str, str]:
    """Return the versions of Python, resque and the libraries that training depends on."""
    found = {"python": platform.python_version(), **library_versions()}
    for name in ("accelerate", "codecarbon", "peft"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def peak_host_memory() -> int | None:
    """Return the most memory that this process has had resident, in bytes."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def peak_device_memory() -> int | None:
    """Return the most accelerator memory since the last call, in bytes; None without CUDA."""
    if not torch.cuda.is_available():
        return None
    peak = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return peak


def local_world_size(world: int) -> int:
    """Return how many processes run on this machine, of `world` in all."""
    return max(1, int(os.environ.get("LOCAL_WORLD_SIZE", world)))


def interval_of(values: list[float]) -> Measured:
    """Return the mean of independent values with its 95 % interval (Student's t)."""
    import numpy as np
    from scipy import stats

    mean = float(np.mean(values))
    error = float(stats.sem(values)) * float(stats.t.ppf(0.975, len(values) - 1))
    return Measured(mean, (mean - error, mean + error))


def command_of(model: str, dataset: str, output_dir: Path, use: RetrainOptions) -> str:
    """Return the command line that does a run again; options as they were given."""
    words = ["resque", "retrain", "--model", model, "--dataset", dataset]
    words += flags_of(use, ("token", "progress"))
    return shlex.join([*words, "--output-dir", str(output_dir)])
