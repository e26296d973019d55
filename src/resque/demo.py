"""The demo: trains a small model on scikit-learn's digits, measures shifts and new tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from resque.estimation import estimate
from resque.files import check_folder, write_whole
from resque.indices import Score
from resque.measurement import library_versions
from resque.report import Report, verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVELS = {
    "gaussian": (0.0, 0.1, 0.2, 0.3, 0.4),
    "salt_pepper": (0.0, 0.05, 0.1, 0.2, 0.3),
    "blur": (0.0, 1.0, 2.0, 3.0, 4.0),
}
TASKS = {"odd": "odd or even", "ink": "how much ink, in four parts"}
SIZE, EPOCHS, BATCH = 32, 12, 32


def run(output_dir: Path) -> tuple[dict[str, Any], list[Any]]:
    """Run the demo.

    Args:
        output_dir: gets report.json, index.png, and the model and data that they are of.

    Returns:
        The report as plain JSON types, and tables and lines to print, the folder named last.

    Raises:
        ResqueError: where the folder cannot be written to.
    """
    from tqdm.auto import tqdm

    from resque.plots import plot_levels, save

    check_folder(output_dir)
    data, model = output_dir / "digits", output_dir / "model"
    train_images, train_labels = write_digits(data)
    train_model(train_images, train_labels, model)
    runs = [(name, level) for name, levels in LEVELS.items() for level in levels]
    shifts: dict[str, list[tuple[float, Report]]] = {name: [] for name in LEVELS}
    options: dict[str, Any] = {"device": "cpu", "progress": False}
    for name, level in tqdm(runs, desc="corruptions", disable=None):
        noise = f"{name}:{level:g}"
        halves = f"{data}#test[:50%]", f"{data}#test[50%:]"
        shifts[name].append((level, estimate(str(model), *halves, corruption=noise, **options)))
    tasks = {
        column: estimate(str(model), task=f"{data}#test", label_column=column, **options)
        for column in tqdm(TASKS, desc="new tasks", disable=None)
    }
    document = _document(shifts, tasks)
    text = json.dumps(document, indent=2, allow_nan=False)
    write_whole(output_dir / "report.json", lambda path: path.write_text(text, encoding="utf-8"))
    scores = {name: [(x, r.score) for x, r in pairs] for name, pairs in shifts.items()}
    figure = plot_levels(scores, "A ResNet trained on digits, under three corruptions")
    save(figure, output_dir / "index.png")
    return document, [_shift_table(shifts), _task_table(tasks), *_lines(output_dir)]


def write_digits(folder: Path) -> tuple[Any, Any]:
    """Write scikit-learn's digits as parquet files; return the training images and labels."""
    import datasets
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    pixels = np.rint(digits.images[order] * (255 / 16)).astype(np.uint8)
    labels = digits.target[order]
    images = [Image.fromarray(x).resize((SIZE, SIZE), Image.Resampling.BILINEAR) for x in pixels]
    ink = pixels.reshape(len(pixels), -1).mean(axis=1)
    quarter = np.searchsorted(np.quantile(ink, (0.25, 0.5, 0.75)), ink)
    features = datasets.Features(
        image=datasets.Image(),
        label=datasets.ClassLabel(names=[str(i) for i in range(10)]),
        odd=datasets.Value("int64"),
        ink=datasets.Value("int64"),
    )
    columns = {"image": images, "label": labels, "odd": labels % 2, "ink": quarter}
    half = len(labels) // 2
    for split, part in (("train", slice(0, half)), ("test", slice(half, None))):
        rows = datasets.Dataset.from_dict(
            {name: list(values[part]) for name, values in columns.items()}, features=features
        )
        write_whole(folder / f"{split}.parquet", rows.to_parquet)
    array = np.stack([np.asarray(image) for image in images[:half]])
    return array, labels[:half]


def train_model(images: Any, labels: Any, folder: Path) -> None:
    """Train a small ResNet and save it with its processor."""
    from tqdm.auto import tqdm
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    names = {i: str(i) for i in range(10)}
    config = ResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 32],
        depths=[1, 1],
        layer_type="basic",
        id2label=names,
        label2id={name: i for i, name in names.items()},
    )
    model = ResNetForImageClassification(config).train()
    x = torch.from_numpy(images).float().div(255).sub(0.5).div(0.5)
    x = x[:, None].expand(-1, 3, -1, -1)
    y = torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in tqdm(range(EPOCHS), desc="training", disable=None, unit="epoch"):
        for rows in torch.split(torch.randperm(len(y)), BATCH):
            loss = model(pixel_values=x[rows], labels=y[rows]).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    model.eval().save_pretrained(folder)
    _processor().save_pretrained(folder)


def _processor() -> Any:
    import transformers

    # The first is the name in newer releases where torchvision is missing.
    kind = getattr(transformers, "ViTImageProcessorPil", None) or transformers.ViTImageProcessor
    half = [0.5, 0.5, 0.5]
    return kind(size={"height": SIZE, "width": SIZE}, image_mean=half, image_std=half)


def _document(
    shifts: dict[str, list[tuple[float, Report]]], tasks: dict[str, Report]
) -> dict[str, Any]:
    return {
        "shifts": [
            {"corruption": name, "level": level, **report.to_dict()}
            for name, pairs in shifts.items()
            for level, report in pairs
        ],
        "tasks": [{"task": TASKS[name], **report.to_dict()} for name, report in tasks.items()],
        "versions": library_versions(),
    }


def _row(score: Score) -> Sequence[str]:
    low, high = score.interval
    return f"{score.value:.4f}", f"{low:.4f} – {high:.4f}"


def _shift_table(shifts: dict[str, list[tuple[float, Report]]]) -> Any:
    from rich.table import Table

    table = Table(title="Distribution shift: RESQUE_dist, 0 to 1")
    for column in ("corruption", "level", "index", "95 % interval", "noise floor", "accuracy"):
        table.add_column(column, justify="left" if column == "corruption" else "right")
    table.add_column("verdict")
    for name, pairs in shifts.items():
        for level, report in pairs:
            s = report.score
            accuracy = report.sides[-1].counts.accuracy or 0.0
            cells = (*_row(s), f"{s.noise_floor:.4f}", f"{accuracy:.3f}")
            table.add_row(name, f"{level:g}", *cells, verdict(s), end_section=level == pairs[-1][0])
    return table


def _task_table(tasks: dict[str, Report]) -> Any:
    from rich.table import Table

    table = Table(
        title="New task: RESQUE_task, 0 (clusters are the classes) to 1 (chance) and over"
    )
    for column in ("task", "index", "95 % interval"):
        table.add_column(column, justify="left" if column == "task" else "right")
    for name, report in tasks.items():
        table.add_row(TASKS[name], *_row(report.score))
    return table


def _lines(folder: Path) -> list[str]:
    return [
        "Try: resque estimate "
        f"--model {folder}/model --original '{folder}/digits#test' --corruption blur:1",
        f"Report, figure, model and data are in {folder}",
    ]
