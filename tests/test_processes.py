"""Two and three real processes make the fingerprint that one makes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from resque import Fingerprint, estimate, fingerprint
from resque.processes import together

SCRIPT = """
import sys
import resque
from resque.cli import leave
from resque.processes import is_main_process

model, data, output = sys.argv[1:]
rows, options = f"{data}#test[:101]", {"device": "cpu", "batch_size": 8, "progress": False}
fp = resque.fingerprint(model, rows, "all", **options)
task = resque.estimate(model, task=rows, label_column="odd", **options)
if is_main_process():
    fp.save_pretrained(output)
    print("task", repr(task.score.value))
leave(0)
"""


OPTIONS = {"device": "cpu", "batch_size": 8, "progress": False}


def launch(digits, tmp_path, processes):
    script, output = tmp_path / "script.py", tmp_path / str(processes)
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command.append(f"--nproc_per_node={processes}")
    done = subprocess.run(
        [*command, str(script), *digits, str(output)],
        env=os.environ | {"ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    task = [line for line in done.stdout.splitlines() if line.startswith("task")]
    return Fingerprint.from_pretrained(output), task


@pytest.mark.parametrize("processes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_the_fingerprint_is_the_same(digits, tmp_path, processes):
    model, rows = digits[0], f"{digits[1]}#test[:101]"
    one = fingerprint(model, rows, "all", **OPTIONS)
    task = estimate(model, task=rows, label_column="odd", **OPTIONS).score.value
    many, other = launch(digits, tmp_path, processes)
    assert many.header.counts == pytest.approx(one.header.counts) or _same_counts(one, many)
    assert other == [f"task {task!r}"]
    for layer in one.header.layers:
        labels = sorted(one.sums[layer].labels)
        (n, sums), (m, others) = (fp.sums[layer].select(labels) for fp in (one, many))
        assert (n == m).all()
        assert others == pytest.approx(sums, rel=1e-12, abs=0)


def _same_counts(one, many):
    a, b = one.header.counts, many.header.counts
    assert (
        (a.samples, a.scored, a.correct)
        == (b.samples, b.scored, b.correct)
        == (101, 101, a.correct)
    )
    return a.loss_sum == pytest.approx(b.loss_sum, rel=1e-9)


@pytest.mark.slow
def test_an_error_on_one_process_ends_all(digits, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, resque, datasets\n"
        "rows = [dict(r) for r in datasets.load_dataset(sys.argv[2], split='test[:8]')"
        ".cast_column('image', datasets.Image(decode=False))]\n"
        "rows[3]['image'] = {'bytes': b'torn', 'path': None}\n"
        "table = datasets.Dataset.from_list(rows).cast_column('image', datasets.Image())\n"
        "resque.fingerprint(sys.argv[1], table, device='cpu', progress=False)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
         str(script), *digits],
        env=os.environ | {"ACCELERATE_USE_CPU": "true"},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode != 0
    assert "row 3 " in done.stderr


def test_a_failure_without_a_text_is_told_to_the_others(monkeypatch):
    told = []
    monkeypatch.setattr("resque.processes.rank_and_world", lambda: (0, 2))
    monkeypatch.setattr("accelerate.utils.gather_object", lambda x: told.extend(x) or [*x, None])

    def run():
        raise AssertionError

    with pytest.raises(AssertionError):
        together(run)
    assert told == ["AssertionError"]  # an empty text would pass for success there
