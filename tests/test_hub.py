"""Models, data sets, fingerprints and the metric by their ids, over HTTP, from fresh processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hub_server import serve

RUN = [sys.executable, "-c", "from resque.cli import main; main()"]
METRIC = Path(__file__).parents[1] / "metrics" / "resque"


@pytest.fixture(scope="module")
def hub(digits):
    model, data = digits
    with serve() as hub:
        for path in Path(model).iterdir():
            hub.put("models/org/digits-resnet", path.name, path.read_bytes())
        for path in Path(data).iterdir():
            hub.put("datasets/org/digits", path.name, path.read_bytes())
        for path in METRIC.iterdir():
            if path.is_file():
                hub.put("spaces/org/resque", path.name, path.read_bytes())
        hub.put("models/org/gated", "config.json", b"{}")
        hub.gated.add("models/org/gated")
        yield hub


def environment(hub, tmp_path):
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("HF_")},
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def call(hub, tmp_path, *arguments, **extra):
    return subprocess.run(
        [*RUN, *arguments],
        env=environment(hub, tmp_path) | extra,
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_by_ids_and_publishing(hub, tmp_path):
    done = call(
        hub, tmp_path, "fingerprint", "--model", "org/digits-resnet", "--dataset",
        "org/digits#train", "--push-to-hub", "org/digits-resnet", "--json", HF_TOKEN="hf_secret",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "hf_secret" in hub.tokens
    assert "hf_secret" not in done.stdout + done.stderr
    stored = hub.files["models/org/digits-resnet", "resque.safetensors"]
    assert b"hf_secret" not in stored
    assert json.loads(done.stdout)["address"].startswith(hub.address)
    done = call(
        hub, tmp_path / "other", "estimate", "--model", "org/digits-resnet",
        "--shifted", "org/digits#test", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert len(report["model_revision"] or "") == 40
    assert report["shifted"]["revision"] == hub.sha("datasets/org/digits")
    assert "fingerprint" in report["original"]["dataset"]
    assert f"org/digits-resnet@{report['model_revision']}" in report["command"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "org/gated", "--task", "org/digits"], "is gated.*hf auth login.*HF_TOKEN"),
        (["--model", "org/nothing", "--task", "org/digits"], "neither a folder.*nor on the Hub"),
        (["--model", "org/digits-resnet@nope", "--task", "org/digits"], "no such revision"),
        (["--model", "org/digits-resnet", "--task", "org/nothing"], "'org/nothing'.*Hub|hf auth"),
    ],
)
def test_what_is_not_there_or_not_allowed(hub, tmp_path, arguments, words):
    import re

    done = call(hub, tmp_path, "estimate", *arguments, HF_TOKEN="hf_secret")
    assert done.returncode == 1
    assert re.search(words, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert "hf_secret" not in done.stderr


def test_the_metric_by_its_id(hub, tmp_path):
    code = (
        "import evaluate, numpy as np\n"
        "metric = evaluate.load('org/resque', 'task')\n"
        "print(metric.compute(predictions=np.eye(4)[[0, 0, 1, 1]], references=[0, 0, 1, 1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(hub, tmp_path), cwd=tmp_path, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert "'resque_task': 0.0" in done.stdout, done.stderr


def test_a_stream_gives_what_a_download_gives(hub, tmp_path):
    command = ["estimate", "--model", "org/digits-resnet", "--original", "org/digits#train"]
    command += ["--shifted", "org/digits#test", "--json"]
    found = []
    for i, flags in enumerate(([], ["--streaming"])):
        done = call(hub, tmp_path / str(i), *command, *flags)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout)["resque_dist"])
    assert found[0] == found[1]
    assert not list((tmp_path / "1").rglob("*.arrow"))


def test_publishing_where_nothing_listens(hub, tmp_path, digits):
    model, data = digits
    done = call(
        hub, tmp_path, "fingerprint", "--model", model, "--dataset", f"{data}#test[:60]",
        "--push-to-hub", "org/digits-resnet", HF_ENDPOINT="http://127.0.0.1:9", HF_TOKEN="hf_x",
    )  # fmt: skip
    assert done.returncode == 1
    assert "'org/digits-resnet'" in done.stderr
    assert "Traceback" not in done.stderr
    assert "defect" not in done.stderr
