"""The demo's tab "Does it hold?" tells what the committed studies found, number for number."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from base64 import b64decode
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path

import pytest

import build_studies
import studies_charts as charts
import studies_data as data
import studies_text as text

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
STUDIES = data.read_studies()
EVERY = list(product(STUDIES.studies, STUDIES.measures))


@cache
def tables(study, name):
    with (RESULTS / study / "tables" / f"{name}.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["scope"] == "all"]


def rows_of(study, measure):
    own = build_studies.COSTS[measure][0]
    return [row for row in tables(study, "correlations") if row["measure"] == own]


def all_families(study):
    return data.families_of(STUDIES, study)


def plain(html):
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_the_committed_asset_is_what_the_script_makes():
    assert build_studies.compose(RESULTS) == data.ASSET.read_text(encoding="utf-8")
    assert data.ASSET.stat().st_size < 600_000


@pytest.mark.parametrize("study", STUDIES.studies)
def test_costs_and_predictors_are_those_of_the_ledger(study):
    lines = (RESULTS / study / "ledger.jsonl").read_text().splitlines()
    runs = data.in_study(STUDIES, study, all_families(study))
    for run, line in zip(runs, lines, strict=True):
        entry = json.loads(line)
        record = entry["record"]
        assert run["reached"] == record["reached"]
        assert run["epochs"] == near(
            record["epochs_to_target"] if run["reached"] else record["evaluations"][-1]["epoch"]
        )
        assert run["seconds"] == near(record["seconds_training"])
        assert run["energy_wh"] == near(1000 * record["energy_kwh"])
        assert run["co2eq_g"] == near(1000 * record["co2eq_kg"])
        known = {name: entry["predictors"].get(name) for name in STUDIES.predictors}
        assert {name: run[name] for name in known} == {name: near(x) for name, x in known.items()}


def near(x):
    return None if x is None else pytest.approx(x, rel=1e-5)


@pytest.mark.parametrize(("study", "measure"), EVERY)
def test_coefficients_and_marks_are_those_of_the_report(study, measure):
    for row in rows_of(study, measure):
        found = data.rho(STUDIES, study, measure, row["predictor"])
        drawn = data.selected(STUDIES, study, measure, row["predictor"], all_families(study))
        assert len(drawn) == int(row["runs"])
        if found is None:
            assert row["runs"] == "0"
            continue
        assert f"{found.value}" == ((row["spearman"] and f"{float(row['spearman'])}") or "None")
        ends = row["spearman_low"], row["spearman_high"]
        assert found.interval == (tuple(map(float, ends)) if all(ends) else None)
        assert sum(data.censored(STUDIES, run, measure) for run in drawn) == int(row["censored"])


@pytest.mark.parametrize(("study", "measure"), EVERY)
def test_losses_name_the_best_rival_where_it_is_ahead(study, measure):
    rho = {row["predictor"]: float(row["spearman"] or -2) for row in rows_of(study, measure)}
    for kind, said in data.losses(STUDIES, study, measure).items():
        labelled = kind == "With labels"
        mine = data.ours(STUDIES, study) if labelled else data.UNLABELLED
        rivals = {
            p: x
            for p, x in rho.items()
            if not STUDIES.predictors[p]["is_resque"]
            and STUDIES.predictors[p]["needs_labels"] == labelled
        }
        best = max(rivals, key=rivals.get)
        assert STUDIES.predictors[best]["name"] in said
        assert data.two(rho[best]) in said
        assert data.two(rho[mine]) in said
        assert ("does better here" in said) == (rho[best] > rho[mine])


def test_losses_are_sentences():
    found = data.losses(STUDIES, "fashion", "epochs")
    assert found["With labels"] == (
        "LogME does better here: 0.94 against 0.86 of RESQUE_dist. The difference over the 160 "
        "runs that have both, −0.07 [−0.17, −0.01], is not clear once corrected for several "
        "rivals. 6 of 7 rivals do better."
    )
    texts = data.losses(STUDIES, "text", "epochs")["With labels"]
    assert texts.startswith("No rival does better than RESQUE_dist, 0.74; next is LEEP, 0.71.")
    over_all = data.losses_over_all(STUDIES, "epochs")
    assert over_all["With labels"].startswith("A rival does better in 5 of 6 studies: LogME in ")
    assert over_all["With labels"].endswith("RESQUE leads in Texts.")


def test_the_best_of_either_kind_is_in_bold():
    html = text.forest(STUDIES, "fashion", "epochs", "resque_dist")
    bold = re.findall(r'<tr class="[^"]*best[^"]*">\s*<th[^>]*>([^<]+)', html)
    assert [x.strip() for x in bold] == ["LogME", "RESQUE with scatter, aligned"]
    assert "0.94 [0.89, 0.96]" in plain(html)


@pytest.mark.parametrize("study", [*STUDIES.studies, data.ALL])
def test_each_choice_of_study_and_cost_is_drawn_and_told(study):
    for measure in STUDIES.measures:
        predictor = data.ours(STUDIES, study)
        runs = data.selected(STUDIES, study, measure, predictor, all_families(study))
        figure = charts.scatter(STUDIES, runs, measure, predictor, runs[0]["run"])
        *families, ring = figure["data"]
        assert sum(len(trace["x"]) for trace in families) == len(runs)
        assert ring["x"] == [runs[0][predictor]]
        caption = plain(text.caption(STUDIES, study, measure, predictor, all_families(study)))
        assert f"{len(runs)} of " in caption
        assert plain(text.forest(STUDIES, study, measure, predictor)).startswith("Spearman’s ρ")
        json.dumps(figure, allow_nan=False)


@pytest.mark.parametrize("predictor", STUDIES.predictors)
def test_each_predictor_can_be_drawn_and_told(predictor):
    runs = data.selected(STUDIES, data.ALL, "epochs", predictor, all_families(data.ALL))
    figure = charts.scatter(STUDIES, runs, "epochs", predictor, None)
    assert sum(len(trace["x"]) for trace in figure["data"]) == len(runs)
    cheaper = "A smaller one should mean a dearer retraining" in text.caption(
        STUDIES, data.ALL, "epochs", predictor, all_families(data.ALL)
    )
    assert cheaper == (STUDIES.predictors[predictor]["sign"] < 0)


def test_runs_without_their_target_are_hollow_and_say_that_they_cost_more():
    runs = data.selected(STUDIES, "fashion", "epochs", "resque_dist", all_families("fashion"))
    figure = charts.scatter(STUDIES, runs, "epochs", "resque_dist", None)
    marks = [
        (symbol.endswith("-open"), hover)
        for trace in figure["data"]
        for symbol, hover in zip(trace["marker"]["symbol"], trace["text"], strict=True)
    ]
    assert sum(hollow for hollow, _ in marks) == 6
    for hollow, hover in marks:
        assert hollow == ("more than" in hover) == ("target not reached" in hover)
    missed = next(run["run"] for run in runs if not run["reached"])
    assert "more than 1.51 epochs (target not reached)" in plain(text.card(STUDIES, missed))


def test_families_are_told_apart_by_colour_and_shape():
    looks = [charts.look(STUDIES, family) for family in STUDIES.families]
    assert len(set(looks)) == len(looks)
    for study in STUDIES.studies:
        shapes = [charts.look(STUDIES, family)[1] for family in all_families(study)]
        assert len(set(shapes)) == len(shapes)


@pytest.mark.parametrize("colour", charts.COLOURS)
@pytest.mark.parametrize("ground", ["#ffffff", "#0b0f19"])
def test_marks_have_contrast_on_light_and_dark_ground(colour, ground):
    high, low = sorted((luminance(colour), luminance(ground)), reverse=True)
    assert (high + 0.05) / (low + 0.05) >= 3


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in channels]
    return sum(weight * x for weight, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_families_and_words_choose_rows():
    runs = data.in_study(STUDIES, "fashion", ["salt_pepper", "rotation"], "Salt missed")
    assert {run["family"] for run in runs} == {"salt_pepper"}
    assert all(not run["reached"] for run in runs)
    assert len(runs) == 2
    assert data.in_study(STUDIES, "fashion", [], "") == []


def test_rows_are_sorted_from_the_greatest_and_what_lacks_the_value_comes_last():
    runs = data.in_study(STUDIES, "tasks", all_families("tasks"))
    values = [run["resque_dist"] for run in data.in_order(runs, "resque_dist")]
    known = [x for x in values if x is not None]
    assert values == sorted(known, reverse=True) + [None] * (len(runs) - len(known))
    assert data.in_order(runs, "") == runs


def test_downloads_hold_every_column_of_the_rows_shown():
    runs = data.in_study(STUDIES, "text", ["trec"])
    html = text.downloads(STUDIES, "text", runs)
    name, kind, content = re.search(
        r'download="([^"]+)" href="data:([^;]+);charset=utf-8;base64,([^"]+)"', html
    ).groups()
    assert (name, kind) == ("resque-studies-text.csv", "text/csv")
    rows = list(csv.DictReader(io.StringIO(b64decode(content).decode())))
    assert rows == [{k: "" if x is None else str(x) for k, x in run.items()} for run in runs]


def test_the_whole_download_is_json_lines():
    link = re.search(r'href="data:application/gzip;base64,([^"]+)"', text.whole(STUDIES))[1]
    lines = gzip.decompress(b64decode(link)).decode().splitlines()
    assert [json.loads(line) for line in lines] == list(STUDIES.runs)


def test_names_are_text_wherever_they_are_shown():
    evil = {**STUDIES.runs[0], "shift": "<script>alert(1)</script>", "model": "<img src=x>"}
    studies = replace(STUDIES, runs=(evil,))
    figure = charts.scatter(studies, [evil], "epochs", "resque_dist", None)
    for shown in (text.card(studies, evil["run"]), figure["data"][0]["text"][0]):
        assert "<script" not in shown
        assert "<img" not in shown
        assert "&lt;script&gt;" in shown


def test_an_unknown_run_has_an_empty_card():
    assert plain(text.card(STUDIES, "no such run")) == plain(text.card(STUDIES, None)) == ""
