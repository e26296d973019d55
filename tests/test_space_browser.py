"""The demo in a real browser: its numbers are the package's, and nothing of it breaks."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect
from sklearn.datasets import load_digits

import jobs
import pages
from browser import PHONE, overflow, screenshot, serious_violations
from cases import bundled, bundled_task, read_cases
from keyboard import Keyboard

SPACE = Path(jobs.__file__).parent
ASSETS = SPACE / "assets"
MARKS = {  # what stands on a tab that is drawn
    "Shift": "#preview img",
    "New task": "#task-figure .js-plotly-plot",
    "Does it hold?": "#studies-plot .js-plotly-plot",
}


@pytest.fixture(scope="module")
def temporary(tmp_path_factory):
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def app(start_app, temporary):
    given = {"HF_TOKEN": "hf_of_the_space", "TMPDIR": str(temporary)}
    return start_app(SPACE / "app.py", cwd=SPACE.parent, **given)


@pytest.fixture
def in_assets(monkeypatch):
    monkeypatch.chdir(ASSETS)


def says(page):
    return page.locator("#answer .says").inner_text()


def shown_index(page):
    return page.locator("#answer figcaption b").inner_text().removeprefix("RESQUE index ")


def document_of(page, within="#answer"):
    address = page.locator(f"{within} a[download]").get_attribute("href")
    return json.loads(base64.b64decode(address.partition("base64,")[2]))


def choose(page, field, value):
    """Choose or type into a dropdown."""
    box = page.locator(f"{field} input")
    box.fill(value)
    box.press("Enter")
    expect(box).to_have_attribute("aria-expanded", "false")


def measure(page):
    page.locator("#measure").click()
    expect(page.locator("#status")).to_be_empty(timeout=90_000)


def zip_of_digits(count=150, prefix=""):
    digits = load_digits()
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for i in range(count):
            pixels = np.uint8(np.rint(digits.images[i] * 255 / 16))
            image = Image.fromarray(pixels).resize((32, 32), Image.Resampling.BILINEAR)
            file = io.BytesIO()
            image.save(file, "PNG")
            archive.writestr(f"digits/{prefix}{digits.target[i]}/{i}.png", file.getvalue())
    return sink.getvalue()


def upload(page, name, content, within="#upload-file"):
    with page.expect_file_chooser() as chooser:
        page.locator(within).click()
    chooser.value.set_files({"name": name, "mimeType": "application/zip", "buffer": content})


def kept_by_gradio(app):
    """Files with contents; gradio leaves empty ones, of no name that was given."""
    files = (app.log.parent / "gradio").rglob("*")
    return [x for x in files if x.is_file() and x.stat().st_size]


def test_the_first_page_shows_what_the_package_says(app, visit, in_assets):
    page = visit(app)
    shift = bundled("gaussian:0.38")
    expect(page.locator("#answer .says")).to_contain_text("times the noise floor")
    score = jobs.estimate(shift)["resque_dist"]
    assert shown_index(page) == pages.index(score["value"])
    document = document_of(page)
    assert document["report"]["resque_dist"]["value"] == pytest.approx(score["value"], rel=1e-6)
    assert document["report"]["resque_dist"]["per_class"] == pytest.approx(score["per_class"])
    rows = page.locator("#answer ol.classes li")
    assert rows.count() == 10
    values = [float(x) for x in page.locator("ol.classes .value").all_inner_texts()]
    assert values == sorted(values, reverse=True)
    expect(page.locator("#preview img")).to_have_count(20)  # ten classes, before and after
    rows.first.locator("summary").click()
    expect(rows.first.locator("img").first).to_be_visible()
    assert "hf_of_the_space" not in page.content() + app.said()


def test_a_measurement_of_ones_own_and_its_link(app, visit, in_assets):
    page = visit(app, "/?tab=shift&model=resque-demo/model&corruption=blur:1.7&samples=200")
    expect(page.locator("#answer")).to_contain_text("press Measure")
    measure(page)
    shift = jobs.Shift("resque-demo/model", bundled("").original, "", "blur:1.7", "auto", 200)
    score = jobs.estimate(shift)["resque_dist"]
    assert shown_index(page) == pages.index(score["value"])
    answer = document_of(page)
    assert answer["report"]["resque_dist"]["value"] == pytest.approx(score["value"], rel=1e-6)
    assert answer["forecast"]["epochs"]["interval"][1] > 0
    expect(page.locator("#answer table")).to_contain_text("Wh")
    assert "corruption=blur%3A1.7" in page.url  # the address followed the answer
    again = visit(app, page.url.removeprefix(app.url))
    expect(again.locator("#level input[type=number]")).to_have_value("1.7")


def test_prepared_examples_and_the_sweep(app, visit):
    page = visit(app)
    cases = read_cases()
    page.get_by_role("button", name="Turned").click()
    score = cases.shifts[bundled("rotation:20")]["report"]["resque_dist"]
    expect(page.locator("#answer figcaption b")).to_have_text(
        f"RESQUE index {pages.index(score['value'])}"
    )
    page.locator("#sweep").click()
    expect(page.locator("#sweep-figure .js-plotly-plot")).to_be_visible()
    page.locator("#swept summary").click()
    table = page.locator("#swept tbody tr")
    expect(table).to_have_count(5)
    expected = [pages.index(s["value"]) for _, s in cases.sweep(bundled("rotation:20"))]
    assert [x.locator("td").first.inner_text() for x in table.all()] == expected
    page.get_by_role("button", name="A little blur").click()
    expect(page.locator("#answer .says")).to_contain_text("no retraining is needed")


def test_stopping_frees_the_worker(app, visit):
    page = visit(app, "/?tab=shift&model=resque-demo/model&corruption=blur:1.6&samples=1000")
    expect(page.locator("#answer")).to_contain_text("press Measure")
    page.locator("#sweep").click()
    expect(page.locator("#status")).to_contain_text("Level")
    page.locator("#stop").click()
    expect(page.locator("#status")).to_have_text("Stopped.")
    measure(page)  # a visitor has one run at a time: the last one is gone
    expect(page.locator("#answer figcaption b")).to_be_visible()


def until(page, holds):
    """Wait until something holds that the page does not show."""
    for _ in range(200):
        if holds():
            return
        page.wait_for_timeout(100)
    raise AssertionError("it did not come to hold within 20 s")


def test_files_of_ones_own_are_measured_and_gone_afterwards(
    app, visit, in_assets, tmp_path, temporary
):
    page = visit(app)
    expect(page.locator("#answer .says")).to_be_visible()
    content = zip_of_digits()
    upload(page, "my digits.zip", content)
    expect(page.locator("#status")).to_contain_text("Read 150 samples, 10 classes.", timeout=60_000)
    expect(page.locator("#shifted input")).to_have_value("Your files")
    choose(page, "#corruption", "none")
    measure(page)
    from uploads import read_upload

    file = tmp_path / "my digits.zip"
    file.write_bytes(content)
    folder = tmp_path / "data"
    folder.mkdir()
    path = read_upload([("my digits.zip", file)], folder).path
    shift = bundled("")
    score = jobs.estimate(
        jobs.Shift(shift.model, shift.original, path, "", "auto", shift.max_samples)
    )["resque_dist"]
    assert shown_index(page) == pages.index(score["value"])
    page.locator("#answer ol.classes summary").first.click()
    expect(page.locator("#answer ol.classes img").first).to_be_visible()  # of one's own samples
    assert "resque-visitors" not in page.content()
    assert "your-files" in document_of(page)["report"]["command"]
    assert not kept_by_gradio(app)
    other = visit(app)  # somebody else
    choose(other, "#shifted", "Your files")
    other.locator("#measure").click()
    expect(other.locator("#answer .refusal")).to_contain_text("Upload your files first")
    (kept,) = temporary.glob("resque-visitors-*/*/test.parquet")
    answer = other.request.get(f"{app.url}/gradio_api/file={kept}")
    assert answer.status in (403, 404)
    page.close()
    until(other, lambda: not list(temporary.glob("resque-visitors-*/*")))
    assert not list(temporary.glob(f"resque-datasets-*/{kept.parent.name}"))
    visit.allow("status of 40[34]")


def test_names_are_text_wherever_they_are_shown(app, visit):
    page = visit(app)
    upload(page, "names.zip", zip_of_digits(30, prefix="<img src=x onerror=alert(1)>"))
    expect(page.locator("#preview")).to_contain_text("<img src=x onerror=alert(1)>3")
    assert page.locator("#preview img[src=x]").count() == 0


def test_a_visitor_has_one_run_at_a_time(app, visit):
    page = visit(app, "/?tab=shift&model=resque-demo/model&corruption=blur:1.4&samples=1000")
    expect(page.locator("#answer")).to_contain_text("press Measure")
    page.locator("#sweep").click()
    expect(page.locator("#status")).to_contain_text("Level")
    page.locator("#measure").click()
    expect(page.locator("#answer .refusal")).to_contain_text("A run of yours is underway")


def test_a_folder_of_images_keeps_its_classes(app, visit, tmp_path):
    with zipfile.ZipFile(io.BytesIO(zip_of_digits(30))) as archive:
        archive.extractall(tmp_path)
    page = visit(app)
    with page.expect_file_chooser() as chooser:
        page.locator("#upload-folder").click()
    chooser.value.set_files(tmp_path / "digits")
    expect(page.locator("#status")).to_contain_text("Read 30 samples, 10 classes.", timeout=60_000)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("model=../../etc/passwd&corruption=blur:1.5", "no id of a model on the Hub"),
        ("model=org/absent&corruption=blur:1.5", "cannot be reached|neither a folder"),
        ("model=resque-demo/model&original=org/absent&corruption=blur:1.5", "org/absent"),
        ("model=resque-demo/model&corruption=white_noise:0.1", "white_noise.*audio"),
        ("model=resque-demo/model", "Choose a corruption"),
        ("model=%3Cimg src=x onerror=alert(1)%3E&corruption=blur:1.5", "no id of a model"),
    ],
)
def test_what_cannot_be_measured_is_told_in_a_sentence(app, visit, query, words):
    page = visit(app, f"/?tab=shift&{query}")
    expect(page.locator("#answer")).to_contain_text(re.compile("press Measure|No answer"))
    page.locator("#measure").click()
    refusal = page.locator("#answer .refusal")
    expect(refusal).to_contain_text(re.compile(words), timeout=60_000)
    assert page.locator("#answer img").count() == 0
    page.get_by_role("button", name="Noise").click()
    expect(page.locator("#answer .says")).to_contain_text("times the noise floor")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.zip", b"PK\x05\x06" + bytes(18), "no files"),
        ("text.zip", b"not a zip at all", "zip"),
        ("table.csv", b"label\n1\n2\n", "text"),
    ],
)
def test_files_that_cannot_be_read_are_refused(app, visit, name, content, words):
    page = visit(app)
    expect(page.locator("#answer .says")).to_be_visible()
    upload(page, name, content)
    expect(page.locator("#status .refusal")).to_contain_text(re.compile(words, re.I))
    assert not kept_by_gradio(app)


def test_a_new_task(app, visit):
    from task_page import sentence  # takes gradio, which may be missing

    page = visit(app, "/?tab=task")
    ranking = read_cases().tasks[bundled_task("odd")]["ranking"]
    shown = document_of(page, "#task-answer")
    assert shown == ranking
    rows = page.locator("#task-answer tbody tr")
    expect(rows).to_have_count(3)
    for candidate in ranking["candidates"]:
        expect(page.locator("#task-answer tbody")).to_contain_text(
            pages.index(candidate["resque_task"])
        )
    expect(page.locator("#task-figure .js-plotly-plot")).to_be_visible()
    page.get_by_role("button", name="How much ink").click()
    other = read_cases().tasks[bundled_task("ink")]["ranking"]
    expect(page.locator("#task-answer .says")).to_have_text(sentence(other))
    assert document_of(page, "#task-answer") == other


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("tab", ["Shift", "New task", "Does it hold?"])
def test_everybody_can_read_it(app, visit, tab, dark):
    page = visit(app, size=PHONE, dark=dark)
    page.get_by_role("tab", name=tab).click()
    page.locator(MARKS[tab]).first.wait_for()
    assert overflow(page) <= 0
    assert serious_violations(page)[:3] == []
    screenshot(page, f"space-{tab[:3].lower()}-phone-{'dark' if dark else 'light'}")


@pytest.mark.parametrize("tab", ["Shift", "New task", "Does it hold?"])
def test_its_pictures(app, visit, tab):
    """With RESQUE_SCREENSHOTS=examples these are the pictures of the README."""
    page = visit(app)
    page.get_by_role("tab", name=tab).click()
    page.locator(MARKS[tab]).first.wait_for()
    assert overflow(page) <= 0
    names = {"Shift": "space-shift", "New task": "space-task", "Does it hold?": "space-studies"}
    screenshot(page, names[tab], whole=False)


def test_tab_leads_to_everything_in_order_and_shows_where_it_is(app, visit):
    page = visit(app, size=PHONE)  # one column: what is further down comes later
    keys = Keyboard(page)
    for tab, mark in MARKS.items():
        keys.to(page.get_by_role("tab", name=tab))
        keys.press("Enter")
        page.locator(mark).first.wait_for()
        for more in (
            page.get_by_role("button", name="Where it would be").locator("visible=true").all()
        ):
            keys.to(more)
            keys.press("Enter")
            page.get_by_label("Country").locator("visible=true").wait_for()
        stops = keys.walk(tab)
        assert keys.unreached(tab) == []
        assert [x.name for x in stops if not x.seen] == []
        tops = [x.top for x in stops]
        assert all(low <= high + 8 for low, high in pairwise(tops))
        expect(page.locator(".options")).to_have_count(0)  # no list hangs over the fields
    # To pass a dropdown is not to choose.
    assert page.locator("#level input[type=number]").input_value() == "0.38"


def test_a_shift_is_measured_by_keys_alone(app, visit):
    page = visit(app)
    keys = Keyboard(page)
    corruption = page.locator("#corruption input")
    keys.to(corruption)
    keys.type("blur")
    keys.press("Enter")
    expect(page.locator("#level input[type=range]")).to_have_value("0.7")
    expect(corruption).to_be_focused()
    keys.to(page.locator("#level input[type=range]"))
    keys.press("ArrowRight")
    expect(page.locator("#preview")).to_contain_text("Below: after blur:0.8.")
    keys.to(page.locator("#measure"))
    keys.press("Enter")
    report = read_cases().shifts[bundled("blur:0.8")]["report"]
    index = pages.index(report["resque_dist"]["value"])
    expect(page.locator("#answer figcaption b")).to_have_text(f"RESQUE index {index}")
    expect(page.locator("#measure")).to_be_focused()
    keys.to(page.locator("#answer ol.classes summary").first)
    keys.press("Enter")
    expect(page.locator("#answer ol.classes img").first).to_be_visible()
    keys.to(page.get_by_label("Commands").locator("visible=true"))
    keys.to(page.locator("#answer a[download]"))
    with page.expect_download() as download:
        keys.press("Enter")
    assert json.loads(Path(download.value.path()).read_text())["report"] == report


@pytest.mark.slow
def test_a_new_task_is_ranked_by_keys_alone(app, visit):
    page = visit(app, "/?tab=task")
    keys = Keyboard(page)
    keys.to(page.get_by_role("button", name="How much ink"))
    keys.press("Enter")
    ranking = read_cases().tasks[bundled_task("ink")]["ranking"]
    index = pages.index(ranking["candidates"][0]["resque_task"])
    expect(page.locator("#task-answer tbody")).to_contain_text(index)
    models = page.locator("#task-models .token")
    keys.to(page.get_by_role("button", name="Remove").last)
    keys.press("Enter")
    expect(models).to_have_count(2)
    keys.to(page.locator("#task-models input"), "Shift+Tab")
    keys.type("one step")
    page.get_by_role("option", name="after one step").wait_for()
    keys.press("ArrowDown", "Enter")
    expect(models).to_have_count(3)
    keys.to(page.locator("#task-measure"))
    keys.press("Enter")
    expect(page.locator("#task-answer .says")).to_contain_text("RESQUE_task")
    assert document_of(page, "#task-answer") == ranking
    keys.to(page.locator("#task-map input").nth(1))
    before = page.locator("#task-figure .point").first.get_attribute("transform")
    keys.press("Space")
    drawn = page.locator("#task-figure .point").first
    expect(drawn).not_to_have_attribute("transform", before)


@pytest.mark.slow
def test_runs_are_looked_at_by_keys_alone(app, visit):
    page = visit(app, "/?tab=holds")
    keys = Keyboard(page)
    page.locator(MARKS["Does it hold?"]).wait_for()
    keys.to(page.get_by_label("brightness"))
    keys.press("Space")
    page.get_by_text("140 of 160 runs shown.").wait_for()
    keys.to(page.get_by_label("Study", exact=True), "Shift+Tab")
    keys.press("Tab")  # leaves the study as it is, and the families with it
    keys.to(page.locator("#studies-run input"))
    keys.press("ArrowDown", "Enter")
    page.locator(".studies-run h4", has_text="run fashion 1").wait_for()
    page.get_by_text("140 of 160 runs shown.").wait_for()
    keys.to(page.locator("#studies-words textarea"))
    keys.type("salt missed")
    page.get_by_text("Download the 2 rows as CSV").wait_for()
    keys.to(page.locator("#studies-table [role=gridcell]").first)
    keys.press("ArrowDown", "Enter")
    last = page.locator(".studies-run h4")
    with page.expect_download() as download:
        keys.to(page.get_by_text("Download the 2 rows as CSV"))
        keys.press("Enter")
    with open(download.value.path(), newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    expect(last).to_contain_text(f"run {rows[1]['run']}")
    keys.press("Tab")
    expect(page.locator("a[download='resque-studies.jsonl.gz']")).to_be_focused()
