"""`rank` with models of the Hub: a search, downloads one ahead, and several processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import huggingface_hub
import pytest

import hub_server
from resque import rank, rank_cache, rank_models, ranking
from resque.rank_models import Ahead, search_models

RUN = [sys.executable, "-c", "from resque.cli import main; main()"]


CARD = b"---\npipeline_tag: image-classification\nlibrary_name: transformers\n---\n"


@pytest.fixture(scope="module")
def hub(digits):
    with hub_server.serve() as hub:
        for name in ("a", "b"):
            for path in Path(digits[0]).iterdir():
                hub.put(f"models/org/{name}", path.name, path.read_bytes())
            hub.put(f"models/org/{name}", "README.md", CARD)
        hub.put("models/org/gated", "config.json", b"{}")
        hub.put("models/org/gated", "README.md", CARD)
        hub.repository("models/org/gated").gated = True
        hub.accounts["hf_stranger"] = hub_server.Account("stranger")
        hub.put("models/org/words", "README.md", CARD.replace(b"image", b"text"))
        yield hub


def test_a_search_asks_the_hub(hub, monkeypatch):
    api = huggingface_hub.HfApi
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda **x: api(endpoint=hub.address, **x))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    text = "task=image-classification, library=transformers, sort=likes, limit=2"
    assert search_models(text) == ["org/a", "org/b"]
    assert search_models("task=text-classification") == ["org/words"]
    with pytest.raises(ValueError, match="no model for the search"):
        search_models("search=nothing-of-that-name")


def test_the_next_model_is_fetched_while_the_present_one_runs(digits, monkeypatch, tmp_path):
    arrived, may_end = threading.Event(), threading.Event()

    def download(name, **options):
        assert options["ignore_patterns"] == ["*/*"]
        arrived.set()
        assert may_end.wait(60)
        raise OSError("the network is gone")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(rank_cache, "cache_folder", lambda: tmp_path)
    real = ranking._Ranker._pass

    def run(self, model, data):
        assert arrived.wait(60)  # the other one's download runs by now, and does not end
        found = real(self, model, data)
        may_end.set()
        return found

    monkeypatch.setattr(ranking._Ranker, "_pass", run)
    found = rank([digits[0], "org/other"], f"{digits[1]}#test[:32]", scores="knn",
                 label_column="label", device="cpu", progress=False)  # fmt: skip
    assert found.candidates[0].error is None
    assert "'org/other'" in found.candidates[1].error


def test_what_is_here_is_not_fetched(digits, monkeypatch):
    monkeypatch.setattr(rank_models.Ahead, "_fetch", lambda *_: pytest.fail("fetched"))
    ahead = Ahead()
    ahead.fetch(digits[0])
    ahead.wait(digits[0])
    ahead.wait("org/never-asked-for")


@pytest.mark.slow
def test_the_command_with_a_search(hub, digits, tmp_path):
    done = subprocess.run(
        [*RUN, "rank", "--dataset", f"{digits[1]}#test[:100]", "--label-column", "label",
         "--search", "task=image-classification", "--models", "org/b@main", "--json"],
        env={**{k: v for k, v in os.environ.items() if not k.startswith("HF_")},
             "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1",
             "HF_TOKEN": "hf_stranger"},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "hf_stranger" not in done.stdout + done.stderr
    found = {x["model"]: x for x in json.loads(done.stdout)["candidates"]}
    assert set(found) == {"org/b@main", "org/a", "org/b", "org/gated"}
    assert "is gated" in found["org/gated"]["error"]
    assert found["org/a"]["logme"] == found["org/b"]["logme"]
    assert len(found["org/a"]["revision"]) == 40
    assert not any("hf_stranger" in x.read_text() for x in tmp_path.rglob("rank/*.json"))


SCRIPT = """
import sys
import resque
from resque.cli import leave
from resque.processes import is_main_process

model, data, output = sys.argv[1:]
found = resque.rank([model, "/nope"], f"{data}#test[:101]", label_column="label", device="cpu",
                    batch_size=8, progress=False, layers="all")
if is_main_process():
    open(output, "w").write(__import__("json").dumps(found.to_dict()))
leave(0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_many_processes_rank_as_one(digits, tmp_path, processes):
    script, output = tmp_path / "script.py", tmp_path / "ranking.json"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone",
         f"--nproc_per_node={processes}", str(script), *digits, str(output)],
        env=os.environ | {"ACCELERATE_USE_CPU": "true", "HF_HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    many, broken = json.loads(output.read_text())["candidates"]
    one = rank(digits[0], f"{digits[1]}#test[:101]", label_column="label", device="cpu",
               batch_size=8, progress=False, layers="all", cache=False)  # fmt: skip
    assert "no model folder" in broken["error"]
    assert many["samples"] == 101
    wanted = one.to_dict()["candidates"][0]
    for layer, scores in wanted["layers"].items():
        assert many["layers"][layer] == pytest.approx(scores, rel=1e-9)
    assert many["intervals"]["knn"] == pytest.approx(wanted["intervals"]["knn"], rel=1e-9)
    assert len(list(tmp_path.rglob("rank/*.json"))) == 1
