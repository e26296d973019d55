"""Draw the figures of docs/concepts.md: the index, the noise floor, the fingerprint.

    python tools/docs_figures.py docs/figures

Everything is measured on the model and the digits of `resque demo`, made anew for it, and takes
half a minute. Only the sizes of files for 1,000 classes are computed: from shapes, in bytes.
"""

from __future__ import annotations

import io
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import load_dataset
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

import resque
from resque.demo import train_model, write_digits
from resque.figure_style import COLOURS, axes_of, style
from resque.shifts import parse_corruption

CLASS = 3  # whose sums are shown
BLURS = (0.0, 1.0, 2.0, 3.0, 4.0)
SIZES = (5, 10, 20, 40)  # samples of each class
DRAWS = 200
SHIFT = "gaussian:0.1"
CLASSES, DIMENSIONS, GROUPS = 1000, 768, 16


@dataclass(frozen=True)
class Seen:
    """What the model saw: rows of representations by corruption, labels, and a fingerprint."""

    rows: dict[str, NDArray[Any]]
    labels: NDArray[Any]
    fingerprint: resque.Fingerprint


def look(folder: Path) -> Seen:
    """Train the demo's model and run it over its test digits, clean and corrupted."""
    train_model(*write_digits(folder / "data"), folder / "model")
    model = AutoModelForImageClassification.from_pretrained(folder / "model").eval()
    processor = AutoImageProcessor.from_pretrained(folder / "model")
    data = load_dataset(str(folder / "data"), split="test", cache_dir=str(folder / "cache"))
    images = list(data["image"])
    rows = {}
    for name in (SHIFT, *(f"blur:{level:g}" for level in BLURS)):
        change = parse_corruption(name)
        changed = [change(image, i).convert("RGB") for i, image in enumerate(images)]
        with torch.inference_mode():
            pixels = processor(changed, return_tensors="pt")["pixel_values"]
            rows[name] = model.resnet(pixels).pooler_output.flatten(1).double().numpy()
    made = resque.fingerprint(str(folder / "model"), f"{folder}/data#train", device="cpu")
    return Seen(rows, np.array(data["label"]), made)


def index_figure(seen: Seen, ground: str) -> Any:
    """Draw one class's sums under blur, and the index that the classes' angles give."""
    figure, axes = axes_of(2, 9, 3.6)
    half = len(seen.labels) // 2
    before, now = slice(0, half), slice(half, None)
    clean, labels = seen.rows["blur:0"], seen.labels
    scores = [
        resque.resque_dist(
            clean[before], labels[before], seen.rows[f"blur:{x:g}"][now], labels[now]
        )
        for x in BLURS
    ]
    colours = COLOURS[ground]
    ray(axes[0], 0.0, colours[6], "original")
    for i, (level, score) in enumerate(zip(BLURS[1:], scores[1:], strict=True)):
        ray(axes[0], score.per_class[CLASS] * np.pi, colours[i], f"blur of σ = {level:g}")
    axes[0].set(xlim=(0, 1.05), ylim=(-0.05, 1.05), aspect="equal")
    axes[0].grid(False)
    axes[0].set_title(f"Sum of class {CLASS}: its direction", fontsize=10)
    axes[0].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    for level, score in zip(BLURS, scores, strict=True):
        each = list(score.per_class.values())
        axes[1].plot([level] * len(each), each, "o", ms=4, alpha=0.5, color=colours[6])
    axes[1].plot(BLURS, [x.value for x in scores], "-o", color=colours[0], label="index (mean)")
    axes[1].plot([], [], "o", ms=4, alpha=0.5, color=colours[6], label="a class: angle / π")
    axes[1].set(xlabel="blur: σ in pixels", ylabel="angle / π", ylim=(0, None))
    axes[1].set_title("Ten classes, and their mean", fontsize=10)
    axes[1].legend(loc="upper left", fontsize=8)
    return figure


def ray(axes: Any, angle: float, colour: str, label: str) -> None:
    """Draw a unit vector at an angle from the first axis, in radians."""
    end = np.cos(angle), np.sin(angle)
    axes.annotate("", end, (0, 0), arrowprops={"arrowstyle": "->", "color": colour, "lw": 2})
    axes.plot([], [], "-", lw=2, color=colour, label=f"{label} ({np.degrees(angle):.0f}°)")


def draw(seen: Seen, name: str, size: int, seed: int) -> resque.Score:
    """Return the index between two samples of other digits, the second under a corruption."""
    rng = np.random.default_rng(seed)
    first, second = [], []
    for label in range(10):
        order = rng.permutation(np.flatnonzero(seen.labels == label))
        first.append(order[:size])
        second.append(order[size : 2 * size])
    a, b = np.concatenate(first), np.concatenate(second)
    rows = seen.rows["blur:0"][a], seen.rows[name][b]
    return resque.resque_dist(rows[0], seen.labels[a], rows[1], seen.labels[b])


def floor_figure(seen: Seen, ground: str) -> Any:
    """Draw the index of samples without and with a shift against their size."""
    figure, axes = axes_of(1, 6.4, 3.6)
    colours = COLOURS[ground]
    for name, label, colour, marker in (
        (SHIFT, "noise of σ = 0.1", colours[1], "s"),
        ("blur:0", "no shift", colours[0], "o"),
    ):
        found = [[draw(seen, name, n, seed) for seed in range(DRAWS)] for n in SIZES]
        values = np.array([[x.value for x in scores] for scores in found])
        mean = values.mean(axis=1)
        low, high = np.quantile(values, (0.05, 0.95), axis=1)
        axes[0].fill_between(SIZES, low, high, color=colour, alpha=0.2, lw=0)
        axes[0].plot(SIZES, mean, f"-{marker}", color=colour, label=f"index, {label}")
        print(f"{label}: n = {SIZES}, mean index {mean.round(4)}")
        fixed = np.array([[x.debiased for x in scores] for scores in found]).mean(axis=1)
        axes[0].plot(SIZES, fixed, "--", color=colour, label=f"debiased, {label}")
        if name == "blur:0":
            floor = np.array([[x.noise_floor for x in scores] for scores in found]).mean(axis=1)
            axes[0].plot(SIZES, floor, ":", lw=2.5, color=colours[6], label="noise floor")
            print(f"noise floor {floor.round(4)}")
    axes[0].set(xlabel="samples of each class, on each side", ylabel="RESQUE_dist", ylim=(0, None))
    axes[0].legend(loc="upper right", fontsize=8)
    return figure


def fingerprint_figure(seen: Seen, ground: str) -> Any:
    """Draw the class means that a fingerprint holds, and its size against that of all rows."""
    figure, axes = axes_of(2, 9, 3.6)
    sums = seen.fingerprint.sums[seen.fingerprint.header.layers[0]]
    counts = [seen.fingerprint.class_counts[x] for x in sums.labels]
    means = sums.sums.sum(axis=1) / np.array(counts)[:, None]
    image = axes[0].imshow(means, aspect="auto", cmap="viridis", interpolation="nearest")
    axes[0].grid(False)
    axes[0].set(xlabel="feature", ylabel="class", yticks=range(len(counts)))
    axes[0].set_title("Class means in the demo's fingerprint", fontsize=10)
    figure.colorbar(image, ax=axes[0])
    colours = COLOURS[ground]
    rows = np.array([1e3, 1e4, 1e5, 1e6, 1e7])
    axes[1].loglog(rows, rows * DIMENSIONS * 4 / 1e6, "-o", color=colours[1], label="all rows")
    size = CLASSES * GROUPS * (DIMENSIONS + 1) * 8 / 1e6
    axes[1].axhline(size, color=colours[0], label=f"fingerprint: {size:.1f} MB")
    axes[1].set(xlabel="samples", ylabel="MB")
    for axis in (axes[1].xaxis, axes[1].yaxis):
        axis.set_major_formatter("{x:,.0f}")
    axes[1].set_title(f"{CLASSES:,} classes, {DIMENSIONS} features: computed", fontsize=10)
    axes[1].legend(loc="upper left", fontsize=8)
    return figure


FIGURES: dict[str, Callable[[Seen, str], Any]] = {
    "index": index_figure,
    "noise_floor": floor_figure,
    "fingerprint": fingerprint_figure,
}


def main(folder: Path) -> None:
    """Write each figure for light and for dark ground."""
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore", message=".*fewer than")
    with tempfile.TemporaryDirectory() as work:
        seen = look(Path(work))
    for name, make in FIGURES.items():
        for ground in ("light", "dark"):
            with mpl.rc_context(style(ground)):
                save(make(seen, ground), folder / f"{name}_{ground}.png")


def save(figure: Any, path: Path) -> None:
    """Write a figure with a palette of 128 colours: a third of the size."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=150)
    Image.open(drawn).convert("RGB").quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
