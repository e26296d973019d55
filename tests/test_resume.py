"""A run that was killed, stopped or interrupted goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import transformers

from resque import cli, read_records
from test_representations import VISION

TIMES = ("seconds", "kwh", "co2eq", "memory", "per_second", "started", "ended", "run_id", "price")


@pytest.fixture(scope="module")
def with_dropout(digits, tmp_path_factory):
    """A ViT with dropout, so that random numbers matter to the last bit."""
    folder = tmp_path_factory.mktemp("vit")
    transformers.set_seed(0)
    names = {i: str(i) for i in range(10)}
    config = transformers.ViTConfig(
        **VISION, hidden_dropout_prob=0.2, id2label=names, label2id={v: k for k, v in names.items()}
    )
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.AutoImageProcessor.from_pretrained(digits[0]).save_pretrained(folder)
    return str(folder), digits[1]


def command(with_dropout, out, *more):
    model, data = with_dropout
    return [
        sys.executable, "-m", "resque.retrain", "--model", model, "--dataset", data,
        "--max-samples", "330", "--max-eval-samples", "64", "--epochs", "5", "--batch-size", "8",
        "--checkpoint-every", "7", "--eval-every", "10", "--schedule", "cosine",
        "--learning-rate", "1e-3", "--output-dir", str(out), *more,
    ]  # fmt: skip


def run_here(with_dropout, out, *more):
    """The same command in this process, which spares starting another one."""
    assert cli.run(["retrain", *command(with_dropout, out, *more)[3:]]) == 0


def stop(with_dropout, out, number, wait, delay):
    """Start or resume a run, send it a signal once `wait(out)` holds and `delay` s have passed."""
    process = subprocess.Popen(
        command(with_dropout, out, "--resume"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 200
    while not wait(out) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(delay)
    process.send_signal(number)
    _, err = process.communicate(timeout=200)
    return process.returncode, err


def attempts(out):
    return len(list((out / "attempts").glob("*.json")))


def checkpoints(out):
    return sorted(p.name for p in (out / "checkpoints").glob("step-*"))


def strip(found):
    """Leave out of a record what time and place make of it."""
    if isinstance(found, dict):
        return {
            k: strip(v)
            for k, v in found.items()
            if not any(word in k for word in TIMES) and k not in ("wasted", "resumes", "command")
        }
    return [strip(x) for x in found] if isinstance(found, list) else found


def check_the_same(whole, other):
    records = [json.loads((x / "records.jsonl").read_text()) for x in (whole, other)]
    assert strip(records[0]) == strip(records[1])
    weights = [(x / "model" / "model.safetensors").read_bytes() for x in (whole, other)]
    assert weights[0] == weights[1]


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_kill_term_and_ctrl_c_change_nothing(with_dropout, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    run_here(with_dropout, whole)

    code, _ = stop(with_dropout, out, signal.SIGKILL, checkpoints, 0.05)
    assert code == -signal.SIGKILL
    assert attempts(out) == 1
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        n = attempts(out)
        code, err = stop(with_dropout, out, number, lambda out, n=n: attempts(out) > n, 0.1)
        assert code == status, err
        assert "--resume goes on" in err
        assert "Traceback" not in err
    assert len(checkpoints(out)) == 2
    newest = checkpoints(out)[-1]
    torn = out / "checkpoints" / newest / "model.safetensors"
    torn.write_bytes(torn.read_bytes()[:-1])
    run_here(with_dropout, out, "--resume")
    (record,) = read_records(out)
    assert record.resumes == 3
    assert record.wasted.seconds > 0  # the work after the older checkpoint is done again
    assert any(f"broken checkpoint {newest}: model.safetensors is damaged" in n
               for n in record.notes)  # fmt: skip
    expected = read_records(whole)[0]
    assert record.notes[: len(expected.notes)] == expected.notes
    document = json.loads((out / "records.jsonl").read_text())
    document["notes"] = list(expected.notes)
    (out / "records.jsonl").write_text(json.dumps(document))
    check_the_same(whole, out)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_up_to_ten_kills_at_random_moments_change_nothing(with_dropout, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    run_here(with_dropout, whole)
    rng = random.Random(0)
    longest = min(0.8, read_records(whole)[0].seconds_training / 6)  # several kills before its end
    for _ in range(10):
        n = attempts(out)
        code, err = stop(
            with_dropout, out, signal.SIGKILL, lambda out, n=n: attempts(out) > n,
            rng.uniform(0, longest),
        )  # fmt: skip
        if code == 0:  # it had ended before the signal
            break
        assert code == -signal.SIGKILL, err
    run_here(with_dropout, out, "--resume")
    (record,) = read_records(out)
    assert 3 <= record.resumes == attempts(out) - 1  # the last kill may come after the end
    check_the_same(whole, out)
