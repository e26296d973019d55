"""The metric's Space: a form for tables of hidden states with labels, answered by the metric.

It needs the files of this folder and the packages of requirements.txt, nothing else: fonts,
scripts and styles are the visitor's own or gradio's, and nobody is told of a visit.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import os
import sys
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["GRADIO_RUN_HISTORY"] = "False"  # else the browser keeps what a visitor entered

FOLDER = Path(__file__).resolve().parent
# resque.py beside this file would hide the package of that name.
sys.path[:] = [folder for folder in sys.path if Path(folder or ".").resolve() != FOLDER]

import numpy as np  # noqa: E402

MAX_UPLOAD_MB = 20
MAX_UNPACKED_MB = 200  # float64 tables of 50,000 rows and 512 columns
MAX_TEXT = 1_000_000  # characters of a pasted table
MAX_CLASSES = 1_000
MAX_CLUSTERING = 5e8  # rows × dimensions × classes: some 20 s on one core
SHOWN_CLASSES = 12
UPLOAD_LIFE_S = 3600
LINE = "cat, 1.0, 0.1"
SAVING = "np.savez('states.npz', hidden_states=array, labels=np.array(names))"


class Refused(ValueError):
    """Input that cannot be measured; the message is for the visitor."""


@dataclass(frozen=True)
class Table:
    """Hidden states (N, D) or (N, C, …) and N labels, as strings."""

    states: Any
    labels: list[str]


@dataclass(frozen=True)
class Answer:
    """What the metric returned, and what it warned of."""

    config: str
    result: dict[str, Any]
    notes: list[str]


def example(shift: float) -> str:
    """Return 24 lines of three classes in three dimensions, moved by `shift`."""
    rng = np.random.default_rng(7)
    centres = {"cat": (1.0, 0.1, 0.2), "dog": (0.2, 1.0, 0.1), "fox": (0.3, 0.2, 1.0)}
    lines = []
    for name, centre in centres.items():
        for row in np.array(centre) + rng.normal(scale=0.15, size=(8, 3)) + shift:
            lines.append(", ".join([name, *(f"{x:.2f}" for x in row)]))
    return "\n".join(lines)


def read_lines(text: str, where: str) -> Table:
    """Return the table of lines `label, number, number, …`.

    Args:
        text: the lines.
        where: what they are, for the messages.

    Raises:
        Refused: for a line that does not fit, with its number.
    """
    states: list[list[float]] = []
    labels: list[str] = []
    lines = csv.reader(io.StringIO(text), skipinitialspace=True)
    try:
        for line in filter(None, lines):
            here = f"{where}, line {lines.line_num}"
            labels.append(line[0].strip())
            states.append(_numbers(line, here))
            if len(states[-1]) != len(states[0]):
                raise Refused(
                    f"{here}: {len(states[-1])} numbers, but the first line has "
                    f"{len(states[0])}; give every sample equally many"
                )
    except csv.Error as error:
        raise Refused(f"{where}, line {lines.line_num}: {error}") from None
    if not states:
        raise Refused(f"{where}: nothing there; paste lines like {LINE}, or upload a file")
    return Table(np.array(states), labels)


def _numbers(line: list[str], here: str) -> list[float]:
    numbers = []
    for x in line[1:]:
        try:
            numbers.append(float(x))
        except ValueError:
            raise Refused(
                f"{here}: {_short(x)} is not a number; expected a label and numbers, like {LINE}"
            ) from None
    if not numbers:
        raise Refused(f"{here}: no numbers after {_short(line[0])}; expected a line like {LINE}")
    return numbers


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")


def read_file(path: str, where: str) -> Table:
    """Return the table of a .npz or .csv file; pickled objects are never loaded.

    Raises:
        Refused: for a file that is not what its name says, or too large once unpacked.
    """
    if not path.endswith(".npz"):
        try:
            return read_lines(Path(path).read_text(encoding="utf-8-sig"), where)
        except UnicodeDecodeError:
            raise Refused(f"{where}: not a text in UTF-8; save the table as CSV UTF-8") from None
    try:
        return _read_npz(path, where)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, MemoryError):
        raise Refused(f"{where}: not a readable .npz; write it with {SAVING}") from None


def _read_npz(path: str, where: str) -> Table:
    with zipfile.ZipFile(path) as members:
        size = sum(member.file_size for member in members.infolist())
        if size > MAX_UNPACKED_MB * 2**20:
            raise Refused(f"{where}: {size / 2**20:,.0f} MB unpacked; up to {MAX_UNPACKED_MB} MB")
    with np.load(path, allow_pickle=False) as arrays:
        missing = sorted({"hidden_states", "labels"} - set(arrays.files))
        if missing:
            raise Refused(f"{where}: no array {' and none '.join(missing)}; write it with {SAVING}")
        try:
            states, labels = arrays["hidden_states"], arrays["labels"]
        except ValueError as error:
            if "allow_pickle" not in str(error):
                raise EOFError from error
            raise Refused(
                f"{where}: it holds pickled objects, which could run code and are not loaded; "
                f"write numbers and texts: {SAVING}"
            ) from None
    if not isinstance(states, np.ndarray) or not isinstance(labels, np.ndarray):
        raise EOFError  # a member that is no array
    if states.ndim < 2 or labels.ndim != 1 or len(states) != len(labels):
        raise Refused(
            f"{where}: hidden_states has shape {states.shape} and labels {labels.shape}; "
            "expected (N, D) or (N, C, …), and (N,)"
        )
    if states.dtype.kind not in "fiu" or not states.size:
        raise Refused(f"{where}: hidden_states holds no numbers ({states.dtype}, {states.shape})")
    return Table(states, _names(labels, where))


def _names(labels: Any, where: str) -> list[str]:
    """Return labels as strings, so that those of a table and of an .npz agree."""
    if labels.dtype.kind in "bf" and np.isfinite(labels).all() and (labels % 1 == 0).all():
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iuU":
        raise Refused(f"{where}: labels holds {labels.dtype} values; expected ints or texts")
    return [str(x) for x in labels.tolist()]


def read(text: str, file: str | None, side: str) -> Table:
    """Return one side's table: of its file, else of the pasted lines.

    Raises:
        Refused: where there is none, or one that cannot be measured.
    """
    if file:
        table = read_file(file, f"{side}, file {Path(file).name}")
    elif len(text) > MAX_TEXT:
        raise Refused(f"{side}: {len(text):,} characters; up to {MAX_TEXT:,}, or upload a file")
    else:
        table = read_lines(text, side)
    finite = np.isfinite(table.states).reshape(len(table.labels), -1).all(axis=1)
    if not finite.all():
        raise Refused(
            f"{side}: {(~finite).sum()} of {len(finite)} samples have NaN or infinite values "
            f"(first: sample {np.argmin(finite) + 1}); remove them"
        )
    if (classes := len(set(table.labels))) > MAX_CLASSES:
        raise Refused(f"{side}: {classes:,} classes; this page takes up to {MAX_CLASSES:,}")
    return table


@functools.cache
def metric(config: str) -> Any:
    """Return the metric; by its file, as a Space lies in a folder of another name."""
    import evaluate

    return evaluate.load(str(FOLDER / "resque.py"), config)


def measure(
    config: str, text: str, file: str | None, original_text: str, original_file: str | None
) -> Answer:
    """Return the metric's answer.

    Args:
        config: `dist` or `task`.
        text: lines of the shifted (or the new task's) data.
        file: file that goes before `text`, or None.
        original_text: lines of the original data (`dist`).
        original_file: file that goes before `original_text`, or None.

    Raises:
        ValueError: where the input cannot be measured.
    """
    if config == "task":
        table = read(text, file, "New task's data")
        _check_task(table)
        inputs = {"predictions": table.states, "references": table.labels}
    else:
        original = read(original_text, original_file, "Original data")
        table = read(text, file, "Shifted data")
        inputs = {"predictions": table.states, "references": table.labels}
        inputs |= {
            "original_predictions": original.states,
            "original_references": original.labels,
        }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        result = metric(config).compute(**inputs)
    notes = [str(x.message) for x in caught if issubclass(x.category, UserWarning)]
    return Answer(config, result, list(dict.fromkeys(notes)))


def _check_task(table: Table) -> None:
    classes = len(set(table.labels))
    if classes < 2:
        raise Refused(
            f"New task's data: one class, {_short(table.labels[0])}; a task has two at least"
        )
    samples, dimensions = table.states.shape[:2]  # the metric averages the other axes
    if samples * dimensions * classes > MAX_CLUSTERING:
        raise Refused(
            f"New task's data: {samples:,} samples × {dimensions:,} dimensions × {classes:,} "
            "classes take too long to cluster here; take fewer samples, or run the package at home"
        )


def in_words(answer: Answer) -> str:
    """Return what the answer says, in a sentence or two."""
    numbers = answer.result
    if answer.config == "task":
        return (
            "Clusters of the model's representations agree with the new classes by an adjusted "
            f"Rand index of {1 - numbers['resque_task']:.3f}: 1 would be a perfect match, 0 "
            "chance. The better they agree, the less there is to retrain."
        )
    index, floor, p = numbers["resque_dist"], numbers["noise_floor"], numbers["p_value"]
    if not floor or p is None:
        return (
            "There is no noise floor to compare with: it takes at least 5 different samples of "
            "each class on both sides."
        )
    if p >= 0.05:
        return (
            f"No shift can be told from noise: two samples of the same data would give {floor:.3f} "
            f"on average at this size, and as much as here with a probability of {p:.2f}."
        )
    return (
        f"This shift is {index / floor:.1f} times the noise floor, which two samples of the same "
        "data would give at this size. The nearer the index to 1, the more there is to retrain."
    )


def draw(answer: Answer) -> str:
    """Return the answer as HTML: sentence, scale, numbers, classes, warnings."""
    numbers = answer.result
    name = f"resque_{answer.config}"
    top = 1.5 if answer.config == "task" else 1.0
    parts = [
        f'<p class="sentence">{escape(in_words(answer))}</p>',
        _scale(numbers[name], numbers["interval"], numbers["noise_floor"], top),
        _numbers_list(answer),
        f'<p class="hint">{MEANINGS[answer.config]}</p>',
        _classes(numbers.get("per_class", {})),
    ]
    if answer.notes:
        items = "".join(f"<li>{escape(note)}.</li>" for note in answer.notes)
        parts.append(f'<ul class="notes" aria-label="Warnings">{items}</ul>')
    return f'<section class="answer" aria-label="Answer">{"".join(parts)}</section>'


def _scale(index: float, interval: list[float | None], floor: float | None, top: float) -> str:
    low, high = (min(max((x or 0.0) / top, 0), 1) * 100 for x in interval)
    tick = f'<i class="floor" style="left:{floor / top * 100:.2f}%"></i>' if floor else ""
    ends = ("0, no shift", "1, opposite") if top == 1 else ("0, perfect match", "1.5")
    return (
        f'<div class="scale" aria-hidden="true"><div class="track">'
        f'<i class="band" style="left:{low:.2f}%;width:{max(high - low, 0.4):.2f}%"></i>{tick}'
        f'<i class="dot" style="left:{index / top * 100:.2f}%"></i></div>'
        f'<div class="ends"><span>{ends[0]}</span><span>{ends[1]}</span></div></div>'
    )


def _numbers_list(answer: Answer) -> str:
    numbers = answer.result
    low, high = (_digits(x) for x in numbers["interval"])
    rows = [
        (_mark("dot"), f"RESQUE_{answer.config}", _digits(numbers[f"resque_{answer.config}"])),
        (_mark("band"), "95 % interval", f"{low} to {high}"),
    ]
    if answer.config == "dist":
        p = numbers["p_value"]
        rows += [
            (_mark("floor"), "noise floor", _digits(numbers["noise_floor"])),
            ("", "debiased", _digits(numbers["debiased"])),
            ("", "p, if nothing shifted", "&lt; 0.001" if p and p < 0.001 else _digits(p)),
        ]
    cells = "".join(
        f"<div><dt>{mark}{name}</dt><dd>{value}</dd></div>" for mark, name, value in rows
    )
    return f'<dl class="numbers">{cells}</dl>'


def _mark(kind: str) -> str:
    return f'<i class="{kind}" aria-hidden="true"></i>'


def _digits(x: float | None) -> str:
    return "none" if x is None else f"{x:.3f}"


def _classes(per_class: dict[str, float]) -> str:
    if not per_class:
        return ""
    ordered = sorted(per_class.items(), key=lambda pair: -pair[1])
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{_digits(x)}</td>'
        f'<td class="bar" aria-hidden="true"><i style="width:{x * 100:.2f}%"></i></td></tr>'
        for name, x in ordered[:SHOWN_CLASSES]
    )
    more = len(ordered) - SHOWN_CLASSES
    rest = f"<p>{more} more classes are in the JSON.</p>" if more > 0 else ""
    head = "<caption>Index of each class, largest first</caption>"
    return f'<table class="classes">{head}<tbody>{rows}</tbody></table>{rest}'


def tell(problem: str) -> str:
    """Return a problem as HTML."""
    return f'<section class="answer problem" role="alert"><p>{escape(problem)}</p></section>'


def answered(*inputs: Any) -> tuple[str, str]:
    """Return the answer as HTML and as Markdown of JSON, or what is wrong with the input."""
    try:
        answer = measure(*inputs)
    except (ValueError, TypeError) as error:
        return tell(str(error)), ""
    return draw(answer), f"```json\n{json.dumps(answer.result, indent=2)}\n```"


INTRO = """# RESQUE

What will it cost to reuse this model? Give the hidden states that it computes, with class labels:
the metric says how far the model has to go, before any retraining. Lower is cheaper."""

FILES = f"""A file goes before the lines above it: `.csv` of such lines, or `.npz` with the arrays
`hidden_states`, (N, D) or (N, C, …), and `labels`, (N,), as `{SAVING}` writes it. Up to
{MAX_UPLOAD_MB} MB; removed after an hour. The form starts with an example."""

MEANINGS = {
    "dist": "The index is the angle between each class's representations before and after, over "
    "π. Interval: where the index of infinitely many samples lies. Noise floor: what two samples "
    "of the same data would give. Sampling makes the index too large, so that it may lie above its "
    "interval. Debiased: without that. p: the probability of so large an index with no shift.",
    "task": "The index is 1 − the adjusted Rand index of clusters and classes. Interval: where "
    "the index of infinitely many samples lies.",
}

# System fonts: a font of the theme's own would be asked from its host.
FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
MONOSPACE = ["ui-monospace", "SFMono-Regular", "Consolas", "monospace"]
ACCENT = "#eff8fe #d9effb #b3def6 #86caf0 #56b4e9 #2f94cf #0072b2 #005f95 #004d79 #003b5c #00263c"

CSS = """
:root { --accent: #0072b2; --quiet: #52525b; --line: #d4d4d8; --wrong: #b91c1c; }
.dark { --color-accent: #56b4e9 !important; }
.dark { --accent: #56b4e9; --quiet: #b4b4bd; --line: #3f3f46; --wrong: #fca5a5; }
.gradio-container { max-width: 56rem !important; margin: 0 auto !important; }
textarea { font-family: var(--font-mono) !important; }
.quiet, .quiet p { color: var(--quiet) !important; font-size: .875rem; }
.upload button .wrap { flex-direction: row; gap: .4rem; min-height: 0; font-size: .9rem; }
.upload button .wrap .icon-wrap { width: 1.1rem; margin: 0; }
.answer { border-top: 2px solid var(--accent); padding: 1.25rem 0; }
.answer p, .answer li { color: var(--body-text-color); overflow-wrap: anywhere; }
.answer .sentence { font-size: 1.2rem; line-height: 1.5; margin: 0 0 1.5rem; text-wrap: balance; }
.answer .hint { color: var(--quiet); font-size: .875rem; max-width: 44rem; }
.answer.problem { border-color: var(--wrong); }
.answer.problem p { color: var(--wrong); font-size: 1.1rem; margin: 0; }
.scale .track { position: relative; height: 10px; background: var(--line); border-radius: 5px; }
.scale .track i { position: absolute; }
i.band, i.dot, i.floor { display: inline-block; flex: none; }
i.band { background: var(--accent); opacity: .45; height: 10px; border-radius: 5px; }
i.dot { background: var(--accent); width: 14px; height: 14px; border-radius: 50%; }
i.floor { background: var(--body-text-color); width: 3px; height: 20px; }
.scale i.dot { top: -2px; margin-left: -7px; }
.scale i.floor { top: -5px; margin-left: -1px; }
.scale .ends { display: flex; justify-content: space-between; color: var(--quiet);
  font-size: .85rem; margin-top: .5rem; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.2rem, 1fr));
  gap: 1rem; margin: 1.5rem 0 1rem; }
.numbers dt { color: var(--quiet); font-size: .85rem; font-weight: 400; display: flex;
  align-items: center; gap: .45rem; min-height: 22px; }
.numbers dt i.band { width: 22px; }
.numbers dd { margin: 0; font-size: 1.2rem; font-variant-numeric: tabular-nums; }
.numbers div:first-child dd { font-weight: 600; }
.answer table { width: 100%; border-collapse: collapse; font-size: .9rem; border: 0; }
.answer caption { text-align: left; color: var(--quiet); font-size: .85rem; padding: .5rem 0; }
.answer tr, .answer th, .answer td { border: 0 !important; background: none !important; }
.answer th, .answer td { padding: .25rem .75rem .25rem 0 !important; text-align: left; }
.answer th { font-weight: 400; overflow-wrap: anywhere; width: 30%; }
.answer td { font-variant-numeric: tabular-nums; width: 4rem; }
.answer td.bar { width: auto; padding-right: 0 !important; }
.bar i { display: block; height: 8px; background: var(--accent); border-radius: 4px; }
.notes { margin: 1rem 0 0 1.2rem; list-style: disc; font-size: .9rem; }
.card .token { color: inherit !important; background: none !important; }
.card pre, .card pre code { white-space: pre-wrap !important; }
.card code, .card td { overflow-wrap: anywhere; }
.card table, .card tr { border: 0 !important; }
.card th, .card td { border: 0 !important; border-bottom: 1px solid var(--line) !important; }
"""


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
        theme=theme(), css=CSS, max_file_size=f"{MAX_UPLOAD_MB}mb", show_error=True,
        footer_links=[], ssr_mode=False,
    )  # fmt: skip
