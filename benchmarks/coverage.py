"""Does the error of RESQUE_dist hold? Simulated coverage of its interval and noise floor.

Draws two samples per cell of a grid (dimension × samples a class × shift × class balance ×
tails) whose large-sample index is known, and counts how often the 95 % interval covers it; with
no shift, compares the noise floor with the mean index of the draws, and counts p-values < 0.05.

    python benchmarks/coverage.py --draws 1000 --groups 16
"""

from __future__ import annotations

import argparse
import itertools
import json
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from machine import describe_run

from resque.sums import group_of
from resque.uncertainty import angles, estimate_noise, estimate_uncertainty

DIMENSIONS = (8, 64, 512)
SAMPLES = (20, 60, 200)
SHIFTS = (0.0, 0.03, 0.2)  # index
CLASSES = 10


def turned(means: np.ndarray, index: float, rng: np.random.Generator) -> np.ndarray:
    """Turn each mean by a random share of 2·index·π, in a random direction."""
    other = rng.normal(size=means.shape)
    unit = means / np.linalg.norm(means, axis=1, keepdims=True)
    other -= (other * unit).sum(1, keepdims=True) * unit
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    angle = np.pi * index * rng.uniform(0.5, 1.5, size=(len(means), 1))
    return np.linalg.norm(means, axis=1, keepdims=True) * (
        np.cos(angle) * unit + np.sin(angle) * other
    )


def draw(
    means: np.ndarray,
    counts: np.ndarray,
    scales: np.ndarray,
    heavy: bool,
    groups: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Counts (K, G) and sums (K, G, D) of one simulated data set."""
    group_counts = np.zeros((len(means), groups), np.int64)
    sums = np.zeros((len(means), groups, means.shape[1]))
    for k, n in enumerate(counts):
        noise = (
            rng.standard_t(3, (n, means.shape[1])) / np.sqrt(3)
            if heavy
            else rng.normal(size=(n, means.shape[1]))
        )
        g = group_of(rng.integers(0, 2**40, n), groups)
        np.add.at(sums[k], g, means[k] + noise * scales)
        group_counts[k] = np.bincount(g, minlength=groups)
    return group_counts, sums


def simulate(cell: tuple[int, int, float, bool, bool, int, int]) -> dict[str, object]:
    """Run one cell of the grid."""
    dim, samples, shift, skewed, heavy, groups, draws = cell
    rng = np.random.default_rng([dim, samples, int(shift * 1000), skewed, heavy])
    scales = (1 + np.arange(dim)) ** -0.5  # a decaying spectrum, as real layers have
    scales *= 0.7 * np.sqrt(dim) / np.sqrt((scales**2).sum())
    means = np.abs(rng.normal(size=(CLASSES, dim)))
    moved = turned(means, shift, rng) if shift else means
    share = 0.75 ** np.arange(CLASSES) if skewed else np.ones(CLASSES)
    counts = np.maximum(5, np.round(samples * CLASSES * share / share.sum())).astype(int)
    truth = float(angles(means, moved).mean()) / np.pi
    values, floors, covered, p = [], [], [], []
    for _ in range(draws):
        a = draw(means, counts, scales, heavy, groups, rng)
        b = draw(moved, counts, scales, heavy, groups, rng)
        observed = angles(a[1].sum(1), b[1].sum(1))
        error = estimate_uncertainty(observed, estimate_noise(a, b))
        values.append(observed.mean() / np.pi)
        floors.append(error.noise_floor)
        covered.append(error.interval[0] <= truth <= error.interval[1])
        p.append(error.p_value)
    return {
        "dimension": dim, "samples": samples, "shift": shift, "skewed": skewed, "heavy": heavy,
        "truth": truth, "mean_value": float(np.mean(values)),
        "mean_floor": float(np.mean(floors)), "coverage": float(np.mean(covered)),
        "p_below_0.05": float(np.mean(np.array(p) < 0.05)),
    }  # fmt: skip


def main() -> None:
    """Run the grid and write benchmarks/results/coverage.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--groups", type=int, default=16)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, default=None)
    args = parser.parse_args()
    grid = itertools.product(DIMENSIONS, SAMPLES, SHIFTS, (False, True), (False, True))
    cells = [(*cell, args.groups, args.draws) for cell in grid]
    rows = []
    with Pool(args.processes) as pool:
        for row in pool.imap(simulate, cells):
            rows.append(row)
            flag = "" if 0.92 <= row["coverage"] <= 0.98 else "  <--"
            ratio = row["mean_floor"] / row["mean_value"]
            print(
                f"D={row['dimension']:4d} n={row['samples']:4d} shift={row['shift']:.2f} "
                f"skewed={row['skewed']:d} heavy={row['heavy']:d} value={row['mean_value']:.4f} "
                f"floor/value={ratio:.3f} coverage={row['coverage']:.3f} "
                f"p<.05={row['p_below_0.05']:.3f}{flag}",
                flush=True,
            )
    name = args.output or Path(__file__).parent / "results" / f"coverage_{args.groups}_groups.json"
    name.write_text(json.dumps({**describe_run(), "draws": args.draws, "cells": rows}, indent=1))


if __name__ == "__main__":
    main()
