"""The metric's Space: a form for tables of hidden states with labels, answered by the metric.

It needs the files of this folder and the packages of requirements.txt, nothing else: fonts,
scripts and styles are the visitor's own or gradio's, and nobody is told of a visit.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["GRADIO_RUN_HISTORY"] = "False"  # else the browser keeps what a visitor entered

FOLDER = Path(__file__).resolve().parent
# Last in the path, where resque.py beside this file cannot hide the installed package resque. An
# installed package would hide a module here of its name: tables.py would be PyTables.
sys.path[:] = [*(x for x in sys.path if Path(x or ".").resolve() != FOLDER), str(FOLDER)]

from answer_page import answered  # noqa: E402
from state_tables import LINE, SAVING, example  # noqa: E402

MAX_UPLOAD_MB = 20
UPLOAD_LIFE_S = 3600

INTRO = """# RESQUE

What will it cost to reuse this model? Give the hidden states that it computes, with class labels:
the metric says how far the model has to go, before any retraining. Lower is cheaper."""

FILES = f"""A file goes before the lines above it: `.csv` of such lines, or `.npz` with the arrays
`hidden_states`, (N, D) or (N, C, …), and `labels`, (N,), as `{SAVING}` writes it. Up to
{MAX_UPLOAD_MB} MB; removed after an hour. The form starts with an example."""

# System fonts: a font of the theme's own would be asked from its host.
FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
MONOSPACE = ["ui-monospace", "SFMono-Regular", "Consolas", "monospace"]
ACCENT = "#eff8fe #d9effb #b3def6 #86caf0 #56b4e9 #2f94cf #0072b2 #005f95 #004d79 #003b5c #00263c"


def theme() -> Any:
    """Return a quiet theme of one accent colour, whose texts contrast enough on both grounds."""
    import gradio as gr

    quiet = {"body_text_color_subdued": "#52525b", "block_info_text_color": "#52525b"}
    quiet |= {f"{name}_dark": "#b4b4bd" for name in quiet}
    strong = ("block_title_text_color", "block_label_text_color")
    button = {
        "button_primary_background_fill": "*primary_600",
        "button_primary_background_fill_hover": "*primary_700",
        "button_primary_text_color": "#ffffff",
    }
    selected = {
        "checkbox_background_color_selected": "*primary_600",
        "color_accent": "*primary_600",
    }
    return gr.themes.Base(
        primary_hue=gr.themes.Color(*ACCENT.split(), name="accent"),
        neutral_hue="zinc", font=FONTS, font_mono=MONOSPACE,
    ).set(
        **quiet, **button, **{f"{name}_dark": x for name, x in button.items()}, **selected,
        **dict.fromkeys(strong, "*body_text_color"),
        **{f"{name}_dark": "*body_text_color" for name in strong},
        block_title_text_weight="600",
    )  # fmt: skip


def build() -> Any:
    """Return the page."""
    import gradio as gr

    lasts = (UPLOAD_LIFE_S, UPLOAD_LIFE_S)
    with gr.Blocks(title="RESQUE", analytics_enabled=False, delete_cache=lasts) as page:
        gr.Markdown(INTRO)
        with gr.Tab("Measure"):
            _form(gr)
        with gr.Tab("Documentation"):
            card = (FOLDER / "README.md").read_text(encoding="utf-8").split("---\n", 2)[-1]
            gr.Markdown(card, elem_classes="card")
    return page


def _form(gr: Any) -> None:
    first, second = example(0.0), example(0.4)
    config = gr.Radio(
        [("The data shifted (dist)", "dist"), ("The task is new (task)", "task")],
        value="dist",
        label="What changed?",
        info="dist compares each class before and after; task clusters the new task's data.",
    )
    with gr.Row():
        with gr.Column() as original:
            original_text, original_file = _side(gr, "Original data", first)
        with gr.Column():
            text, file = _side(gr, "Shifted data", second)
    gr.Markdown(FILES, elem_classes="quiet")
    button = gr.Button("Measure", variant="primary")
    inputs = [config, text, file, original_text, original_file]
    panel, document = answered("dist", second, None, first, None)
    answer = gr.HTML(panel, padding=False)
    with gr.Accordion("The same as JSON", open=False):
        result = gr.Markdown(document, elem_classes="card")

    def ask_for(config: str) -> list[Any]:
        name = "New task's data" if config == "task" else "Shifted data"
        labels = gr.update(label=name), gr.update(label=f"{name}, a file")
        return [gr.update(visible=config == "dist"), *labels, "", ""]

    config.change(
        ask_for, config, [original, text, file, answer, result],
        queue=False, show_progress="hidden", api_visibility="private",
    )  # fmt: skip
    button.click(
        answered, inputs, [answer, result], scroll_to_output=True, api_visibility="private"
    )


def _side(gr: Any, name: str, lines: str) -> tuple[Any, Any]:
    hint = f"One sample a line, a label and then numbers: {LINE}"
    table = gr.Textbox(lines, lines=8, max_lines=8, label=name, info=hint)
    types = [".npz", ".csv"]
    file = gr.File(label=f"{name}, a file", file_types=types, height=96, elem_classes="upload")
    return table, file


if __name__ == "__main__":
    build().queue(max_size=20).launch(
        theme=theme(), css_paths=FOLDER / "style.css", max_file_size=f"{MAX_UPLOAD_MB}mb",
        show_error=True, footer_links=[], ssr_mode=False,
    )  # fmt: skip
