"""Cards: what a report tells goes on them, and nothing else of them changes by a byte."""

from __future__ import annotations

import itertools
import json
import logging
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import resque
from cards import BROKEN, CARDS, front
from ledgers import make_entry
from resque.card import facts_on, gather, split_card, update, write_card
from resque.card_markdown import BEGIN, END, code
from resque.errors import ResqueError, UsageError
from resque.fingerprint_header import Counts
from resque.indices import Score
from resque.ledger import Ledger
from resque.public_text import clean, public_command, scrub
from resque.records import DataPart, Methods
from resque.report import LayerResult, Report, Side
from test_records import make as make_record

REPO = "org/digits-resnet"
COUNTS = Counts(samples=100, scored=100, correct=90, loss_sum=30.0)
NASTY = [
    "<script>alert(1)</script>",
    "a|b `c` *d* [e](http://f)",
    "x\n- y: z\n---\n# h",
    "'\"\\: &a !!python/object:os.system {[",
    "\x1b]0;title\x07\x1b[31mred\x1b[0m\x9b2J",
    "\u202eevil\u2066",
    "$$\\alpha$$ `" + "`" * 5,
    "<!-- resque:end -->",
    "日本 🤗 é \ud800",
    "1e3",
    "no",
    "x" * 100_000,
]


@pytest.fixture(autouse=True)
def heard(monkeypatch):
    """Let caplog hear what is logged, whatever a command line in this process set up."""
    monkeypatch.setattr(logging.getLogger("resque"), "propagate", True)


def score(value=0.2, name="resque_dist", classes=None, **settings):
    interval = (max(value - 0.05, 0), value + 0.05)
    per_class = {"cat": value, "dog": value / 2} if classes is None else classes
    floor, p = (0.01, 1e-7) if name == "resque_dist" else (0.0, float("nan"))
    return Score(name, value, interval, floor, value, p, per_class, {}, {}, settings)


def report(value=0.2, corruption="gaussian:0.2", layers=("head",), data="org/digits#test", **given):
    original = Side("original", data, "c" * 40, None, "data", None, COUNTS)
    shifted = replace(original, role="shifted", corruption=corruption)
    results = tuple(
        LayerResult(name, "mean", 32, None, score(value / (i + 1), classes=given.get("classes")))
        for i, name in enumerate(layers)
    )
    model = given.get("model", REPO)
    command = f"resque estimate --model {model} --original '{data}' --corruption {corruption}"
    return Report(
        model, given.get("revision", "a" * 40), (original, shifted), results, "cpu", "float32", 32,
        {"total": 1.0, "waiting": 0.1}, {"resque": "0.1.0"}, "2026-01-02", command,
    )  # fmt: skip


def task(column, value=0.4):
    side = Side("task", "org/digits#test", None, None, "data", None, COUNTS)
    found = score(value, "resque_task", {}, init="centroids", embedding="averaged")
    command = f"resque estimate --model {REPO} --task org/digits#test --label-column {column}"
    return replace(
        report(), sides=(side,), results=(LayerResult("head", "mean", 32, None, found),),
        command=command,
    )  # fmt: skip


def entries(epochs=(0.5, 0.7, 0.6), model=REPO, **changes):
    return [
        make_entry("gaussian", 0.2, seed, 0.2, spent, model=model, dataset="org/digits#train",
                   original="org/digits#train", corruption="gaussian:0.2", **changes)
        for seed, spent in enumerate(epochs)
    ]  # fmt: skip


def forecast(model=REPO, strategy="full", **changes):
    cost = {"value": 2e-5, "interval": [1e-5, 4e-5]}
    found = {
        "model": model, "shifted": "org/digits#train gaussian:0.2", "strategy": strategy,
        "epochs": {"value": 0.6, "interval": [0.2, 1.5]}, "energy_kwh": cost, "co2eq_kg": cost,
        "level": 0.9, "reached_probability": 0.95, "outside": [], "runs": 260,
    } | changes  # fmt: skip
    nothing = {"model": model, "shifted": found["shifted"], "strategy": "nothing"}
    return {**found, "target": "recovery:0.95", "candidates": [nothing, found]}


def section_of(text):
    return text.rpartition(BEGIN)[2].rpartition(END)[0]


def outside_of(text):
    return text.rpartition(BEGIN)[0] + text.rpartition(END)[2]


def is_within(small, large):
    """Whether large is small with insertions alone."""
    rest = iter(large)
    return all(character in rest for character in small)


@pytest.mark.parametrize("name", CARDS)
def test_a_card_keeps_its_bytes_and_a_second_run_changes_nothing(name, caplog):
    card = CARDS[name]
    given = ([report(layers=("head", "stem")), forecast()], entries())
    once = update(card, *given, repo_id=REPO)
    assert update(once, *given, repo_id=REPO) == once
    # Reports alone leave the costs that are there, and change nothing either.
    assert update(once, report(layers=("head", "stem")), repo_id=REPO) == once
    old, new = split_card(card.removeprefix("\ufeff")), split_card(once.removeprefix("\ufeff"))
    assert is_within(old.opening + old.yaml + old.closing, new.opening + new.yaml + new.closing)
    outside = outside_of(new.body)
    if "markers" in name and "code" not in name:
        assert outside == outside_of(old.body)
    else:
        assert new.body.startswith(old.body)
        assert not outside.removeprefix(old.body).strip("\r\n")
    assert once.startswith("\ufeff") == card.startswith("\ufeff")
    if "windows" in name and "only" not in name:
        assert not re.search(r"(?<!\r)\n", once)
    if "windows" not in name:
        assert "\r" not in once
    assert len(facts_on(once)) == 4
    stays = "emissions" in name
    assert bool(caplog.records) == stays
    check_as_others_read(old.yaml, new.yaml, stays)


def check_as_others_read(before, after, emissions_stay):
    old, new = (yaml.safe_load(text) or {} for text in (before, after))
    ours = [
        x for m in new["model-index"] for r in m["results"] for x in r["metrics"]
        if str(x.get("args", "")).startswith("{'made_by': 'resque ")
    ]  # fmt: skip
    assert [x["type"] for x in ours] == ["resque_dist"] * 2 + ["retraining_epochs"] * 2
    assert len({x["config"] for x in ours}) == 4
    for key in old:
        if key not in ("tags", "model-index", "co2_eq_emissions"):
            assert repr(new[key]) == repr(old[key])
    assert {"resque", "arxiv:2412.15511"} <= set(new["tags"])
    if emissions_stay:
        assert new["co2_eq_emissions"] == old["co2_eq_emissions"]
    else:
        assert new["co2_eq_emissions"]["emissions"] == pytest.approx(1e-5 * 0.6 * 1000)
    for model in new["model-index"]:
        model_index_to_eval_results([model])


@pytest.mark.parametrize("name", BROKEN)
def test_a_card_that_cannot_be_edited_is_refused_with_the_place(name):
    card, words = BROKEN[name]
    with pytest.raises(ResqueError, match=words):
        update(card, report(), repo_id=REPO)


def test_the_result_of_another_shift_layer_or_task_stays():
    text = update(front("license: mit\n"), report(0.2), repo_id=REPO)
    others = [
        report(0.3, "blur:2"), report(0.3, layers=("stem",)), report(0.3, data="org/usps#test"),
        report(0.3, data="org/digits#train"), task("odd"), task("ink"),
    ]  # fmt: skip
    for i, other in enumerate(others, start=2):
        text = update(text, other, repo_id=REPO)
        assert len(facts_on(text)) == i
    again = update(text, report(0.25), repo_id=REPO)
    changed = [a for a, b in zip(facts_on(again), facts_on(text), strict=True) if a != b]
    assert [fact.value for fact in changed] == [0.25]
    assert changed[0] == facts_on(again)[0]
    for words in ("`blur:2` on `org/digits#test`", "`org/usps#test`", "classes `ink`", "0.250 *"):
        assert words in section_of(again)


def test_the_section_tells_index_cost_and_forecast_each_with_its_kind():
    text = update("", [report(), forecast()], entries(), repo_id=REPO, figure="resque/shifts.png")
    rows = [line for line in section_of(text).splitlines() if line.startswith("| `")]
    index, measured, forecasted = rows
    assert "RESQUE_dist 0.200 *measured*" in index
    assert "0.150 to 0.250" in index
    assert "0.010 (p < 0.0001)" in index
    assert "90.0% → 90.0%" in index
    assert "`head` 0.6 [0.5 to 0.7] *measured*; `full` 0.6 [0.2 to 1.5] *forecast*" in index
    assert "0.012 Wh *estimated*" in measured
    assert "0.006 g *estimated*" in measured
    assert "median of 3 runs" in measured
    assert "0.02 [0.01 to 0.04] Wh *forecast*" in forecasted
    assert "interval 90%, from 260 retrainings" in forecasted
    assert "![The index of each shift" in text
    assert "(resque/shifts.png)" in text
    assert f"--model {REPO}" in text
    html = MarkdownIt("commonmark").enable("table").render(section_of(text))
    assert html.count("<table>") == 2
    assert html.count("<tr>") == 5
    bars = update("", [report(), report(0.1, "blur:1")], repo_id=REPO)
    assert re.search(r"gaussian:0.2 on org/digits#test  0.200  █{30}\n", bars)
    assert re.search(r"blur:1 on org/digits#test        0.100  █{15}\n", bars)


def test_classes_are_named_only_where_something_moved():
    document = report().to_dict()
    assert "moved most:\n\n- `gaussian:0.2`" in update("", document, repo_id=REPO)
    document["layers"]["head"]["resque_dist"]["p_value"] = 0.4
    text = update("", document, repo_id=REPO)
    assert "moved most" not in text
    assert "0.010 (p = 0.4)" in text


def test_emissions_are_grams_of_training_with_how_they_are_known():
    found = yaml.safe_load(split_card(update("", report(), entries(), repo_id=REPO)).yaml)
    said = found["co2_eq_emissions"]
    assert said["emissions"] == pytest.approx(0.006)
    assert "mean of 3 runs; energy estimated" in said["source"]
    assert said["training_type"] == "fine-tuning"
    assert said["hardware_used"] == "Chip, 2 logical processors"
    measured = make_record(
        co2eq_kg=0.5, country="FRA", energy_method=Methods("measured: a", "none", "measured: b"),
        data=DataPart("org/digits#train", None, "f", 9, None, None, 9, 3, "gaussian:0.20"),
        model=replace(make_record().model, name=REPO),
    )  # fmt: skip
    text = update(update("", report(), entries(), repo_id=REPO), report(), [measured], repo_id=REPO)
    said = yaml.safe_load(split_card(text).yaml)["co2_eq_emissions"]
    assert said["emissions"] == 500
    assert said["geographical_location"] == "FRA"
    assert "one run; energy measured" in said["source"]


def test_foreign_emissions_stay_and_the_user_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        text = update(CARDS["emissions as a mapping"], report(), entries(), repo_id=REPO)
    assert "emissions: 149200" in text
    assert "co2_eq_emissions of its own (line 3), which stays" in caplog.text


def test_runs_that_missed_their_target_are_no_number():
    missed = entries((20.0, 20.0, 0.6))
    text = update("", report(), missed, repo_id=REPO)
    assert "more than 10 *measured*" in text
    assert "median of 3 runs, 1 reached the target" in text
    most = update("", report(), entries((20.0, 0.5, 0.6)), repo_id=REPO)
    assert "0.6 *measured*" in most
    assert "2 reached the target" in most


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((report(model="org/other"),), "report is of org/other, not of org/digits-resnet"),
        (
            (report(), entries(model="org/other")),
            "no retraining of org/digits-resnet on org/digits",
        ),
        ((report(), Ledger(())), "it has none at all"),
        (([report(revision=None, model=m) for m in "ab"],), "of several models: a, b"),
        ((None,), "nothing to put on the card"),
        (({"resque_dist": {}},), "its shifted is None; expected an object"),
        (({"a": 1},), "it is no report"),
        (({**report().to_dict(), "schema_version": 2},), "newer than 1: update resque"),
        ((forecast(level=2),), "its level is 2; expected a number from 0 to 1"),
    ],
)
def test_what_does_not_fit_is_said(given, words):
    with pytest.raises((ResqueError, UsageError), match=words):
        update("", *given, repo_id=REPO)


@pytest.mark.parametrize("field", ["value", "interval", "noise_floor", "per_class"])
@pytest.mark.parametrize(
    "bad",
    ["<b>", True, float("nan"), -1, [], {}, {"x": "y"}, None, 1e400, 10**400, [[1], 2], ["a", 2]],
)
def test_a_report_with_a_wrong_field_is_refused(field, bad):
    document = json.loads(json.dumps(report().to_dict()))
    document["layers"]["head"]["resque_dist"][field] = bad
    if (field, bad) in [("per_class", {}), ("noise_floor", None)]:
        assert len(facts_on(update("", document, repo_id=REPO))) == 1
        return
    with pytest.raises(ResqueError, match=r"expected|ends"):
        update("", document, repo_id=REPO)


@pytest.mark.parametrize("nasty", NASTY)
def test_hostile_names_do_nothing(nasty):
    given = report(
        classes={nasty: 0.5, "x": 0.1}, layers=(nasty,), data="org/d", corruption=None,
    )  # fmt: skip
    document = given.to_dict()
    document["shifted"]["dataset"] = f"org/{nasty[:500]}"
    document["command"] = f"resque estimate --model {nasty}"
    text = update(front("license: mit\n"), document, repo_id=REPO)
    assert update(text, document, repo_id=REPO) == text
    text.encode()
    assert len(text) < 20_000
    card = split_card(text)
    assert yaml.safe_load(card.yaml).keys() == {"license", "model-index", "tags"}
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(section_of(text))
    assert "<script" not in html
    assert html.count("<h2>") == 1
    assert "<h1" not in html
    assert set(re.findall(r'href="([^"]*)"', html)) == {"https://arxiv.org/abs/2412.15511"}
    shown = [" ".join(x.split()) for x in re.findall(r"<code>(.*?)</code>", html, flags=re.S)]
    plain = "".join(MarkdownIt().render(code(nasty)).split("<code>")[1].split("</code>")[0])
    assert " ".join(plain.replace("\\|", "|").split()) in shown


def test_paths_and_tokens_are_not_published():
    home = "/home/ann lee/secret"
    given = report(model=f"{home}/model", revision=None, data=f"{home}/digits#test")
    given = replace(
        given,
        command=f"resque estimate --model '{home}/model' --original '{home}/digits#test'",
    )
    text = update("", given, repo_id=REPO)
    assert "ann" not in text
    assert "secret" not in text
    assert f"--model {REPO} --original 'digits#test'" in text
    assert public_command("x --token hf_abcdefghijkl") == "x --token '<token>'"
    assert scrub({"a": ["C:\\Users\\ann\\d", "~/d/x"]}) == {"a": ["d", "x"]}
    assert scrub({"model": "..\\ann\\m", "dataset": "C:\\ann\\d#x"}) == {
        "model": "m",
        "dataset": "d#x",
    }


@pytest.mark.parametrize(
    "home", ["../ann/secret", "ann/secret", "{}/ann@secret.org", "./ann@secret"]
)
def test_of_any_folder_the_last_part_alone_is_published(home, tmp_path, monkeypatch):
    home = home.format(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in ("model", "digits"):
        Path(home, name).mkdir(parents=True)
    given = report(model=f"{home}/model", revision=None, data=f"{home}/digits#test")
    given = replace(given, command=shlex.join(["resque", "--model", f"{home}/model"]))
    forecasts = forecast()
    for found in forecasts["candidates"]:
        found["model"], found["shifted"] = f"{home}/model", f"{home}/digits#test blur:1"
    found = gather([given, forecasts], None)
    published = json.dumps([write_card("", found), found.reports])
    assert "ann" not in published
    assert "secret" not in published
    assert "--model model" in published


def test_a_card_that_a_library_wrote_anew_gets_its_results_replaced():
    card = ModelCard(update(CARDS["trainer"], [report(), forecast()], entries(), repo_id=REPO))
    again = update(str(card), [report(0.3)], repo_id=REPO)
    assert [fact.value for fact in facts_on(again)] == [0.3, 0.6, 0.6]
    name, results = model_index_to_eval_results(ModelCard(again).data.to_dict()["model-index"])
    assert name == "distilbert-base-uncased-finetuned-emotion"
    assert [x.metric_type for x in results[:2]] == ["accuracy", "f1"]


def test_a_library_that_merges_our_result_into_anothers_takes_nothing_from_either():
    card = front(
        "model-index:\n- name: m\n  results:\n  - task:\n      type: image-classification\n"
        "    dataset:\n      type: org/digits\n      name: Digits\n      split: test\n"
        "    metrics:\n    - type: accuracy\n      value: 0.9\n"
    )
    merged = str(ModelCard(update(card, report(), repo_id=REPO)))
    assert merged.count("- task:") == 1
    again = update(merged, report(0.3), repo_id=REPO)
    assert update(again, report(0.3), repo_id=REPO) == again
    (result,) = yaml.safe_load(split_card(again).yaml)["model-index"][0]["results"]
    assert [metric["value"] for metric in result["metrics"]] == [0.9, 0.3]


def test_front_matter_that_would_grow_without_end_is_kept_as_it_is():
    levels = [
        f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in itertools.pairwise("abcdefghijk")
    ]
    bomb = "a: &a [1, 2]\n" + "".join(levels)
    text = update(front(bomb), report(), repo_id=REPO)
    assert split_card(text).yaml.startswith(bomb)
    with pytest.raises(ResqueError, match="its front matter has over"):
        update(front("a: b\n" * 300_000), report(), repo_id=REPO)


def test_a_result_that_was_changed_by_hand_is_no_longer_ours():
    text = update(front("license: mit\n"), report(), repo_id=REPO)
    damaged = text.replace("value: 0.2", "value: about a fifth")
    assert facts_on(damaged) == []
    assert "about a fifth" in update(damaged, report(), repo_id=REPO)


WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Co", "Cn"]), max_size=12
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
YAMLS = st.builds(
    lambda found, flow, indent, unicode: yaml.safe_dump(
        found, default_flow_style=flow, indent=indent, allow_unicode=unicode, sort_keys=False
    ) if found else "",
    st.dictionaries(
        st.sampled_from(["license", "tags", "widget", "language", "co2_eq_emissions", "x y"]),
        VALUES, max_size=5,
    ),
    st.sampled_from([False, False, None]), st.sampled_from([2, 4]), st.booleans(),
)  # fmt: skip
LINES = st.lists(
    WORDS | st.sampled_from(["```", "~~~", "# h", "- a", "> q", "\tx", "---", BEGIN, END, "<pre>"]),
    max_size=8,
).map("\n".join)


ANY_CARD = given(YAMLS, LINES, st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "\ufeff"]))


@settings(max_examples=50)
@ANY_CARD
def test_any_card_is_kept_or_refused(yaml_text, body, line_break, bom):
    check_any_card(yaml_text, body, line_break, bom)


@pytest.mark.slow
@settings(max_examples=1500)
@ANY_CARD
def test_very_many_cards_are_kept_or_refused(yaml_text, body, line_break, bom):
    check_any_card(yaml_text, body, line_break, bom)


def common(a, b):
    """Number of characters that both begin with."""
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


def check_any_card(yaml_text, body, line_break, bom):
    card = bom + front(yaml_text, body).replace("\n", line_break)
    try:
        once = update(card, report(), entries(), repo_id=REPO)
    except ResqueError:
        return
    assert update(once, report(), entries(), repo_id=REPO) == once
    old, new = split_card(card), split_card(once)
    filled = re.sub(r"(?m)^(tags|co2_eq_emissions): (null|\[\]|\{\})", r"\1: ", old.yaml)
    assert is_within(filled, new.yaml)
    start = common(old.body, new.body)
    stop = len(old.body) - common(old.body[start:][::-1], new.body[::-1])
    if start < stop:  # only what was between two markers is gone
        assert BEGIN in old.body[:start]
        assert END in old.body[stop:]
    before, after = yaml.safe_load(old.yaml) or {}, yaml.safe_load(new.yaml)
    for key in before.keys() - {"tags", "co2_eq_emissions"}:
        assert repr(after[key]) == repr(before[key])
    if isinstance(before.get("tags"), list):
        assert repr(after["tags"][: len(before["tags"])]) == repr(before["tags"])


@given(st.text(max_size=60))
def test_code_shows_any_text_as_it_is(text):
    table = f"|a|b|\n|-|-|\n|{code(text)}|end|\n"
    html = MarkdownIt("commonmark").enable("table").render(table)
    cells = re.findall(r"<td>(.*?)</td>", html, flags=re.S)
    assert len(cells) == 2
    inside = re.fullmatch(r"<code>(.*)</code>", cells[0], flags=re.S)
    assert inside
    shown = inside[1]
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        shown = shown.replace(entity, character)
    assert shown == (clean(text, 80) or "?")


def test_it_is_found_in_the_package():
    assert resque.card.update is update
