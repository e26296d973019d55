"""Measure real models under real shifts, and on new tasks, with the public names alone.

The folder given holds `models/NAME` (transformers models) and `datasets/NAME` (in the Hub's
layout): see RUNS for the names. Any of them may be an id on the Hub instead.

    python examples/real_shifts.py FOLDER --output real_shifts.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from pathlib import Path

import resque

NOISE = [
    ("resnet-fashion-mnist", "fashion_mnist#test[:50%]", "fashion_mnist#test[50%:]", level)
    for level in (0, 0.05, 0.1, 0.2)
] + [
    ("resnet20-cifar10", "cifar10_jpeg#test[:50%]", "cifar10_jpeg#test[50%:]", level)
    for level in (0, 0.05, 0.1, 0.2)
]
# model, original, shifted, options
SHIFTS = [
    ("vit-mnist", "mnist#test[:50%]", "mnist#test[50%:]", {}),
    ("vit-mnist", "mnist#test", "usps#test", {}),
    ("vit-mnist", "mnist#test", "usps#test", {"labels": "predicted"}),
    ("vit-mnist", "mnist#test", "mnist_m#test", {}),
    ("vit-mnist", "mnist#test", "mnist_m#test", {"labels": "predicted"}),
    ("minilm-ag-news", "ag_news#test[:50%]", "ag_news#test[50%:]", {}),
    ("minilm-ag-news", "ag_news#test", "trec#test", {"labels": "predicted"}),
    ("minilm-ag-news", "amazon_multi_domain:books#test", "amazon_multi_domain:kitchen#test",
     {"labels": "predicted"}),
]  # fmt: skip
TASKS = [
    ("minilm-ag-news", "banking77#test", {"init": init}) for init in ("centroids", "k-means++")
] + [
    ("minilm-ag-news", "trec#train", {"label_column": "coarse_label", "init": init})
    for init in ("centroids", "k-means++")
]


def row(report, **what):
    """Return what a table shows of a report."""
    score = report.score
    low, high = score.interval
    return {
        **what,
        "layer": report.layer,
        "index": round(score.value, 4),
        "interval": [round(low, 4), round(high, 4)],
        "noise_floor": round(score.noise_floor, 4),
        "p_value": score.to_dict()["p_value"],
        "labels": report.sides[0].labels,
        "samples": [side.counts.samples for side in report.sides],
        "accuracy": [side.counts.accuracy for side in report.sides],
        "left_out": {str(k): v for k, v in score.left_out.items()},
        "seconds": report.seconds["total"],
    }


def shifts(root):
    """Yield a row for each run of NOISE and SHIFTS."""
    for model, original, shifted, level in NOISE:
        report = resque.estimate(
            f"{root}/models/{model}",
            f"{root}/datasets/{original}",
            f"{root}/datasets/{shifted}",
            corruption=f"gaussian:{level}",
        )
        yield row(report, model=model, original=original, shifted=f"{shifted} + gaussian:{level}")
    for model, original, shifted, options in SHIFTS:
        report = resque.estimate(
            f"{root}/models/{model}",
            f"{root}/datasets/{original}",
            f"{root}/datasets/{shifted}",
            **options,
        )
        yield row(report, model=model, original=original, shifted=shifted)


def tasks(root):
    """Yield a row for each run of TASKS."""
    for model, task, options in TASKS:
        report = resque.estimate(
            f"{root}/models/{model}", task=f"{root}/datasets/{task}", **options
        )
        yield row(report, model=model, task=task, init=options["init"])


def sound():
    """Return the row of a wav2vec2 with random weights on made tones, against higher tones."""
    import datasets
    import numpy as np
    import torch
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForSequenceClassification,
    )

    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        conv_dim=[64] * 7,
        num_labels=3,
        classifier_proj_size=32,
    )
    rng = np.random.default_rng(0)

    def tones(pitch):
        times = np.arange(8000) / 16000
        rows = [
            (np.sin(2 * np.pi * pitch * (1 + i % 3) * times) + 0.1 * rng.normal(size=8000))[
                : 4000 + 500 * (i % 8)
            ]
            for i in range(150)
        ]
        return datasets.Dataset.from_dict({"audio": rows, "label": [i % 3 for i in range(150)]})

    with tempfile.TemporaryDirectory() as folder:
        Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
        Wav2Vec2FeatureExtractor().save_pretrained(folder)
        report = resque.estimate(folder, tones(200), tones(600))
    return row(report, model="wav2vec2, random weights", original="200 Hz", shifted="600 Hz")


def main():
    """Run all, print a line each, and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder with models/ and datasets/")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # what is left out stands in the rows
    rows = []
    for found in (*shifts(arguments.root), sound(), *tasks(arguments.root)):
        rows.append(found)
        print(json.dumps(found), flush=True)
    if arguments.output:
        command = "python examples/real_shifts.py FOLDER"
        document = {"command": command, "python": sys.version.split()[0], "rows": rows}
        arguments.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
