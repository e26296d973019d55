"""The metric's own Space: it starts from its folder alone, and answers what the package answers."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import sys
import zipfile
from importlib.machinery import PathFinder
from pathlib import Path

import numpy as np
import pytest

import resque
from browser import DESKTOP, PHONE, overflow, screenshot, serious_violations

FOLDER = Path(__file__).parents[1] / "metrics" / "resque"
sys.path.append(str(FOLDER))  # last, as in app.py: its resque.py must not hide the package

import answer_page  # noqa: E402
import state_tables  # noqa: E402
from metric_answers import Answer  # noqa: E402


@pytest.fixture(scope="module")
def app(start_app, tmp_path_factory):
    folder = tmp_path_factory.mktemp("spaces") / "of-any-name"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    # It is told to send gradio's analytics, and must not.
    return start_app("app.py", cwd=folder, GRADIO_ANALYTICS_ENABLED="True")


def arrays(shape=(6,), n=60, seed=0):
    """Two sides of three classes: hidden states and labels of each."""
    rng = np.random.default_rng(seed)
    labels = np.array(["ant", "bee", "cow"])[np.arange(n) % 3]
    means = dict(zip(("ant", "bee", "cow"), rng.normal(size=(3, *shape)), strict=True))
    states = np.array([means[x] for x in labels]) + 0.3 * rng.normal(size=(n, *shape))
    shifted = states + 0.5 * rng.normal(size=shape) + 0.1 * rng.normal(size=(n, *shape))
    return states, labels, shifted, labels


def lines(states, labels):
    rows = ([x, *map(repr, row.tolist())] for x, row in zip(labels, states, strict=True))
    return "\n".join(", ".join(row) for row in rows)


def saved(folder, states, labels, name="states.npz"):
    np.savez(folder / name, hidden_states=states, labels=labels)
    return str(folder / name)


def box(page, name):
    return page.get_by_role("textbox", name=name)


def upload(page, side, path):
    chooser = page.locator(".upload").filter(has_text=side).locator("input[type=file]")
    chooser.set_input_files(path)
    page.locator(".upload").filter(has_text=Path(path).name.split(".")[0]).wait_for()


def measured(page):
    """Press the button and return the answer, which must be another than before."""
    shown = "document.querySelector('.answer')?.outerHTML"
    before = page.evaluate(shown)
    page.get_by_role("button", name="Measure").click()
    page.wait_for_function(f"before => {shown} && {shown} !== before", arg=before)
    return page.locator(".answer")


def document(page):
    """Return the JSON that the page shows, and fold it away again."""
    fold = page.get_by_role("button", name="The same as JSON")
    fold.click()
    text = page.locator("code.language-json").inner_text()
    fold.click()
    return json.loads(text)


def test_the_package_is_found_first_and_no_package_before_the_apps_modules(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])  # as `python app.py` starts
    assert PathFinder.find_spec("resque").origin == str(FOLDER / "resque.py")
    runpy.run_path(str(FOLDER / "app.py"))
    assert PathFinder.find_spec("resque").origin == resque.__file__
    for name in ("answer_page", "metric_answers", "state_tables"):
        assert PathFinder.find_spec(name).origin == str(FOLDER / f"{name}.py")


def test_pasted_lines_give_what_the_package_gives(app, visit):
    page = visit(app)
    x, y, z, w = arrays()
    box(page, "Original data").fill(lines(x, y))
    box(page, "Shifted data").fill(lines(z, w))
    answer = measured(page)
    expected = resque.resque_dist(x, y, z, w)
    assert (
        f"{expected.value / expected.noise_floor:.1f} times the noise floor" in answer.inner_text()
    )
    numbers = answer.locator("dd").all_inner_texts()
    low, high = expected.interval
    assert numbers[:3] == [f"{expected.value:.3f}", f"{low:.3f} to {high:.3f}",
                           f"{expected.noise_floor:.3f}"]  # fmt: skip
    found = document(page)
    assert found["resque_dist"] == expected.value
    assert found["interval"] == list(expected.interval)
    assert found["per_class"] == expected.per_class
    screenshot(page, "metric-answer")


def test_the_example_on_arrival_is_an_answer_to_what_the_form_holds(app, visit):
    page = visit(app)
    first = document(page)
    texts = [box(page, name).input_value() for name in ("Original data", "Shifted data")]
    x, z = (state_tables.read_lines(text, "") for text in texts)
    assert first["resque_dist"] == resque.resque_dist(x.states, x.labels, z.states, z.labels).value


def test_uploads_and_a_new_task(app, visit, tmp_path):
    page = visit(app)
    x, y, z, w = arrays(shape=(5, 2, 2))
    upload(page, "Original data", saved(tmp_path, x, y, "original.npz"))
    upload(page, "Shifted data", saved(tmp_path, z, w, "shifted.npz"))
    measured(page)
    assert document(page)["resque_dist"] == resque.resque_dist(x, y, z, w).value
    page.get_by_label("The task is new (task)").check()
    box(page, "New task's data").wait_for()
    assert not box(page, "Original data").is_visible()
    answer = measured(page)
    expected = resque.resque_task(z, w)
    assert document(page)["resque_task"] == expected.value
    assert f"adjusted Rand index of {1 - expected.value:.3f}" in answer.inner_text()


def test_problems_are_sentences_on_the_page(app, visit, tmp_path):
    page = visit(app)
    box(page, "Shifted data").fill("cat, 1.0, 0.1\ncat, 1.0, abc")
    problem = measured(page)
    assert problem.get_attribute("role") == "alert"
    assert "Shifted data, line 2: 'abc' is not a number" in problem.inner_text()
    assert serious_violations(page) == []
    screenshot(page, "metric-problem")
    box(page, "Shifted data").fill("cat, 1.0\ncat, 0.9")
    assert "original has 3 dimensions and shifted 1" in measured(page).inner_text()
    evil = "<img src=x onerror=\"console.error('ran')\">"
    box(page, "Original data").fill(f"{evil}, 1, 0\n" * 5)
    box(page, "Shifted data").fill(f"{evil}, 0, 1\n" * 5)
    answer = measured(page)
    assert answer.locator("th").inner_text() == evil
    assert page.locator("img[src=x]").count() == 0
    upload(page, "Shifted data", saved(tmp_path, *arrays(shape=(2,))[:2], "good.npz"))
    assert "no class in common" in measured(page).inner_text()


@pytest.mark.parametrize(
    ("size", "dark"),
    [
        (DESKTOP, False),
        (PHONE, True),
        pytest.param(PHONE, False, marks=pytest.mark.slow),
        pytest.param(DESKTOP, True, marks=pytest.mark.slow),
    ],
)
def test_everyone_can_read_it_on_any_screen(app, visit, size, dark):
    page = visit(app, size=size, dark=dark)
    for tab, shown in {"Measure": ".answer", "Documentation": ".card h1"}.items():
        page.get_by_role("tab", name=tab).click()
        page.locator(shown).wait_for()
        assert serious_violations(page) == []
        assert overflow(page) == 0
        screenshot(page, f"metric-{tab}-{size[0]}-{'dark' if dark else 'light'}".lower())


def test_the_keyboard_reaches_the_button(app, visit):
    page = visit(app)
    box(page, "Shifted data").fill("")
    for _ in range(4):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == "Measure":
            break
    page.keyboard.press("Enter")
    page.locator(".answer.problem").wait_for()


def test_files_that_are_too_large_or_of_another_kind(app, visit, tmp_path):
    visit.allow("404|console: Response")  # gradio asks how an upload goes that it has refused
    page = visit(app)
    (tmp_path / "large.csv").write_bytes(b"a, 1\n" * 5 * 2**20)
    (tmp_path / "notes.txt").write_text("a, 1")
    chooser = page.locator("input[type=file]").first
    for name, words in {"large.csv": "exceed", "notes.txt": "Invalid file type"}.items():
        chooser.set_input_files(tmp_path / name)
        page.get_by_text(words).wait_for()
    box(page, "Shifted data").fill("")
    assert "nothing there" in measured(page).inner_text()  # and the page goes on


TEXTS = {
    "": "nothing there",
    "label, x, y\na, 1, 2": "line 1: 'x' is not a number",
    "a, 1, 2\n\na, 1": "line 3: 1 numbers, but the first line has 2",
    "a\nb": "line 1: no numbers after 'a'",
    "a, 1\na, nan\na, inf": r"2 of 3 samples have NaN or infinite values \(first: sample 2\)",
    "a, 1\nb, 2\nb, 1\na, 0\n" * 100_000: "characters; up to",
    "\n".join(f"{i}, 1" for i in range(1001)): "1,001 classes",
    '"' + "a" * 200_000: "line 1: field larger",
}


@pytest.mark.parametrize(("text", "words"), TEXTS.items(), ids=list(TEXTS.values()))
def test_text_that_is_no_table(text, words):
    panel, result = answer_page.answered("dist", text, None, "a, 1", None)
    assert re.search(f"Shifted data.*{words}", panel.replace("&#x27;", "'")), panel
    assert result == ""


def test_a_task_of_one_class_or_too_large(tmp_path):
    assert "one class" in answer_page.answered("task", "a, 1\na, 2", None, "", None)[0]
    large = saved(tmp_path, np.zeros((10_000, 64)), np.arange(10_000) % 1000)
    assert "take too long" in answer_page.answered("task", "", large, "", None)[0]


class Bomb:
    def __reduce__(self):
        return (print, ("pickled code ran",))


def _pickled(path):
    np.savez(path, hidden_states=np.zeros((2, 2)), labels=np.array([Bomb(), "b"], object))


def _zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content)


FILES = {
    "pickled.npz": (_pickled, "pickled objects"),
    "text.npz": (lambda path: path.write_text("a, 1"), "not a readable .npz"),
    "empty.npz": (lambda path: path.write_bytes(b""), "not a readable .npz"),
    "lacking.npz": (lambda path: np.savez(path, x=np.eye(2)), "no array hidden_states"),
    "junk.npz": (
        lambda path: _zip(path, {"hidden_states.npy": b"junk", "labels.npy": b"junk"}),
        "not a readable .npz",
    ),
    "bomb.npz": (lambda path: _zip(path, {"x.npy": b"0" * 201 * 2**20}), "201 MB unpacked"),
    "short.npz": (
        lambda path: np.savez(path, hidden_states=np.eye(3), labels=np.arange(2)),
        r"shape \(3, 3\) and labels \(2,\)",
    ),
    "flat.npz": (
        lambda path: np.savez(path, hidden_states=np.arange(2.0), labels=np.arange(2)),
        "expected",
    ),
    "words.npz": (
        lambda path: np.savez(path, hidden_states=np.array([["a"]]), labels=np.arange(1)),
        "no numbers",
    ),
    "halves.npz": (
        lambda path: np.savez(path, hidden_states=np.eye(1), labels=np.array([0.5])),
        "ints or texts",
    ),
    "latin.csv": (lambda path: path.write_bytes(b"caf\xe9, 1"), "not a text in UTF-8"),
    "binary.csv": (lambda path: path.write_bytes(bytes(1000)), "line 1"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_table(tmp_path, name, capsys):
    write, words = FILES[name]
    write(tmp_path / name)
    panel, result = answer_page.answered("dist", "", str(tmp_path / name), "a, 1", None)
    assert re.search(f"Shifted data, file {name}.*{words}", panel), panel
    assert result == ""
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("kind", [int, float, bool, str])
def test_labels_of_a_file_and_of_lines_agree(tmp_path, kind):
    x, labels = np.eye(2), np.array([0, 1]).astype(kind)
    table = state_tables.read_file(saved(tmp_path, x, labels), "file")
    assert table.labels == state_tables.read_lines(lines(x, ["0", "1"]), "").labels
    assert np.array_equal(table.states, x)


def test_the_words_follow_the_numbers():
    numbers = resque.resque_dist(*arrays()).to_dict()
    result = {"resque_dist": numbers["value"], **numbers}

    def said(notes=(), **other):
        return answer_page.draw(Answer("dist", result | other, list(notes)))

    assert "times the noise floor" in said()
    assert "&lt; 0.001" in said(p_value=1e-9)
    assert "No shift can be told from noise" in said(p_value=0.3)
    assert "at least 5 different samples" in said(noise_floor=None, p_value=None)
    assert "<li>left out &lt;b&gt;.</li>" in said(["left out <b>"])
    assert "8 more classes" in said(per_class={str(i): i / 20 for i in range(20)})
