"""The tab "Does it hold?": what the committed studies found, losses included, and their ledger."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import gradio as gr
from gradio.components.plot import PlotData

import studies_charts as charts
import studies_data as data
import studies_text as text
from studies_data import ALL, Run, Studies

FIRST = "fashion"  # the study that is shown at first: the most runs and families
COLUMNS = {  # of the table
    "run": "run",
    "shift": "shift",
    "seed": "seed",
    "resque_dist": "RESQUE_dist",
    "resque_task": "RESQUE_task",
    "reached": "target reached",
    "epochs": "epochs",
    "seconds": "s",
    "energy_wh": "Wh ({known})",
    "co2eq_g": "g CO2eq ({known})",
    "accuracy_drop": "accuracy drop",
    "resque_dist_predicted": "RESQUE_dist, predicted labels",
    "strategy": "strategy",
    "steps": "steps",
}
WORDS = {"run", "shift", "strategy", "reached"}
QUIET: dict[str, Any] = {
    "concurrency_limit": None,
    "show_progress": "hidden",
    "api_visibility": "private",
}
ON_CLICK = """
const listen = () => {
  const plot = document.querySelector('#studies-plot .js-plotly-plot');
  if (plot && plot.on && !plot.dataset.listens) {
    plot.dataset.listens = 'yes';
    plot.on('plotly_click', event => trigger('click', {run: event.points[0].customdata}));
  }
};
new MutationObserver(listen).observe(document.body, {childList: true, subtree: true});
listen();
"""


def build() -> None:
    """Fill the tab; call it inside of `with gr.Tab(…)`.

    A link `?study=…&cost=…&predictor=…` restores what was chosen.
    """
    studies = data.read_studies()
    ours, known = data.ours(studies, FIRST), data.families_of(studies, FIRST)
    figure, caption_html, losses_html, forest_html = _figures(FIRST, "epochs", ours, known, None)

    _text(text.looks(studies) + text.intro(studies))
    study, measure, predictor = _choices(studies)
    with gr.Row(elem_id="studies-figures"):
        with gr.Column(scale=6, min_width=340):
            plot, families, every, none = _figure(figure, known)
            caption = _text(caption_html)
            run, card = _one_run(studies, known)
        with gr.Column(scale=5, min_width=340):
            losses, forest = _text(losses_html), _text(forest_html)
    words, order, table, downloads = _ledger(studies, known)

    drawn, listed = [plot, caption, losses, forest], [table, downloads]
    choice = [study, measure, predictor, families]
    filtered = [words, order]
    switched = [*drawn, *listed, run, card]
    shown = gr.State(FIRST)
    anew = [shown, predictor, families, *switched]
    study.input(_on_study, [study, shown, measure, predictor, *filtered], anew, **QUIET)
    measure.input(_on_measure, [*choice, run], [predictor, *drawn], **QUIET)
    predictor.input(_figures, [*choice, run], drawn, **QUIET)
    families.input(_on_families, [*choice, *filtered], switched, **QUIET)
    every.click(_on_every, [*choice, *filtered], [families, *switched], **QUIET)
    none.click(_on_none, [*choice, *filtered], [families, *switched], **QUIET)
    # Not `input` of the words: text that is pasted does not cause it.
    rows = [words.change, order.input]
    found = [study, families, *filtered]
    gr.on(rows, _rows, found, listed, trigger_mode="always_last", **QUIET)
    run.input(_on_run, [*choice, run], [card, plot], **QUIET)
    table.select(_on_row, choice, [run, card, plot], **QUIET)
    card.click(_on_mark, choice, [run, card, plot], **QUIET)
    gr.on(None, _on_link, None, [study, measure, *anew], **QUIET)  # when the page loads


def _choices(studies: Studies) -> tuple[gr.Dropdown, gr.Dropdown, gr.Dropdown]:
    with gr.Row(elem_id="studies-choices"):
        return (
            gr.Dropdown(
                _studies(studies), value=FIRST, label="Study", filterable=False, min_width=280
            ),
            gr.Dropdown(
                [(kind["name"], name) for name, kind in studies.measures.items()],
                value="epochs",
                label="Cost",
                filterable=False,
                min_width=280,
            ),
            gr.Dropdown(
                _predictors(studies, FIRST, "epochs"),
                value=data.ours(studies, FIRST),
                label="Predictor, known before retraining",
                min_width=280,
            ),
        )


def _figure(
    figure: PlotData, known: list[str]
) -> tuple[gr.Plot, gr.CheckboxGroup, gr.Button, gr.Button]:
    plot = gr.Plot(
        figure,
        label="Cost of each run against the predictor",
        show_label=False,
        elem_id="studies-plot",
        container=False,
    )
    families = gr.CheckboxGroup(
        known, value=known, label="Families of shift", elem_id="studies-families"
    )
    with gr.Row(elem_id="studies-switches"):
        every = gr.Button("All families", size="sm", min_width=90)
        none = gr.Button("No family", size="sm", min_width=90)
    return plot, families, every, none


def _one_run(studies: Studies, known: list[str]) -> tuple[gr.Dropdown, gr.HTML]:
    run = gr.Dropdown(
        _runs(studies, FIRST, known),
        value=None,
        label="One run: choose it here, or click its mark above or its row below",
        elem_id="studies-run",
    )
    return run, _text(text.card(studies, None), js_on_load=ON_CLICK, elem_id="studies-card")


def _ledger(
    studies: Studies, known: list[str]
) -> tuple[gr.Textbox, gr.Dropdown, gr.Dataframe, gr.HTML]:
    rows, downloads_html = _rows(FIRST, known, "", "")
    headers = zip(rows["headers"], COLUMNS, strict=True)
    _text("<h3 class='studies-heading'>The ledger</h3>")
    with gr.Row():
        words = gr.Textbox(
            label="Rows that hold these words",
            placeholder="for example: salt_pepper missed",
            elem_id="studies-words",
            min_width=280,
        )
        order = gr.Dropdown(
            [("as in the ledger", ""), *headers],
            value="",
            label="Sorted by (numbers: greatest first)",
            elem_id="studies-order",
            min_width=280,
        )
    table = gr.Dataframe(
        rows,
        datatype=["str" if name in WORDS else "number" for name in COLUMNS],
        interactive=False,
        label="Runs of the families that are switched on",
        max_height=420,
        elem_id="studies-table",
        pinned_columns=1,
        buttons=["copy"],  # in full screen the keyboard's focus is lost
    )
    downloads = _text(downloads_html)
    _text(text.whole(studies))
    return words, order, table, downloads


def _text(html: str, **options: Any) -> gr.HTML:
    """Return a block of our own HTML, without the page's styles for running text."""
    options.setdefault("js_on_load", None)
    return gr.HTML(html, apply_default_css=False, elem_classes="studies-html", **options)


def _studies(studies: Studies) -> list[tuple[str, str]]:
    counts = Counter(run["study"] for run in studies.runs)
    own = [(f"{x['title']} ({counts[name]} runs)", name) for name, x in studies.studies.items()]
    return [*own, (f"All studies ({len(studies.runs)} runs)", ALL)]


def _predictors(studies: Studies, study: str, measure: str) -> list[tuple[str, str]]:
    return [
        (f"{kind['name']} ({'needs labels' if kind['needs_labels'] else 'no labels'})", name)
        for name in data.predictors_of(studies, study, measure)
        for kind in [studies.predictors[name]]
    ]


def _runs(studies: Studies, study: str, families: Iterable[str]) -> list[tuple[str, str]]:
    runs = data.in_study(studies, study, families)
    return [(f"{run['run']}: {run['shift']}, seed {run['seed']}", run["run"]) for run in runs]


def _figures(
    study: str, measure: str, predictor: str, families: list[str], run: str | None
) -> tuple[PlotData, str, str, str]:
    """Return the figure, its caption, what RESQUE loses, and the coefficients."""
    studies = data.read_studies()
    return (
        _plot(study, measure, predictor, families, run),
        text.caption(studies, study, measure, predictor, families),
        text.losses(studies, study, measure),
        text.forest(studies, study, measure, predictor),
    )


def _plot(
    study: str, measure: str, predictor: str, families: list[str], run: str | None
) -> PlotData:
    studies = data.read_studies()
    runs = data.selected(studies, study, measure, predictor, families)
    figure = charts.scatter(studies, runs, measure, predictor, run)
    # As data, not as plotly's own object: only so does a configuration (no mode bar) come along.
    return PlotData(type="plotly", plot=json.dumps(figure))


def _rows(study: str, families: list[str], words: str, order: str) -> tuple[dict[str, Any], str]:
    """Return the table and its download."""
    studies = data.read_studies()
    runs = data.in_order(data.in_study(studies, study, families, words), order)
    table = {"headers": _headers(studies), "data": [_cells(run) for run in runs]}
    return table, text.downloads(studies, study, runs)


def _headers(studies: Studies) -> list[str]:
    known = " or ".join(sorted({run["energy"] for run in studies.runs}))
    return [header.format(known=known) for header in COLUMNS.values()]


def _cells(run: Run) -> list[Any]:
    shown = {**run, "reached": "yes" if run["reached"] else "no"}
    return [_short(shown[name]) for name in COLUMNS]


def _short(x: Any) -> Any:
    return float(f"{x:.3g}") if isinstance(x, float) else x


def _on_study(study: str, shown: str, measure: str, predictor: str, words: str, order: str) -> Any:
    """Return all of another study; nothing where the dropdown tells only that it was left."""
    if study == shown:
        return gr.skip()
    return _anew(study, measure, predictor, words, order)


def _anew(study: str, measure: str, predictor: str, words: str, order: str) -> tuple[Any, ...]:
    studies = data.read_studies()
    families = data.families_of(studies, study)
    known = _predictors(studies, study, measure)
    follows = predictor in ("resque_dist", "resque_task") or predictor not in dict(known).values()
    predictor = data.ours(studies, study) if follows else predictor
    return (
        study,
        gr.update(choices=known, value=predictor),
        gr.update(choices=families, value=families),
        *_on_families(study, measure, predictor, families, words, order),
    )


def _on_measure(
    study: str, measure: str, predictor: str, families: list[str], run: str | None
) -> tuple[Any, ...]:
    studies = data.read_studies()
    known = _predictors(studies, study, measure)
    if predictor not in dict(known).values():
        predictor = data.ours(studies, study)
    drawn = _figures(study, measure, predictor, families, run)
    return gr.update(choices=known, value=predictor), *drawn


def _on_families(
    study: str, measure: str, predictor: str, families: list[str], words: str, order: str
) -> tuple[Any, ...]:
    studies = data.read_studies()
    return (
        *_figures(study, measure, predictor, families, None),
        *_rows(study, families, words, order),
        gr.update(choices=_runs(studies, study, families), value=None),
        text.card(studies, None),
    )


def _on_every(
    study: str, measure: str, predictor: str, _: list[str], words: str, order: str
) -> tuple[Any, ...]:
    families = data.families_of(data.read_studies(), study)
    return families, *_on_families(study, measure, predictor, families, words, order)


def _on_none(
    study: str, measure: str, predictor: str, _: list[str], words: str, order: str
) -> tuple[Any, ...]:
    return [], *_on_families(study, measure, predictor, [], words, order)


def _on_run(
    study: str, measure: str, predictor: str, families: list[str], run: str | None
) -> tuple[str, PlotData]:
    card = text.card(data.read_studies(), run)
    return card, _plot(study, measure, predictor, families, run)


def _on_row(
    study: str, measure: str, predictor: str, families: list[str], event: gr.SelectData
) -> tuple[Any, ...]:
    name = event.row_value[0]
    return name, *_on_run(study, measure, predictor, families, name)


def _on_mark(
    study: str, measure: str, predictor: str, families: list[str], event: gr.EventData
) -> tuple[Any, ...]:
    return event.run, *_on_run(study, measure, predictor, families, event.run)


def _on_link(request: gr.Request) -> Any:
    """Return what a link asks for, where it asks for something that there is."""
    studies, asked = data.read_studies(), request.query_params
    study, measure = asked.get("study", ""), asked.get("cost", "epochs")
    if study not in (*studies.studies, ALL) or measure not in studies.measures:
        return gr.skip()
    predictor = asked.get("predictor", "")
    anew = _anew(study, measure, predictor, "", "")
    if predictor in data.predictors_of(studies, study, measure):
        families = data.families_of(studies, study)
        anew = (
            study,
            gr.update(choices=_predictors(studies, study, measure), value=predictor),
            anew[2],
            *_on_families(study, measure, predictor, families, "", ""),
        )
    return study, measure, *anew
