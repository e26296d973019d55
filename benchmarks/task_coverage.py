"""How often the interval of RESQUE_task covers the large-sample index, by simulation.

Gaussian classes of unit spread around random centres; the large-sample index is that of 50,000
rows, clustered anew. Writes benchmarks/results/task_coverage.json.

    python benchmarks/task_coverage.py [--draws 1000]
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
from machine import describe_run

from resque import resque_task

RESULT = Path(__file__).parent / "results" / "task_coverage.json"
CLASSES, LARGE = 4, 50_000
GRID = {
    "dimension": (4, 32, 256),
    "samples": (100, 400, 1600),
    "separation": (1.0, 2.0, 4.0),
    "skewed": (False, True),
}


def draw(rng, n, centres, skewed):
    """Return n vectors with their classes."""
    shares = np.array([0.55, 0.25, 0.15, 0.05]) if skewed else np.full(CLASSES, 1 / CLASSES)
    y = rng.choice(CLASSES, n, p=shares)
    x = centres[y] + rng.standard_normal((n, centres.shape[1]), dtype=np.float32)
    return x.astype(np.float32), y


def cell(draws, dimension, samples, separation, skewed):
    """Return the coverage of one cell of the grid."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CLASSES, dimension)).astype(np.float32)
    centres *= separation / np.linalg.norm(centres, axis=1, keepdims=True)
    truth = resque_task(*draw(rng, LARGE, centres, skewed)).value
    inside, values, widths = 0, [], []
    for _ in range(draws):
        score = resque_task(*draw(rng, samples, centres, skewed))
        inside += score.interval[0] <= truth <= score.interval[1]
        values.append(score.value)
        widths.append(score.interval[1] - score.interval[0])
    return {
        "dimension": dimension,
        "samples": samples,
        "separation": separation,
        "skewed": skewed,
        "truth": truth,
        "mean_value": float(np.mean(values)),
        "deviation": float(np.std(values)),
        "mean_width": float(np.mean(widths)),
        "coverage": inside / draws,
    }


def main():
    """Run the grid and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=1000)
    draws = parser.parse_args().draws
    cells = []
    for values in itertools.product(*GRID.values()):
        cells.append(cell(draws, *values))
        print(json.dumps(cells[-1]), flush=True)
    RESULT.write_text(
        json.dumps(describe_run() | {"draws": draws, "cells": cells}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
