"""The metric's Space: a form for tables of hidden states with labels, answered by the metric."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
# resque.py beside this file would hide the package of that name.
sys.path[:] = [folder for folder in sys.path if Path(folder or ".").resolve() != FOLDER]

import evaluate  # noqa: E402
import numpy as np  # noqa: E402

EXAMPLE = ("cat, 1.0, 0.1\ncat, 0.9, 0.2\ndog, 0.1, 1.0\ndog, 0.2, 0.8",
           "cat, 0.8, 0.5\ncat, 0.7, 0.6\ndog, 0.4, 1.0\ndog, 0.3, 0.9")  # fmt: skip
LAYOUT = "One sample a line: label, number, number, … Or a file: .csv like that, or .npz with \
`hidden_states` (N, D) or (N, C, …) and `labels` (N,)."


def read_table(text: str) -> tuple[Any, list[str]]:
    """Return hidden states (N, D) and N labels from lines `label, number, number, …`.

    Raises:
        ValueError: for a line that does not fit, with its number.
    """
    states: list[list[float]] = []
    labels: list[str] = []
    for number, line in enumerate(csv.reader(io.StringIO(text), skipinitialspace=True), start=1):
        if not line:
            continue
        try:
            states.append([float(x) for x in line[1:]])
        except ValueError as error:
            raise ValueError(f"line {number}: {error}. {LAYOUT}") from None
        labels.append(line[0].strip())
        if len(line) < 2 or len(states[-1]) != len(states[0]):
            raise ValueError(
                f"line {number} has {len(states[-1])} numbers, the first line {len(states[0])}"
            )
    return np.array(states), labels


def read_file(path: str) -> tuple[Any, Any]:
    """Return hidden states and labels from a .npz or .csv file."""
    if not path.endswith(".npz"):
        return read_table(Path(path).read_text(encoding="utf-8"))
    with np.load(path, allow_pickle=False) as arrays:
        missing = {"hidden_states", "labels"} - set(arrays.files)
        if missing:
            raise ValueError(f"{Path(path).name} has no {', '.join(sorted(missing))}. {LAYOUT}")
        return arrays["hidden_states"], arrays["labels"]


def measure(
    config: str, text: str, file: str | None, original_text: str, original_file: str | None
) -> str:
    """Return the metric's answer as JSON.

    Args:
        config: `dist` or `task`.
        text: lines of the shifted (or the new task's) data.
        file: file that goes before `text`, or None.
        original_text: lines of the original data (`dist`).
        original_file: file that goes before `original_text`, or None.
    """
    states, labels = read_file(file) if file else read_table(text)
    inputs = {"predictions": states, "references": labels}
    if config == "dist":
        states, labels = read_file(original_file) if original_file else read_table(original_text)
        inputs |= {"original_predictions": states, "original_references": labels}
    # By its file: a Space lies in a folder of another name.
    metric = evaluate.load(str(FOLDER / "resque.py"), config)
    return json.dumps(metric.compute(**inputs), indent=2)


def build() -> Any:
    """Return the form."""
    import gradio as gr

    def answer(*inputs: Any) -> str:
        try:
            return measure(*inputs)
        except ValueError as error:
            raise gr.Error(str(error)) from error

    with gr.Blocks(title="RESQUE") as form:
        gr.Markdown(f"# RESQUE\nWhat will it cost to reuse this model? {LAYOUT}")
        config = gr.Radio(["dist", "task"], value="dist", label="Configuration")
        with gr.Row():
            with gr.Column():
                original_text = gr.Textbox(EXAMPLE[0], lines=8, label="Original data (dist)")
                original_file = gr.File(label="or a file", file_types=[".npz", ".csv"])
            with gr.Column():
                text = gr.Textbox(EXAMPLE[1], lines=8, label="Shifted data, or the new task's")
                file = gr.File(label="or a file", file_types=[".npz", ".csv"])
        result = gr.Code(language="json", label="Result")
        inputs = [config, text, file, original_text, original_file]
        gr.Button("Measure", variant="primary").click(answer, inputs, result)
        with gr.Accordion("About this metric", open=False):
            gr.Markdown((FOLDER / "README.md").read_text(encoding="utf-8").split("---\n", 2)[-1])
    return form


if __name__ == "__main__":
    build().launch()
