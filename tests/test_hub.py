"""Models, data sets, fingerprints and the metric by their ids, over HTTP, from fresh processes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi

import resque
from hub_repositories import Account
from hub_server import inside, serve
from resque import cli, estimate, fingerprint, space_hub
from resque.hub import Target
from resque.metric_install import metric_source
from resque.space_hub import demo_folder

RUN = [sys.executable, "-c", "from resque.cli import main; main()"]


@pytest.fixture(scope="module")
def hub(digits):
    model, data = digits
    with serve() as hub:
        for path in Path(model).iterdir():
            hub.put("models/org/digits-resnet", path.name, path.read_bytes())
        for path in Path(data).iterdir():
            hub.put("datasets/org/digits", path.name, path.read_bytes())
        hub.put("models/org/gated", "config.json", b"{}")
        hub.accounts["hf_other"] = Account("stranger")
        hub.repository("models/org/gated").gated = True
        yield hub


def whole(folder):
    """Return the names of a folder's files, without what Python and mypy leave behind."""
    files = {str(x.relative_to(folder)) for x in folder.rglob("*") if x.is_file()}
    return {x for x in files if "__pycache__" not in x and not x.startswith(".mypy_cache")}


def call(hub, tmp_path, *arguments, **extra):
    return subprocess.run(
        [*RUN, *arguments],
        env=hub.environment(tmp_path / "home") | extra,
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
    stored = hub.files("models/org/digits-resnet")["resque.safetensors"]
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


def test_what_is_not_there_or_not_allowed(hub, tmp_path):
    wrong = {
        ("org/gated", "org/digits"): "is gated.*hf auth login.*HF_TOKEN",
        ("org/nothing", "org/digits"): "neither a folder.*nor on the Hub",
        ("org/digits-resnet@nope", "org/digits"): "no such revision",
        ("org/digits-resnet", "org/nothing"): "'org/nothing'.*Hub|hf auth",
    }
    code = (
        "import sys\n"
        "from resque import cli\n"
        "for pair in sys.argv[1:]:\n"
        "    model, data = pair.split()\n"
        "    code = cli.run(['estimate', '--model', model, '--task', data])\n"
        "    print(f'\\nexit {code}', file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(" ".join, wrong)],
        env=hub.environment(tmp_path / "home") | {"HF_TOKEN": "hf_other"},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    said = done.stderr.split("\nexit 1\n")
    assert len(said) == len(wrong) + 1, done.stderr
    for words, sentence in zip(wrong.values(), said, strict=False):
        assert re.search(words, sentence), sentence
    assert "Traceback" not in done.stderr
    assert "hf_other" not in done.stderr


def test_the_metric_pushed_and_loaded_then_offline(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with inside(hub, tmp_path / "push"):
        assert cli.run(["metric", "push", "org/resque"]) == 0
        api = HfApi()
        assert [x.id for x in api.list_spaces(filter="metric")] == ["org/resque"]
        assert list(api.list_spaces(filter="comparison")) == []
        assert cli.run(["metric", "push", "org/other"]) == 2
    files = hub.files("spaces/org/resque")
    assert files["requirements.txt"].startswith(f"resque=={resque.__version__}\n".encode())
    assert set(files) - {".gitattributes"} == whole(metric_source().parent)
    code = (
        "import evaluate, numpy as np\n"
        "metric = evaluate.load('org/resque', 'task')\n"
        "print(metric.compute(predictions=np.eye(4)[[0, 0, 1, 1]], references=[0, 0, 1, 1]))"
    )
    offline = {"HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}
    for extra in ({}, offline):
        hub.requests.clear()
        done = subprocess.run(
            [sys.executable, "-c", code], env=hub.environment(tmp_path / "home") | extra,
            cwd=tmp_path, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert "'resque_task': 0.0" in done.stdout, done.stderr
        assert bool(hub.requests) == (not extra)


def test_the_demo_is_pushed_whole_and_in_one_commit(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with inside(hub, tmp_path):
        assert cli.run(["space", "push", "org/demo"]) == 0
        assert cli.run(["space", "push", "not an id"]) == 2
    files = hub.files("spaces/org/demo")
    assert b"sdk: gradio" in files["README.md"]
    here = demo_folder()
    assert set(files) - {".gitattributes"} == whole(here)
    assert files["app.py"] == (here / "app.py").read_bytes()
    weights = "assets/resque-demo/model/model.safetensors"
    assert files[weights] == (here / weights).read_bytes()
    package, *others = files["requirements.txt"].decode().splitlines()
    assert package == f"resque[space]=={resque.__version__}"
    (torch,) = [x for x in others if not x.startswith("#")]
    constraints = Path(__file__).parent.parent / "constraints" / "cpu.txt"
    assert torch in constraints.read_text().splitlines()


def test_what_tools_leave_in_a_folder_is_not_pushed(tmp_path, monkeypatch):
    wanted = {"app.py", "requirements.txt", "assets/a.json"}
    for name in (*wanted, ".env", ".mypy_cache/3.10/app.json", "__pycache__/app.pyc", "a/.x/y"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("resque")
    pushed = []
    monkeypatch.setattr(space_hub, "demo_folder", lambda: tmp_path)
    monkeypatch.setattr(space_hub, "push", lambda target, files, message: pushed.append(files))
    space_hub.push_demo(Target("org/demo", "space"))
    assert set(pushed[0]) == wanted


def test_a_fingerprint_published_after_the_weights_is_found(hub, tmp_path, digits):
    _, data = digits
    with inside(hub, tmp_path):
        first = HfApi().model_info("org/digits-resnet").sha
        fingerprint("org/digits-resnet", f"{data}#train").push_to_hub(
            "org/digits-resnet", token="hf_secret"
        )
        report = estimate(f"org/digits-resnet@{first}", shifted=f"{data}#test")
    assert report.score.noise_floor > 0
    assert report.model_revision == first


def test_a_stream_gives_what_a_folder_gives(hub, digits, tmp_path):
    model, data = digits
    done = call(
        hub, tmp_path, "estimate", "--model", "org/digits-resnet", "--original",
        "org/digits#train", "--shifted", "org/digits#test", "--json", "--streaming",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    local = estimate(model, original=f"{data}#train", shifted=f"{data}#test", progress=False)
    assert json.loads(done.stdout)["resque_dist"]["value"] == local.score.value
    assert not list(tmp_path.rglob("*.arrow"))


@pytest.mark.slow
def test_publishing_where_nothing_listens(hub, tmp_path, digits):
    model, data = digits
    done = call(
        hub, tmp_path, "fingerprint", "--model", model, "--dataset", f"{data}#test[:60]",
        "--push-to-hub", "org/digits-resnet",
        HF_ENDPOINT="http://127.0.0.1:9", HF_TOKEN="hf_secret",
    )  # fmt: skip
    assert done.returncode == 1
    assert "'org/digits-resnet'" in done.stderr
    assert "Traceback" not in done.stderr
    assert "defect" not in done.stderr
