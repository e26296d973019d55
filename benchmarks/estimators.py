"""Compare RESQUE's estimators with their rivals on studies, those they were chosen on apart.

    python benchmarks/estimators.py --development benchmarks/results/digits benchmarks/results/fashion \
        --held benchmarks/results/mnist-domains benchmarks/results/paper-small benchmarks/results/text \
        --output benchmarks/results/estimators.json

Spearman's ρ with the cost, over all families of a study, with 95 % intervals that resample shifts.
`resque_scatter` and `resque_scatter_aligned` were chosen on the development studies, so that what
they reach there flatters them.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from machine import describe_run
from rich.console import Console
from rich.table import Table

from resque.ledger import read_ledger
from resque.study_analysis import analyse

MEASURES = ("epochs", "param_change", "grad_norm")
PREDICTORS = (
    "resque_dist", "resque_scatter", "accuracy_drop", "logme", "knn_error",
    "resque_dist_predicted", "resque_dist_soft", "resque_scatter_aligned", "cka", "arm",
    "entropy_increase",
)  # fmt: skip


def correlations(folder: Path) -> dict[str, Any]:
    """Return ρ and its interval by predictor and measure, and differences from resque_dist."""
    analysis = analyse(read_ledger([folder]))
    found: dict[str, Any] = {}
    for name in PREDICTORS:
        for measure in MEASURES:
            if measure not in analysis.measures or name not in analysis.predictors:
                continue
            rho = analysis.part(measure=measure).rho(name)
            if rho is not None:
                found.setdefault(name, {})[measure] = [rho.value, rho.interval]
    return found


def main() -> None:
    """Print a table a study, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--development", nargs="+", type=Path, default=[])
    parser.add_argument("--held", nargs="+", type=Path, default=[])
    parser.add_argument("--output", type=Path)
    use = parser.parse_args()
    document: dict[str, Any] = {"machine": describe_run()}
    for part in ("development", "held"):
        for folder in getattr(use, part):
            found = correlations(folder)
            document.setdefault(part, {})[folder.name] = found
            table = Table("predictor", *MEASURES, title=f"{folder.name} ({part})")
            for name, by in found.items():
                table.add_row(name, *(_shown(by.get(m)) for m in MEASURES))
            Console().print(table)
    if use.output:
        use.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _shown(found: Any) -> str:
    if found is None:
        return "–"
    value, interval = found
    return f"{value:.2f}" + (f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "")


if __name__ == "__main__":
    main()
