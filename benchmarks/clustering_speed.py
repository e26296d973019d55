"""k-means and nearest neighbours on a GPU beside scikit-learn: seconds, agreement and memory.

Writes benchmarks/results/clustering_speed.json (clustering_speed_cpu.json with --device cpu) at
the full size, and only prints at any other. scikit-learn has all cores, or OMP_NUM_THREADS; both
ways start from a numpy array and end with one, are interleaved, and a ratio is that of the
medians. Each round of k-means++ has a seed of its own.

    python benchmarks/clustering_speed.py [--rounds 3] [--part class_means k_means_plus_plus knn]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import time
from pathlib import Path

from machine import describe_run

FULL = {"rows": 50_000, "dimensions": 768, "classes": 100}
DIRECTIONS = 32  # in which rows differ by more than a little noise, as representations do
SPREAD = 0.6  # of the class means in these, in deviations within a class: they overlap
NEIGHBOURS = 5


def draw(rows, dimensions, classes, seed):
    """Return float32 rows of a mixture of overlapping classes, and their classes."""
    import numpy as np

    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, rows)
    y[:classes] = np.arange(classes)
    means = SPREAD * rng.standard_normal((classes, DIRECTIONS), np.float32)
    latent = rng.standard_normal((rows, DIRECTIONS), np.float32) + means[y]
    noise = 0.2 * rng.standard_normal((rows, dimensions), np.float32)
    return latent @ rng.standard_normal((DIRECTIONS, dimensions), np.float32) + noise, y


def ways_of(part, device):
    """Return both ways as functions of rows, classes and a seed."""
    from resque.clustering import cluster
    from resque.on_device import kmeans, nearest
    from resque.transfer_scores import _neighbours, as_rows

    if part == "knn":
        return {
            "scikit_learn": lambda x, y, _: _neighbours(as_rows(x, "x"), NEIGHBOURS, "cpu"),
            "ours": lambda x, y, _: nearest(as_rows(x, "x"), NEIGHBOURS, device),
        }
    init = "centroids" if part == "class_means" else "k-means++"

    def ours(x, y, seed):
        start = y if init == "centroids" else None
        return kmeans(x, int(y.max()) + 1, start, n_init=10, seed=seed, device=device).labels

    return {"scikit_learn": lambda x, y, seed: cluster(x, y, init, 10, seed)[0], "ours": ours}


def compare(part, size, rounds, device):
    """Return seconds of each round, the ratio of the medians, agreement, and the GPU's peak."""
    import torch

    ways = ways_of(part, device)
    for run in ways.values():
        run(*draw(200, 8, 4, 0), 0)  # libraries are loaded
    seconds, found = ({name: [] for name in ways} for _ in range(2))
    x, y = draw(**size, seed=0)
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)
    for seed in range(rounds):
        for name, run in ways.items():
            began = time.perf_counter()
            answer = run(x, y, seed)
            seconds[name].append(time.perf_counter() - began)
            found[name].append(answer)
            print(f"{part}, {name}: {seconds[name][-1]:.2f} s", flush=True)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    peak = None if device == "cpu" else torch.cuda.max_memory_allocated(device) / 1e6
    return {
        "seconds": seconds,
        "medians": medians,
        "ours_to_scikit_learn": medians["ours"] / medians["scikit_learn"],
        "gpu_peak_mb": peak,
        **(same_neighbours(found) if part == "knn" else same_clusters(found, y)),
    }


def same_neighbours(found):
    """Return the share of rows that have the same set of neighbours in both ways."""
    import numpy as np

    one, other = (np.sort(found[name][0], axis=1) for name in ("scikit_learn", "ours"))
    return {"rows_with_the_same_neighbours": float((one == other).all(axis=1).mean())}


def same_clusters(found, y):
    """Return RESQUE_task of each round, and adjusted Rand indices between clusters."""
    from resque.clustering import disagreement

    theirs = found["scikit_learn"]
    return {
        "resque_task": {
            name: [disagreement(y, labels) for labels in each] for name, each in found.items()
        },
        "adjusted_rand_index": {
            "ours_and_scikit_learn_by_seed": [
                1 - disagreement(a, b) for a, b in zip(*found.values(), strict=True)
            ],
            "scikit_learn_and_its_next_seed": [
                1 - disagreement(a, b) for a, b in itertools.pairwise(theirs)
            ],
        },
    }


def describe_device(device):
    """Return what computes, and how many threads scikit-learn has."""
    import threadpoolctl
    import torch

    pools = threadpoolctl.threadpool_info()
    found = {
        "device": device,
        "scikit_learn_threads": max(pool["num_threads"] for pool in pools),
        "load_average": os.getloadavg()[0],
    }
    if device != "cpu":
        gpu = torch.cuda.get_device_properties(device)
        found |= {"gpu": gpu.name, "gpu_mb": gpu.total_memory / 1e6, "cuda": torch.version.cuda}
    return found


def main():
    """Compare, print, and write at the full size."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    for name, most in FULL.items():
        parser.add_argument(f"--{name}", type=int, default=most)
    parts = ["class_means", "k_means_plus_plus", "knn"]
    parser.add_argument("--part", nargs="+", choices=parts, default=parts)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if given.device != "cpu" and not torch.cuda.is_available():
        print("There is no CUDA device here, so nothing is measured; --device cpu measures torch's "
              "own CPU code in its place.")  # fmt: skip
        return
    size = {name: getattr(given, name) for name in FULL}
    found = describe_run() | describe_device(given.device)
    found |= {"size": size, "directions": DIRECTIONS, "spread": SPREAD, "neighbours": NEIGHBOURS}
    found |= {x: compare(x, size, given.rounds, given.device) for x in given.part}
    text = json.dumps(found, indent=1, ensure_ascii=False)
    print(text)
    if size == FULL:
        name = "clustering_speed_cpu.json" if given.device == "cpu" else "clustering_speed.json"
        (Path(__file__).parent / "results" / name).write_text(text + "\n")


if __name__ == "__main__":
    main()
