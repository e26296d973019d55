"""The demo with models and data of a Hub: over HTTP, from the page, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

import hub_names
import jobs
import pages
from hub_server import inside, serve

SPACE = Path(jobs.__file__).parent
DEMO = SPACE / "assets" / "resque-demo"


@pytest.fixture(scope="module")
def hub():
    config = json.loads((DEMO / "model" / "config.json").read_text())
    coded = config | {"auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Net"}}
    coded |= {"model_type": "net_of_ones_own", "architectures": ["Net"]}
    weights = (DEMO / "model" / "model.safetensors").read_bytes()
    with serve() as found:
        for path in (DEMO / "model").iterdir():
            found.put("models/org/digits-resnet", path.name, path.read_bytes())
        test = (DEMO / "digits" / "test.parquet").read_bytes()
        found.put("datasets/org/digits", "test.parquet", test)
        found.put("models/org/pickled", "config.json", json.dumps(config).encode())
        found.put("models/org/pickled", "pytorch_model.bin", b"weights")
        found.put("models/org/coded", "config.json", json.dumps(coded).encode())
        found.put("models/org/coded", "model.safetensors", weights)
        found.put("models/org/coded", "code.py", b"raise SystemExit('it ran')")
        found.put("models/org/gated", "config.json", json.dumps(config).encode())
        found.repository("models/org/gated").gated = True
        yield found


@pytest.fixture(scope="module")
def app(start_app, hub, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    given = {"HF_ENDPOINT": hub.address, "HF_HOME": str(home), "HF_TOKEN": "hf_secret"}
    more = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    return start_app(SPACE / "app.py", cwd=SPACE.parent, **given, **more)


def test_a_model_and_data_of_the_hub_without_the_spaces_token(app, visit, hub, monkeypatch):
    query = "model=org/digits-resnet&original=org/digits&corruption=blur:1.5&samples=200"
    page = visit(app, f"/?tab=shift&{query}")
    expect(page.locator("#answer")).to_contain_text("press Measure")
    hub.requests.clear()
    page.locator("#measure").click()
    expect(page.locator("#answer tbody")).to_contain_text("Wh", timeout=90_000)
    monkeypatch.chdir(DEMO.parent)
    shift = jobs.Shift("resque-demo/model", "resque-demo/digits", "", "blur:1.5", "auto", 200)
    score = jobs.estimate(shift)["resque_dist"]
    shown = page.locator("#answer figcaption b").inner_text()
    assert shown == f"RESQUE index {pages.index(score['value'])}"
    assert "resque estimate --model org/digits-resnet@" in page.locator("#answer").inner_text()
    assert hub.requests
    assert not any("hf_secret" in str(x) for x in hub.requests)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("org/pickled", "no safetensors weights"),
        ("org/coded", "code of its own"),
        ("org/gated", "gated"),
        ("org/absent", "neither a folder here nor on the Hub"),
    ],
)
def test_what_this_page_does_not_run(app, visit, model, words):
    page = visit(app, f"/?tab=shift&model={model}&original=org/digits&corruption=blur:1.5")
    expect(page.locator("#answer")).to_contain_text("press Measure")
    page.locator("#measure").click()
    expect(page.locator("#answer .refusal")).to_contain_text(re.compile(words), timeout=60_000)


def test_what_is_too_large_is_refused_before_it_is_fetched(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(hub_names, "MAX_DOWNLOAD_BYTES", 50_000)
    with inside(hub, tmp_path):
        hub.requests.clear()
        with pytest.raises(ValueError, match=r"download of 0 MB; this page takes 0 MB"):
            hub_names.check_names(("org/digits-resnet",), ())
        with pytest.raises(ValueError, match="org/digits is a download"):
            hub_names.check_names((), ("org/digits#test",))
    assert not any("resolve" in str(x) for x in hub.requests)
