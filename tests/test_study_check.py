"""What a study needs is looked up before its first cell, and told all at once."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import datasets
import pytest

from ledgers import make_entries
from resque import cli
from resque.ledger import Ledger
from resque.study import plan, run
from resque.study_check import check_cells
from resque.study_config import parse_study
from resque.study_estimate import estimate_plan

CONFIG = """name: small
models:
  - model: MODEL
    original: "DATA#train[:120]"
    eval_split: "test[:60]"
    label_column: label
    shifts:
      - {dataset: "DATA#test[:80]", family: other, eval_split: train}
shifts:
  - {corruption: gaussian, severities: [1, 2, 3, 4, 5]}
  - {class_prior: [0.5, 0.8]}
seeds: [0, 1]
target: {recovery: 0.9}
"""


@pytest.fixture
def text(digits):
    return CONFIG.replace("MODEL", digits[0]).replace("DATA", digits[1])


def changed(text, *pairs):
    for old, new in zip(pairs[::2], pairs[1::2], strict=True):
        assert old in text
        text = text.replace(old, new)
    return text


def problems(text, **options):
    """Return the lines that tell what is wrong."""
    study = parse_study(text)
    with pytest.raises(ValueError, match="the study small cannot be run:") as caught:
        check_cells(study, study.cells, **options)
    return str(caught.value).splitlines()[1:]


def test_nothing_is_wrong_with_a_study_that_can_be_run(text):
    study = parse_study(text + "retrain: {input_columns: image}")
    assert check_cells(study, study.cells) == ()
    assert check_cells(study, study.cells, ask_hub=False) == ()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("#train[:120]", "#trian[:120]",
         "line 4: original: data set '{data}' has no split 'trian'; it has train, test"),
        ("#train[:120]", "#train[:ten]",
         "line 4: original: split 'train\\[:ten\\]' is not understood"),
        ("test[:60]", "tset", "line 5: eval_split: .* no split 'tset'; it has train, test"),
        ("#test[:80]", "#tset", "line 8: dataset: .* has no split 'tset'; it has train, test"),
        ("eval_split: train}", "eval_split: rest}", "line 8: eval_split: .* has no split 'rest'"),
        ("label_column: label", "label_column: lable",
         "line 6: label_column: there is no column 'lable'; columns: .*'label'"),
        ("family: other,", "family: other, label_column: x,",
         "line 8: label_column: there is no column 'x'"),
        ("#test[:80]", "/nowhere", "line 8: dataset: there is no folder or file"),
        ("model: /", "model: /nowhere/", "line 3: model: there is no model folder '/nowhere/"),
        ("family: other,", "family: other, classes: {even: [0, 2], odd: [1, 11]},",
         "line 8: classes: the class 'odd' is made of '11', which column 'label' does not have"),
        ("corruption: gaussian", "corruption: gain",
         "line 10: corruption: corruption gain:6 is for audio data; the data is image"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(text, digits, old, new, told):
    (line,) = problems(changed(text, old, new))
    assert re.match("  " + told.format(data=re.escape(digits[1])), line)


def test_all_is_told_together_before_anything_is_written(text, digits, tmp_path, capsys):
    Path(tmp_path / "empty").mkdir()
    Path(tmp_path / "empty" / "config.json").write_text(
        Path(digits[0], "config.json").read_text(encoding="utf-8"), encoding="utf-8"
    )
    wrong = changed(
        text, digits[0], str(tmp_path / "empty"), "test[:60]", "tset", "#test[:80]", "#x[:80]"
    )
    (tmp_path / "study.yaml").write_text(wrong, encoding="utf-8")
    out = tmp_path / "out"
    for more in ([], ["--dry-run"]):
        command = ["study", str(tmp_path / "study.yaml"), "--output-dir", str(out), *more]
        assert cli.run(command) == 2
        err = capsys.readouterr().err
        assert [line.split(": ")[:2] for line in err.splitlines()[1:]] == [
            ["  line 3", "model"], ["  line 5", "eval_split"], ["  line 8", "dataset"],
        ]  # fmt: skip
        assert "holds no weights" in err
        assert not out.exists()


def test_cells_that_are_done_are_not_looked_up(text, tmp_path):
    study = parse_study(changed(text, "#test[:80]", "#nowhere"))
    left = [cell for cell in study.cells if cell.family != "other"]
    assert len(left) < len(study.cells)
    assert check_cells(study, left) == ()
    assert run(replace(plan(study, tmp_path / "out"), todo=()), progress=False) == 0


def parquet(rows):
    file = io.BytesIO()
    datasets.Dataset.from_dict(rows).to_parquet(file)
    return file.getvalue()


@pytest.fixture
def online(hub, digits):
    """A Hub with the model's configuration alone, and texts with labels."""
    hub.put("models/org/m", "config.json", Path(digits[0], "config.json").read_bytes())
    rows = parquet({"text": ["a", "b"], "label": [0, 1]})
    for split in ("train", "test"):
        hub.put("datasets/org/texts", f"data/{split}-00000-of-00001.parquet", rows)
    return hub


def test_of_the_hub_neither_weights_nor_data_are_fetched(online, digits, tmp_path):
    text = changed(
        CONFIG, "MODEL", "org/m", "DATA#test", "org/texts#tset", "DATA", digits[1],
        "seeds", "  - {dataset: org/none, family: n}\nseeds",
        "seeds", '  - {dataset: "org/texts#train[:1]", family: t, eval_split: test}\nseeds',
    )  # fmt: skip
    one, two, *rest = problems(text)
    assert "line 8: dataset: data set 'org/texts' has no split 'tset'; it has train, test" in one
    assert "line 12: dataset: data set 'org/none'" in two
    assert len(rest) == 1
    assert "line 13: dataset: the model takes image, and no column holds that" in rest[0]
    assert not any("safetensors" in path for _, path in online.requests)
    assert not list((tmp_path / "home" / "datasets").glob("org___*"))


def test_a_dry_run_without_a_probe_sends_no_request(online, text, tmp_path):
    text = changed(
        text, "#test[:80]", "#tset", "  - {class", "  - {dataset: org/none, family: n}\n  - {class"
    )
    chosen = plan(parse_study(text), tmp_path)
    chosen = replace(chosen, ledger=Ledger(tuple(make_entries(levels=1, seeds=1))))
    with pytest.raises(ValueError, match=r"cannot be run:\n  line 8: dataset: .* 'tset'[^\n]*$"):
        estimate_plan(chosen, None)
    fine = parse_study(text.replace("#tset", "#test"))
    found = estimate_plan(replace(chosen, study=fine, todo=fine.cells), None)
    assert found["not_looked_up"] == ["org/none"]
    assert json.dumps(found)
    assert online.requests == []
