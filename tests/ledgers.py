"""Ledgers made by a known law, for tests of the report and the forecast."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from resque.ledger import DONE, SCHEMA_VERSION, Cell, Entry, LayerIndex
from resque.records import Evaluation, TargetPart
from test_records import make

FAMILIES = ("gaussian", "blur", "contrast", "salt_pepper", "rotation", "usps")


def make_entry(family, level, seed, index, epochs, *, limit=10.0, noise=0.0, **changes):
    """An entry whose run took `epochs` epochs of 20 steps, censored at `limit`."""
    reached = bool(epochs <= limit)  # of a plain number: outcomes ask whether it is False
    spent = min(epochs, limit)
    template = make()
    before = 0.95 - index
    epoch = replace(
        template.epochs[0],
        epoch=spent,
        grad_norm=1.0 + 4 * index,
        param_change_from_start=0.01 * math.sqrt(spent),
    )
    record = make(
        reached=reached,
        rule="target" if reached else "epochs",
        target=TargetPart("recovery", 0.95, 0.9, 0.95),
        epochs_to_target=epochs if reached else None,
        steps_to_target=20 * epochs if reached else None,
        training=replace(template.training, steps_per_epoch=20, eval_every=5),
        resolution_steps=5,
        accuracy_before=before,
        accuracy_best=0.92 if reached else 0.8,
        epochs_limit=limit,
        evaluations=(
            Evaluation(0, 0.0, None, 1.0, before),
            Evaluation(round(20 * spent), spent, 0.5, 0.3, 0.92 if reached else 0.8),
        ),
        epochs=(epoch,) if spent else (),
        seconds_training=3.0 * spent,
        energy_kwh=2e-5 * spent,
        co2eq_kg=1e-5 * spent,
    )
    corruption = None if level is None else f"{family}:{level:g}"
    cell = Cell(
        "models/resnet", "data#train", "data#train", "data#test", corruption, 0.0, family, level,
        "full", "recovery:0.95", seed, {"learning_rate": 0.002}, {},
    )  # fmt: skip
    cell = replace(cell, **changes)
    layers = (
        LayerIndex("stem", 0.0, "data", 0.5 * index, (0.4 * index, 0.6 * index), 0.01, 0.5 * index),
        LayerIndex("head", 1.0, "data", index, (0.9 * index, 1.1 * index), 0.01, index),
        LayerIndex("head", 1.0, "predicted", 0.8 * index, (0.7 * index, 0.9 * index), 0.01, index),
        LayerIndex("head", 1.0, "soft", 0.9 * index, None, None, None),
    )
    predictors = {
        "resque_dist": index,
        "resque_dist_predicted": 0.8 * index,
        "resque_dist_soft": 0.9 * index,
        "accuracy_drop": index + noise,
        "resque_scatter": index + noise,
        "resque_scatter_aligned": 0.8 * index - noise,
        "entropy_increase": 2 * index - noise,
        "doc_drop": index - noise,
        "n_parameters": 1e5,
        "n_train": 320.0,
        "accuracy": before,
        "original_accuracy": 0.95,
    }
    return Entry(
        SCHEMA_VERSION, cell.key, "test", cell, DONE, None, "image", layers, predictors, record,
        1.5, "2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def make_entries(families=FAMILIES, levels=5, seeds=3, spread=0.15, limit=10.0, seed=0):
    """Entries with epochs ≈ 20 × index^1.5 × a family's factor × lognormal noise of `spread`."""
    rng = np.random.default_rng(seed)
    entries = []
    for family in families:
        factor = math.exp(0.5 * spread * rng.standard_normal())
        for level in range(1, levels + 1):
            for run in range(seeds):
                index = 0.08 * level * math.exp(0.1 * rng.standard_normal())
                epochs = 20 * index**1.5 * factor * math.exp(spread * rng.standard_normal())
                noise = 0.05 * rng.standard_normal()
                entries.append(
                    make_entry(family, float(level), run, index, epochs, limit=limit, noise=noise)
                )
    return entries


def make_task(model, error, seed, epochs, *, target=0.75, limit=10.0):
    """An entry whose run of a new task with this error of neighbours took `epochs` epochs."""
    entry = make_entry(
        "digits", None, seed, 0.1, epochs, limit=limit,
        model=model, dataset=f"task{error:g}#train", target=f"accuracy:{target:g}",
    )  # fmt: skip
    record = replace(entry.record, model=replace(entry.record.model, new_head=True))
    predictors = {
        "knn_error": error,
        "resque_task": 0.5,
        "n_parameters": 1e5,
        "n_train": 320.0,
        "classes": 4.0,
        "resque_dist_predicted": 0.2 + error,  # as a shift it is dear
    }
    return replace(entry, predictors=predictors, record=record)


def make_tasks(models="abcd", tasks=5, seeds=2, spread=0.15, seed=0, **given):
    """New tasks with epochs ≈ 0.2 × exp(5 × error) × a model's factor × lognormal noise."""
    rng = np.random.default_rng(seed)
    entries = []
    for model in models:
        factor = math.exp(spread * rng.standard_normal())
        for task in range(tasks):
            for run in range(seeds):
                error = 0.05 + 0.12 * task
                noise = math.exp(spread * rng.standard_normal())
                epochs = 0.2 * math.exp(5 * error) * factor * noise
                entries.append(make_task(model, error, run, epochs, **given))
    return entries
