"""Two real processes retrain as one does; what happens when one of them stops, dies or hangs."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
from safetensors.torch import load_file

from resque import read_records
from resque.retrain import retrain

pytestmark = pytest.mark.skipif(os.name == "nt", reason="gloo and signals of POSIX")
LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


def start(arguments):
    return subprocess.Popen(
        [*LAUNCHER, *arguments],
        env=os.environ | {"ACCELERATE_USE_CPU": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def command(digits, out, *more):
    model, data = digits
    return [
        "-m", "resque.retrain", "--model", model, "--dataset", f"{data}#train[:101]",
        "--eval-split", "test[:67]", "--corruption", "gaussian:0.3", "--batch-size", "8",
        "--output-dir", str(out), *more,
    ]  # fmt: skip


def end(process, timeout=200):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


# SGD, since AdamW enlarges rounding.
WHOLE = ["--epochs", "3", "--eval-every", "1", "--optimizer", "sgd", "--learning-rate", "0.02"]
WHOLE += ["--checkpoint-every", "9", "--json"]


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory):
    """The folder of a run of two processes, and what it printed."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    code, out, err = end(start(command(digits, folder, *WHOLE)))
    assert code == 0, err
    return folder, out


def test_two_processes_retrain_as_one(digits, whole, tmp_path):
    model, data = digits
    one = retrain(
        model, f"{data}#train[:101]", tmp_path / "1", eval_split="test[:67]", batch_size=16,
        corruption="gaussian:0.3", epochs=3, eval_every=1, optimizer="sgd", learning_rate=0.02,
        device="cpu", progress=False,
    )  # fmt: skip
    folder, out = whole
    (two,) = read_records(folder)
    assert json.loads(out) == two.to_dict()  # the main process alone reports
    assert (two.training.world_size, two.training.nodes) == (2, 1)
    assert two.training.effective_batch_size == one.training.effective_batch_size == 16
    assert len(one.evaluations) == len(two.evaluations) == 19
    for a, b in zip(one.evaluations, two.evaluations, strict=True):
        assert (a.step, a.eval_accuracy) == (b.step, b.eval_accuracy)
        assert b.eval_loss == pytest.approx(a.eval_loss, abs=1e-5)
        assert b.train_loss == (a.train_loss and pytest.approx(a.train_loss, abs=1e-5))
    for a, b in zip(one.epochs, two.epochs, strict=True):
        for name in ("grad_norm", "grad_norm_last", "param_change_from_previous"):
            assert getattr(b, name) == pytest.approx(getattr(a, name), rel=1e-4)
    weights = [load_file(x / "model" / "model.safetensors") for x in (tmp_path / "1", folder)]
    for name, tensor in weights[0].items():
        assert (tensor - weights[1][name]).abs().max() < 1e-5, name
    assert two.device_seconds == pytest.approx(2 * two.seconds_training)


def wait_for(condition, process):
    deadline = time.monotonic() + 150
    while not condition() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    assert condition()


def workers(process):
    found = psutil.Process(process.pid).children(recursive=True)
    return [p for p in found if "resque.retrain" in " ".join(p.cmdline())]


def assert_gone(processes):
    _, alive = psutil.wait_procs(processes, timeout=60)
    for p in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            p.kill()
    assert not alive


@pytest.mark.slow
def test_sigterm_saves_on_the_same_step(digits, tmp_path):
    out, options = tmp_path / "out", ["--epochs", "400", "--checkpoint-every", "3"]
    process = start(command(digits, out, *options, "--learning-rate", "1e-6"))
    wait_for(lambda: list(out.glob("checkpoints/step-*")), process)
    ranks = workers(process)
    assert len(ranks) == 2
    process.send_signal(signal.SIGTERM)
    code, _, err = end(process)
    assert code != 0
    assert err.count("resque: saved at step") == 2, err
    assert_gone(ranks)
    newest = sorted(p.name for p in out.glob("checkpoints/step-*"))[-1]
    saved = int(newest.removeprefix("step-"))
    assert f"saved at step {saved} " in err


@pytest.mark.slow
def test_two_processes_go_on_past_the_first_epoch(digits, whole, tmp_path):
    """Killed at step 9 of epochs of 6 steps, where the weights of the epoch before are needed."""
    folder, out = whole[0], tmp_path / "out"
    shutil.copytree(folder, out)
    shutil.rmtree(out / "model")
    (out / "records.jsonl").unlink()
    shutil.rmtree(out / "checkpoints" / "step-00000018", ignore_errors=True)
    state = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(state | {"status": "running"}))
    assert [p.name for p in (out / "checkpoints").glob("step-*")] == ["step-00000009"]
    code, _, err = end(start(command(digits, out, *WHOLE, "--resume")))
    assert code == 0, err
    (a,), (b,) = read_records(folder), read_records(out)
    assert b.resumes == 1
    assert a.evaluations == b.evaluations
    for x, y in zip(a.epochs, b.epochs, strict=True):
        assert x.param_change_from_previous == y.param_change_from_previous
    files = [(x / "model" / "model.safetensors").read_bytes() for x in (folder, out)]
    assert files[0] == files[1]


def test_a_worker_that_dies_ends_the_run_and_leaves_its_cost(digits, tmp_path):
    out = tmp_path / "out"
    process = start(command(digits, out, "--epochs", "2000", "--learning-rate", "1e-6"))
    wait_for(lambda: list(out.glob("checkpoints/step-*")), process)
    ranks = workers(process)
    ranks[1].kill()
    code, _, err = end(process)
    assert code != 0
    assert_gone(ranks)
    beat = json.loads((out / "attempts" / "000-node0.json").read_text())
    assert beat["costs"]["overhead"]["seconds"] > 0
    assert not (out / "records.jsonl").exists()
    assert 'Traceback (most recent call last):\n  File "/' not in err.split("resque:")[0]


@pytest.mark.slow
def test_a_worker_that_hangs_ends_the_run_in_time(digits, tmp_path):
    out = tmp_path / "out"
    process = start(
        command(digits, out, "--epochs", "2000", "--learning-rate", "1e-6", "--timeout", "5")
    )
    wait_for(lambda: list(out.glob("checkpoints/step-*")), process)
    ranks = workers(process)
    ranks[1].suspend()
    code, _, err = end(process)
    assert code != 0
    assert "did not answer in time" in err or "no progress for 5 s" in err
    assert_gone(ranks)


SCRIPT = """
import sys
from accelerate import PartialState
from resque import preparation
from resque.errors import ResqueError
from resque.retrain import retrain

model, data, out, kind = sys.argv[1:]
rank = PartialState(cpu=True).process_index
versions = preparation.all_versions()
if kind == "version" and rank == 1:
    preparation.all_versions = lambda: versions | {"torch": "1.0"}
rows = 100 + rank * (kind == "data")
try:
    retrain(model, f"{data}#train[:{rows}]", out, eval_split="test[:40]", device="cpu",
            progress=False, grid_intensity=1.0)
except ResqueError as error:
    print("said:", error)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "words"), [("data", "data"), ("version", "torch 1.0")])
def test_processes_with_other_data_or_versions_are_told_apart(digits, tmp_path, kind, words):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    code, out, err = end(start([str(script), *digits, str(tmp_path / "out"), kind]))
    assert code == 0, err
    assert out.count(f"said: process 1 has another {words}") == 2
