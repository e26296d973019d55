"""Retrain real models under real shifts and on new tasks, and write what that cost.

The folder given holds `models/NAME` (transformers models) and `datasets/NAME` (in the Hub's
layout): see RUNS for the names. Any of them may be an id on the Hub instead.

    python examples/real_retraining.py FOLDER --output real_retraining.json [--only NAME …]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from resque.retrain import retrain

RESNET = {"max_samples": 3000, "optimizer": "sgd", "learning_rate": 0.002, "eval_every": 5,
          "target_recovery": 0.9, "epochs": 4}  # fmt: skip
VIT = {"max_samples": 2000, "learning_rate": 1e-3, "target_accuracy": 0.9, "epochs": 4}
TREC = {"max_samples": 512, "max_eval_samples": 250, "label_column": "coarse_label",
        "target_accuracy": 0.8, "epochs": 2, "batch_size": 16, "eval_every": 8}  # fmt: skip
# name, model, data set, options
RUNS = [
    (f"fashion gaussian:{level}", "resnet-fashion-mnist", "fashion_mnist",
     {**RESNET, "corruption": f"gaussian:{level}"}) for level in (0.1, 0.2, 0.3)
] + [
    ("mnist to usps", "vit-mnist", "usps", VIT | {"target_accuracy": 0.9}),
    ("mnist to mnist_m", "vit-mnist", "mnist_m", VIT | {"target_accuracy": 0.6, "epochs": 8}),
    ("ag_news to trec, head", "minilm-ag-news", "trec", TREC | {"strategy": "head"}),
    ("ag_news to trec, lora", "minilm-ag-news", "trec", TREC | {"strategy": "lora"}),
    ("ag_news to trec, full", "minilm-ag-news", "trec", TREC | {"strategy": "full"}),
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, default=Path("real_retraining.json"))
    parser.add_argument("--only", nargs="*", help="parts of the names of runs")
    use = parser.parse_args()
    found = []
    for name, model, data, options in RUNS:
        if use.only and not any(part in name for part in use.only):
            continue
        with tempfile.TemporaryDirectory() as out:
            record = retrain(
                f"{use.folder}/models/{model}", f"{use.folder}/datasets/{data}", out, **options
            )
        document = record.to_dict()
        document["model"]["name"], document["data"]["dataset"] = model, data
        document["data"]["eval_dataset"] = f"{data}#evaluation"
        document["command"] = f"python examples/real_retraining.py FOLDER --only '{name}'"
        document["notes"] = [note for note in document["notes"] if str(use.folder) not in note]
        found.append({"run": name, **document})
        print(
            f"{name}: {record.accuracy_before:.3f} before, reached {record.reached}, "
            f"epochs {record.epochs_to_target}, steps {record.steps_to_target}, "
            f"{record.seconds_training:.1f} s, {1000 * record.energy_kwh:.3g} Wh",
            flush=True,
        )
        use.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
