"""What the tab "New task" looks like, and which input leads to which answer."""

from __future__ import annotations

from typing import Any

import gradio as gr

from cases import SAMPLES, TARGET_ACCURACY, TASKS, bundled_task
from controls import QUIET, machine_controls, upload_buttons
from limits import MAX_SAMPLES, MIN_SAMPLES
from task_inputs import DATASETS, NAMES
from task_tab import TaskTab, choice_of, draw, plot_of
from visitors import YOUR_FILES


def build(tab: TaskTab, page: Any) -> None:
    """Make the tab in the open context, with its events."""
    gr.Markdown(
        "Which of your models is closest to a new task, and which is cheapest to retrain for it? "
        "Each runs over the new data once; nothing is trained."
    )
    with gr.Row(elem_classes="examples"):
        examples = [gr.Button(_short(name), size="sm", min_width=100) for name in DATASETS]
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            inputs, uploads = _inputs()
            measure = gr.Button("Measure", variant="primary", elem_id="task-measure")
            stop = gr.Button("Stop", elem_id="task-stop")
        with gr.Column(scale=3, min_width=280):
            status = gr.HTML(elem_id="task-status")
            first = bundled_task(next(iter(TASKS)))
            known = tab.cases.tasks[first]["maps"]
            answer = gr.HTML(tab.page(first), elem_id="task-answer")
            maps = gr.State(known)
            chosen = choice_of(known)
            choice = gr.Radio(**chosen, label="Map of", elem_id="task-map")
            drawn = plot_of(chosen["value"], known)
            figure = gr.Plot(**drawn, show_label=False, elem_id="task-figure")
            gr.HTML(
                '<p class="hint">Each point of a map is a sample; the closer two lie, the more '
                "alike the model sees them. PCA shows the two directions in which they differ "
                "most; UMAP keeps neighbours together, and says little of how far groups are "
                "apart. In numbers: RESQUE_task and neighbours, above.</p>"
            )
    results = [answer, choice, maps]
    measuring = measure.click(tab.measure, inputs, [*results, status], **QUIET)
    measuring.then(None, None, None, js="() => window.resqueShowLink('#task-answer')")
    stop.click(tab.desk.stop, None, None, queue=False, **QUIET)
    for button, name in zip(examples, DATASETS, strict=True):
        button.click(lambda name=name: _example(tab, name), None, [*inputs[:5], *results], **QUIET)
    choice.change(draw, [choice, maps], figure, **QUIET)
    for upload in uploads:
        upload.upload(tab.desk.take, [upload], [inputs[1], status], **QUIET)
    page.load(tab.restore, None, [*inputs, *results], **QUIET)


def _inputs() -> tuple[list[Any], list[Any]]:
    models = gr.Dropdown(
        list(NAMES.values()),
        value=list(NAMES.values()),
        multiselect=True,
        allow_custom_value=True,
        label="Models",
        info="bundled, or ids on the Hub (ORG/NAME@REVISION)",
        elem_id="task-models",
    )
    dataset = gr.Dropdown(
        [*DATASETS, YOUR_FILES],
        value=next(iter(DATASETS)),
        allow_custom_value=True,
        label="Data of the new task, with labels",
        info="bundled, yours, or of the Hub (ORG/NAME:CONFIG#SPLIT)",
        elem_id="task-data",
    )
    uploads = upload_buttons("task-upload")
    column = gr.Textbox("", label="Label column", info="of the Hub's data; found where empty")
    target = gr.Slider(
        0.05, 1, TARGET_ACCURACY, step=0.05, label="Target", info="accuracy to be reached"
    )
    samples = gr.Slider(
        MIN_SAMPLES, MAX_SAMPLES, SAMPLES, step=50, label="Samples", info="drawn at random"
    )
    return [models, dataset, column, target, samples, *machine_controls()], uploads


def _example(tab: TaskTab, name: str) -> tuple[Any, ...]:
    task = bundled_task(DATASETS[name][1])
    inputs = (list(NAMES.values()), name, "", TARGET_ACCURACY, SAMPLES)
    return (*inputs, *tab.prepared(task))


def _short(name: str) -> str:
    text = name.partition(": ")[2].removesuffix(" (bundled)")
    return text[0].upper() + text[1:]
