"""What the tab "Shift" looks like, and which input leads to which answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from cases import FIRST, OPENING, SAMPLES, bundled
from controls import QUIET, machine_controls, upload_buttons
from limits import MAX_SAMPLES, MIN_SAMPLES
from shift_inputs import (
    BUNDLED_DATA,
    BUNDLED_MODEL,
    LABELS,
    NO_CORRUPTION,
    SAME,
    scale,
)
from shift_tab import ShiftTab
from visitors import YOUR_FILES

EXAMPLES = {
    "Noise": ("gaussian", 0.38),
    "Turned": ("rotation", 20.0),
    "Specks": ("salt_pepper", 0.27),
    "A little blur": ("blur", 1.0),
}


@dataclass(frozen=True)
class View:
    """The tab's components: inputs in the order that `shift_of` takes them, and outputs.

    `scaled` holds the corruption that the level's scale is for.
    """

    inputs: list[Any]
    scaled: Any
    measure: Any
    sweep: Any
    stop: Any
    preview: Any
    status: Any
    answer: Any
    figure: Any
    swept: Any


def build(tab: ShiftTab, page: Any) -> None:
    """Make the tab in the open context, with its events."""
    gr.Markdown(
        "How far has data moved from what a model knows, and what would retraining cost? The "
        "index compares, class by class, what the model sees in the original and in the new data."
    )
    with gr.Row(elem_classes="examples"):
        examples = [gr.Button(name, size="sm", min_width=100) for name in EXAMPLES]
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            inputs, uploads = _inputs()
            measure = gr.Button("Measure", variant="primary", elem_id="measure")
            with gr.Row():
                sweep = gr.Button("Sweep the level", elem_id="sweep", min_width=120)
                stop = gr.Button("Stop", elem_id="stop", min_width=80)
            preview = gr.HTML(tab.samples(tab.cases.samples, OPENING), elem_id="preview")
        with gr.Column(scale=3, min_width=280):
            status = gr.HTML(elem_id="status")
            answer = gr.HTML(tab.prepared(bundled(OPENING)), elem_id="answer")
            figure = gr.Plot(visible=False, show_label=False, elem_id="sweep-figure")
            swept = gr.HTML(elem_id="swept")
    view = View(
        inputs, gr.State(FIRST[0]), measure, sweep, stop, preview, status, answer, figure, swept
    )
    _runs(tab, view)
    _choices(tab, view, uploads)
    for button, (name, level) in zip(examples, EXAMPLES.values(), strict=True):
        _example(button, tab, view, name, level)
    page.load(tab.restore, None, [*inputs, view.scaled, answer, preview], **QUIET)


def _inputs() -> tuple[list[Any], list[Any]]:
    model = gr.Dropdown(
        [BUNDLED_MODEL],
        value=BUNDLED_MODEL,
        allow_custom_value=True,
        label="Model",
        info="bundled, or an id on the Hub (ORG/NAME@REVISION)",
        elem_id="model",
    )
    original = gr.Dropdown(
        [BUNDLED_DATA, YOUR_FILES],
        value=BUNDLED_DATA,
        allow_custom_value=True,
        label="Original data",
        info="that the model knows: bundled, yours, or ORG/NAME:CONFIG#SPLIT; empty where a "
        "fingerprint is published with the model",
        elem_id="original",
    )
    shifted = gr.Dropdown(
        [SAME, YOUR_FILES],
        value=SAME,
        allow_custom_value=True,
        label="New data",
        info="the same data made worse, yours, or of the Hub",
        elem_id="shifted",
    )
    uploads = upload_buttons("upload")
    with gr.Row():
        corruption = gr.Dropdown(
            _corruptions(), value=FIRST[0], label="Corruption", min_width=200, elem_id="corruption"
        )
        level = gr.Slider(**scale(*FIRST), label="Level", min_width=160, elem_id="level")
    labels = gr.Radio(
        [(v, k) for k, v in LABELS.items()], value="auto", label="Classes by", elem_id="labels"
    )
    samples = gr.Slider(
        MIN_SAMPLES,
        MAX_SAMPLES,
        SAMPLES,
        step=50,
        label="Samples",
        info="of each side, at random",
    )
    return [
        model,
        original,
        shifted,
        corruption,
        level,
        labels,
        samples,
        *machine_controls(),
    ], uploads


def _runs(tab: ShiftTab, view: View) -> None:
    """What measures, and what stops it."""
    measuring = view.measure.click(tab.measure, view.inputs, [view.answer, view.status], **QUIET)
    sweeping = view.sweep.click(
        tab.sweep, view.inputs, [view.figure, view.swept, view.status], **QUIET
    )
    view.stop.click(tab.desk.stop, None, None, queue=False, **QUIET)
    for event in (measuring, sweeping):
        event.then(None, None, None, js="() => window.resqueShowLink('#answer')")


def _choices(tab: ShiftTab, view: View, uploads: list[Any]) -> None:
    """What follows from a choice at once: the level's scale, and the preview."""
    corruption, level = view.inputs[3:5]
    corruption.input(_rescale, [corruption, view.scaled], [level, view.scaled], **QUIET).then(
        tab.preview, view.inputs, view.preview, **QUIET
    )
    for changed in (level.release, view.inputs[1].input, view.inputs[2].input):
        changed(tab.preview, view.inputs, view.preview, trigger_mode="always_last", **QUIET)
    for upload in uploads:
        taken = upload.upload(tab.desk.take, [upload], [view.inputs[2], view.status], **QUIET)
        taken.then(tab.preview, view.inputs, view.preview, **QUIET)


def _rescale(name: str, scaled: str) -> Any:
    """Return the level's scale; as it is where a dropdown tells only that it was left."""
    return gr.skip() if name == scaled else (gr.Slider(**scale(name)), name)


def _example(button: Any, tab: ShiftTab, view: View, name: str, level: float) -> None:
    def choose() -> tuple[Any, ...]:
        shift = bundled(f"{name}:{level:g}")
        chosen = [BUNDLED_MODEL, BUNDLED_DATA, SAME, name, gr.Slider(**scale(name, level))]
        return (*chosen, "auto", SAMPLES, name, tab.prepared(shift), "")

    outputs = [*view.inputs[:7], view.scaled, view.answer, view.status]
    button.click(choose, None, outputs, **QUIET).then(
        tab.preview, view.inputs, view.preview, **QUIET
    )


def _corruptions() -> list[tuple[str, str]]:
    from resque.shifts import KINDS

    known = [(f"{name.replace('_', ' ')} ({x.modality})", name) for name, x in KINDS.items()]
    return [(NO_CORRUPTION, NO_CORRUPTION), *known]
