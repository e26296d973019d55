"""Energy of this machine by codecarbon, the carbon of its grid, and the method behind both."""

from __future__ import annotations

import importlib.metadata
import logging
import math
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resque.errors import ResqueError, UsageError, near

log = logging.getLogger(__name__)
NEVER = 1e7  # s; codecarbon's own timer never measures, only `EnergyMeter.read` does
# Where codecarbon's way of reading a processor is a counter; everything else is an estimate.
CPU_COUNTERS = {
    "intel_rapl": "rapl",
    "windows_emi": "windows energy meter interface",
    "intel_power_gadget": "intel power gadget",
}


@dataclass(frozen=True)
class Grid:
    """The electricity that a machine runs on.

    Attributes:
        intensity: g CO2eq per kWh.
        country: ISO 3166 code of three letters, or None.
        source: where the intensity is from.
    """

    intensity: float
    country: str | None
    source: str


@dataclass(frozen=True)
class Energy:
    """Energy by part of the machine, in kWh.

    Attributes:
        cpu: of the processors.
        gpu: of the accelerators.
        ram: of the memory.
    """

    cpu: float = 0.0
    gpu: float = 0.0
    ram: float = 0.0

    @property
    def total(self) -> float:
        """All parts together, in kWh."""
        return self.cpu + self.gpu + self.ram

    def __add__(self, other: Energy) -> Energy:
        return Energy(self.cpu + other.cpu, self.gpu + other.gpu, self.ram + other.ram)

    def __sub__(self, other: Energy) -> Energy:
        return self + other * -1

    def __mul__(self, factor: float) -> Energy:
        return Energy(self.cpu * factor, self.gpu * factor, self.ram * factor)


def find_grid(country: str | None = None, intensity: float | None = None) -> Grid:
    """Return the grid: as asked, else as codecarbon's settings say, else the world's average.

    codecarbon's settings are its files `.codecarbon.config` and the environment variables
    `CODECARBON_COUNTRY_ISO_CODE` and `CODECARBON_FORCE_CARBON_INTENSITY_G_CO2E_KWH`.

    Args:
        country: ISO 3166 code of three letters.
        intensity: g CO2eq per kWh, in place of the country's.

    Raises:
        UsageError: for an unknown country or an intensity below zero.
    """
    _require()
    from codecarbon.core.config import get_hierarchical_config
    from codecarbon.input import DataSource

    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
    settings, where = {}, "as asked"
    if country is None and intensity is None:
        settings, where = get_hierarchical_config(), "codecarbon's settings"
        country = settings.get("country_iso_code")
        intensity = _number(settings.get("force_carbon_intensity_g_co2e_kwh"))
    version = importlib.metadata.version("codecarbon")
    known = DataSource().get_global_energy_mix_data()
    code = country.upper() if country else None
    if code is not None and code not in known:
        like = ", ".join(near(code, known)) or "DEU, FRA, USA"
        raise UsageError(f"no country {country!r}; expected a code of three letters, as {like}")
    if intensity is not None:
        if not 0 <= intensity < math.inf:
            raise UsageError(f"the grid intensity is {intensity:g}; expected g CO2eq/kWh, 0 or up")
        return Grid(float(intensity), code, f"given ({where})")
    if code is not None:
        entry = known[code]
        source = f"codecarbon {version}, {entry['country_name']}, {entry.get('year', 'no year')}"
        return Grid(float(entry["carbon_intensity"]), code, f"{source} ({where})")
    average = DataSource().get_carbon_intensity_per_source_data()["world_average"]
    return Grid(float(average), None, f"codecarbon {version}, world average (no country given)")


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        raise UsageError(f"codecarbon's settings give a grid intensity of {text!r}") from None


def _require() -> None:
    try:
        import codecarbon  # noqa: F401
    except ImportError:
        raise ImportError(
            "energy is measured by codecarbon: pip install 'resque[retrain]'"
        ) from None


class EnergyMeter:
    """Reads what this machine has used since the meter was started.

    One a machine: it counts the whole of the machine's processors and memory and all of the
    accelerators that `CUDA_VISIBLE_DEVICES` admits. Safe to read from several threads.
    """

    def __init__(self) -> None:
        _require()
        from codecarbon import OfflineEmissionsTracker
        from codecarbon.output_methods.base_output import BaseOutput

        class Keep(BaseOutput):
            """Takes codecarbon's totals at each flush."""

            total: Any = None

            def out(self, total: Any, delta: Any) -> None:
                self.total = total

        self._lock = threading.Lock()
        self._keep = Keep()
        logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
        self._tracker = OfflineEmissionsTracker(
            country_iso_code="USA",  # carbon is counted from energy by us, with a stated grid
            force_carbon_intensity_g_co2e_kwh=0.0,
            output_methods=[],
            output_handlers=[self._keep],
            output_dir=tempfile.gettempdir(),  # only looked for; nothing is written
            emissions_endpoint=None,
            measure_power_secs=NEVER,
            tracking_mode="machine",
            allow_multiple_runs=True,
            pue=1.0,
            log_level="critical",
        )
        self._tracker.start()
        if getattr(self._tracker, "_start_time", None) is None:  # it swallows what went wrong
            raise ResqueError(
                "codecarbon cannot start, so energy cannot be measured: look at its settings "
                "(.codecarbon.config, CODECARBON_…)"
            )

    @property
    def method(self) -> dict[str, str]:
        """How cpu, gpu and ram are known: "measured: …", "estimated: …", or "none"."""
        name = f"codecarbon {importlib.metadata.version('codecarbon')}"
        found = {
            "cpu": f"estimated: {name} found no processor to read",
            "gpu": "none: no accelerator that codecarbon reads",
            "ram": f"estimated: {name}, constant power by the size of the memory",
        }
        for part in self._tracker._hardware:
            kind, mode = type(part).__name__, getattr(part, "_mode", "")
            if kind == "CPU":
                found["cpu"] = _cpu_method(part, mode, name)
            elif kind == "GPU":
                reader = "nvml" if _has_nvidia() else "amdsmi"
                found["gpu"] = f"measured: {reader}"
            elif kind != "RAM":  # Apple's powermetrics, a Raspberry's power chip
                found[str(part.chip_part).lower()] = f"measured: {name}, {kind}"
        return found

    def read(self) -> Energy:
        """Return the energy used since the start, in kWh."""
        with self._lock:
            self._tracker.flush()
            total = self._keep.total
        if total is None:
            return Energy()
        return Energy(total.cpu_energy, total.gpu_energy, total.ram_energy)

    def stop(self) -> None:
        """End codecarbon's thread."""
        with self._lock:
            self._tracker.stop()


def _cpu_method(part: Any, mode: str, name: str) -> str:
    if mode in CPU_COUNTERS:
        return f"measured: {CPU_COUNTERS[mode]}"
    rating = getattr(part, "_tdp", None)
    watts = "no rating" if rating is None else f"{rating:g} W rating"
    how = "load" if mode == "cpu_load" else "constant share"
    return f"estimated: {name}, {how} × {watts} of {part.get_model() or 'the processor'}"


def _has_nvidia() -> bool:
    from codecarbon.core import gpu

    return bool(gpu.is_nvidia_system())


def foreign_tracker() -> str | None:
    """Return a line on another codecarbon tracker that holds its lock here, or None."""
    lock = Path(tempfile.gettempdir()) / ".codecarbon.lock"
    if not lock.exists():
        return None
    return (
        f"another codecarbon tracker runs here or left {lock} behind: this run measures beside "
        "it, and both count the whole machine"
    )
