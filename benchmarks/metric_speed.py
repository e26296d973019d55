"""Seconds and memory of the metric on 2 × 20,000 × 768 float32, and of start-up.

Writes benchmarks/results/metric_speed.json.

    python benchmarks/metric_speed.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from machine import describe_run, peak_memory

ROOT = Path(__file__).parents[1]
RESULT = Path(__file__).parent / "results" / "metric_speed.json"


def metric(rounds):
    """Return seconds of `compute` and peak memory beside that of the inputs."""
    import evaluate
    import numpy as np

    rng = np.random.default_rng(0)
    x, z = (rng.standard_normal((20_000, 768), dtype=np.float32) for _ in range(2))
    x += 1
    z += 1
    y = rng.integers(0, 10, 20_000)
    loaded = evaluate.load(str(ROOT / "metrics" / "resque"))
    small = {"predictions": z[:100], "references": y[:100]}
    loaded.compute(**small, original_predictions=x[:100], original_references=y[:100])
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        loaded.compute(predictions=z, references=y, original_predictions=x, original_references=y)
        seconds.append(time.perf_counter() - began)
    before, peak = peak_memory(
        lambda: loaded.compute(
            predictions=z, references=y, original_predictions=x, original_references=y
        )
    )
    return {
        "seconds": seconds,
        "median_seconds": statistics.median(seconds),
        "inputs_mb": (x.nbytes + z.nbytes) / 1e6,
        "extra_peak_mb": (peak - before) / 1e6,
    }


def start(rounds):
    """Return medians of seconds over the bare interpreter, interleaved."""
    ways = {
        "python": [sys.executable, "-c", "pass"],
        "import resque": [sys.executable, "-c", "import resque"],
        "resque --help": [sys.executable, "-c", "from resque.cli import main; main()", "--help"],
    }
    found = {name: [] for name in ways}
    for _ in range(rounds * 3):
        for name, command in ways.items():
            began = time.perf_counter()
            subprocess.run(command, capture_output=True, check=True)
            found[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) for name, values in found.items()}
    return {name: medians[name] - medians["python"] for name in ways if name != "python"}


def main():
    """Run both and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    found = describe_run() | {
        "metric": metric(arguments.rounds),
        "start_up_seconds_over_python": start(arguments.rounds),
    }
    RESULT.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
