"""The demo's tab "Does it hold?" in a browser: its main path to numbers of the reports."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from browser import PHONE, overflow, screenshot, serious_violations

DEMO = Path(__file__).parent.parent / "spaces_demo"
APP = f"""
import sys
sys.path.insert(0, {str(DEMO)!r})
import gradio as gr
import studies_tab

with gr.Blocks() as page:
    with gr.Tab("Another"):
        gr.Markdown("Nothing")
    with gr.Tab("Does it hold?"):
        studies_tab.build()
css = ":root {{ --accent: #2f6f8f; }} .dark {{ --accent: #7cc0de; }}"
css += open({str(DEMO / "studies.css")!r}, encoding="utf-8").read()
theme = gr.themes.Default(font=["system-ui"], font_mono=["monospace"])
page.launch(css=css, theme=theme)
"""
MARK = "#studies-plot .point"


@pytest.fixture(scope="module")
def app(start_app, tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies")
    (folder / "app.py").write_text(APP, encoding="utf-8")
    return start_app("app.py", cwd=folder)


def opened(visit, app, path="/", **how):
    page = visit(app, path, **how)
    page.get_by_role("tab", name="Does it hold?").click()
    page.locator(MARK).first.wait_for()
    return page


def test_a_person_finds_what_resque_loses_and_takes_the_rows_along(app, visit):
    page = opened(visit, app)
    page.get_by_text("LogME does better here: 0.94 against 0.86 of RESQUE_dist.").wait_for()
    assert page.locator(MARK).count() == 160

    page.get_by_label("brightness").uncheck()
    page.get_by_text("140 of 160 runs shown.").wait_for()
    page.locator(MARK).nth(139).click(force=True)
    page.locator(".studies-run h4", has_text="class_prior 0.98").wait_for()

    page.locator("#studies-words textarea").fill("salt missed")
    with page.expect_download() as download:
        page.get_by_text("Download the 2 rows as CSV").click()
    with open(download.value.path(), newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["family"], row["reached"]) for row in rows] == [("salt_pepper", "False")] * 2

    page.get_by_label("Study").click()
    page.get_by_role("option", name="New tasks (78 runs)").click()
    page.get_by_text("RESQUE_task and the cost have Spearman’s ρ = 0.52 [0.21, 0.73]").wait_for()


@pytest.mark.slow
def test_a_link_restores_a_view_that_holds_on_a_phone_in_the_dark(app, visit):
    link = "/?study=text&cost=energy_wh&predictor=arm"
    page = opened(visit, app, link, size=PHONE, dark=True)
    page.get_by_text("ARM and the cost have Spearman’s ρ = 0.83 [0.73, 0.90]").wait_for()
    assert (
        page.locator("#studies-plot .ytitle").text_content() == "Energy of training (Wh, estimated)"
    )
    assert overflow(page) <= 0
    assert serious_violations(page, "#studies-figures") == []
    screenshot(page, "studies-phone-dark")
