"""RESQUE: what a model costs to reuse under a distribution shift or for a new task."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resque import card as card
    from resque.callback import CostCallback
    from resque.estimation import estimate, fingerprint
    from resque.fingerprints import Fingerprint
    from resque.forecasting import forecast
    from resque.indices import Score, resque_dist, resque_task
    from resque.rank_results import Ranking
    from resque.ranking import Costs, rank
    from resque.records import CostRecord, read_records
    from resque.report import Report

__version__ = "0.1.0"
__all__ = [
    "CostCallback",
    "CostRecord",
    "Costs",
    "Fingerprint",
    "Ranking",
    "Report",
    "Score",
    "estimate",
    "fingerprint",
    "forecast",
    "rank",
    "read_records",
    "resque_dist",
    "resque_task",
]

_MODULES = ("card",)  # resque.card.update
_HOMES = {
    "CostCallback": "resque.callback",
    "CostRecord": "resque.records",
    "Costs": "resque.ranking",
    "Fingerprint": "resque.fingerprints",
    "Ranking": "resque.rank_results",
    "Report": "resque.report",
    "Score": "resque.indices",
    "estimate": "resque.estimation",
    "fingerprint": "resque.estimation",
    "forecast": "resque.forecasting",
    "rank": "resque.ranking",
    "read_records": "resque.records",
    "resque_dist": "resque.indices",
    "resque_task": "resque.indices",
}


def __getattr__(name: str) -> Any:
    """Import public names at their first use, so that `import resque` is instant."""
    if name in _MODULES:
        return importlib.import_module(f"resque.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'resque' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, *_MODULES])
