"""Retrains an image classifier with transformers' Trainer; `CostCallback` leaves its cost record.

Needs resque[retrain], a model, and a data set with the columns image and label and the splits
train and test: by default what `resque demo` left behind. See `--help`.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import datasets
import numpy as np
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    Trainer,
    TrainingArguments,
)

from resque import CostCallback


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=os.environ.get("MODEL", "resque-demo/model"))
    parser.add_argument("--dataset", default=os.environ.get("DATA", "resque-demo/digits"))
    parser.add_argument("--output-dir", default=os.environ.get("OUT", "resque-demo/trainer"))
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--target-accuracy", type=float, help="stop there")
    parser.add_argument("--max-samples", type=int, help="take so many training rows")
    parser.add_argument("--max-eval-samples", type=int, help="take so many evaluation rows")
    return parser.parse_args()


def load_images(name: str, split: str, processor: Any, most: int | None) -> datasets.Dataset:
    def prepare(rows: dict[str, list[Any]]) -> dict[str, Any]:
        images = [image.convert("RGB") for image in rows["image"]]
        return {**processor(images, return_tensors="pt"), "labels": rows["label"]}

    rows = datasets.load_dataset(name, split=split)
    if most is not None:
        rows = rows.shuffle(seed=0).select(range(min(most, len(rows))))
    return rows.with_transform(prepare)


def accuracy(found: Any) -> dict[str, float]:
    return {"accuracy": float(np.mean(found.predictions.argmax(-1) == found.label_ids))}


def main() -> None:
    use = read_arguments()
    processor = AutoImageProcessor.from_pretrained(use.model)
    costs = CostCallback(target_accuracy=use.target_accuracy)
    trainer = Trainer(
        model=AutoModelForImageClassification.from_pretrained(use.model),
        args=TrainingArguments(
            output_dir=use.output_dir,
            num_train_epochs=use.epochs,
            per_device_train_batch_size=32,
            per_device_eval_batch_size=32,
            learning_rate=1e-3,
            lr_scheduler_type="constant",
            eval_strategy="steps",
            eval_steps=0.1,  # of all steps
            eval_on_start=True,  # the accuracy before
            logging_steps=1,  # the gradient norm of every step
            save_strategy="no",
            remove_unused_columns=False,  # the transform needs them
            report_to="none",
        ),
        train_dataset=load_images(use.dataset, "train", processor, use.max_samples),
        eval_dataset=load_images(use.dataset, "test", processor, use.max_eval_samples),
        processing_class=processor,
        compute_metrics=accuracy,
        callbacks=[costs],
    )
    trainer.train()
    trainer.save_model()
    if trainer.is_world_process_zero() and costs.record:
        record = costs.record
        print(
            f"{record.energy_kwh * 1000:.3g} Wh and {record.seconds_training:.1f} s of training, "
            f"accuracy {record.accuracy_before:.3f} before, {record.accuracy_final:.3f} at the "
            f"end: see {use.output_dir}/records.jsonl"
        )


if __name__ == "__main__":
    main()
