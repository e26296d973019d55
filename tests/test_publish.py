"""The whole story of examples/publish.sh, by two people over HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "examples" / "publish.sh"


def test_it_is_bash():
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    assert os.access(SCRIPT, os.X_OK)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="bash")
def test_an_owner_publishes_and_a_stranger_measures_retrains_and_proposes(hub, tmp_path):
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    tokens = {"OWNER_TOKEN": "hf_secret", "STRANGER_TOKEN": "hf_stranger"}
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    done = subprocess.run(
        [str(SCRIPT), "org/digits", "org/costs", str(tmp_path / "work")],
        env=kept | tokens | {"PATH": path, "HF_ENDPOINT": hub.address, "HF_HUB_DISABLE_XET": "1"},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not any(token in done.stdout + done.stderr for token in tokens.values())
    model = hub.repository("models/org/digits")
    files = model.at().files
    card = files["README.md"].decode()
    assert {"resque.safetensors", "resque/shifts.png"} <= set(files)
    assert "gaussian:0.3" in card
    assert "blur:1" in card
    assert "co2_eq_emissions" in card
    assert [x.status for x in model.discussions] == ["merged"]
    assert "pooled.jsonl holds 101 entries" in done.stdout
    assert "from 101 runs" in " ".join(done.stdout.split())
    assert not any(str(tmp_path).encode() in content for content in files.values())
