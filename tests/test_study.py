"""Studies: configurations with their lines, cells, and a ledger that survives interruptions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest

from ledgers import make_entries
from resque import cli, resque_dist, study_config
from resque.ledger import FAILED, append_entry, read_ledger, write_ledger
from resque.study import merge, plan, run
from resque.study_config import parse_study
from resque.study_measurement import Measurer
from resque.study_predictors import soft_resque_dist

CONFIG = """
name: small
models:
  - {model: %s, original: "%s#train[:120]", eval_split: "test[:60]"}
shifts:
  - {corruption: gaussian, levels: [0.1, 0.4]}
  - {class_prior: [0.8]}
seeds: [0, 1]
target: {recovery: 0.9}
retrain: {epochs: 1, eval_every: 2, optimizer: sgd, learning_rate: 0.01}
measure: {layers: all}
"""


def config(digits, **changes):
    text = CONFIG % digits
    for old, new in changes.items():
        text = text.replace(*{"seeds": ("[0, 1]", new), "levels": ("[0.1, 0.4]", new)}[old])
    return text


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seeds", "sedes", r"line 8: unknown key 'sedes'; near it: seeds"),
        ("[0, 1]", "[]", r"line 8: seeds: \[\] "),
        ("[0, 1]", "[0, -1]", r"line 8: seeds.1: -1 is less than the minimum"),
        ("name: small", "name: small\nname: other", r"line 3: 'name' stands here twice"),
        ("gaussian", "gausian", r"line 6: .*gausian.*gaussian"),
        ("[0.1, 0.4]", "[0.1, -4]", r"line 6: the level of gaussian is -4"),
        ("recovery: 0.9", "recovery: 1.9", r"line 9: target.recovery: 1.9 is greater"),
        ("epochs: 1", "epocs: 1", r"line 10: retrain has no 'epocs' in a study; near it: epochs"),
        ("epochs: 1", "epochs: -1", r"line 10: epochs is -1"),
        ("optimizer: sgd", "seed: 3", r"line 10: retrain has no 'seed' in a study"),
        ("{recovery: 0.9}", "[", r"is no YAML"),
    ],
)
def test_a_wrong_configuration_is_told_with_its_line(old, new, words):
    text = (CONFIG % ("m", "d")).replace(old, new)
    with pytest.raises(ValueError, match="(?s)" + words):
        parse_study(text)


def test_what_is_not_installed_is_told_before_anything_else(monkeypatch):
    real = study_config.importlib.util.find_spec
    monkeypatch.setattr(
        study_config.importlib.util,
        "find_spec",
        lambda name: None if name in ("jsonschema", "codecarbon") else real(name),
    )
    with pytest.raises(
        ImportError, match=r"needs codecarbon, jsonschema: pip install 'resque\[study\]'"
    ):
        parse_study(CONFIG % ("m", "d"))


def test_an_empty_configuration_is_told():
    with pytest.raises(ValueError, match="line 1: it is empty"):
        parse_study("# nothing\n")


def test_cells_are_the_grid_and_their_keys_are_stable(digits):
    text = config(digits).replace("learning_rate: 0.01", "learning_rate: [0.01, 0.1]")
    cells = parse_study(text).cells
    assert len(cells) == 2 * 3 * 2
    assert len({cell.key for cell in cells}) == len(cells)
    assert {cell.family for cell in cells} == {"gaussian", "class_prior"}
    assert [cell.key for cell in parse_study("# same\n" + text).cells] == [c.key for c in cells]
    again = text.replace("shifts:", "shifts:\n  - {corruption: gaussian, levels: [0.1, 0.18]}")
    again = again.replace("  - {class", "  - {corruption: gaussian, severities: [3]}\n  - {class")
    assert len(parse_study(again).cells) == 2 * 4 * 2  # 0.1 is there already, and 0.18 is 3
    shifts = {cell.shift for cell in cells}
    assert len(shifts) == 3  # seeds and options are no shifts
    example = Path(__file__).parents[1] / "examples" / "studies"
    for file in example.glob("*.yaml"):
        assert parse_study(file.read_text()).cells, file


TASK = """
name: task
models:
  - model: %s
    original: "%s#train[:120]"
    eval_split: "test[:60]"
    shifts:
      - dataset: "%s#train[:120]"
        family: parity
        classes: {even: [0, 2, 4, 6, 8], odd: ["1", "3", "5", "7", "9"]}
target: {accuracy: 0.6}
retrain: {epochs: 1, eval_every: 2}
"""


def test_a_task_made_of_other_classes_is_measured_and_learnt(digits, tmp_path):
    study = parse_study(TASK % (*digits, digits[1]))
    assert run(plan(study, tmp_path), device="cpu", progress=False) == 0
    (entry,) = read_ledger([tmp_path]).entries
    assert entry.key == entry.cell.key == study.cells[0].key
    assert entry.cell.shift.endswith("as even: 0, 2, 4, 6, 8; odd: 1, 3, 5, 7, 9")
    assert entry.record.model.new_head
    assert (entry.record.data.classes, entry.predictors["classes"]) == (2, 2)
    assert entry.predictors["resque_task"] > 0.3  # ten clusters of digits are no parity
    assert "resque_dist" not in entry.predictors  # the original data has other classes


def test_a_label_column_belongs_to_the_data_it_is_named_with():
    text = (TASK % ("m", "d", "e")).replace("eval_split: test\n", "label_column: fine\n")
    text = text.replace('"test[:60]"', '"test[:60]"\n    label_column: coarse')
    text = text.replace("    shifts:\n", "    shifts:\n      - {corruption: blur, levels: [1]}\n")
    own, other = parse_study(text.replace("parity", "parity\n        label_column: fine")).cells
    assert (own.options["label_column"], other.options["label_column"]) == ("coarse", "fine")


def test_a_study_without_shifts_is_told():
    text = TASK % ("m", "d", "d")
    text = text[: text.index("    shifts:")] + text[text.index("target:") :]
    with pytest.raises(ValueError, match="line 4: neither the study nor this model has shifts"):
        parse_study(text)
    with pytest.raises(ValueError, match=r"line 10: .*classes"):
        parse_study((TASK % ("m", "d", "d")).replace("even: [0, 2, 4, 6, 8], ", ""))


def test_too_many_cells_and_foreign_folders_are_refused(digits, tmp_path):
    many = parse_study(config(digits, seeds=str(list(range(1000)))))
    with pytest.raises(ValueError, match="3,000 cells; --yes"):
        plan(many, tmp_path)
    assert len(plan(many, tmp_path, yes=True).todo) == 3000
    with pytest.raises(ValueError, match="expected i/n with i from 1 to n"):
        plan(many, tmp_path, shard=(3, 2), yes=True)
    (tmp_path / "study.yaml").write_text(config(digits))
    larger = parse_study(config(digits, seeds="[0, 1, 2]"))
    assert len(plan(larger, tmp_path).todo) == 9
    with pytest.raises(ValueError, match=r"holds another study \(small, 3 of its 6 cells"):
        plan(parse_study(config(digits, seeds="[0]")), tmp_path)


@pytest.fixture(scope="module")
def small(digits, tmp_path_factory):
    """The folder of a whole small study."""
    folder = tmp_path_factory.mktemp("study")
    assert run(plan(parse_study(config(digits)), folder), device="cpu", progress=False) == 0
    return folder


def test_a_study_leaves_an_entry_a_cell(digits, small):
    ledger = read_ledger([small])
    study = parse_study(config(digits))
    assert [entry.key for entry in ledger.entries] == [cell.key for cell in study.cells]
    assert not ledger.skipped
    assert not (small / ".work").exists()
    for entry in ledger.entries:
        assert entry.error is None
        assert entry.modality == "image"
        assert entry.record is not None
        assert entry.record.target is not None
        assert entry.record.data.corruption == entry.cell.corruption
        assert entry.predictors["n_train"] == entry.record.data.rows
        assert 0 <= entry.predictors["resque_dist"] <= 1
        assert {"accuracy_drop", "resque_dist_soft", "gradient_norm"} <= set(entry.predictors)
        depths = [x.depth for x in entry.indices if x.labels == "data"]
        assert depths == sorted(depths)
        assert (depths[0], depths[-1]) == (0.0, 1.0)
    weak, strong = ([e for e in ledger.entries if e.cell.level == x] for x in (0.1, 0.4))
    for a, b in zip(weak, strong, strict=True):
        assert a.predictors["resque_dist"] < b.predictors["resque_dist"]
        assert a.predictors["accuracy_drop"] < b.predictors["accuracy_drop"]
    prior = next(e for e in ledger.entries if e.cell.class_prior)
    assert prior.record.data.rows < 120
    assert prior.predictors["resque_dist"] < strong[0].predictors["resque_dist"]


def test_the_index_is_that_of_estimate(digits, small):
    from resque import estimate

    entry = read_ledger([small]).entries[1]
    report = estimate(
        entry.cell.model, original=entry.cell.original, corruption=entry.cell.corruption,
        layers="all", labels="data", seed=entry.cell.seed, device="cpu", progress=False,
    )  # fmt: skip
    values = {result.name: result.score.value for result in report.results}
    for found in entry.indices:
        if found.labels == "data":
            assert found.value == pytest.approx(values[found.layer], rel=1e-6)
    drop = report.sides[0].counts.accuracy - report.sides[1].counts.accuracy
    assert entry.predictors["accuracy_drop"] == pytest.approx(drop)


def test_the_main_layer_is_the_classifiers_input_wherever_it_is_asked_for(digits):
    cell = parse_study(config(digits)).cells[1]
    measurer = Measurer("cpu")
    whole = measurer.measure(cell)
    first, *_, last = dict.fromkeys(x.layer for x in whole.indices)
    for layers in ([last, first], [first, last], [first]):
        found = measurer.measure(replace(cell, measurement={"layers": layers}))
        assert list(dict.fromkeys(x.layer for x in found.indices)) == [first, last]
        assert found.predictors["resque_dist"] == whole.predictors["resque_dist"]
    alone = measurer.measure(replace(cell, measurement={})).indices
    assert {(x.layer, x.depth) for x in alone} == {(last, 1.0)}


def test_cells_of_other_input_columns_do_not_share_a_pass(digits, tmp_path):
    rows = datasets.load_dataset(digits[1], split="test[:40]")
    features = datasets.Features({**rows.features, "turned": datasets.Image()})
    rows = rows.map(lambda row: {"turned": row["image"].rotate(90)}, features=features)
    rows.to_parquet(tmp_path / "rows.parquet")
    cell = replace(parse_study(config(digits)).cells[0], corruption=None, measurement={})
    cell = replace(cell, original=f"{digits[1]}#test[:40]", dataset=str(tmp_path / "rows.parquet"))
    measurer = Measurer("cpu")
    upright, turned = (
        measurer.measure(replace(cell, options={"input_columns": name})).predictors["accuracy"]
        for name in ("image", "turned")
    )
    assert upright > 0.8 > turned


def test_what_is_done_is_not_done_again(digits, small, tmp_path):
    study = parse_study(config(digits))
    chosen = plan(study, small)
    assert (chosen.todo, chosen.done) == ((), 6)
    parts = [plan(study, tmp_path, shard=(i, 2)) for i in (1, 2)]
    assert {c.key for p in parts for c in p.todo} == {c.key for c in study.cells}


def test_a_failed_cell_is_recorded_and_tried_again_when_asked(digits, tmp_path):
    broken = config(digits, seeds="[0]").replace("layers: all", "layers: nowhere")
    study = parse_study(broken)
    assert run(plan(study, tmp_path), device="cpu", progress=False) == 3
    entries = read_ledger([tmp_path]).entries
    assert {entry.status for entry in entries} == {FAILED}
    assert "nowhere" in entries[0].error
    assert plan(study, tmp_path).todo == ()
    assert len(plan(study, tmp_path, retry_failed=True).todo) == 3


def test_whatever_a_library_raises_fails_one_cell_alone(digits, tmp_path, monkeypatch):
    def measure(self, cell):
        raise KeyError("no such head")

    monkeypatch.setattr(Measurer, "measure", measure)
    study = parse_study(config(digits, seeds="[0]"))
    assert run(plan(study, tmp_path), device="cpu", progress=False) == 3
    assert {x.error for x in read_ledger([tmp_path]).entries} == {"KeyError: 'no such head'"}


def test_ledgers_merge_and_bad_lines_are_named(tmp_path):
    entries = make_entries(levels=2, seeds=1)
    parts = [tmp_path / "a", tmp_path / "b.jsonl"]
    for entry in entries[:7]:
        append_entry(entry, parts[0] / "ledger.jsonl")
    for entry in entries[5:]:
        append_entry(entry, parts[1])
    newer = entries[0].to_dict() | {"schema_version": 99}
    with parts[1].open("a") as file:
        file.write('{"a": 1}\n' + json.dumps(newer) + "\n" + "[" * 100_000 + '\n{"schema_ver')
    ledger = merge(parts, tmp_path / "c")
    assert {e.key for e in ledger.entries} == {e.key for e in entries}
    assert len(ledger.skipped) == 4
    assert "no entry of a ledger" in ledger.skipped[0]
    assert "schema_version 99" in ledger.skipped[1]
    assert read_ledger([tmp_path / "c"]).entries == ledger.entries
    with pytest.raises(ValueError, match="5 entries that the ledgers to merge do not have"):
        merge(parts[:1], tmp_path / "c")
    assert read_ledger([tmp_path / "c"]).entries == ledger.entries
    assert len(merge([parts[0], tmp_path / "c"], tmp_path / "c").entries) == len(entries)
    with pytest.raises(ValueError, match="cannot read the ledger"):
        read_ledger([tmp_path / "nothing"])


def test_soft_labels_that_are_hard_give_the_index():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 5)), rng.normal(size=(50, 5)) + 1
    a, b = rng.integers(0, 4, 60), rng.integers(0, 4, 50)
    soft = soft_resque_dist(x, np.eye(4)[a], y, np.eye(4)[b])
    assert soft == pytest.approx(resque_dist(x, a, y, b).value, abs=1e-12)
    assert np.isnan(soft_resque_dist(x, np.eye(4)[0 * a], y, np.eye(4)[0 * b + 1]))


def test_the_gradient_norm_is_that_of_a_backward_pass(digits):
    import torch

    from resque.labels import map_classes
    from resque.measurement import match_classes, open_for
    from resque.options import Options
    from resque.study_measurement import gradient_norm_of_batch

    measurer = Measurer("cpu")
    model = measurer._model(digits[0])
    data = open_for(model, f"{digits[1]}#test[:20]", Options())
    classes = match_classes(data, model, None)
    found = gradient_norm_of_batch(model, data, classes, None)
    from resque.batches import Batches, make_encoder

    batch = next(x for x in Batches(data, make_encoder(model, "image"), 20) if x.inputs)
    logits = model.module(**batch.inputs).logits
    torch.nn.functional.cross_entropy(logits, torch.tensor(batch.labels)).backward()
    norm = sum(float(p.grad.pow(2).sum()) for p in model.module.parameters()) ** 0.5
    assert found == pytest.approx(norm, rel=1e-5)
    model.module.zero_grad()
    other = map_classes(("x", "y"), False, model.class_names, model.n_classes)
    assert gradient_norm_of_batch(model, data, other, None) is None


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_kill_loses_and_doubles_no_cell(digits, tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(config(digits))
    command = [sys.executable, "-m", "resque", "study", str(file), "--output-dir"]
    out = tmp_path / "out"
    codes = []
    for number in (signal.SIGKILL, signal.SIGTERM, None):
        process = subprocess.Popen([*command, str(out)], stderr=subprocess.PIPE, text=True)
        n = len((out / "ledger.jsonl").read_bytes().splitlines()) if codes else 0
        deadline = time.monotonic() + 200
        while number and time.monotonic() < deadline:
            lines = (out / "ledger.jsonl").read_bytes() if (out / "ledger.jsonl").exists() else b""
            if len(lines.splitlines()) > n:
                break
            time.sleep(0.01)
        if number:
            process.send_signal(number)
        _, err = process.communicate(timeout=200)
        codes.append(process.returncode)
        assert "Traceback" not in err
    assert codes[::2] == [-signal.SIGKILL, 0]
    assert codes[1] in (143, -signal.SIGTERM)  # within a retraining, or before it
    ledger = read_ledger([out])
    assert len((out / "ledger.jsonl").read_text().splitlines()) == len(ledger.entries) == 6
    assert not ledger.skipped


def test_what_is_left_to_other_shards_is_told(digits, small, tmp_path, capsys):
    file = tmp_path / "study.yaml"
    file.write_text(config(digits))
    first = plan(parse_study(config(digits)), tmp_path, shard=(1, 2))
    keys = {cell.key for cell in first.todo}
    entries = [entry for entry in read_ledger([small]).entries if entry.key in keys]
    write_ledger(entries, tmp_path / "ledger.jsonl")
    command = ["study", str(file), "--output-dir", str(tmp_path), "--shard", "1/2"]
    assert cli.run(command) == 0
    assert "3 cells are left to other shards" in capsys.readouterr().out
    assert cli.run([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["report"] is None
    assert "3 cells are left to other shards" in found["reason"]


def test_the_command_line(digits, small, tmp_path, capsys):
    file = tmp_path / "study.yaml"
    file.write_text(config(digits))
    assert cli.run(["study", str(file), "--output-dir", str(small), "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["cells"], found["cells_done"], found["cells_to_run"]) == (6, 6, 0)
    again = ["study", str(file), "--output-dir", str(tmp_path / "new"), "--dry-run", "--json"]
    assert cli.run([*again, "--price-per-hour", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cells_to_run"] == 6
    assert found["seconds"] > 0
    assert found["price"] == pytest.approx(found["seconds"] / 1800, abs=1e-4)
    assert "a probe of each model" in found["basis"]
    assert not (tmp_path / "new").exists()
    part, cells = tmp_path / "part", parse_study(config(digits)).cells[::2]
    for entry in read_ledger([small]).entries:
        if entry.key in {cell.key for cell in cells}:
            append_entry(entry, part / "ledger.jsonl")
    shard = ["--output-dir", str(part), "--shard", "1/2"]
    assert cli.run(["study", str(file), *shard, "--json"]) == 0
    reason = "3 cells are left to other shards; the last to end writes the report"
    assert json.loads(capsys.readouterr().out) == {"report": None, "reason": reason}
    file.write_text(config(digits).replace("seeds", "sedes"))
    assert cli.run(["study", str(file), "--output-dir", str(tmp_path / "x")]) == 2
    assert "line 8" in capsys.readouterr().err
