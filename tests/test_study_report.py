"""The report of a study: from ledgers whose law is known to words, tables and figures."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from markdown_it import MarkdownIt
from PIL import Image
from scipy import stats

from ledgers import make_entries
from resque.calibration_figure import learn, plot_calibration
from resque.correlations import Correlation, Difference
from resque.cost_figure import points_of
from resque.errors import UsageError
from resque.ledger import FAILED, Ledger
from resque.records import Methods
from resque.rendering import escape_markdown
from resque.study_analysis import ALL, Comparison, Scope, analyse
from resque.study_figures import plot_costs, plot_layers, plot_predictors
from resque.study_report import write_report
from resque.study_values import all_values
from resque.study_words import facts, findings, verdict

NASTY = "x|<b>y</b> _z_ $a$ [l](http://h)"
MODEL = "org/vit"


def entries_of(model, modality="image", **options):
    """Entries of one model; `options` as in `make_entries`."""
    found = []
    for entry in make_entries(**options):
        cell = replace(entry.cell, model=model, original=f"{modality}#train")
        found.append(replace(entry, cell=cell, key=cell.key, modality=modality))
    return found


def spoil(entry, rng, name, by):
    """Give a predictor noise of its own."""
    value = entry.predictors[name] * float(np.exp(by * rng.standard_normal()))
    return replace(entry, predictors={**entry.predictors, name: value})


def said(entries, start):
    """The finding that starts with some words."""
    found = findings(analyse(Ledger(tuple(entries)), resamples=200))
    return next(text for text in found if text.startswith(start))


@pytest.fixture(scope="module")
def ledger():
    """Two models and modalities, some runs censored, a failed cell, a line that is no entry."""
    entries = [
        *entries_of("models/resnet", limit=6, families=("gaussian", NASTY), seed=1),
        *entries_of(MODEL, "text", limit=6, families=("typos",), seed=2),
    ]
    failed = replace(
        entries[0], key="f", status=FAILED, error="out of <i>memory</i>", record=None, modality=None
    )
    return Ledger((*entries, failed), ("line 3 of ledger.jsonl: it is no entry",))


@pytest.fixture(scope="module")
def written(ledger, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return write_report(ledger, folder, title=NASTY, resamples=100)


@pytest.fixture
def undrawn(monkeypatch):
    """Leaves the figures out, which take longest."""
    monkeypatch.setattr("resque.study_report.draw_figures", lambda *_: [])


def rows_of(report, name):
    with (report.folder / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_file_is_there(written):
    for name in written.files:
        file = written.folder / name
        assert file.stat().st_size > 0
        if file.suffix == ".png":
            with Image.open(file) as image:
                assert min(image.size) > 300
    kinds = {"figures", "tables", "report.md", "report.html"}
    assert {name.split("/")[0] for name in written.files} == kinds
    dark, light = (
        np.asarray(Image.open(written.folder / f"figures/cost_{ground}.png").convert("L"))
        for ground in ("dark", "light")
    )
    assert np.median(dark) < 60 < 200 < np.median(light)


def test_numbers_are_those_of_scipy():
    entries = make_entries(("blur", "usps"), levels=4, limit=1e9)
    analysis = analyse(Ledger(tuple(entries)), resamples=100)
    rows = [r for r in all_values(analysis)["correlations"] if r["measure"] == "epochs"]
    seen = set()
    for row in rows:
        own = [e for e in entries if row["group"] in ("all", e.cell.family)]
        x = [e.predictors[row["predictor"]] for e in own]
        y = [e.record.epochs_to_target for e in own]
        assert row["runs"] == len(own)
        assert row["pearson"] == pytest.approx(stats.pearsonr(x, y)[0])
        assert row["spearman"] == pytest.approx(stats.spearmanr(x, y)[0])
        assert row["kendall"] == pytest.approx(stats.kendalltau(x, y)[0])
        seen.add((row["scope"], row["group"]))
    assert seen == {("all", "all"), *(("family", e.cell.family) for e in entries)}


def test_same_ledger_gives_the_same_numbers_in_whatever_order(ledger, written, tmp_path, undrawn):
    turned = Ledger(ledger.entries[::-1], ledger.skipped)
    write_report(turned, tmp_path, title=NASTY, resamples=100)
    for name in ("correlations", "differences", "layers", "ceilings"):
        file = f"tables/{name}.csv"
        assert (tmp_path / file).read_bytes() == (written.folder / file).read_bytes()


class Page(HTMLParser):
    """Collects text and attributes, and checks that tags are closed in order."""

    void = frozenset({"meta", "img", "source", "br", "link"})

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.links, self.text = [], set(), [], []

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "srcset", "action", "style")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_html_stands_alone_and_escapes(written):
    html = (written.folder / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    assert not page.seen & {"script", "link", "iframe", "object", "b", "i"}
    assert page.links
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert "url(" not in html
    assert "@import" not in html
    assert "prefers-color-scheme: dark" in html
    text = " ".join(" ".join(page.text).split())
    for name in (NASTY, "out of <i>memory</i>", MODEL, "line 3 of ledger.jsonl"):
        assert name in text


def test_markdown_shows_what_was_meant(written):
    text = (written.folder / "report.md").read_text(encoding="utf-8")
    html = MarkdownIt("commonmark").enable("table").render(text)
    page = Page()
    page.feed(html)
    assert not page.seen & {"b", "i", "em", "a"}  # of NASTY nothing became markup
    assert page.seen >= {"table", "strong", "picture", "h2"}
    shown = " ".join(" ".join(page.text).split())
    assert shown.count(NASTY) > 3
    assert "resque_dist_predicted" in shown
    widths = [len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines()]
    tables = [list(t) for t in "\n".join("#" * (w > 0) for w in widths).split("\n\n") if "#" in t]
    assert len(tables) > 5
    assert html.count("<tr>") == sum(w > 0 for w in widths) - html.count("<table>")
    for image in re.findall(r'(?:src|srcset)="([^"]+)"', text):
        assert (written.folder / image).is_file()


@pytest.mark.parametrize("text", [NASTY, "`code` \\ *a* ~~b~~ &amp; <!-- -->", "a\n\n# b", "_"])
def test_escaped_markdown_is_plain_text(text):
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(escape_markdown(text))
    page = Page()
    page.feed(html)
    assert page.seen == {"p"}
    assert "".join(page.text).strip() == " ".join(text.split())


def test_report_goes_to_json(written):
    document = json.loads(json.dumps(written.to_dict(), allow_nan=False))
    assert document["measures"][0] == "epochs"
    assert document["title"] == NASTY
    assert {row["predictor"] for row in document["correlations"]} == set(document["predictors"])
    assert document["left_out"]["constant"] == ["n_parameters", "n_train"]
    assert "no such measure" not in written.summary
    assert written.summary.startswith("x|<b>y")


def test_what_was_run_is_said(ledger, written):
    known = dict(written.facts)
    assert known["cells"].startswith("45 done, 1 failed; ")
    assert re.search(r"[1-9]\d* of 45 did not reach", known["cells"])
    assert known["failures"] == "1 × out of <i>memory</i>"
    assert known["models"] == "2: models/resnet, org/vit"
    assert known["seeds"] == "3: 0, 1, 2"
    assert "(estimated)" in known["energy"]
    assert "python 3.11" in known["versions"]
    assert known["lines skipped in the ledger"].startswith("1: line 3")


def test_energy_is_called_measured_only_where_all_of_it_is():
    entries = make_entries(levels=3, families=("a", "b"))
    methods = Methods("measured: rapl", "measured: nvml", "measured: rapl")
    measured = [replace(e, record=replace(e.record, energy_method=methods)) for e in entries]
    for some, kind in ((measured, "measured"), (measured[1:] + entries[:1], "estimated")):
        ledger = Ledger(tuple(some))
        assert f"({kind})" in dict(facts(ledger, analyse(ledger, resamples=100)))["energy"]


def test_better_predictor_is_said_to_win():
    rng = np.random.default_rng(0)
    entries = [
        spoil(e, rng, "accuracy_drop", 1.0) for e in make_entries(("blur", "usps"), 10, limit=1e9)
    ]
    text = said(entries, "epochs")
    assert "need labels of the shifted data, resque_dist leads" in text
    assert re.search(
        r"resque_dist − accuracy_drop = 0\.\d\d \[0\.\d\d, 0\.\d\d\], clearly ahead", text
    )


def test_resque_is_said_to_lose_where_it_does():
    rng = np.random.default_rng(0)
    entries = [
        spoil(e, rng, "resque_dist", 1.5 * (e.cell.family == "blur"))
        for e in make_entries(("blur", "contrast"), levels=12, limit=1e9)
    ]
    for e in entries:
        del e.predictors["resque_scatter"]
    families = said(entries, "Within each family")
    assert re.search(r"clearly behind in blur \(−0\.\d\d \[−0\.\d\d, −0\.\d\d\]", families)
    assert "behind in contrast" not in families
    assert "accuracy_drop leads" in said(entries, "epochs")


def test_few_shifts_are_not_made_a_claim():
    families = said(make_entries(("blur", "usps"), levels=5), "Within each family")
    assert families.count("too few shifts to tell") == 1
    assert "blur" in families
    assert "clearly" not in families


@pytest.mark.parametrize(
    ("interval", "clusters", "p", "expected"),
    [
        ((0.1, 0.2), 30, 0.01, "clearly ahead"),
        ((0.1, 0.2), 30, 0.2, "ahead, but not after Holm's correction"),
        ((-0.2, -0.1), 30, 0.01, "clearly behind"),
        ((-0.2, -0.1), 30, 0.2, "behind, but not after Holm's correction"),
        ((-0.1, 0.2), 30, 0.2, "no clear difference"),
        ((0.0, 0.2), 30, 0.04, "no clear difference"),
        ((0.1, 0.2), 9, 0.01, "too few shifts to tell"),
        (None, 30, None, "too few shifts to tell"),
    ],
)
def test_verdicts(interval, clusters, p, expected):
    difference = Difference(0.1, interval, p, 3 * clusters, clusters)
    assert verdict(Comparison("resque_dist", "arm", difference, p)) == expected


def test_holm_is_over_the_rivals_of_one_measure():
    entries = make_entries(("blur", "usps"))
    part = analyse(Ledger(tuple(entries)), resamples=200).part()
    ours = [x for x in part.comparisons if x.ours == "resque_dist"]
    assert {x.rival for x in ours} == {"accuracy_drop", "entropy_increase", "doc_drop"}
    smallest = min(x.difference.p for x in ours)
    assert min(x.p_holm for x in ours) == pytest.approx(3 * smallest)
    unlabelled = {x.rival for x in part.comparisons if x.ours == "resque_dist_predicted"}
    assert unlabelled == {"entropy_increase", "doc_drop"}  # accuracy_drop needs labels


def test_seeds_set_a_ceiling():
    loud = analyse(
        Ledger(tuple(make_entries(("blur", "usps"), spread=0.8, limit=1e9))), resamples=100
    )
    calm = analyse(
        Ledger(tuple(make_entries(("blur", "usps"), spread=0.01, limit=1e9))), resamples=100
    )
    assert loud.part().ceiling.spearman.value < 0.8 < calm.part().ceiling.spearman.value
    assert loud.part().ceiling.runs == 30
    alone = make_entries(("blur", "usps"), seeds=1, limit=1e9)
    assert said(alone, "How far the noise").endswith("no cell was run with two seeds.")


def test_other_strategies_are_other_cells_for_the_ceiling():
    entries = []
    for strategy in ("full", "head"):
        for entry in make_entries(("blur", "usps"), seeds=1, limit=1e9):
            cell = replace(entry.cell, strategy=strategy)
            entries.append(replace(entry, cell=cell, key=cell.key))
    analysis = analyse(Ledger(tuple(entries)), resamples=100)
    assert analysis.part().ceiling.runs == 0
    assert (analysis.part().runs, analysis.part().shifts) == (20, 10)  # shifts are drawn whole
    assert Scope("strategy", "head") in analysis.scopes
    assert "mix 2 strategies" in said(entries, "The correlations over all runs")


def test_constant_cost_is_said_and_not_a_number(tmp_path, undrawn):
    entries = make_entries(("blur", "usps"), levels=3)
    same = [
        replace(e, record=replace(e.record, epochs_to_target=2.0, steps_to_target=40.0))
        for e in entries
    ]
    report = write_report(Ledger(tuple(same)), tmp_path, title="t", resamples=100)
    assert report.findings[0] == (
        "epochs, steps: no correlation is defined: the cost is the same in every run."
    )
    for name in ("report.md", "report.html", "tables/correlations.csv"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert not re.search(r"\bnan\b", re.sub('base64,[^"]*', "", text), re.IGNORECASE)
        assert "the cost is the same in every run" in text


def test_constant_and_unknown_predictors_are_named_and_left_out(written):
    text = (written.folder / "report.md").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("Bold: "))
    assert "the same in every run: n_parameters, n_train" in line
    assert "not among the predictors compared: accuracy" in line
    assert "| n_train |" not in text


def test_predictor_that_some_runs_lack_says_over_how_many():
    entries = make_entries(("blur", "usps"), limit=1e9)
    some = [
        replace(e, predictors={k: v for k, v in e.predictors.items() if k != "accuracy_drop"})
        if e.cell.family == "usps"
        else e
        for e in entries
    ]
    part = analyse(Ledger(tuple(some)), resamples=100).part()
    assert isinstance(part.correlations["accuracy_drop"], Correlation)
    assert part.correlations["accuracy_drop"].runs == 15
    assert part.comparison("resque_dist", "accuracy_drop").difference.runs == 15
    assert part.correlations["resque_dist"].runs == 30


def test_too_few_runs_are_refused(tmp_path):
    with pytest.raises(UsageError, match="4 different shifts; correlations need at least 5"):
        write_report(Ledger(tuple(make_entries(("blur",), levels=4))), tmp_path, title="t")
    with pytest.raises(UsageError, match="0 finished runs"):
        write_report(Ledger(()), tmp_path, title="t")
    bare = [replace(e, predictors={"n_train": 3.0}) for e in make_entries(("blur",), levels=5)]
    with pytest.raises(UsageError, match="no predictor that differs between its 15 runs"):
        write_report(Ledger(tuple(bare)), tmp_path, title="t")
    assert list(tmp_path.iterdir()) == []


def test_figures_need_no_display(ledger, monkeypatch):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("MPLBACKEND", "tkagg")
    analysis = analyse(ledger, resamples=100)
    for plot in (plot_costs, plot_predictors, plot_layers):
        assert isinstance(plot(ledger, analysis, "light").canvas, FigureCanvasAgg)


def test_cost_axes_name_unit_and_estimate(ledger):
    figure = plot_costs(ledger, analyse(ledger, resamples=100), "light")
    epochs, energy = figure.axes
    assert epochs.get_ylabel() == "epochs to the target"
    assert energy.get_ylabel() == "energy of training (mWh, estimated)"
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[0] == "gaussian"
    assert legend[-1] == "↑ target not reached"
    looks = {(h.get_color(), h.get_marker()) for h in figure.legends[0].legend_handles[:-1]}
    assert len({marker for _, marker in looks}) == len({colour for colour, _ in looks}) == 3


def test_points_gather_the_seeds_of_a_cell():
    entries = make_entries(("blur",), levels=5, limit=4)
    points = list(points_of(entries, "resque_dist", "epochs"))
    assert len(points) == 5
    last = [e for e in entries if e.cell.level == 5.0]
    costs = [e.record.evaluations[-1].epoch for e in last]
    index = [e.predictors["resque_dist"] for e in last]
    assert points[-1].cost_range == pytest.approx((min(costs), max(costs)))
    assert points[-1].cost == pytest.approx(np.mean(costs))
    assert points[-1].index_range == pytest.approx((0.9 * np.mean(index), 1.1 * np.mean(index)))
    assert points[-1].censored == any(not e.record.reached for e in last)
    assert not points[0].censored


def test_layers_are_told_apart(written):
    rng = np.random.default_rng(0)
    entries = []
    for entry in make_entries(("blur", "usps"), limit=1e9):
        stem, *others = entry.indices
        noisy = replace(stem, value=stem.value * float(np.exp(rng.standard_normal())))
        entries.append(replace(entry, indices=(noisy, *others)))
    layers = analyse(Ledger(tuple(entries)), resamples=100).layers
    rho = {
        (x.layer, x.labels): x.correlation.spearman.value for x in layers if x.measure == "epochs"
    }
    assert set(rho) == {("stem", "data"), ("head", "data"), ("head", "predicted"), ("head", "soft")}
    assert rho["stem", "data"] < 0.8 < rho["head", "data"]
    assert said(entries, "The layer").startswith(
        "The layer that tells most about epochs: models/resnet: head (depth 1.00)"
    )
    assert {row["model"] for row in rows_of(written, "layers")} == {"models/resnet", "org/vit"}


def test_groups_of_every_kind_are_in_the_tables(written):
    groups = {(row["scope"], row["group"]) for row in rows_of(written, "correlations")}
    assert groups >= {("all", "all"), ("family", NASTY), ("modality", "text"), ("model", MODEL)}
    assert ("strategy", "full") not in groups  # all runs have it
    assert written.analysis.scopes[0] == ALL


def test_a_family_has_one_colour_in_both_panels_of_the_calibration():
    entries = make_entries(("blur", "contrast", "noise", "tilt"), levels=4, seeds=2)
    for e in entries:
        if e.cell.family == "blur":  # has none of the features that need labels
            for name in ("resque_dist", "resque_scatter", "accuracy"):
                del e.predictors[name]
    forecasters = learn(Ledger(tuple(entries)))
    assert [len(x.table.families) for x in forecasters] == [3, 4]
    figure = plot_calibration(forecasters, "light")
    (legend,) = figure.legends
    drawn = zip(legend.get_texts(), legend.legend_handles, strict=True)
    looks = {text.get_text(): (line.get_color(), line.get_marker()) for text, line in drawn}
    for axes, forecaster in zip(figure.axes, forecasters, strict=True):
        table = forecaster.table
        marks = Counter((x.get_color(), x.get_marker()) for x in axes.lines)
        for i, family in enumerate(table.families):
            assert marks[looks[family]] == (table.runs.families == i).sum()
